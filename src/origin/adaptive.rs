//! How many requests a pool can take at once, learnt from how long they take.
//!
//! From time to time the pool gets only few requests, and how long these take is the measure: so fast it
//! is when it is not busy. Then the limit grows while requests take hardly longer than that, and shrinks in
//! proportion when they do, as they wait for one another behind the limit. (The method of Envoy's adaptive
//! concurrency filter, with medians: a slow page among fast ones changes neither much.)

use std::time::Duration;

use crate::config::AdaptiveSettings;

/// Requests from which a window or a measurement is judged.
const ENOUGH: usize = 20;
/// Most of which the times are kept; later ones of the same window are not looked at.
const MOST_SAMPLES: usize = 512;
/// A measurement for which too few requests come ends after this long with what it has, or without.
const LONGEST_MEASUREMENT: Duration = Duration::from_secs(5);

/// A limit that is learnt. All times are those since some fixed moment.
#[derive(Clone, Debug)]
pub(super) struct Adaptive {
    limit: f64,
    /// What requests take when the pool is not busy.
    base: Option<Duration>,
    phase: Phase,
    /// What the requests of this phase took.
    samples: Vec<Duration>,
    /// Most requests that were outstanding in this phase.
    peak: usize,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The pool gets few requests since then, and those that were sent before are not looked at.
    Measuring { since: Duration },
    /// The limit holds since then; the pool is measured at the second time.
    Holding { since: Duration, measure: Duration },
}

impl Adaptive {
    /// A limit of which nothing is known yet.
    pub(super) fn new(settings: &AdaptiveSettings, now: Duration) -> Self {
        Self {
            limit: to_f64(settings.least.saturating_mul(4).min(settings.most)),
            base: None,
            phase: Phase::Measuring { since: now },
            samples: Vec::new(),
            peak: 0,
        }
    }

    /// How many requests may be outstanding.
    pub(super) fn limit(&self, settings: &AdaptiveSettings) -> usize {
        let bounds = settings.least.min(settings.most)..=settings.most;
        match self.phase {
            Phase::Measuring { .. } => *bounds.start(),
            Phase::Holding { .. } => to_usize(self.limit).clamp(*bounds.start(), *bounds.end()),
        }
    }

    /// A request sent at `sent` was answered, or failed, at `now`; `outstanding` were at the pool with it.
    /// One that failed says that the pool has too much to do, whatever it took.
    pub(super) fn record(
        &mut self,
        settings: &AdaptiveSettings,
        (sent, now): (Duration, Duration),
        success: bool,
        outstanding: usize,
    ) {
        self.peak = self.peak.max(outstanding);
        let took = now.saturating_sub(sent);
        match self.phase {
            Phase::Measuring { since } => {
                if success && sent >= since && self.samples.len() < ENOUGH {
                    self.samples.push(took);
                }
                let over = now.saturating_sub(since) >= LONGEST_MEASUREMENT;
                if self.samples.len() >= ENOUGH || over {
                    self.base = median(&mut self.samples).or(self.base);
                    self.hold(now, now + settings.measure_every);
                }
            }
            Phase::Holding { since, measure } => {
                if self.samples.len() < MOST_SAMPLES {
                    let failed = self
                        .base
                        .map_or(took, |base| base.saturating_mul(2).max(took));
                    self.samples.push(if success { took } else { failed });
                }
                if now.saturating_sub(since) < settings.window || self.samples.len() < ENOUGH {
                    return;
                }
                self.adjust(settings);
                if now >= measure {
                    self.begin(Phase::Measuring { since: now });
                } else {
                    self.hold(now, measure);
                }
            }
        }
    }

    fn hold(&mut self, since: Duration, measure: Duration) {
        self.begin(Phase::Holding { since, measure });
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.samples.clear();
        self.peak = 0;
    }

    fn adjust(&mut self, settings: &AdaptiveSettings) {
        let (Some(base), Some(took)) = (self.base, median(&mut self.samples)) else {
            return;
        };
        let tolerated = 1.0 + f64::from(settings.tolerance_percent) / 100.0;
        let gradient = base.as_secs_f64() * tolerated / took.as_secs_f64().max(1e-6);
        let gradient = gradient.clamp(0.5, 1.0);
        let room = self.limit.sqrt();
        // Who did not use the limit has not shown that more would do.
        if gradient >= 1.0 && to_f64(self.peak) < self.limit / 2.0 {
            return;
        }
        let wanted = self.limit * gradient + if gradient >= 1.0 { room } else { 0.0 };
        self.limit = wanted.clamp(to_f64(settings.least), to_f64(settings.most));
    }
}

