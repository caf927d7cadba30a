//! Whether a pool is asked at all: after too many failures it is left alone for a while, then tried with a
//! few requests (a circuit breaker).

use std::time::Duration;

use crate::config::BreakerSettings;

/// Whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It may.
    Granted,
    /// It may, to find out how the pool is; its outcome must be told.
    Probe,
    /// It may not, for at least this long.
    Refused(Duration),
}

/// The breaker opened or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The pool is left alone for so long.
    Opened(Duration),
    /// It is asked again.
    Closed,
}

/// A breaker. All times are those since some fixed moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    state: State,
    window: Window,
    /// How often in a row it opened.
    opened: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Duration,
    },
    HalfOpen {
        /// Probes sent whose outcome is not known, the last of them then.
        out: u32,
        last: Duration,
        succeeded: u32,
    },
}

/// A probe that is not heard of for so long is given up, so that none is waited for for ever.
const PROBE_LOST: Duration = Duration::from_secs(10);

impl Breaker {
    /// Asks for leave to send a request.
    pub(super) fn leave(&mut self, settings: &BreakerSettings, now: Duration) -> Leave {
        match &mut self.state {
            State::Closed => Leave::Granted,
            State::Open { until } if now < *until => Leave::Refused(until.saturating_sub(now)),
            State::Open { .. } => {
                self.state = State::HalfOpen {
                    out: 1,
                    last: now,
                    succeeded: 0,
                };
                Leave::Probe
            }
            State::HalfOpen {
                out,
                last,
                succeeded,
            } => {
                if now.saturating_sub(*last) > PROBE_LOST {
                    *out = 0;
                }
                if *out + *succeeded >= settings.probes {
                    return Leave::Refused(Duration::from_millis(100));
                }
                *out += 1;
                *last = now;
                Leave::Probe
            }
        }
    }

    /// For how long requests are refused from now on; nothing while some may be sent.
    pub(super) fn refuses(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Open { until } if now < until => Some(until.saturating_sub(now)),
            _ => None,
        }
    }

    /// Takes the outcome of a request into account.
    pub(super) fn record(
        &mut self,
        settings: &BreakerSettings,
        success: bool,
        now: Duration,
    ) -> Option<Change> {
        match &mut self.state {
            State::Closed => {
                self.window.add(settings.window, success, now);
                self.window
                    .is_bad(settings)
                    .then(|| self.open(settings, now))
            }
            // A straggler from before it opened.
            State::Open { .. } => None,
            State::HalfOpen { .. } if !success => Some(self.open(settings, now)),
            State::HalfOpen { out, succeeded, .. } => {
                *out = out.saturating_sub(1);
                *succeeded += 1;
                if *succeeded < settings.probes {
                    return None;
                }
                *self = Self::default();
                Some(Change::Closed)
            }
        }
    }

    /// Takes back the leave of a request that was not sent, or whose outcome says nothing of the pool.
    pub(super) fn withdraw(&mut self) {
        if let State::HalfOpen { out, .. } = &mut self.state {
            *out = out.saturating_sub(1);
        }
    }

    /// Whether requests are refused, but for probes.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    fn open(&mut self, settings: &BreakerSettings, now: Duration) -> Change {
        let doubled = settings
            .open_for
            .saturating_mul(1_u32.checked_shl(self.opened).unwrap_or(u32::MAX));
        let pause = doubled.min(settings.longest.max(settings.open_for));
        self.opened = self.opened.saturating_add(1);
        self.window = Window::default();
        self.state = State::Open { until: now + pause };
        Change::Opened(pause)
    }
}

/// Parts into which a window is divided: what is older than a whole window counts for a part of it more.
const PARTS: usize = 10;

/// Outcomes of the last while.
#[derive(Clone, Debug, Default)]
struct Window {
    /// Successes and failures of each part.
    parts: [(u32, u32); PARTS],
    /// The number of the newest part, counted from the beginning of time.
    newest: u128,
}

impl Window {
    fn add(&mut self, length: Duration, success: bool, now: Duration) {
        let parts = u128::try_from(PARTS).unwrap_or(1);
        let part = (length.as_nanos() / parts).max(1);
        let number = now.as_nanos() / part;
        let passed = number.saturating_sub(self.newest).min(parts);
        for step in 0..passed {
            if let Some(oldest) = self.slot(number - step) {
                *oldest = (0, 0);
            }
        }
        self.newest = self.newest.max(number);
        if let Some((successes, failures)) = self.slot(self.newest) {
            let count = if success { successes } else { failures };
            *count = count.saturating_add(1);
        }
    }

