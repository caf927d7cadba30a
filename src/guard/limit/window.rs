//! Sliding windows of two counters: of the last period, as much counts as still is within one period from
//! now, as if its requests had come evenly.

use std::time::Duration;

/// What was counted, at some point within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// In the window before.
    pub previous: u32,
    /// In this one.
    pub current: u32,
    /// How much of this one is over, in nanoseconds.
    pub elapsed: u64,
    /// Length of a window, in nanoseconds.
    pub period: u64,
}

impl Counted {
    /// What counts, times the period.
    fn scaled(&self) -> u128 {
        let left = self.period.saturating_sub(self.elapsed);
        u128::from(self.previous) * u128::from(left)
            + u128::from(self.current) * u128::from(self.period)
    }

    /// Whether `more` would still be within `limit`.
    pub fn has_room(&self, more: u32, limit: u32) -> bool {
        let most = u128::from(limit) * u128::from(self.period);
        self.scaled() + u128::from(more) * u128::from(self.period) <= most
    }

    /// How many more would be within `limit`.
    pub fn remaining(&self, limit: u32) -> u32 {
        let counted = self.scaled().div_ceil(u128::from(self.period.max(1)));
        limit.saturating_sub(u32::try_from(counted).unwrap_or(u32::MAX))
    }

    /// When this window ends.
    pub const fn reset(&self) -> Duration {
        Duration::from_nanos(self.period.saturating_sub(self.elapsed))
    }

    /// After how long one more would be within `limit`, if nothing else came.
    pub fn retry_after(&self, limit: u32) -> Duration {
        let left = self.period.saturating_sub(self.elapsed);
        if limit == 0 {
            return Duration::from_nanos(left.saturating_add(self.period));
        }
        let needed = match limit.checked_sub(self.current.saturating_add(1)) {
            // In this window, as what is left of the one before grows less.
            Some(room) => self.until_less(self.previous, room, self.elapsed),
            // In the next, as what is left of this one does.
            None => left.saturating_add(self.until_less(self.current, limit - 1, 0)),
        };
        Duration::from_nanos(needed)
    }

    /// How long after `elapsed` no more than `room` is left of `count`.
    fn until_less(&self, count: u32, room: u32, elapsed: u64) -> u64 {
        if count <= room {
            return 0;
        }
        // count × (period − t) ≤ room × period
        let gone = u128::from(self.period) * u128::from(count - room);
        let at = gone.div_ceil(u128::from(count));
        u64::try_from(at)
            .unwrap_or(u64::MAX)
            .saturating_sub(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: u64 = 1_000_000_000;

    fn counted(previous: u32, current: u32, elapsed: u64) -> Counted {
        Counted {
            previous,
            current,
            elapsed,
            period: PERIOD,
        }
    }

    #[test]
    fn the_last_window_counts_for_as_much_of_it_as_is_within_the_period() {
        for (previous, current, elapsed, remaining) in [
            (0, 0, 0, 10),
            (10, 0, 0, 0),
            (10, 0, PERIOD / 2, 5),
            (10, 3, PERIOD / 2, 2),
            (10, 0, PERIOD, 10),
            (0, 12, 0, 0),
        ] {
            let counted = counted(previous, current, elapsed);
            assert_eq!(counted.remaining(10), remaining, "{counted:?}");
            assert_eq!(counted.has_room(1, 10), remaining > 0, "{counted:?}");
        }
    }

    proptest! {
        #[test]
        fn who_waits_as_long_as_told_has_room_and_not_a_moment_before(
            previous in 0_u32..200, current in 0_u32..200, elapsed in 0..PERIOD, limit in 1_u32..100,
        ) {
            let now = counted(previous, current, elapsed);
            let wait = u64::try_from(now.retry_after(limit).as_nanos()).unwrap();
            let later = |wait: u64| {
                let at = elapsed + wait;
                match at / PERIOD {
                    0 => counted(previous, current, at),
                    1 => counted(current, 0, at - PERIOD),
                    _ => counted(0, 0, at - 2 * PERIOD),
                }
            };
            prop_assert!(later(wait).has_room(1, limit));
            if wait > 0 {
                prop_assert!(!later(wait - 1).has_room(1, limit));
            }
        }
    }
}
