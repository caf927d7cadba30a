//! The response as the storing decisions see it: a borrowed view and the times of its exchange.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

/// A borrowed view of a response's head, as the origin sent it: before hop-by-hop fields are
/// stripped and before any rule changes it.
#[derive(Clone, Copy, Debug)]
pub struct ResponseView<'a> {
    /// The final status.
    pub status: StatusCode,
    /// All header fields.
    pub headers: &'a HeaderMap,
}

/// When an exchange with the origin began and answered (RFC 9111 §4.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeTimes {
    /// `request_time`: when the request was sent.
    pub requested: SystemTime,
    /// `response_time`: when the response's head arrived.
    pub received: SystemTime,
}

impl ExchangeTimes {
    /// `response_delay`; zero when the clock went backwards meanwhile.
    pub fn delay(&self) -> Duration {
        since(self.received, self.requested)
    }
}

/// Time from `earlier` to `later`, never negative.
pub(super) fn since(later: SystemTime, earlier: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}
