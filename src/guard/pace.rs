//! How fast bytes must move while the other side is waited for.

use std::time::Duration;

/// The least that a client has to send or take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes a second; 0 for as few as it likes.
    pub bytes: u64,
    /// Over how long that is looked at.
    pub over: Duration,
}

impl MinRate {
    /// Whether so many bytes in so long a time are too few.
    pub fn is_missed(self, time: Duration, bytes: u64) -> bool {
        time >= self.over && u128::from(bytes) * 1000 < u128::from(self.bytes) * time.as_millis()
    }

    /// When so many bytes will have become too few, if no more come; `None` for never.
    pub fn missed_after(self, bytes: u64) -> Option<Duration> {
        let by_rate = bytes.saturating_mul(1000).checked_div(self.bytes)?;
        // At that very moment they are just enough.
        Some(
            self.over
                .max(Duration::from_millis(by_rate.saturating_add(1))),
        )
    }

    /// Bytes that must have moved in the time that is looked at.
    fn due(self) -> u128 {
        u128::from(self.bytes) * self.over.as_millis() / 1000
    }
}

/// What moved in the time that the client was waited for. Time in which nobody waited for it does not count: it
/// is the origin that is slow then, or this node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    waited: Duration,
    moved: u64,
}

impl Pace {
    /// How much longer the client may be waited for before [`Self::is_too_slow`] is asked.
    pub fn left(&self, least: MinRate) -> Duration {
        least.over.saturating_sub(self.waited)
    }

    /// The client was waited for, and then so many bytes moved.
    pub fn add(&mut self, waited: Duration, bytes: u64) {
        self.waited = self.waited.saturating_add(waited);
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Whether the client is slower than it may be. Once it was looked at long enough, that begins anew.
    pub fn is_too_slow(&mut self, least: MinRate) -> bool {
        if least.bytes == 0 || self.waited < least.over {
            return false;
        }
        let ended = std::mem::take(self);
        u128::from(ended.moved) < least.due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: MinRate = MinRate {
        bytes: 100,
        over: Duration::from_secs(10),
    };

    #[test]
    fn only_the_time_in_which_the_client_is_waited_for_counts() {
        let mut pace = Pace::default();
        pace.add(Duration::from_secs(9), 1);
        assert_eq!(pace.left(LEAST), Duration::from_secs(1));
        assert!(!pace.is_too_slow(LEAST));
        pace.add(Duration::from_secs(1), 1);
        assert!(pace.is_too_slow(LEAST));
    }

    #[test]
    fn each_stretch_is_looked_at_on_its_own() {
        let mut pace = Pace::default();
        pace.add(Duration::from_secs(10), 1_000_000);
        assert!(!pace.is_too_slow(LEAST));
        pace.add(Duration::from_secs(10), 999);
        assert!(pace.is_too_slow(LEAST));
        pace.add(Duration::from_secs(10), 1000);
        assert!(!pace.is_too_slow(LEAST));
    }

    #[test]
    fn it_is_known_beforehand_when_bytes_become_too_few() {
        for bytes in [0, 1, 999, 1000, 1001, 123_456_789] {
            let after = LEAST.missed_after(bytes).unwrap();
            assert!(LEAST.is_missed(after, bytes), "{bytes}");
            let before = after.saturating_sub(Duration::from_millis(2));
            assert!(!LEAST.is_missed(before, bytes), "{bytes}");
        }
        assert_eq!(MinRate { bytes: 0, ..LEAST }.missed_after(7), None);
    }

    #[test]
    fn without_a_rate_nobody_is_too_slow() {
        let mut pace = Pace::default();
        pace.add(Duration::from_hours(1), 0);
        assert!(!pace.is_too_slow(MinRate { bytes: 0, ..LEAST }));
    }
}
