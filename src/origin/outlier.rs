//! A replica judged by its answers: when it is ejected, and for how long.

use std::time::Duration;

use crate::config::{Counted, Outliers};

/// How one request at a replica went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status, its head after this time.
    Answered(u16, Duration),
    /// No connection.
    NotConnected,
    /// No answer in time.
    TimedOut,
    /// The connection ended before the answer, or what came is not HTTP.
    Broken,
}

/// Why a replica is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// So many failures in a row.
    Consecutive,
    /// Too large a share of its requests failed.
    Ratio,
    /// Its answers take much longer than those of the others.
    Latency,
}

impl Reason {
    /// For logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::Ratio => "ratio",
            Self::Latency => "latency",
        }
    }
}

/// What is remembered of a replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    in_a_row: u32,
    window: Window,
    /// The mean time to the answer's head in the last full window with enough answers.
    mean: Option<Duration>,
    ejections: u32,
    /// When the last ejection ended.
    returned: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Duration,
    requests: u32,
    failures: u32,
    answers: u32,
    time: Duration,
}

impl Outcome {
    fn fails(self, counted: Counted) -> bool {
        match self {
            Self::Answered(502..=504, _) if counted.gateway => true,
            Self::Answered(status, _) => counted.server_error && (500..600).contains(&status),
            Self::NotConnected => counted.connect,
            Self::TimedOut => counted.timeout,
            Self::Broken => counted.closed,
        }
    }
}

impl Record {
    /// Takes an outcome into account, `now` since the process began; the reason if the replica should be
    /// ejected. `others` gives the means of the pool's other replicas, asked for once in a window.
    pub(super) fn record(
        &mut self,
        outcome: Outcome,
        limits: &Outliers,
        now: Duration,
        others: impl FnOnce() -> Vec<Duration>,
    ) -> Option<Reason> {
        let full = now.saturating_sub(self.window.began) >= limits.window;
        let slow = full && self.turn_window(limits, now, others);
        let fails = outcome.fails(limits.counts);
        self.in_a_row = if fails {
            self.in_a_row.saturating_add(1)
        } else {
            0
        };
        let window = &mut self.window;
        window.requests = window.requests.saturating_add(1);
        window.failures += u32::from(fails);
        if let Outcome::Answered(_, after) = outcome {
            window.answers += 1;
            window.time += after;
        }
        let failures = u64::from(window.failures) * 100;
        let most = u64::from(window.requests) * u64::from(limits.failure_ratio);
        if self.in_a_row >= limits.consecutive {
            Some(Reason::Consecutive)
        } else if window.requests >= limits.min_requests && failures >= most {
            Some(Reason::Ratio)
        } else {
            slow.then_some(Reason::Latency)
        }
    }

    /// Begins another window; whether the replica was too slow in the one that ends.
    fn turn_window(
        &mut self,
        limits: &Outliers,
        now: Duration,
        others: impl FnOnce() -> Vec<Duration>,
    ) -> bool {
        let ended = std::mem::replace(
            &mut self.window,
            Window {
                began: now,
                ..Window::default()
            },
        );
        let enough = ended.answers >= limits.min_requests;
        self.mean = enough.then(|| ended.time / ended.answers.max(1));
        let Some((mean, factor)) = self.mean.zip(limits.latency_factor) else {
            return false;
        };
        let mut others = others();
        others.sort_unstable();
        let median = others.get(others.len() / 2).copied();
        median.is_some_and(|median| !median.is_zero() && mean > median * factor)
    }

    /// The mean time to the head of its answers, when enough are known.
    pub(super) fn mean(&self) -> Option<Duration> {
        self.mean
    }

    /// Ejects it: how long. Each time is longer than the one before, up to a limit; time in service
    /// makes up for it.
    pub(super) fn eject(&mut self, limits: &Outliers, now: Duration) -> Duration {
        let served = now.saturating_sub(self.returned).as_millis();
        let made_up = served / limits.ejection.as_millis().max(1);
        let made_up = u32::try_from(made_up).unwrap_or(u32::MAX);
        // The wait itself is no time in service, and one ejection's worth of it makes up for one.
        self.ejections = self.ejections.saturating_sub(made_up).saturating_add(1);
        let length = limits.ejection.saturating_mul(self.ejections);
        let length = length.min(limits.max_ejection);
        self.in_a_row = 0;
        self.window = Window {
            began: now,
            ..Window::default()
        };
        self.mean = None;
        self.returned = now + length;
        length
    }
}

