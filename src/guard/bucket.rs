//! Buckets that refill with time: a burst at once, and a rate over time. They are kept as the time at which they
//! would be full again (the generic cell rate algorithm), one number each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is left when one is taken from a bucket that is full at `full`, in microseconds of uptime.
fn take(full: u64, now: Duration, rate: u32, burst: u32) -> Option<u64> {
    let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    let each = 1_000_000 / u64::from(rate.max(1));
    let next = full.max(now).saturating_add(each);
    let most = each.saturating_mul(u64::from(burst.max(1)));
    (next - now <= most).then_some(next)
}

/// A bucket of one owner.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket(u64);

impl Bucket {
    /// Takes one, if there is one: `burst` are there at first, and `rate` come a second.
    pub(super) fn take(&mut self, now: Duration, rate: u32, burst: u32) -> bool {
        let left = take(self.0, now, rate, burst);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// A bucket that many take from.
#[derive(Debug, Default)]
pub(super) struct SharedBucket(AtomicU64);

impl SharedBucket {
    /// Takes one, if there is one.
    pub(super) fn take(&self, now: Duration, rate: u32, burst: u32) -> bool {
        let take = |full| take(full, now, rate, burst);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Whether nothing is missing.
    pub(super) fn is_full(&self, now: Duration) -> bool {
        u128::from(self.0.load(Ordering::Relaxed)) <= now.as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_at_once_and_the_rate_over_time() {
        let mut bucket = Bucket::default();
        let at = Duration::from_secs(7);
        let taken = (0..100).filter(|_| bucket.take(at, 10, 20)).count();
        assert_eq!(taken, 20);
        let later = at + Duration::from_secs(1);
        let taken = (0..100).filter(|_| bucket.take(later, 10, 20)).count();
        assert_eq!(taken, 10);
        let shared = SharedBucket::default();
        assert!(shared.is_full(at) && shared.take(at, 10, 1) && !shared.take(at, 10, 1));
        assert!(!shared.is_full(at) && shared.is_full(later));
    }
}
