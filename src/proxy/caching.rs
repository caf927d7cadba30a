//! Between Pingora's cache state machine and the policy of [`crate::cache`]: asks the policy, and
//! puts its answers in the machine's terms. Decides nothing itself.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode};
use pingora_cache::key::{HashBinary, hash_key};
use pingora_cache::{
    CacheKey, CacheMeta, CachePhase, ForcedFreshness, NoCacheReason, RespCacheable,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{RangeType, Session};

use super::exchange::{Exchange, SiteRequest};
use crate::cache::eligibility::RequestDecision;
use crate::cache::freshen::{Freshening, freshen};
use crate::cache::key::CacheKey as Key;
use crate::cache::response::{ExchangeTimes, ResponseView};
use crate::cache::reuse::{Found, OriginState, ReuseDecision, StoredTimes, decide_reuse};
use crate::cache::status::{CacheStatus, Outcome, Storing};
use crate::cache::storing::{NoStoreReason, StoreDecision, decide_storing};
use crate::fields::hop_by_hop::strip_for_storing;
use crate::fields::range::{RangeOutcome, select};
use crate::fields::request_control::RequestControl;
use crate::fields::validators::Validators;
use crate::fields::vary::Vary;
use crate::store::LargestObject;

/// An answer that must not be remembered as uncacheable: the next one may well be storable.
pub(super) const PASSING: &str = "passing";

/// Whether Pingora's predictor should forget this reason.
pub(super) fn is_passing(reason: &str) -> bool {
    reason == PASSING
}

/// The key in Pingora's form.
pub(super) fn pingora_key(request: &SiteRequest, head: &RequestHeader) -> CacheKey {
    let view = request.view(head);
    let key = Key::of(
        &request.site.zone.name,
        request.authority.as_str(),
        &view,
        view.query,
    );
    let mut key = CacheKey::new(key.encode(), "");
    key.extensions
        .insert(LargestObject(request.settings.max_object_size.value));
    key
}

/// The digest of the request's selecting fields (RFC 9111 §4.1); `None` without Vary.
pub(super) fn variance(stored: &HeaderMap, request: &HeaderMap) -> Option<HashBinary> {
    let vary = Vary::of(stored);
    if vary == Vary::None {
        return None;
    }
    // `Vary: *` is never stored; an own digest keeps it from matching all the same.
    Some(hash_key(
        vary.selecting_key(request, &crate::cache::settings::VarySettings::default())
            .unwrap_or_else(|| b"*".to_vec()),
    ))
}

/// What the policy says about the stored response, as an override of Pingora's own judgement.
pub(super) fn forced_freshness(
    exchange: &Exchange,
    times: &StoredTimes,
    fresh_to_pingora: bool,
    now: SystemTime,
) -> Option<ForcedFreshness> {
    let decision = reuse(exchange, times, OriginState::Unasked, now);
    match (decision, fresh_to_pingora) {
        (ReuseDecision::Reuse { .. }, false) => Some(ForcedFreshness::ForceFresh),
        (ReuseDecision::ReuseStale { .. }, true) => Some(ForcedFreshness::ForceExpiredServeStale {
            expired_at: Some(times.fresh_until),
        }),
        (ReuseDecision::Validate(_) | ReuseDecision::Forward(_), true) => {
            Some(ForcedFreshness::ForceExpired)
        }
        _ => None,
    }
}

/// Whether the policy lets the stale response be served.
pub(super) fn may_serve_stale(exchange: &Exchange, origin: OriginState, now: SystemTime) -> bool {
    exchange.found.is_some_and(|times| {
        matches!(
            reuse(exchange, &times, origin, now),
            ReuseDecision::ReuseStale { .. }
        )
    })
}

fn reuse(
    exchange: &Exchange,
    times: &StoredTimes,
    origin: OriginState,
    now: SystemTime,
) -> ReuseDecision {
    if let Some(RequestDecision::Bypass(reason)) =
        exchange.request.as_ref().map(|request| request.decision)
    {
        return ReuseDecision::Forward(reason.into());
    }
    let found = Found::Complete(times);
    decide_reuse(&RequestControl::default(), found, origin, now)
}

/// Decides about storing the origin's answer, or the stored response that a 304 freshens.
pub(super) fn cacheable(
    session: &Session,
    response: &ResponseHeader,
    exchange: &mut Exchange,
    store_is_busy: bool,
    now: SystemTime,
) -> RespCacheable {
    let mut head = response.clone();
    let not_modified = exchange.not_modified.take();
    let busy = store_is_busy && not_modified.is_none();
    let mut other_representation = false;
    if let Some(not_modified) = not_modified {
        // Pingora merges five fields; RFC 9111 §3.2 means all but a few.
        if let Some(stored) = session.cache.maybe_cache_meta() {
            head = stored.response_header_copy();
        }
        let mut fields = head.headers.clone();
        match freshen(&mut fields, &not_modified) {
            Freshening::Freshened => replace_fields(&mut head, &fields),
            Freshening::OtherRepresentation => other_representation = true,
        }
    }
    let decision = match decide(session, &head, exchange, now) {
        StoreDecision::Store(_) if head.status == StatusCode::PARTIAL_CONTENT => {
            StoreDecision::DoNotStore(NoStoreReason::PartialContent)
        }
        StoreDecision::Store(_) if busy => StoreDecision::DoNotStore(NoStoreReason::StoreBusy),
        // Pingora serves what is stored after any 304; at least it is not renewed by this one.
        StoreDecision::Store(_) if other_representation => {
            StoreDecision::DoNotStore(NoStoreReason::Status)
        }
        decision => decision,
    };
    exchange.storing = Some(decision);
    match decision {
        StoreDecision::Store(lifetimes) => {
            let validatable = Validators::of(&head.headers).any();
            let times = StoredTimes::new(&lifetimes, now, validatable);
            let mut fields = head.headers.clone();
            strip_for_storing(&mut fields);
            replace_fields(&mut head, &fields);
            exchange.found = Some(times);
            RespCacheable::Cacheable(cache_meta(times, head))
        }
        StoreDecision::DoNotStore(reason) => {
            // Remembered by its primary key, one variant would keep the others from the store.
            let variant = session
                .cache
                .maybe_cache_key()
                .is_some_and(|key| key.get_variance_key().is_some());
            RespCacheable::Uncacheable(no_cache_reason(reason, head.status, variant))
        }
    }
}

fn decide(
    session: &Session,
    head: &ResponseHeader,
    exchange: &Exchange,
    now: SystemTime,
) -> StoreDecision {
    let Some(request) = &exchange.request else {
        return StoreDecision::DoNotStore(NoStoreReason::NoStore);
    };
    if is_close_delimited(head) {
        // A body that only the connection's end delimits may be cut short unnoticed.
        return StoreDecision::DoNotStore(NoStoreReason::UnknownLength);
    }
    let asked = session.req_header();
    let mut view = request.view(asked);
    // Pingora turned a HEAD that may fill the store into a GET.
    if session.cache.enabled() && *view.method == Method::HEAD {
        view.method = &Method::GET;
    }
    let response = ResponseView {
        status: head.status,
        headers: &head.headers,
    };
    let requested = exchange
        .origin
        .requested
        .map_or(exchange.arrived, |(wall, _)| wall);
    decide_storing(
        &view,
        &RequestControl::default(),
        &response,
        &request.settings,
        &ExchangeTimes {
            requested,
            received: now,
        },
    )
}

/// RFC 9112 §6.3, rule 8. HTTP/2 frames its bodies; a stored head has its length.
fn is_close_delimited(head: &ResponseHeader) -> bool {
    let mut codings = head.headers.get_all(http::header::TRANSFER_ENCODING).iter();
    let framed = match (codings.next(), codings.next()) {
        (None, _) => head.headers.contains_key(http::header::CONTENT_LENGTH),
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    !framed
        && head.version < http::Version::HTTP_2
        && !matches!(head.status.as_u16(), 0..=199 | 204 | 304)
}

/// Whether the response on its way into the store may turn out too large for it.
pub(super) fn fills_unknown_length(session: &Session, head: &ResponseHeader) -> bool {
    let filling = matches!(
        session.cache.phase(),
        CachePhase::Miss | CachePhase::Expired
    );
    filling && !head.headers.contains_key(http::header::CONTENT_LENGTH)
}

/// Waiters behind an answer that blames nobody for good compete again; behind one that is not to
/// be stored they all go to the origin, and so does the next request for the key at once.
fn no_cache_reason(reason: NoStoreReason, status: StatusCode, variant: bool) -> NoCacheReason {
    let passing = variant
        || status.is_server_error()
        || matches!(
            reason,
            NoStoreReason::OriginRejected
                | NoStoreReason::StoreBusy
                | NoStoreReason::Method
                | NoStoreReason::PartialContent
        );
    if passing {
        NoCacheReason::Custom(PASSING)
    } else {
        NoCacheReason::OriginNotCache
    }
}

fn cache_meta(times: StoredTimes, head: ResponseHeader) -> CacheMeta {
    let seconds = |window: Duration| u32::try_from(window.as_secs()).unwrap_or(u32::MAX);
    // Either window shows that stale is good enough when the origin fails.
    let if_error = times.stale_if_error.max(times.stale_while_revalidate);
    let mut meta = CacheMeta::new(
        times.fresh_until,
        times.received,
        seconds(times.stale_while_revalidate),
        seconds(if_error),
        head,
    );
    meta.set_epoch_override(
        times
            .received
            .checked_sub(times.initial_age)
            .unwrap_or(times.received),
    );
    meta.extensions_mut().insert(times);
    meta
}

/// Makes the head's fields exactly `fields`, through the methods that keep Pingora's own record of
/// their case in step.
pub(super) fn replace_fields(head: &mut ResponseHeader, fields: &HeaderMap) {
    let names: Vec<_> = head.headers.keys().cloned().collect();
    for name in &names {
        if head.headers.get_all(name) != fields.get_all(name) {
            head.remove_header(name);
        }
    }
    for name in fields.keys() {
        if !head.headers.contains_key(name) {
            for value in fields.get_all(name) {
                // Both came out of a header map, so they are valid.
                let _ = head.append_header(name.clone(), value.clone());
            }
        }
    }
}

/// What happened, from the machine's final phase and the decisions on the way.
pub(super) fn status(session: &Session, exchange: &Exchange, now: SystemTime) -> CacheStatus {
    let ttl = exchange.found.map(|times| times.ttl(now));
    let origin_status = exchange.origin.status;
    let forwarded = |storing| {
        let mut status = CacheStatus::forwarded(exchange.forward);
        if let Outcome::Forwarded(forwarded) = &mut status.outcome {
            forwarded.status = origin_status;
            forwarded.storing = storing;
        }
        status.ttl = ttl.filter(|_| matches!(storing, Storing::Stored | Storing::Freshened));
        status
    };
    let not_stored = || match exchange.storing {
        Some(StoreDecision::DoNotStore(reason)) => Storing::NotStored(reason),
        _ => Storing::Unknown,
    };
    if let Some(RequestDecision::Bypass(reason)) =
        exchange.request.as_ref().map(|request| request.decision)
    {
        return CacheStatus {
            outcome: Outcome::Bypassed {
                reason,
                status: origin_status,
            },
            ttl: None,
        };
    }
    match session.cache.phase() {
        CachePhase::Hit => CacheStatus::hit(ttl.unwrap_or_default()),
        CachePhase::StaleUpdating => CacheStatus::stale_hit(
            ttl.unwrap_or_default(),
            crate::cache::reuse::StaleMode::WhileRevalidating,
        ),
        CachePhase::Stale => CacheStatus::stale_hit(
            ttl.unwrap_or_default(),
            crate::cache::reuse::StaleMode::IfError,
        ),
        CachePhase::Revalidated => forwarded(Storing::Freshened),
        CachePhase::Miss | CachePhase::Expired => forwarded(Storing::Stored),
        _ => forwarded(not_stored()),
    }
}

/// The range that the client gets of a complete response, with the head changed to match.
pub(super) fn range(request: &RequestHeader, response: &mut ResponseHeader) -> RangeType {
    let length = response
        .headers
        .get(http::header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let (StatusCode::OK, Some(length)) = (response.status, length) else {
        return RangeType::None;
    };
    match select(
        &request.method,
        &request.headers,
        &Validators::of(&response.headers),
        length,
    ) {
        RangeOutcome::Full => RangeType::None,
        RangeOutcome::Unsatisfiable => {
            let _ = response.set_status(StatusCode::RANGE_NOT_SATISFIABLE);
            let _ =
                response.insert_header(http::header::CONTENT_RANGE, format!("bytes */{length}"));
            let _ = response.insert_header(http::header::CONTENT_LENGTH, "0");
            RangeType::Invalid
        }
        RangeOutcome::Partial(ranges) => match ranges.as_slice() {
            [one] => {
                let (Ok(start), Ok(end)) = (usize::try_from(one.start), usize::try_from(one.end))
                else {
                    return RangeType::None;
                };
                let _ = response.set_status(StatusCode::PARTIAL_CONTENT);
                let _ =
                    response.insert_header(http::header::CONTENT_LENGTH, (end - start).to_string());
                let content_range = format!("bytes {start}-{}/{length}", end.saturating_sub(1));
                let _ = response.insert_header(http::header::CONTENT_RANGE, content_range);
                RangeType::Single(start..end)
            }
            several => multipart(request, response, several),
        },
    }
}

/// Pingora writes the parts; it is given the ranges as the policy joined them.
fn multipart(
    request: &RequestHeader,
    response: &mut ResponseHeader,
    ranges: &[std::ops::Range<u64>],
) -> RangeType {
    // Pingora serves ranges in ascending order only, and fewer than the most it is given.
    let mut ranges = ranges.to_vec();
    ranges.sort_by_key(|range| range.start);
    let spelled: Vec<String> = ranges
        .iter()
        .map(|range| format!("{}-{}", range.start, range.end - 1))
        .collect();
    let mut request = request.clone();
    request.remove_header(&http::header::IF_RANGE);
    if request
        .insert_header(http::header::RANGE, format!("bytes={}", spelled.join(",")))
        .is_err()
    {
        return RangeType::None;
    }
    pingora_proxy::range_header_filter(&request, response, Some(ranges.len() + 1))
}