/// Whether one more of `replicas` may be ejected when `ejected` are.
pub(super) fn may_eject(ejected: usize, replicas: usize, most_percent: u32) -> bool {
    let percent = usize::try_from(most_percent).unwrap_or(100);
    (ejected + 1) * 100 <= replicas * percent
}

/// The part of its weight that a replica gets `since` its return to service, in percent: from a tenth
/// to all of it over `slow_start`.
pub(super) fn ramp(since: Duration, slow_start: Option<Duration>) -> u32 {
    let Some(over) = slow_start.filter(|over| since < *over) else {
        return 100;
    };
    let percent = since.as_millis() * 100 / over.as_millis().max(1);
    u32::try_from(percent).unwrap_or(100).clamp(10, 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Outcome = Outcome::Answered(200, Duration::from_millis(10));
    const BAD: Outcome = Outcome::Answered(502, Duration::from_millis(10));

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    fn feed(record: &mut Record, outcomes: &[Outcome], limits: &Outliers) -> Option<Reason> {
        outcomes.iter().fold(None, |found, outcome| {
            found.or(record.record(*outcome, limits, at(0), Vec::new))
        })
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let limits = Outliers::default();
        let row = [BAD; 5];
        let mut record = Record::default();
        assert_eq!(feed(&mut record, &row, &limits), Some(Reason::Consecutive));
        let mut record = Record::default();
        let mixed = [BAD, BAD, BAD, BAD, OK, BAD, BAD, BAD, BAD];
        assert_eq!(feed(&mut record, &mixed, &limits), None);
    }

    #[test]
    fn a_ratio_needs_enough_requests() {
        let limits = Outliers::default();
        let mut record = Record::default();
        let half: Vec<_> = (0..19).map(|nth| [OK, BAD][nth % 2]).collect();
        assert_eq!(feed(&mut record, &half, &limits), None);
        assert_eq!(feed(&mut record, &[BAD], &limits), Some(Reason::Ratio));
    }

    #[test]
    fn only_what_counts_counts() {
        let mut limits = Outliers::default();
        for (status, counts) in [(500, false), (502, true), (404, false)] {
            let row = [Outcome::Answered(status, Duration::ZERO); 5];
            let found = feed(&mut Record::default(), &row, &limits);
            assert_eq!(found.is_some(), counts, "{status}");
        }
        limits.counts = Counted {
            server_error: true,
            ..Counted::default()
        };
        let row = [Outcome::Answered(500, Duration::ZERO); 5];
        assert!(feed(&mut Record::default(), &row, &limits).is_some());
        let row = [Outcome::TimedOut; 5];
        assert!(feed(&mut Record::default(), &row, &limits).is_none());
    }

    #[test]
    fn much_slower_than_the_others_is_an_outlier() {
        let limits = Outliers {
            latency_factor: Some(3),
            ..Outliers::default()
        };
        let others = || vec![Duration::from_millis(10); 3];
        for (millis, expected) in [(31, Some(Reason::Latency)), (29, None)] {
            let mut record = Record::default();
            let slow = Outcome::Answered(200, Duration::from_millis(millis));
            for _ in 0..20 {
                assert_eq!(record.record(slow, &limits, at(0), Vec::new), None);
            }
            assert_eq!(record.record(slow, &limits, at(10), others), expected);
        }
    }

    #[test]
    fn ejections_grow_to_a_limit_and_time_in_service_makes_up_for_them() {
        let limits = Outliers {
            ejection: Duration::from_secs(10),
            max_ejection: Duration::from_secs(25),
            ..Outliers::default()
        };
        let mut record = Record::default();
        assert_eq!(record.eject(&limits, at(0)), Duration::from_secs(10));
        assert_eq!(record.eject(&limits, at(10)), Duration::from_secs(20));
        assert_eq!(record.eject(&limits, at(30)), Duration::from_secs(25));
        // Twenty seconds after its return.
        assert_eq!(record.eject(&limits, at(75)), Duration::from_secs(20));
    }

    #[test]
    fn some_always_stay() {
        assert!(!may_eject(0, 1, 50));
        assert!(may_eject(0, 2, 50));
        assert!(!may_eject(1, 2, 50));
        assert!(!may_eject(0, 2, 0));
    }

    #[test]
    fn weight_comes_back_over_the_slow_start() {
        let over = Some(Duration::from_secs(10));
        let ramps: Vec<_> = [0, 5, 10]
            .map(|s| ramp(Duration::from_secs(s), over))
            .into();
        assert_eq!(ramps, [10, 50, 100]);
        assert_eq!(ramp(Duration::ZERO, None), 100);
    }
}
