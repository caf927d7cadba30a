//! Whether what was found in the store answers a request (RFC 9111 §4).

use std::time::{Duration, SystemTime};

use super::eligibility::BypassReason;
use super::freshness::Lifetimes;
use super::response::since;
use crate::fields::request_control::{MaxStale, RequestControl};

/// The times kept with a stored response, from which its freshness at any later time follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTimes {
    /// When it was received, or last validated.
    pub received: SystemTime,
    /// Its age at that time.
    pub initial_age: Duration,
    /// When it becomes stale; before `received` when it arrived stale.
    pub fresh_until: SystemTime,
    /// For how long after that it may be served while it is validated.
    pub stale_while_revalidate: Duration,
    /// For how long after that it may be served when the origin fails.
    pub stale_if_error: Duration,
    /// For how long after that it may be served when the origin has as much to do as it may, or is left
    /// alone.
    pub stale_when_overloaded: Duration,
    /// Validate before each reuse, fresh or not.
    pub validate_always: bool,
    /// Stale it is not served, whatever the client accepts (RFC 9111 §4.2.4); the windows above,
    /// where they are not zero, hold all the same.
    pub stale_forbidden: bool,
    /// Whether it has a validator.
    pub validatable: bool,
}

impl StoredTimes {
    /// The times of a response received at `received`.
    pub fn new(lifetimes: &Lifetimes, received: SystemTime, validatable: bool) -> Self {
        Self {
            received,
            initial_age: lifetimes.initial_age,
            fresh_until: before(
                after(received, lifetimes.fresh_for()),
                lifetimes.stale_for(),
            ),
            stale_while_revalidate: lifetimes.stale_while_revalidate,
            stale_if_error: lifetimes.stale_if_error,
            stale_when_overloaded: lifetimes.stale_when_overloaded,
            validate_always: lifetimes.validate_always,
            stale_forbidden: lifetimes.stale_forbidden,
            validatable,
        }
    }

    /// The times after a soft purge at `now`: stale from then on, and the stale windows begin
    /// then. What was stale already stays as stale as it was.
    #[must_use]
    pub fn expire(&self, now: SystemTime) -> Self {
        Self {
            fresh_until: self.fresh_until.min(now),
            ..*self
        }
    }

    /// `current_age` (RFC 9111 §4.2.3), for the Age field. It never falls below the initial age,
    /// not even when the clock goes back.
    pub fn age(&self, now: SystemTime) -> Duration {
        self.initial_age.saturating_add(since(now, self.received))
    }

    /// Whole seconds of freshness left; negative when stale (RFC 9211 §2.4).
    pub fn ttl(&self, now: SystemTime) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        seconds(since(self.fresh_until, now)) - seconds(since(now, self.fresh_until))
    }

    /// Whether it is fresh (RFC 9111 §4.2): its lifetime exceeds its age.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        now < self.fresh_until
    }

    /// From this time on it can only be served after a validation, and without a validator not
    /// at all: the earliest time at which the store loses nothing by dropping it.
    pub fn servable_until(&self) -> SystemTime {
        let longest = self.stale_while_revalidate.max(self.stale_if_error);
        after(self.fresh_until, longest.max(self.stale_when_overloaded))
    }

    fn is_stale_within(&self, window: Duration, now: SystemTime) -> bool {
        !self.is_fresh(now) && since(now, self.fresh_until) < window
    }
}

/// What the store holds for a request's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nothing under the key.
    Nothing,
    /// Responses, but for other values of the selecting fields.
    OtherVariant,
    /// Only part of what is asked for.
    Part,
    /// A complete response that the request selects.
    Complete(&'a StoredTimes),
}

/// What is known of the origin when deciding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginState {
    /// It has not been asked.
    Unasked,
    /// It was asked for this request and failed: no connection, a timeout or a 5xx.
    Failed,
    /// It is not asked, as it has as much to do as it may, or is left alone after failures.
    Limited,
}

/// Why a stale response may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleMode {
    /// It is being validated in the background; the caller sees to that (RFC 5861 §3).
    WhileRevalidating,
    /// The origin failed (RFC 5861 §4).
    IfError,
    /// The origin has as much to do as it may, or is left alone after failures.
    WhenOverloaded,
    /// The client said that it accepts it (RFC 9111 §5.2.1.2).
    ClientAccepts,
}

impl StaleMode {
    /// The mode as a kebab-case token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhileRevalidating => "stale-while-revalidate",
            Self::IfError => "stale-if-error",
            Self::WhenOverloaded => "stale-when-overloaded",
            Self::ClientAccepts => "max-stale",
        }
    }
}

/// Why a request goes forward to the origin, in the words of RFC 9211 §2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardReason {
    /// It was not to use the cache.
    Bypass,
    /// Its method requires it.
    Method,
    /// Nothing is stored under its key.
    UriMiss,
    /// Nothing is stored for its selecting fields.
    VaryMiss,
    /// Nothing usable is stored, and neither of the above is known.
    Miss,
    /// Its own directives require it.
    Request,
    /// What is stored is stale.
    Stale,
    /// What is stored lacks part of what it asks for.
    Partial,
}

