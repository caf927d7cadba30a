//! What a pool does when it has too much to do: `queue`, `breaker` and `adaptive_concurrency`.

use std::time::Duration;

use super::file::{SHORTEST, put, put_number};
use super::reader::Section;

/// In which order those of one priority get their turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueOrder {
    /// Who came first.
    #[default]
    Fifo,
    /// Who came last, once the queue has not been empty for a while: those at its end have given up.
    AdaptiveLifo,
}

/// The queue of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Requests that may wait.
    pub length: usize,
    /// The order of those of one priority.
    pub order: QueueOrder,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            length: 1000,
            order: QueueOrder::Fifo,
        }
    }
}

/// When the breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Percentage of the requests of [`Self::window`] that must fail.
    pub failure_percent: u32,
    /// With fewer requests in the window it stays closed.
    pub least_requests: u32,
    /// How far back requests count.
    pub window: Duration,
    /// How long the pool is left alone at first; twice as long each time that trying it failed.
    pub open_for: Duration,
    /// It is not left alone for longer.
    pub longest: Duration,
    /// Requests that must succeed before it closes again.
    pub probes: u32,
}

impl Default for BreakerSettings {
    /// Cautious: half of the requests of ten seconds must have failed.
    fn default() -> Self {
        Self {
            failure_percent: 50,
            least_requests: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(2),
            longest: Duration::from_secs(30),
            probes: 3,
        }
    }
}

/// Bounds and pace of learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveSettings {
    /// The limit is never lower; also what the pool gets while it is measured.
    pub least: usize,
    /// Nor higher.
    pub most: usize,
    /// How much longer than when it is not busy requests may take, in percent.
    pub tolerance_percent: u32,
    /// How long a limit holds before it is looked at again.
    pub window: Duration,
    /// How often the pool is measured.
    pub measure_every: Duration,
}

impl AdaptiveSettings {
    /// The settings for a pool that may have `most` requests outstanding.
    pub const fn up_to(most: usize) -> Self {
        Self {
            least: 4,
            most,
            tolerance_percent: 25,
            window: Duration::from_millis(250),
            measure_every: Duration::from_mins(1),
        }
    }
}

/// The queue, and how long to wait in it.
pub(super) fn read_queue(section: &Section<'_>) -> (QueueSettings, Option<Duration>) {
    let mut queue = QueueSettings::default();
    let Some(table) = section.section("queue") else {
        return (queue, None);
    };
    put_number(&mut queue.length, table.integer("length", 0..=1_000_000));
    put(
        &mut queue.order,
        table.word(
            "order",
            &[
                ("fifo", QueueOrder::Fifo),
                ("adaptive_lifo", QueueOrder::AdaptiveLifo),
            ],
        ),
    );
    let timeout = table.duration_of("timeout", SHORTEST);
    table.finish();
    (queue, timeout.map(|timeout| timeout.value))
}

/// `false`, or what differs from the default.
pub(super) fn read_breaker(section: &Section<'_>) -> Option<BreakerSettings> {
    let mut breaker = BreakerSettings::default();
    if section.is_boolean("breaker") {
        let wanted = section.boolean("breaker").is_none_or(|wanted| wanted.value);
        return wanted.then_some(breaker);
    }
    let Some(table) = section.section("breaker") else {
        return Some(breaker);
    };
    put_number(
        &mut breaker.failure_percent,
        table.integer("failure_percent", 1..=100),
    );
    put_number(
        &mut breaker.least_requests,
        table.integer("min_requests", 1..=100_000),
    );
    put_number(&mut breaker.probes, table.integer("probes", 1..=100));
    for (key, slot) in [
        ("window", &mut breaker.window),
        ("open_for", &mut breaker.open_for),
        ("max_open_for", &mut breaker.longest),
    ] {
        put(slot, table.duration_of(key, Duration::from_millis(100)));
    }
    table.finish();
    Some(breaker)
}

/// `true`, or the bounds.
pub(super) fn read_adaptive(section: &Section<'_>, most: usize) -> Option<AdaptiveSettings> {
    let mut adaptive = AdaptiveSettings::up_to(most);
    if section.is_boolean("adaptive_concurrency") {
        let wanted = section.boolean("adaptive_concurrency")?;
        return wanted.value.then_some(adaptive);
    }
    let table = section.section("adaptive_concurrency")?;
    put_number(&mut adaptive.least, table.integer("min", 1..=100_000));
    put_number(&mut adaptive.most, table.integer("max", 1..=100_000));
    put_number(
        &mut adaptive.tolerance_percent,
        table.integer("tolerance_percent", 1..=1000),
    );
    adaptive.most = adaptive.most.min(most).max(1);
    adaptive.least = adaptive.least.min(adaptive.most);
    table.finish();
    Some(adaptive)
}
