//! How long a response stays fresh and how long it may be served stale (RFC 9111 §4.2, RFC 5861).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::response::{ExchangeTimes, ResponseView, since};
use super::settings::{CacheSettings, EdgeTtl, EdgeTtlMode, RuleId, Setting, TtlValue};
use crate::fields::{
    age,
    cache_control::CacheControl,
    date::{self, Expiry},
};

/// Longest freshness of a 5xx to which its origin gave a lifetime: enough to shield a failing
/// origin, too short to outlive its recovery. A rule that names the status may give more.
pub const LONGEST_ERROR_FRESHNESS: Duration = Duration::from_secs(10);

/// The times of a response about to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// `freshness_lifetime` (RFC 9111 §4.2.1).
    pub freshness: Duration,
    /// What gave that lifetime.
    pub source: FreshnessSource,
    /// `corrected_initial_age` (RFC 9111 §4.2.3), to be continued in the Age field.
    pub initial_age: Duration,
    /// How long it may be served stale while it is validated (RFC 5861 §3).
    pub stale_while_revalidate: Duration,
    /// How long it may be served stale when the origin fails (RFC 5861 §4).
    pub stale_if_error: Duration,
    /// Validate before each reuse, fresh or not (RFC 9111 §5.2.2.4).
    pub validate_always: bool,
}

impl Lifetimes {
    /// How long it is fresh from its arrival on. An origin's lifetime began at the origin, so
    /// what has passed of it counts; an operator's lifetime begins here, whatever the age.
    pub fn fresh_for(&self) -> Duration {
        match self.source {
            FreshnessSource::StatusRule(_) | FreshnessSource::DefaultRule(_) => self.freshness,
            _ => self.freshness.saturating_sub(self.initial_age),
        }
    }

    /// Whether it can ever be served without asking the origin.
    pub fn reusable_unvalidated(&self) -> bool {
        let longest = self
            .fresh_for()
            .max(self.stale_while_revalidate)
            .max(self.stale_if_error);
        !self.validate_always && longest > Duration::ZERO
    }
}

/// What gave a response its freshness lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreshnessSource {
    /// `s-maxage` (RFC 9111 §5.2.2.10).
    SMaxage,
    /// `max-age` (RFC 9111 §5.2.2.1).
    MaxAge,
    /// Expires (RFC 9111 §5.3).
    Expires,
    /// `no-cache` without a lifetime: stored, never fresh (RFC 9111 §5.2.2.4).
    NoCache,
    /// The edge TTL for this status, and the rule that set it.
    StatusRule(Option<RuleId>),
    /// The edge TTL for successful responses, and the rule that set it.
    DefaultRule(Option<RuleId>),
}

impl FreshnessSource {
    /// The source as a kebab-case token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SMaxage => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "expires",
            Self::NoCache => "no-cache",
            Self::StatusRule(_) => "status-ttl",
            Self::DefaultRule(_) => "edge-ttl",
        }
    }
}

/// Why a response has no lifetime under which it could be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLifetime {
    /// Neither the origin nor the settings give one.
    NotGiven,
    /// The settings refuse this status.
    RefusedForStatus(Option<RuleId>),
}

/// The lifetimes of a response that nothing else forbids to store.
///
/// `RespectOrigin`: the origin's lifetime, else the TTL for the status, else the default for
/// successful statuses. `OverrideOrigin`: the settings only; the origin's lifetimes, `no-cache`
/// and Expires do not count. `BypassByDefault`: the origin's lifetime or none. In every mode a
/// status whose TTL is `NoStore` is refused.
pub fn lifetimes(
    response: &ResponseView<'_>,
    control: &CacheControl,
    settings: &CacheSettings,
    times: &ExchangeTimes,
) -> Result<Lifetimes, NoLifetime> {
    let edge = &settings.edge_ttl;
    let granted = granted_by_settings(response.status, edge);
    if granted == Some(Granted::Refused) {
        return Err(NoLifetime::RefusedForStatus(edge.rule));
    }
    let origin = || given_by_origin(response, control, times);
    let granted = || granted.and_then(Granted::lifetime);
    let (freshness, source) = match edge.value.mode {
        EdgeTtlMode::RespectOrigin => origin().or_else(granted),
        EdgeTtlMode::OverrideOrigin => granted(),
        EdgeTtlMode::BypassByDefault => origin(),
    }
    .ok_or(NoLifetime::NotGiven)?;
    let validate_always = match source {
        // A TTL of zero means "store, but validate before each reuse".
        FreshnessSource::StatusRule(_) | FreshnessSource::DefaultRule(_) => freshness.is_zero(),
        _ => control.no_cache,
    };
    // A stale error helps no one: stale serving exists to hide it.
    let never_stale = validate_always || response.status.is_server_error();
    let (stale_while_revalidate, stale_if_error) = if never_stale {
        (Duration::ZERO, Duration::ZERO)
    } else {
        stale_windows(control, settings)
    };
    Ok(Lifetimes {
        freshness,
        source,
        initial_age: initial_age(response.headers, times),
        stale_while_revalidate,
        stale_if_error,
        validate_always,
    })
}

