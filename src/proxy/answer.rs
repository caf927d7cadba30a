//! The response as the client gets it: hop-by-hop fields gone, lifetimes for browsers as the rules
//! say, and what the cache did.

use std::time::{Duration, SystemTime};

use http::header::{AGE, CONNECTION, DATE, SET_COOKIE, UPGRADE};
use http::{HeaderMap, StatusCode};
use pingora_error::Result;
use pingora_http::ResponseHeader;

use super::exchange::Exchange;
use super::forward::via;
use crate::cache::browser::{ClientAge, apply_browser_ttl};
use crate::cache::eligibility::RequestDecision;
use crate::cache::freshness::initial_age;
use crate::cache::response::ExchangeTimes;
use crate::cache::settings::BrowserTtl;
use crate::cache::status::CacheStatus;
use crate::cache::storing::StoreDecision;
use crate::fields::hop_by_hop::strip_for_forwarding;

/// The field with the one-word summary.
pub(super) const X_CACHE: &str = "X-Cache";
/// RFC 9211.
pub(super) const CACHE_STATUS: &str = "Cache-Status";
/// The id by which a request is found in the logs.
pub(super) const X_REQUEST_ID: &str = "X-Request-Id";

/// Cleans what arrived from the origin, before anything is decided about it.
pub(super) fn receive(head: &mut ResponseHeader, exchange: &Exchange) {
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        // The length or chunked framing stays: Pingora reads it off the head.
        let framing = head.headers.get(http::header::TRANSFER_ENCODING).cloned();
        edit(head, strip_for_forwarding);
        if let Some(framing) = framing.filter(|_| head.status != StatusCode::NO_CONTENT) {
            let _ = head.insert_header(http::header::TRANSFER_ENCODING, framing);
        }
    } else if !head.headers.contains_key(UPGRADE) {
        head.remove_header(&CONNECTION);
    }
    if head.status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: it has neither body nor length.
        head.remove_header(&http::header::CONTENT_LENGTH);
    }
    let strips = exchange.request.as_ref().is_some_and(|request| {
        request.decision == RequestDecision::Lookup && request.settings.strip_set_cookie.value
    });
    if strips {
        head.remove_header(&SET_COOKIE);
    }
}

/// Dresses the head for the client.
///
/// # Errors
/// When a value is not a valid field value.
pub(super) fn send(
    head: &mut ResponseHeader,
    exchange: &Exchange,
    status: &CacheStatus,
    now: SystemTime,
) -> Result<()> {
    if head.status.is_informational() {
        return Ok(());
    }
    let browser_ttl = exchange
        .request
        .as_ref()
        .map(|request| request.settings.browser_ttl.value);
    let lookup = exchange
        .request
        .as_ref()
        .is_some_and(|request| request.decision == RequestDecision::Lookup);
    // What may not be kept here for everybody is not for a rule to keep in browsers either.
    let refused = matches!(exchange.storing, Some(StoreDecision::DoNotStore(_)));
    let mut age = ClientAge::Continue;
    // Without a rule nothing changes, and most hits need not copy their fields to find that out.
    let changes = |ttl: &BrowserTtl| lookup && !refused && *ttl != BrowserTtl::RespectOrigin;
    if let Some(ttl) = browser_ttl.filter(changes) {
        let code = head.status;
        edit(head, |fields| age = apply_browser_ttl(fields, ttl, code));
    }
    match age {
        ClientAge::Restart => {
            // The lifetime for browsers begins here: the policy removed Age, and Date is now.
            head.insert_header(DATE, httpdate::fmt_http_date(now))?;
        }
        ClientAge::Continue => {
            // Pingora puts Age on hits alone and renews every Date, so that a response which was
            // not new when it came would lose its age (RFC 9111 §5.1).
            let age = current_age(head, exchange, refused, now).as_secs();
            if lookup && (age > 0 || head.headers.contains_key(AGE)) {
                head.insert_header(AGE, age.to_string())?;
            }
        }
    }
    head.append_header("Via", via(head.version))?;
    head.append_header(CACHE_STATUS, status.to_value())?;
    head.insert_header(X_CACHE, status.x_cache().as_str())?;
    head.insert_header(X_REQUEST_ID, &exchange.request_id)
}

fn current_age(
    head: &ResponseHeader,
    exchange: &Exchange,
    refused: bool,
    now: SystemTime,
) -> Duration {
    if let Some(times) = exchange.found.filter(|_| !refused) {
        return times.age(now);
    }
    let requested = exchange.origin.requested.map_or(now, |(wall, _)| wall);
    let times = ExchangeTimes {
        requested,
        received: now,
    };
    initial_age(&head.headers, &times)
}

/// Changes the fields through plain `http` types; Pingora's record of their case follows.
fn edit(head: &mut ResponseHeader, change: impl FnOnce(&mut HeaderMap)) {
    let mut fields = head.headers.clone();
    change(&mut fields);
    super::caching::replace_fields(head, &fields);
}
