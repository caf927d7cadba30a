//! The generic cell rate algorithm: requests at an even rate, some of them ahead of their time.
//!
//! What is kept of a key is the time at which the next request would be due if they all came evenly. (The
//! crate `governor` has the algorithm with stores of its own, which grow with the keys and read a clock; here it
//! is one number in the table that everything else is in.)

use std::time::Duration;

use super::Moment;

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Between two requests, in nanoseconds.
    pub interval: u64,
    /// So many may come at once.
    pub burst: u32,
    /// Nobody waits for longer, in nanoseconds, whatever an answer counts for and wherever the clock was.
    pub furthest: u64,
}

impl Rate {
    /// `limit` requests a period.
    pub fn new(limit: u32, period: u64, burst: u32) -> Self {
        let interval = period.div_ceil(u64::from(limit.max(1))).max(1);
        let burst = burst.max(1);
        // Other nodes may have let some bursts through before they heard of each other.
        let bursts = interval.saturating_mul(u64::from(burst)).saturating_mul(4);
        Self {
            interval,
            burst,
            furthest: bursts.max(period),
        }
    }

    /// How far ahead of its time a request may be.
    fn tolerance(self) -> u64 {
        self.interval.saturating_mul(u64::from(self.burst - 1))
    }

    /// When the next but one is due after a request at `now`, or how long that is too early, where the next
    /// is due at `due`.
    ///
    /// # Errors
    /// How long to wait.
    pub fn ask(self, due: Moment, now: Moment) -> Result<Moment, Duration> {
        let due = self.bounded(due, now).max(now);
        let early = (due - now).saturating_sub(self.tolerance());
        if early > 0 {
            return Err(Duration::from_nanos(early));
        }
        Ok(due.saturating_add(self.interval))
    }

    /// The time after `more` requests elsewhere.
    pub fn advance(self, due: Moment, more: u32, now: Moment) -> Moment {
        let more = self.interval.saturating_mul(u64::from(more));
        self.bounded(due.max(now).saturating_add(more), now)
    }

    /// How many may still come at once.
    pub fn remaining(self, due: Moment, now: Moment) -> u32 {
        let ahead = self.bounded(due, now).saturating_sub(now);
        let taken = ahead.div_ceil(self.interval);
        self.burst
            .saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// `due`, or the furthest that may be.
    pub fn bounded(self, due: Moment, now: Moment) -> Moment {
        due.min(now.saturating_add(self.furthest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_then_one_after_each_interval() {
        let rate = Rate::new(10, SECOND, 3);
        let (mut due, mut passed) = (0, Vec::new());
        for step in 0..100 {
            let now = 1000 * SECOND + step * SECOND / 100;
            if let Ok(next) = rate.ask(due, now) {
                due = next;
                passed.push(step);
            }
        }
        assert_eq!(passed, [0, 1, 2, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_allow_and_waiting_as_told_is_enough(
            limit in 1_u32..50, burst in 1_u32..20,
            pauses in prop::collection::vec(0..SECOND / 4, 1..200),
        ) {
            let rate = Rate::new(limit, SECOND, burst);
            let (mut now, mut due, mut passed) = (1000 * SECOND, 0, 0_u64);
            let begin = now;
            for pause in pauses {
                now += pause;
                match rate.ask(due, now) {
                    Ok(next) => (due, passed) = (next, passed + 1),
                    Err(wait) => {
                        let wait = u64::try_from(wait.as_nanos()).unwrap();
                        prop_assert!(rate.ask(due, now + wait).is_ok());
                        prop_assert!(rate.ask(due, now + wait - 1).is_err());
                    }
                }
                let most = u64::from(burst) + (now - begin) * u64::from(limit) / SECOND;
                prop_assert!(passed <= most, "{passed} of {most}");
            }
        }
    }
}
