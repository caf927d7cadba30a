//! Validating what is wanted often shortly before it becomes stale, so that nobody has to wait for it.

use std::time::{Duration, SystemTime};

use super::response::since;
use super::reuse::StoredTimes;

/// Of its lifetime, the last of this many parts is the longest that a response is validated early by.
const PART: u32 = 10;

/// Whether this request has the stored response, which it reuses, validated in the background.
///
/// The nearer the end of its freshness, the likelier: at `window` before it about one request in three
/// does, at three times that one in twenty. So what is wanted often is validated in time, by one of many
/// requests, and what is not is left to become stale. `chance` is a random number. The method is that of
/// Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention" (2015).
pub fn is_due_early(times: &StoredTimes, window: Duration, chance: u64, now: SystemTime) -> bool {
    let lifetime = since(times.fresh_until, times.received);
    let window = window.min(lifetime / PART);
    if window.is_zero() || !times.is_fresh(now) {
        return false;
    }
    let remaining = since(times.fresh_until, now).as_secs_f64() / window.as_secs_f64();
    // The upper 53 bits are a fraction of one.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = (chance >> 11) as f64 / (1_u64 << 53) as f64;
    fraction < (-remaining).exp()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(2);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Received at 0, fresh for `lifetime` seconds.
    fn fresh_for(lifetime: u64) -> StoredTimes {
        StoredTimes {
            received: at(0),
            initial_age: Duration::ZERO,
            fresh_until: at(lifetime),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_when_overloaded: Duration::ZERO,
            validate_always: false,
            stale_forbidden: false,
            validatable: true,
        }
    }

    /// How many of a thousand evenly spread chances have it validated.
    fn due(times: &StoredTimes, window: Duration, now: u64) -> usize {
        let chances = (0..1000_u64).map(|chance| chance * (u64::MAX / 1000));
        chances
            .filter(|chance| is_due_early(times, window, *chance, at(now)))
            .count()
    }

    #[test]
    fn it_is_the_likelier_the_nearer_the_end() {
        let times = fresh_for(100);
        assert_eq!(due(&times, WINDOW, 98), 368); // 1/e
        assert_eq!(due(&times, WINDOW, 94), 50);
        assert_eq!(due(&times, WINDOW, 80), 1);
        assert!(!is_due_early(&times, WINDOW, u64::MAX / 1000, at(50)));
    }

    #[test]
    fn what_is_stale_or_has_no_window_is_not_early() {
        assert_eq!(due(&fresh_for(100), WINDOW, 100), 0);
        assert_eq!(due(&fresh_for(100), Duration::ZERO, 99), 0);
        assert_eq!(due(&fresh_for(0), WINDOW, 0), 0);
    }

    #[test]
    fn a_short_lifetime_is_not_spent_on_validating() {
        // A window of 2 s would have every third request validate what is fresh for 2 s.
        assert_eq!(due(&fresh_for(2), WINDOW, 0), 1);
        assert_eq!(due(&fresh_for(2), WINDOW, 1), 7);
    }
}