/// `corrected_initial_age` (RFC 9111 §4.2.3): the greater of what Date tells and what Age tells
/// plus the time the exchange took. Never negative, whatever the clocks say.
pub fn initial_age(headers: &HeaderMap, times: &ExchangeTimes) -> Duration {
    let apparent = date::date(headers).map_or(Duration::ZERO, |date| since(times.received, date));
    let corrected = age::age(headers)
        .unwrap_or_default()
        .saturating_add(times.delay());
    apparent.max(corrected)
}

/// The windows for serving stale, while validating and on error.
fn stale_windows(control: &CacheControl, settings: &CacheSettings) -> (Duration, Duration) {
    let Setting { value, rule } = settings.serve_stale;
    let mode = settings.edge_ttl.value.mode;
    let window = |ruled, given| stale_window(Setting { value: ruled, rule }, given, control, mode);
    (
        window(value.while_revalidating, control.stale_while_revalidate),
        window(value.if_error, control.stale_if_error),
    )
}

/// One stale window: the settings' before the origin's.
///
/// `must-revalidate` and `proxy-revalidate` forbid both (RFC 9111 §4.2.4), except where a rule
/// that overrides the origin's lifetimes gives a window as well. `s-maxage` implies
/// `proxy-revalidate` (§5.2.2.10), but a window that the origin or a rule states beside it is
/// meant, so only a built-in window yields to it.
fn stale_window(
    ruled: Setting<Option<Duration>>,
    given: Option<Duration>,
    control: &CacheControl,
    mode: EdgeTtlMode,
) -> Duration {
    let by_rule = ruled.value.filter(|_| ruled.rule.is_some());
    if control.must_revalidate || control.proxy_revalidate {
        let overriding = by_rule.filter(|_| mode == EdgeTtlMode::OverrideOrigin);
        return overriding.unwrap_or_default();
    }
    if control.s_maxage.is_some() {
        return by_rule.or(given).unwrap_or_default();
    }
    ruled.value.or(given).unwrap_or_default()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Granted {
    Lifetime(Duration, FreshnessSource),
    Refused,
}

impl Granted {
    const fn lifetime(self) -> Option<(Duration, FreshnessSource)> {
        match self {
            Self::Lifetime(freshness, source) => Some((freshness, source)),
            Self::Refused => None,
        }
    }
}

fn granted_by_settings(status: StatusCode, edge: &Setting<Arc<EdgeTtl>>) -> Option<Granted> {
    let code = status.as_u16();
    let by_status = edge
        .value
        .status
        .iter()
        .find(|range| (range.from..=range.to).contains(&code))
        .map(|range| match range.ttl {
            TtlValue::For(freshness) => {
                Granted::Lifetime(freshness, FreshnessSource::StatusRule(edge.rule))
            }
            TtlValue::NoStore => Granted::Refused,
        });
    let by_default = || {
        let freshness = edge.value.default.filter(|_| is_successful(code))?;
        let source = FreshnessSource::DefaultRule(edge.rule);
        Some(Granted::Lifetime(freshness, source))
    };
    by_status.or_else(by_default)
}

/// The statuses to which an edge TTL without a status applies.
const fn is_successful(code: u16) -> bool {
    matches!(code, 200 | 203 | 204 | 300 | 301 | 308)
}

/// RFC 9111 §4.2.1, for a shared cache: s-maxage, else max-age, else Expires less Date.
fn given_by_origin(
    response: &ResponseView<'_>,
    control: &CacheControl,
    times: &ExchangeTimes,
) -> Option<(Duration, FreshnessSource)> {
    let s_maxage = || Some((control.s_maxage?, FreshnessSource::SMaxage));
    let max_age = || Some((control.max_age?, FreshnessSource::MaxAge));
    let expires = || {
        let lifetime = match date::expires(response.headers)? {
            Expiry::AlreadyExpired => Duration::ZERO,
            Expiry::At(expires) => {
                // RFC 9110 §6.6.1: without Date, the time of receipt stands for it.
                let generated = date::date(response.headers).unwrap_or(times.received);
                since(expires, generated)
            }
        };
        Some((lifetime, FreshnessSource::Expires))
    };
    let no_cache = || {
        control
            .no_cache
            .then_some((Duration::ZERO, FreshnessSource::NoCache))
    };
    let (freshness, source) = s_maxage()
        .or_else(max_age)
        .or_else(expires)
        .or_else(no_cache)?;
    if response.status.is_server_error() {
        return Some((freshness.min(LONGEST_ERROR_FRESHNESS), source));
    }
    Some((freshness, source))
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
