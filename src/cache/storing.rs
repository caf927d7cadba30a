//! Whether a response may be stored, and for how long (RFC 9111 §3).

use http::{
    HeaderName, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, SET_COOKIE},
};

use super::content_type;
use super::control::{control_of, is_restricted_anywhere};
use super::eligibility::{BypassReason, RequestDecision, eligibility, post_may_fill};
use super::freshness::{Lifetimes, NoLifetime, lifetimes};
use super::partial;
use super::response::{ExchangeTimes, ResponseView};
use super::settings::{CacheSettings, RuleId};
use super::target::content_location_is_target;
use crate::fields::{
    cache_control::CacheControl, request_control::RequestControl, validators::Validators,
    vary::Vary,
};
use crate::request::RequestView;

const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");

/// Whether to store a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreDecision {
    /// Store it, with these times.
    Store(Lifetimes),
    /// Pass it on and forget it.
    DoNotStore(NoStoreReason),
}

/// Why a response is not stored. A rule is named where one decided; without one a built-in
/// default did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoStoreReason {
    /// The request bypassed the cache.
    Bypassed(BypassReason),
    /// The request said `no-store` (RFC 9111 §5.2.1.5).
    RequestNoStore,
    /// It answers a HEAD, so there is no body to store.
    Method,
    /// It answers a POST, and is not what a GET would get (RFC 9110 §9.3.3).
    NotRepresentation,
    /// 206 with several ranges, or without saying which one it carries (RFC 9110 §15.3.7).
    PartialContent,
    /// 1xx or 304: no response of its own (RFC 9111 §3).
    Status,
    /// `must-understand`, and the status is not understood (RFC 9111 §5.2.2.3).
    NotUnderstood,
    /// The origin blames the request for something the key does not hold; the next request with
    /// this key may be blameless.
    OriginRejected,
    /// `no-store` (RFC 9111 §5.2.2.5).
    NoStore,
    /// `private` (RFC 9111 §5.2.2.7).
    Private,
    /// It sets a cookie, and no rule strips it.
    SetCookie,
    /// `Vary: *` (RFC 9111 §4.1).
    VaryAny,
    /// It varies by a field for which the settings say bypass.
    VaryBypass(Option<RuleId>),
    /// The request had Authorization, and the response does not allow that (RFC 9111 §3.5).
    Authorization,
    /// Another type than the URL's extension promises: web cache deception.
    ContentType,
    /// Content-Length exceeds the largest object to store.
    TooLarge(Option<RuleId>),
    /// Only the end of the connection delimits its body (RFC 9112 §6.3), so that a truncated one
    /// would pass for whole.
    UnknownLength,
    /// Responses on their way into the store hold as much memory as they may.
    StoreBusy,
    /// It may be stored, but its key was not asked for often enough yet.
    MinUses(Option<RuleId>),
    /// An upper tier did not store it; `lasting` where it will not store the next one either.
    UpperTier {
        /// Whether that is worth remembering.
        lasting: bool,
    },
    /// The settings refuse this status.
    RuleNoStore(Option<RuleId>),
    /// Neither the origin nor the settings give a lifetime.
    NoExplicitFreshness,
    /// `no-cache` without anything to validate by, so it could never be reused.
    NoCacheWithoutValidator,
    /// Already stale, without a stale window or anything to validate by: never reusable either.
    ExpiredWithoutValidator,
}

/// Every token that [`NoStoreReason::as_str`] gives beside those of a bypass.
pub const NO_STORE_REASONS: &[&str] = &[
    "request-no-store",
    "response-to-head",
    "response-to-post",
    "partial-content",
    "status",
    "status-not-understood",
    "origin-rejected",
    "no-store",
    "private",
    "set-cookie",
    "vary-any",
    "vary-bypass",
    "authorization-not-shared",
    "content-type",
    "too-large",
    "unknown-length",
    "store-busy",
    "min-uses",
    "upper-tier",
    "rule-no-store",
    "no-explicit-freshness",
    "no-cache-without-validator",
    "expired-without-validator",
];

