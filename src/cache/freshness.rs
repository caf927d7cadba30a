//! How long a response stays fresh and how long it may be served stale (RFC 9111 §4.2, RFC 5861).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header::LAST_MODIFIED};

use super::control::ControlSource;
use super::response::{ExchangeTimes, ResponseView, since};
use super::settings::{CacheSettings, EdgeTtl, EdgeTtlMode, Heuristic, RuleId, Setting, TtlValue};
use super::stale::Staleness;
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
    /// How long it may be served stale when the origin has as much to do as it may, or is left alone.
    pub stale_when_overloaded: Duration,
    /// Validate before each reuse, fresh or not (RFC 9111 §5.2.2.4).
    pub validate_always: bool,
    /// Stale it is not served, whatever the client accepts (RFC 9111 §4.2.4).
    pub stale_forbidden: bool,
}

impl Lifetimes {
    /// How long it is fresh from its arrival on. An origin's lifetime began at the origin, so
    /// what has passed of it counts; an operator's lifetime begins here, whatever the age.
    pub fn fresh_for(&self) -> Duration {
        if self.source.is_granted() {
            self.freshness
        } else {
            self.freshness.saturating_sub(self.initial_age)
        }
    }

    /// How long it has been stale already when it arrives: so much of its stale windows is over.
    pub fn stale_for(&self) -> Duration {
        if self.source.is_granted() {
            Duration::ZERO
        } else {
            self.initial_age.saturating_sub(self.freshness)
        }
    }

    /// Whether it can ever be served without asking the origin.
    pub fn reusable_unvalidated(&self) -> bool {
        let window = self.stale_while_revalidate.max(self.stale_if_error);
        let window = window.max(self.stale_when_overloaded);
        let longest = self
            .fresh_for()
            .max(window.saturating_sub(self.stale_for()));
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
    /// `s-maxage` or `max-age` of a targeted field (RFC 9213).
    Targeted,
    /// The time since the last modification (RFC 9111 §4.2.2).
    Heuristic,
    /// `no-cache` without a lifetime: stored, never fresh (RFC 9111 §5.2.2.4).
    NoCache,
    /// The edge TTL for this status, and the rule that set it.
    StatusRule(Option<RuleId>),
    /// The edge TTL for successful responses, and the rule that set it.
    DefaultRule(Option<RuleId>),
}

impl FreshnessSource {
    /// Whether the origin itself stated the lifetime (RFC 9111 §4.2.1).
    pub const fn is_explicit(self) -> bool {
        matches!(
            self,
            Self::SMaxage | Self::MaxAge | Self::Expires | Self::Targeted
        )
    }

    /// Whether an operator gave the lifetime.
    pub const fn is_granted(self) -> bool {
        matches!(self, Self::StatusRule(_) | Self::DefaultRule(_))
    }

    /// The rule that set it; `None` for the origin's and for a built-in default.
    pub const fn rule(self) -> Option<RuleId> {
        match self {
            Self::StatusRule(rule) | Self::DefaultRule(rule) => rule,
            _ => None,
        }
    }

    /// The source as a kebab-case token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SMaxage => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "expires",
            Self::Targeted => "targeted",
            Self::Heuristic => "heuristic",
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

/// The lifetimes of a response that nothing else forbids to store. `control` and `stated` are what
/// [`control_of`](super::control::control_of) says.
///
/// `RespectOrigin`: the origin's lifetime, else the TTL for the status, else the default for
/// successful statuses, else a heuristic one. `OverrideOrigin`: the settings only; the origin's
/// lifetimes, `no-cache` and Expires do not count. `BypassByDefault`: the origin's lifetime or
/// none. In every mode a status whose TTL is `NoStore` is refused.
pub fn lifetimes(
    response: &ResponseView<'_>,
    control: &CacheControl,
    stated: ControlSource,
    settings: &CacheSettings,
    times: &ExchangeTimes,
) -> Result<Lifetimes, NoLifetime> {
    let edge = &settings.edge_ttl;
    let granted = granted_by_settings(response.status, edge);
    if granted == Some(Granted::Refused) {
        return Err(NoLifetime::RefusedForStatus(edge.rule));
    }
    let origin = || given_by_origin(response, control, stated, times);
    let granted = || granted.and_then(Granted::lifetime);
    let heuristic = || guessed(response, control, edge.value.heuristic?, times);
    let (freshness, source) = match edge.value.mode {
        EdgeTtlMode::RespectOrigin => origin().or_else(granted).or_else(heuristic),
        EdgeTtlMode::OverrideOrigin => granted(),
        EdgeTtlMode::BypassByDefault => origin(),
    }
    .ok_or(NoLifetime::NotGiven)?;
    // A failure is short-lived unless a rule says otherwise.
    let freshness = if response.status.is_server_error() && !source.is_granted() {
        freshness.min(LONGEST_ERROR_FRESHNESS)
    } else {
        freshness
    };
    let validate_always = if source.is_granted() {
        // A TTL of zero means "store, but validate before each reuse".
        freshness.is_zero()
    } else {
        control.no_cache
    };
    // A stale error helps no one: stale serving exists to hide it.
    let staleness = if validate_always || response.status.is_server_error() {
        Staleness::NEVER
    } else {
        Staleness::of(control, settings)
    };
    Ok(Lifetimes {
        freshness,
        source,
        initial_age: initial_age(response.headers, times),
        stale_while_revalidate: staleness.while_revalidating,
        stale_if_error: staleness.if_error,
        stale_when_overloaded: staleness.when_overloaded,
        validate_always,
        stale_forbidden: staleness.forbidden,
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

/// RFC 9111 §4.2.1, for a shared cache: s-maxage, else max-age, else Expires less Date. Where the
/// directives are of a targeted field, Expires does not count (RFC 9213 §2.2).
fn given_by_origin(
    response: &ResponseView<'_>,
    control: &CacheControl,
    stated: ControlSource,
    times: &ExchangeTimes,
) -> Option<(Duration, FreshnessSource)> {
    let source = |source| match stated {
        ControlSource::CacheControl => source,
        ControlSource::Targeted => FreshnessSource::Targeted,
    };
    let s_maxage = || Some((control.s_maxage?, source(FreshnessSource::SMaxage)));
    let max_age = || Some((control.max_age?, source(FreshnessSource::MaxAge)));
    let expires = || {
        if stated == ControlSource::Targeted {
            return None;
        }
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
    s_maxage()
        .or_else(max_age)
        .or_else(expires)
        .or_else(no_cache)
}

/// RFC 9111 §4.2.2: a share of the time between the last modification and the response itself, for
/// the statuses that RFC 9110 §15.1 calls heuristically cacheable and for what is `public`.
fn guessed(
    response: &ResponseView<'_>,
    control: &CacheControl,
    heuristic: Heuristic,
    times: &ExchangeTimes,
) -> Option<(Duration, FreshnessSource)> {
    if !control.public && !is_heuristically_cacheable(response.status.as_u16()) {
        return None;
    }
    let modified = date::single(response.headers, &LAST_MODIFIED)?;
    let generated = date::date(response.headers).unwrap_or(times.received);
    let share = since(generated, modified)
        .saturating_mul(u32::from(heuristic.percent))
        .checked_div(100)?;
    let freshness = Duration::from_secs(share.min(heuristic.longest).as_secs());
    Some((freshness, FreshnessSource::Heuristic))
}

const fn is_heuristically_cacheable(code: u16) -> bool {
    matches!(
        code,
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
