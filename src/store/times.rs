//! The times of stored responses, in half the room that the decisions want for them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cache::reuse::StoredTimes;

/// [`StoredTimes`] in whole nanoseconds since 1970, or for up to 584 years: there are as many of them as there
/// are stored responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    received: u64,
    initial_age: u64,
    fresh_until: u64,
    stale_while_revalidate: u64,
    stale_if_error: u64,
    stale_when_overloaded: u64,
    validate_always: bool,
    stale_forbidden: bool,
    validatable: bool,
}

impl Times {
    /// When it was received, as something to compare.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }
}

impl From<StoredTimes> for Times {
    fn from(times: StoredTimes) -> Self {
        Self {
            received: since_1970(times.received),
            initial_age: nanoseconds(times.initial_age),
            fresh_until: since_1970(times.fresh_until),
            stale_while_revalidate: nanoseconds(times.stale_while_revalidate),
            stale_if_error: nanoseconds(times.stale_if_error),
            stale_when_overloaded: nanoseconds(times.stale_when_overloaded),
            validate_always: times.validate_always,
            stale_forbidden: times.stale_forbidden,
            validatable: times.validatable,
        }
    }
}

impl From<Times> for StoredTimes {
    fn from(times: Times) -> Self {
        let at = |nanoseconds| UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        Self {
            received: at(times.received),
            initial_age: Duration::from_nanos(times.initial_age),
            fresh_until: at(times.fresh_until),
            stale_while_revalidate: Duration::from_nanos(times.stale_while_revalidate),
            stale_if_error: Duration::from_nanos(times.stale_if_error),
            stale_when_overloaded: Duration::from_nanos(times.stale_when_overloaded),
            validate_always: times.validate_always,
            stale_forbidden: times.stale_forbidden,
            validatable: times.validatable,
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn since_1970(time: SystemTime) -> u64 {
    nanoseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