impl NoStoreReason {
    /// The reason as a kebab-case token for Cache-Status, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypassed(reason) => reason.as_str(),
            Self::RequestNoStore => "request-no-store",
            Self::Method => "response-to-head",
            Self::NotRepresentation => "response-to-post",
            Self::PartialContent => "partial-content",
            Self::Status => "status",
            Self::NotUnderstood => "status-not-understood",
            Self::OriginRejected => "origin-rejected",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::VaryAny => "vary-any",
            Self::VaryBypass(_) => "vary-bypass",
            Self::Authorization => "authorization-not-shared",
            Self::ContentType => "content-type",
            Self::TooLarge(_) => "too-large",
            Self::UnknownLength => "unknown-length",
            Self::StoreBusy => "store-busy",
            Self::MinUses(_) => "min-uses",
            Self::UpperTier { .. } => "upper-tier",
            Self::RuleNoStore(_) => "rule-no-store",
            Self::NoExplicitFreshness => "no-explicit-freshness",
            Self::NoCacheWithoutValidator => "no-cache-without-validator",
            Self::ExpiredWithoutValidator => "expired-without-validator",
        }
    }

    /// The rule that decided.
    pub const fn rule(self) -> Option<RuleId> {
        match self {
            Self::Bypassed(reason) => reason.rule(),
            Self::VaryBypass(rule)
            | Self::TooLarge(rule)
            | Self::MinUses(rule)
            | Self::RuleNoStore(rule) => rule,
            _ => None,
        }
    }

    /// Whether nothing but its rarity keeps the response out of the store, so that it may be shared
    /// and kept elsewhere all the same.
    pub const fn is_rarity(self) -> bool {
        matches!(self, Self::MinUses(_))
    }
}

/// Decides whether to store `response` to `request`, which is the request as sent to the origin:
/// its method is GET also where a HEAD was turned into one to fill the cache. `asked` is what the
/// client's own directives say; `default()` where the zone does not heed them.
///
/// A 206 is decided about like any response; it is stored as the part that it is. The same
/// function decides about a freshened response: give it the stored status and the fields after
/// [`freshen`](super::freshen::freshen), with the times of the validation.
pub fn decide_storing(
    request: &RequestView<'_>,
    asked: &RequestControl,
    response: &ResponseView<'_>,
    settings: &CacheSettings,
    times: &ExchangeTimes,
) -> StoreDecision {
    match storable_for(request, asked, response, settings, times) {
        Ok(lifetimes) => StoreDecision::Store(lifetimes),
        Err(reason) => StoreDecision::DoNotStore(reason),
    }
}

/// Why a response that may be stored is not stored yet: its key was asked for `uses` times within a
/// while, this request included, and the settings want more.
pub fn too_rare(uses: u32, settings: &CacheSettings) -> Option<NoStoreReason> {
    let wanted = settings.min_uses;
    (uses < wanted.value).then_some(NoStoreReason::MinUses(wanted.rule))
}

/// Whether a failure that is not stored may all the same be given to the requests that waited for
/// this very answer. Their selecting fields must be equal where it has a Vary.
pub fn shares_failure(response: &ResponseView<'_>) -> bool {
    response.status.is_server_error()
        && !is_restricted_anywhere(response.headers)
        && !sets_cookie(response)
        && !Vary::is_any(response.headers)
}

fn storable_for(
    request: &RequestView<'_>,
    asked: &RequestControl,
    response: &ResponseView<'_>,
    settings: &CacheSettings,
    times: &ExchangeTimes,
) -> Result<Lifetimes, NoStoreReason> {
    let (control, stated) = control_of(response.headers);
    check_request(request, asked, settings)?;
    check_status(response, &control, settings)?;
    check_origin_consent(request, response, &control, settings)?;
    check_content(request, response, settings)?;
    let lifetimes =
        lifetimes(response, &control, stated, settings, times).map_err(
            |missing| match missing {
                NoLifetime::NotGiven => NoStoreReason::NoExplicitFreshness,
                NoLifetime::RefusedForStatus(rule) => NoStoreReason::RuleNoStore(rule),
            },
        )?;
    if blames_request(response.status.as_u16()) && lifetimes.source.is_granted() {
        return Err(NoStoreReason::OriginRejected);
    }
    if *request.method == Method::POST {
        check_representation(request, response, &lifetimes)?;
    }
    check_reusable(response, &lifetimes)?;
    Ok(lifetimes)
}

fn check_request(
    request: &RequestView<'_>,
    asked: &RequestControl,
    settings: &CacheSettings,
) -> Result<(), NoStoreReason> {
    match eligibility(request, settings) {
        RequestDecision::Bypass(BypassReason::Method) if post_may_fill(request, settings) => {}
        RequestDecision::Bypass(reason) => return Err(NoStoreReason::Bypassed(reason)),
        RequestDecision::Lookup if *request.method != Method::GET => {
            return Err(NoStoreReason::Method);
        }
        RequestDecision::Lookup => {}
    }
    if asked.no_store {
        return Err(NoStoreReason::RequestNoStore);
    }
    Ok(())
}

/// RFC 9111 §3: the status is final, and understood where that matters.
fn check_status(
    response: &ResponseView<'_>,
    control: &CacheControl,
    settings: &CacheSettings,
) -> Result<(), NoStoreReason> {
    match response.status.as_u16() {
        ..=199 | 304 | 600.. => Err(NoStoreReason::Status),
        206 if partial::part_of(response).is_none() => Err(NoStoreReason::PartialContent),
        code if blames_message(code) => Err(NoStoreReason::OriginRejected),
        code if blames_request(code) && !settings.cache_client_errors.value => {
            Err(NoStoreReason::OriginRejected)
        }
        code if control.must_understand && !is_understood(code) => {
            Err(NoStoreReason::NotUnderstood)
        }
        _ => Ok(()),
    }
}

