//! A budget for retries, so that a failing origin is not asked more than a healthy one.

use std::sync::atomic::{AtomicI64, Ordering};

/// A retry costs this much; a request earns its percentage of it.
const RETRY: i64 = 100;
/// Retries that may be saved up. Enough for the requests in flight on a replica that is killed.
const MOST_SAVED: i64 = 200 * RETRY;

/// Retries earned by requests and not yet spent.
#[derive(Debug)]
pub struct RetryBudget {
    saved: AtomicI64,
    percent: i64,
}

impl RetryBudget {
    /// A full budget that earns `percent` retries per hundred requests.
    pub fn new(percent: u32) -> Self {
        let saved = if percent == 0 { 0 } else { MOST_SAVED };
        Self {
            saved: AtomicI64::new(saved),
            percent: i64::from(percent),
        }
    }

    /// Counts a request.
    pub fn earn(&self) {
        if self.saved.load(Ordering::Relaxed) < MOST_SAVED {
            self.saved.fetch_add(self.percent, Ordering::Relaxed);
        }
    }

    /// Takes a retry from the budget; `false` when there is none.
    pub fn spend(&self) -> bool {
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                (saved >= RETRY).then_some(saved - RETRY)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_beyond_the_saved_ones_follow_the_requests() {
        let budget = RetryBudget::new(20);
        let saved = (0..10_000).filter(|_| budget.spend()).count();
        assert_eq!(saved, 200);
        for _ in 0..10 {
            budget.earn();
        }
        assert_eq!((0..10).filter(|_| budget.spend()).count(), 2);
        assert!(!RetryBudget::new(0).spend());
    }
}
