//! How often purges may come: a token bucket, kept as the time at which it will be full again.

use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);

/// A bucket that holds one minute's worth of purges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limiter {
    full_at: Duration,
}

impl Limiter {
    /// Takes one purge out at `now`, a monotonic time. The rate is given each time, since a reload
    /// may change it.
    ///
    /// # Errors
    /// How long until the next one is there.
    pub fn take(&mut self, per_minute: u32, now: Duration) -> Result<(), Duration> {
        let refill = MINUTE / per_minute.max(1);
        let full_at = self.full_at.max(now).saturating_add(refill);
        let room_at = full_at.saturating_sub(MINUTE);
        if room_at > now {
            return Err(room_at.saturating_sub(now));
        }
        self.full_at = full_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_comes_at_once_and_then_one_by_one() {
        let start = Duration::from_secs(1_000);
        let mut limiter = Limiter::default();
        for _ in 0..60 {
            assert_eq!(limiter.take(60, start), Ok(()));
        }
        assert_eq!(limiter.take(60, start), Err(Duration::from_secs(1)));
        let later = start + Duration::from_secs(1);
        assert_eq!(limiter.take(60, later), Ok(()));
        assert_eq!(limiter.take(60, later), Err(Duration::from_secs(1)));
        let much_later = start + Duration::from_hours(1);
        let taken = (0..100).take_while(|_| limiter.take(60, much_later).is_ok());
        assert_eq!(taken.count(), 60);
    }

    #[test]
    fn every_rate_lets_something_pass() {
        for rate in [0, 1, 7, u32::MAX] {
            let mut limiter = Limiter::default();
            assert_eq!(limiter.take(rate, Duration::ZERO), Ok(()), "{rate}");
        }
        let mut limiter = Limiter::default();
        assert_eq!(limiter.take(1, Duration::ZERO), Ok(()));
        assert_eq!(limiter.take(1, Duration::ZERO), Err(MINUTE));
    }
}