/// Statuses that judge the message, its connection or its conditions. An attacker who provokes one
/// must not have it served to others, lifetime or not.
const fn blames_message(code: u16) -> bool {
    matches!(
        code,
        407 | 408 | 411 | 412 | 413 | 415 | 416 | 417 | 421 | 425 | 426 | 428 | 431 | 505
    )
}

/// Statuses that judge the request, rightly of its target (a method that no one may use there, a
/// target too long) or of fields that the key does not hold. An operator may take the former view.
const fn blames_request(code: u16) -> bool {
    matches!(code, 400 | 405 | 414 | 501)
}

/// The statuses of RFC 9110 (and 451, RFC 7725) whose caching this module knows: what it asks of
/// 206 is met, and nothing is asked of the others.
const fn is_understood(code: u16) -> bool {
    matches!(
        code,
        200..=206 | 300..=303 | 307 | 308 | 400..=406 | 409 | 410 | 414 | 422 | 451 | 500..=504
    )
}

/// RFC 9110 §9.3.3: the answer to a POST serves later GETs when it says for how long itself and is
/// a representation of the target.
fn check_representation(
    request: &RequestView<'_>,
    response: &ResponseView<'_>,
    lifetimes: &Lifetimes,
) -> Result<(), NoStoreReason> {
    if !lifetimes.source.is_explicit() {
        return Err(NoStoreReason::NoExplicitFreshness);
    }
    let representation =
        response.status == StatusCode::OK && content_location_is_target(request, response.headers);
    if representation {
        Ok(())
    } else {
        Err(NoStoreReason::NotRepresentation)
    }
}

fn sets_cookie(response: &ResponseView<'_>) -> bool {
    response.headers.contains_key(SET_COOKIE) || response.headers.contains_key(SET_COOKIE2)
}

fn check_origin_consent(
    request: &RequestView<'_>,
    response: &ResponseView<'_>,
    control: &CacheControl,
    settings: &CacheSettings,
) -> Result<(), NoStoreReason> {
    // RFC 9111 §3.5: one of these lets a shared cache store what Authorization protects.
    let shared = control.public || control.s_maxage.is_some() || control.must_revalidate;
    // RFC 9111 §5.2.2.3: a cache that understands the status goes by what its other directives say.
    let overridden = control.must_understand && is_understood(response.status.as_u16());
    if control.no_store && !overridden {
        Err(NoStoreReason::NoStore)
    } else if control.private {
        Err(NoStoreReason::Private)
    } else if sets_cookie(response)
        && !settings.strip_set_cookie.value
        && !settings.store_set_cookie.value
    {
        Err(NoStoreReason::SetCookie)
    } else if request.headers.contains_key(AUTHORIZATION) && !shared {
        Err(NoStoreReason::Authorization)
    } else if Vary::is_any(response.headers) {
        Err(NoStoreReason::VaryAny)
    } else if Vary::of(response.headers).is_bypassed(&settings.vary.value) {
        Err(NoStoreReason::VaryBypass(settings.vary.rule))
    } else {
        Ok(())
    }
}

fn check_content(
    request: &RequestView<'_>,
    response: &ResponseView<'_>,
    settings: &CacheSettings,
) -> Result<(), NoStoreReason> {
    // A redirect's page is boilerplate, and assets do move.
    let page = !response.status.is_redirection()
        && content_type::is_page_under_asset_name(request.path, response.headers);
    let other = response.status.is_success()
        && content_type::breaks_promise(request.path, response.headers);
    if settings.cache_deception_armor.value && (page || other) {
        return Err(NoStoreReason::ContentType);
    }
    let largest = settings.max_object_size;
    match declared_length(response) {
        Some(length) if length > largest.value => Err(NoStoreReason::TooLarge(largest.rule)),
        _ => Ok(()),
    }
}

fn declared_length(response: &ResponseView<'_>) -> Option<u64> {
    let value = response.headers.get(CONTENT_LENGTH)?;
    value.to_str().ok()?.trim().parse().ok()
}

fn check_reusable(response: &ResponseView<'_>, lifetimes: &Lifetimes) -> Result<(), NoStoreReason> {
    if lifetimes.reusable_unvalidated() || Validators::of(response.headers).any() {
        Ok(())
    } else if lifetimes.validate_always {
        Err(NoStoreReason::NoCacheWithoutValidator)
    } else {
        Err(NoStoreReason::ExpiredWithoutValidator)
    }
}

#[cfg(test)]
#[path = "storing_status_tests.rs"]
mod status_tests;
#[cfg(test)]
#[path = "storing_tests.rs"]
mod tests;