fn median(samples: &mut [Duration]) -> Option<Duration> {
    let middle = samples.len() / 2;
    (!samples.is_empty()).then(|| *samples.select_nth_unstable(middle).1)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "limits are far below what a float can hold"
)]
fn to_f64(count: usize) -> f64 {
    count as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between the bounds of the settings, and rounding down is meant"
)]
fn to_usize(limit: f64) -> usize {
    limit.max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BinaryHeap;

    use super::*;

    /// An origin that works at `slots` requests at once, each for some milliseconds; the others wait there.
    /// There are always more requests than the limit lets through. Gives the mean of the limits over the
    /// last half of the time.
    struct Simulated {
        adaptive: Adaptive,
        settings: AdaptiveSettings,
        /// Requests by when they end, soonest first: end, sent.
        out: BinaryHeap<std::cmp::Reverse<(Duration, Duration)>>,
        /// When each slot is free.
        slots: Vec<Duration>,
        now: Duration,
        random: u64,
    }

    impl Simulated {
        fn new(slots: usize) -> Self {
            let settings = AdaptiveSettings::up_to(1000);
            Self {
                adaptive: Adaptive::new(&settings, Duration::ZERO),
                settings,
                out: BinaryHeap::new(),
                slots: vec![Duration::ZERO; slots],
                now: Duration::ZERO,
                random: 7,
            }
        }

        fn run(&mut self, seconds: u64, takes: fn(u64) -> u64) -> f64 {
            let begun = self.now;
            let until = begun + Duration::from_secs(seconds);
            let (mut sum, mut count) = (0.0, 0.0);
            while self.now < until {
                while self.out.len() < self.adaptive.limit(&self.settings) {
                    self.random = self
                        .random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let work = Duration::from_millis(takes(self.random >> 33));
                    let slot = self.slots.iter_mut().min().unwrap();
                    *slot = (*slot).max(self.now) + work;
                    self.out.push(std::cmp::Reverse((*slot, self.now)));
                }
                let std::cmp::Reverse((end, sent)) = self.out.pop().unwrap();
                self.now = end;
                let outstanding = self.out.len() + 1;
                self.adaptive
                    .record(&self.settings, (sent, end), true, outstanding);
                if self.now > begun + Duration::from_secs(seconds) / 2 {
                    sum += to_f64(self.adaptive.limit(&self.settings));
                    count += 1.0;
                }
            }
            sum / count
        }
    }

    #[test]
    fn the_limit_settles_near_what_the_origin_works_at_at_once() {
        for slots in [8, 20, 100] {
            let limit = Simulated::new(slots).run(120, |_| 50);
            let slots = to_f64(slots);
            assert!(
                (slots * 0.7..slots * 1.6).contains(&limit),
                "{slots}: {limit}"
            );
        }
    }

    #[test]
    fn slow_pages_among_fast_ones_do_not_fool_it() {
        let limit = Simulated::new(20).run(120, |random| {
            if random % 10 == 0 {
                400
            } else {
                30 + random % 20
            }
        });
        assert!((12.0..40.0).contains(&limit), "{limit}");
    }

    #[test]
    fn an_origin_that_becomes_slower_or_faster_is_learnt_anew() {
        let mut simulated = Simulated::new(20);
        for takes in [|_| 50, |_| 150, |_| 25] {
            let limit = simulated.run(150, takes);
            assert!((14.0..32.0).contains(&limit), "{limit}");
        }
    }

    #[test]
    fn failures_lower_the_limit_and_idleness_does_not_raise_it() {
        let settings = AdaptiveSettings::up_to(1000);
        let mut adaptive = Adaptive::new(&settings, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut ask = |adaptive: &mut Adaptive, success, outstanding| {
            for _ in 0..1000 {
                let sent = now;
                now += Duration::from_millis(10);
                adaptive.record(&settings, (sent, now), success, outstanding);
            }
            adaptive.limit(&settings)
        };
        let idle = ask(&mut adaptive, true, 1);
        assert_eq!(idle, 16);
        let busy = ask(&mut adaptive, true, 1000);
        assert!(busy > 100, "{busy}");
        assert_eq!(ask(&mut adaptive, false, 1000), settings.least);
    }
}
