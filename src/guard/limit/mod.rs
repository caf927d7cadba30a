//! Rate limits: how many requests of one client, or of what else requests have in common, within a period.
//! After Cloudflare's rate limiting rules.
//!
//! [`rule`] says what is counted under which key, [`zone`] which rules there are, [`window`] and [`gcra`] whether that is too much, and
//! [`table`] keeps the counts in bounded memory, with the help of a [`sketch`] when there are more keys than
//! room. Whoever asks passes the time in, and takes care that a table is used by one thread at a time.

pub mod breaker;
pub mod gcra;
pub mod rule;
pub mod sketch;
pub mod state;
pub mod table;
pub mod window;
pub mod zone;

use std::ops::ControlFlow::{self, Continue};
use std::time::{Duration, SystemTime};

pub use rule::{
    Characteristic, CharacteristicSource, Counting, Failing, LimitAction, LimitRule, Refusal, Seed,
};
pub use state::{Delta, Known, Telling, Terms};
pub use zone::{Keys, RateLimits};

use crate::cache::settings::RuleId;

/// A point in time, in nanoseconds since 1970.
pub type Moment = u64;

/// A rule and what its requests have in common, hashed.
pub type Key = u64;

/// `time` as a moment.
pub fn moment(time: SystemTime) -> Moment {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    nanos(since.unwrap_or_default())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a request is within a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Within {
        /// So many more would be.
        remaining: u32,
        /// When there will be more.
        reset: Duration,
    },
    /// It is not.
    Over {
        /// After so long another one may be.
        retry_after: Duration,
    },
}

impl Verdict {
    /// As for the first request of all.
    pub const fn within(rule: &LimitRule) -> Self {
        Self::Within {
            remaining: rule.limit,
            reset: rule.period,
        }
    }

    /// Whether the request is too much.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Over { .. })
    }
}

/// A request that counts under a key once it is answered, if the answer is such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The rule, among the rate limits of its zone.
    pub rule: RuleId,
    /// The key.
    pub key: Key,
}

/// What is asked of the counters that all nodes share, before a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrictAsk {
    /// The rule, among the rate limits of its zone.
    pub rule: RuleId,
    /// The key.
    pub key: Key,
    /// Whether the request counts.
    pub counts: bool,
}

/// A request that arrives, for one of the rules that may stop it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'r> {
    /// The rule.
    pub rule: &'r LimitRule,
    /// The key.
    pub key: Key,
    /// Whether the request counts.
    pub counts: bool,
}

/// The counters, as the guard asks them.
pub trait Counters {
    /// What keys are hashed with.
    fn seed(&self) -> Seed;

    /// Whether all nodes must be asked about a request for `rule` before it goes on.
    fn must_ask(&self, rule: &LimitRule, key: Key) -> bool;

    /// Whether a request is over the limit of `rule`, and would not count.
    fn is_over(&self, rule: &LimitRule, key: Key) -> bool;

    /// Whether a request is within limits, in order, each of which it counts for where it says so; until
    /// `each`, which gets positions and verdicts, ends it.
    fn arrive(
        &self,
        asks: &[Ask<'_>],
        each: impl FnMut(usize, Verdict) -> ControlFlow<()>,
    ) -> ControlFlow<()>;

    /// Counts a request that `rule` may not stop.
    fn count(&self, rule: &LimitRule, key: Key);
}

/// No counters: nothing is ever over a limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCounters;

impl Counters for NoCounters {
    fn seed(&self) -> Seed {
        Seed::default()
    }

    fn must_ask(&self, _: &LimitRule, _: Key) -> bool {
        false
    }

    fn is_over(&self, _: &LimitRule, _: Key) -> bool {
        false
    }

    fn arrive(
        &self,
        asks: &[Ask<'_>],
        mut each: impl FnMut(usize, Verdict) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for (position, ask) in asks.iter().enumerate() {
            each(position, Verdict::within(ask.rule))?;
        }
        Continue(())
    }

    fn count(&self, _: &LimitRule, _: Key) {}
}
