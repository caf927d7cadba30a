//! A node of a tier that fails is passed over for a while, longer each time; then one request tries it.

use std::time::Duration;

/// How long after the first failure.
const SHORTEST: Duration = Duration::from_secs(1);
/// And at most.
const LONGEST: Duration = Duration::from_secs(30);
/// Timeouts in a row that count as a failure: one slow page says little of the node.
const TIMEOUTS: u32 = 3;

/// How a node failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is not there, or does not speak as a tier does.
    Dead,
    /// It did not answer in time.
    Slow,
    /// It would not answer this request, which says nothing of others.
    Refused,
}

/// What is remembered of a node. Times are those since any fixed time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// Failures in a row.
    failures: u32,
    timeouts: u32,
    /// Until when it is passed over.
    until: Duration,
    /// Whether a request finds out how it is by now.
    probed: bool,
}

/// What became of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is passed over from now on, and was not before.
    Out,
    /// It answers again.
    Back,
}

impl Backoff {
    /// Whether the node may be asked at `now`. Where it has been passed over, one request may ask it, and
    /// others only when that is known to have gone well or a while has passed.
    pub fn try_at(&mut self, now: Duration) -> bool {
        if self.failures == 0 {
            return true;
        }
        if now < self.until {
            return false;
        }
        self.until = now.saturating_add(SHORTEST);
        self.probed = true;
        true
    }

    /// The node failed at `now`.
    pub fn failed(&mut self, failure: Failure, now: Duration) -> Option<Change> {
        match failure {
            Failure::Refused => return None,
            Failure::Slow => {
                self.timeouts = self.timeouts.saturating_add(1);
                if self.timeouts < TIMEOUTS && self.failures == 0 {
                    return None;
                }
            }
            Failure::Dead => {}
        }
        let first = self.failures == 0;
        // All that was under way when it went is one failure.
        if !first && !std::mem::take(&mut self.probed) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(1).min(8);
        let wait = SHORTEST.saturating_mul(1 << doublings).min(LONGEST);
        self.until = now.saturating_add(wait);
        first.then_some(Change::Out)
    }

    /// The node answered.
    pub fn succeeded(&mut self) -> Option<Change> {
        let was_out = self.failures > 0;
        *self = Self::default();
        was_out.then_some(Change::Back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_dead_node_is_tried_once_in_a_while() {
        let mut node = Backoff::default();
        assert!(node.try_at(at(0)));
        assert_eq!(node.failed(Failure::Dead, at(10)), Some(Change::Out));
        // Others that were on their way fail as well.
        assert_eq!(node.failed(Failure::Dead, at(11)), None);
        assert!(!node.try_at(at(1000)));
        assert!(node.try_at(at(1011)));
        assert!(!node.try_at(at(1012)), "one is enough to find out");
        assert_eq!(node.failed(Failure::Dead, at(1013)), None);
        assert!(!node.try_at(at(3000)));
        assert!(node.try_at(at(3013)), "twice as long");
        assert_eq!(node.succeeded(), Some(Change::Back));
        assert!(node.try_at(at(3014)) && node.try_at(at(3014)));
        assert_eq!(node.succeeded(), None);
    }

    #[test]
    fn it_is_passed_over_for_half_a_minute_at_most() {
        let mut node = Backoff::default();
        let mut now = at(0);
        for _ in 0..20 {
            node.failed(Failure::Dead, now);
            now += at(31_000);
            assert!(node.try_at(now));
        }
    }

    #[test]
    fn a_probe_without_an_end_does_not_keep_others_away_for_ever() {
        let mut node = Backoff::default();
        node.failed(Failure::Dead, at(0));
        assert!(node.try_at(at(1000)));
        assert!(!node.try_at(at(1999)));
        assert!(node.try_at(at(2000)));
    }

    #[test]
    fn slow_answers_count_in_a_row_and_refusals_not_at_all() {
        let mut node = Backoff::default();
        assert_eq!(node.failed(Failure::Refused, at(0)), None);
        assert_eq!(node.failed(Failure::Slow, at(0)), None);
        assert_eq!(node.failed(Failure::Slow, at(0)), None);
        assert!(node.try_at(at(0)));
        assert_eq!(node.succeeded(), None);
        for _ in 0..2 {
            assert_eq!(node.failed(Failure::Slow, at(0)), None);
        }
        assert_eq!(node.failed(Failure::Slow, at(0)), Some(Change::Out));
        assert!(!node.try_at(at(0)));
    }
}