    fn slot(&mut self, number: u128) -> Option<&mut (u32, u32)> {
        let parts = u128::try_from(PARTS).unwrap_or(1);
        self.parts.get_mut(usize::try_from(number % parts).ok()?)
    }

    fn is_bad(&self, settings: &BreakerSettings) -> bool {
        let sum = |of: fn(&(u32, u32)) -> u32| -> u64 {
            self.parts.iter().map(|part| u64::from(of(part))).sum()
        };
        let (failed, all) = (sum(|part| part.1), sum(|part| part.0 + part.1));
        all >= u64::from(settings.least_requests)
            && failed * 100 >= all * u64::from(settings.failure_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        failure_percent: 50,
        least_requests: 10,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(2),
        longest: Duration::from_secs(5),
        probes: 2,
    };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(1_000_000 + millis)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        let changes: Vec<_> = (0..10)
            .filter_map(|_| breaker.record(&SETTINGS, false, at(0)))
            .collect();
        assert_eq!(changes, [Change::Opened(Duration::from_secs(2))]);
        breaker
    }

    #[test]
    fn it_opens_when_too_many_requests_of_a_while_failed() {
        let mut breaker = Breaker::default();
        for second in 0..60 {
            for failed in [true, false, false] {
                let outcome = breaker.record(&SETTINGS, !failed, at(second * 1000));
                assert_eq!(outcome, None, "a third fails, in second {second}");
            }
        }
        let mut changes = (0..30).filter_map(|_| breaker.record(&SETTINGS, false, at(60_000)));
        assert_eq!(changes.next(), Some(Change::Opened(Duration::from_secs(2))));
        assert!(breaker.is_open());
    }

    #[test]
    fn few_failures_and_old_ones_do_not_open_it() {
        let mut breaker = Breaker::default();
        for second in 0..100 {
            // Nine in any ten seconds, all failed.
            if second % 10 != 9 {
                let outcome = breaker.record(&SETTINGS, false, at(second * 1000));
                assert_eq!(outcome, None, "in second {second}");
            }
        }
    }

    #[test]
    fn open_it_refuses_then_tries_some_and_closes_when_they_succeed() {
        let mut breaker = opened();
        assert_eq!(
            breaker.leave(&SETTINGS, at(500)),
            Leave::Refused(Duration::from_millis(1500))
        );
        assert_eq!(breaker.record(&SETTINGS, true, at(600)), None);
        assert_eq!(breaker.leave(&SETTINGS, at(2000)), Leave::Probe);
        assert_eq!(breaker.leave(&SETTINGS, at(2000)), Leave::Probe);
        assert!(matches!(
            breaker.leave(&SETTINGS, at(2000)),
            Leave::Refused(_)
        ));
        assert_eq!(breaker.record(&SETTINGS, true, at(2100)), None);
        assert_eq!(
            breaker.record(&SETTINGS, true, at(2100)),
            Some(Change::Closed)
        );
        assert_eq!(breaker.leave(&SETTINGS, at(2100)), Leave::Granted);
    }

    #[test]
    fn a_failed_probe_opens_it_for_twice_as_long_up_to_a_limit() {
        let mut breaker = opened();
        let mut now = 2000;
        for pause in [4, 5, 5] {
            assert_eq!(breaker.leave(&SETTINGS, at(now)), Leave::Probe);
            let pause = Duration::from_secs(pause);
            let change = breaker.record(&SETTINGS, false, at(now));
            assert_eq!(change, Some(Change::Opened(pause)));
            now += 5000;
        }
    }

    #[test]
    fn a_probe_that_is_not_heard_of_again_is_given_up() {
        let mut breaker = opened();
        for _ in 0..2 {
            assert_eq!(breaker.leave(&SETTINGS, at(2000)), Leave::Probe);
        }
        assert!(matches!(
            breaker.leave(&SETTINGS, at(12_000)),
            Leave::Refused(_)
        ));
        assert_eq!(breaker.leave(&SETTINGS, at(12_001)), Leave::Probe);
        breaker.withdraw();
        assert_eq!(breaker.leave(&SETTINGS, at(12_001)), Leave::Probe);
    }
}
