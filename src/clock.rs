//! The one place that reads the clocks; everything else is given the time.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// Wall-clock time, for what HTTP dates mean.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock that the ban points to"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Seconds since the epoch, for metrics.
pub(crate) fn unix_seconds() -> f64 {
    now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// Whole seconds since the epoch at `time`.
pub(crate) fn unix_seconds_of(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// A random number that is as good as a new one for every call.
pub(crate) fn chance() -> u64 {
    uuid::Uuid::now_v7().as_u64_pair().1.wrapping_shl(2)
}

/// A random number that nobody can guess.
pub(crate) fn secret() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The one source of the standard library, which the system seeds.
    RandomState::new().hash_one(())
}

/// Monotonic time, for durations and deadlines.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock that the ban points to"
)]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Monotonic time since the first call in this process, for atomics that hold a point in time.
pub(crate) fn uptime() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    instant().saturating_duration_since(*START.get_or_init(instant))
}
