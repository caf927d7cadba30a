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
