//! Whether a server that did not answer in time is asked again.

use std::time::Duration;

use super::Moment;

/// So many failures in a row, and it is left alone.
const MOST: u32 = 3;
/// For how long.
const PAUSE: Duration = Duration::from_secs(1);

/// After some failures in a row a server is left alone for a while, and then asked once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    failures: u32,
    /// When it may be asked again.
    next: Moment,
}

impl Breaker {
    /// Whether it is asked; if it was left alone, nobody else asks until that has an outcome.
    pub fn may_ask(&mut self, now: Moment) -> bool {
        if self.failures < MOST {
            return true;
        }
        let pause = super::nanos(PAUSE);
        // The clock may have been set back.
        if now < self.next && self.next <= now.saturating_add(pause) {
            return false;
        }
        self.next = now.saturating_add(pause);
        true
    }

    /// It has answered, or not.
    pub fn record(&mut self, answered: bool, now: Moment) {
        if answered {
            self.failures = 0;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.next = now.saturating_add(super::nanos(PAUSE));
    }

    /// Whether it is left alone.
    pub const fn is_open(&self) -> bool {
        self.failures >= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_in_a_row_it_is_asked_once_a_second_until_it_answers() {
        let second = super::super::nanos(PAUSE);
        let mut breaker = Breaker::default();
        for _ in 0..MOST {
            assert!(breaker.may_ask(second));
            breaker.record(false, second);
        }
        assert!(!breaker.may_ask(second + 1));
        assert!(breaker.may_ask(2 * second));
        assert!(!breaker.may_ask(2 * second + 1));
        breaker.record(true, 2 * second);
        assert!(breaker.may_ask(2 * second + 1));
    }
}