impl ForwardReason {
    /// The token of RFC 9211 §2.2.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

impl From<BypassReason> for ForwardReason {
    fn from(reason: BypassReason) -> Self {
        match reason {
            BypassReason::Method => Self::Method,
            _ => Self::Bypass,
        }
    }
}

/// What to do with a request and what was found for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseDecision {
    /// Answer from the store.
    Reuse {
        /// Whole seconds of freshness left.
        ttl: i64,
    },
    /// Answer from the store although it is stale.
    ReuseStale {
        /// Whole seconds since it became stale, negative.
        ttl: i64,
        /// Why that is allowed.
        mode: StaleMode,
    },
    /// Ask the origin whether the stored response is still good, because it is stale or because
    /// the request wants it so.
    Validate(ForwardReason),
    /// Ask the origin for a response. When it has failed already: answer with that failure.
    Forward(ForwardReason),
    /// Answer 504: the request wants nothing from the origin, and nothing stored may be reused
    /// (RFC 9111 §5.2.1.7).
    GatewayTimeout,
}

/// Decides whether the stored response is reused (RFC 9111 §4). `control` is what the request
/// asks; `default()` where the zone does not heed that.
///
/// Called a second time with [`OriginState::Failed`], it says whether the stored response hides
/// the failure; both stale windows count then, as either shows that stale is good enough, and of
/// the request's wishes only `no-cache` (RFC 5861 §4: "regardless of other freshness
/// information").
pub fn decide_reuse(
    control: &RequestControl,
    found: Found<'_>,
    origin: OriginState,
    now: SystemTime,
) -> ReuseDecision {
    let decision = match found {
        Found::Nothing => ReuseDecision::Forward(ForwardReason::UriMiss),
        Found::OtherVariant => ReuseDecision::Forward(ForwardReason::VaryMiss),
        Found::Part => ReuseDecision::Forward(ForwardReason::Partial),
        Found::Complete(stored) => decide_complete(control, stored, origin, now),
    };
    match decision {
        ReuseDecision::Validate(_) | ReuseDecision::Forward(_) if control.only_if_cached => {
            ReuseDecision::GatewayTimeout
        }
        decision => decision,
    }
}

fn decide_complete(
    control: &RequestControl,
    stored: &StoredTimes,
    origin: OriginState,
    now: SystemTime,
) -> ReuseDecision {
    let ttl = stored.ttl(now);
    let fresh = stored.is_fresh(now);
    let wanted = match origin {
        OriginState::Unasked => accepts(control, stored, now),
        OriginState::Failed | OriginState::Limited => !control.no_cache,
    };
    if wanted && !stored.validate_always {
        if fresh {
            return ReuseDecision::Reuse { ttl };
        }
        if let Some(mode) = stale_mode(control, stored, origin, now) {
            return ReuseDecision::ReuseStale { ttl, mode };
        }
    }
    let reason = if fresh && !stored.validate_always {
        ForwardReason::Request
    } else {
        ForwardReason::Stale
    };
    if stored.validatable && origin == OriginState::Unasked {
        ReuseDecision::Validate(reason)
    } else {
        ReuseDecision::Forward(reason)
    }
}

/// Whether the request has nothing against the stored response (RFC 9111 §5.2.1.1, §5.2.1.3,
/// §5.2.1.4). Who limits its age without `max-stale` does not want it stale.
fn accepts(control: &RequestControl, stored: &StoredTimes, now: SystemTime) -> bool {
    let remaining = since(stored.fresh_until, now);
    let may_be_stale = stored.is_fresh(now) || control.max_stale.is_some();
    let young = control
        .max_age
        .is_none_or(|most| stored.age(now) <= most && may_be_stale);
    let lasting = control.min_fresh.is_none_or(|least| remaining >= least);
    !control.no_cache && young && lasting
}

/// Why the stored response, which is stale, may be served all the same.
fn stale_mode(
    control: &RequestControl,
    stored: &StoredTimes,
    origin: OriginState,
    now: SystemTime,
) -> Option<StaleMode> {
    let (window, mode) = match origin {
        OriginState::Unasked => (stored.stale_while_revalidate, StaleMode::WhileRevalidating),
        OriginState::Failed => (
            stored.stale_if_error.max(stored.stale_while_revalidate),
            StaleMode::IfError,
        ),
        OriginState::Limited => {
            let others = stored.stale_if_error.max(stored.stale_while_revalidate);
            let window = others.max(stored.stale_when_overloaded);
            (window, StaleMode::WhenOverloaded)
        }
    };
    if stored.is_stale_within(window, now) {
        return Some(mode);
    }
    let accepted = match control.max_stale? {
        MaxStale::Any => true,
        MaxStale::UpTo(most) => since(now, stored.fresh_until) <= most,
    };
    (accepted && !stored.stale_forbidden).then_some(StaleMode::ClientAccepts)
}

/// `time` less a span, or `time` itself where the difference cannot be represented.
fn before(time: SystemTime, span: Duration) -> SystemTime {
    time.checked_sub(span).unwrap_or(time)
}

/// `time` and a span, or `time` itself where the sum cannot be represented.
fn after(time: SystemTime, span: Duration) -> SystemTime {
    time.checked_add(span).unwrap_or(time)
}

#[cfg(test)]
#[path = "reuse_tests.rs"]
mod tests;
