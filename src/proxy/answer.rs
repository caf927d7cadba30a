//! The response as the client gets it: hop-by-hop fields gone, lifetimes for browsers as the rules
//! say, and what the cache did.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    DATE, SET_COOKIE, TRANSFER_ENCODING, UPGRADE, VARY, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora_error::Result;
use pingora_http::ResponseHeader;

use super::exchange::{Exchange, SiteRequest};
use super::forward::via;
use super::lookup::Lookup;
use super::tiered;
use crate::cache::browser::{ClientAge, apply_browser_ttl};
use crate::cache::eligibility::RequestDecision;
use crate::cache::freshness::initial_age;
use crate::cache::response::{ExchangeTimes, ResponseView};
use crate::cache::settings::BrowserTtl;
use crate::cache::status::{CacheStatus, EdgeReason, Outcome};
use crate::fields::content_coding::vary_by_encoding;
use crate::fields::hop_by_hop::{strip_for_forwarding, strip_for_storing};
use crate::fields::stored::{X_CACHE, X_REQUEST_ID, titled};
use crate::fields::tags::{CACHE_TAG, SURROGATE_KEY};
use crate::fields::targeted::SEAWALL_CDN_CACHE_CONTROL;
use crate::rules::phase::{HeaderEdit, ResponseEdits, apply};
use crate::tier::SEAWALL_TIER;

const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");
/// RFC 9211.
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Cleans what Pingora received from the origin and passes on.
pub(super) fn receive(head: &mut ResponseHeader) {
    // Only an upper tier says that.
    head.remove_header(&SEAWALL_TIER);
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        // The length or chunked framing stays: Pingora reads it off the head.
        let framing = head.headers.get(TRANSFER_ENCODING).cloned();
        edit(head, strip_for_forwarding);
        if let Some(framing) = framing.filter(|_| head.status != StatusCode::NO_CONTENT) {
            let _ = head.insert_header(TRANSFER_ENCODING, framing);
        }
    } else if !head.headers.contains_key(UPGRADE) {
        head.remove_header(&CONNECTION);
    }
    if head.status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: it has neither body nor length.
        head.remove_header(&CONTENT_LENGTH);
    }
}

/// Takes out of an upper tier's answer what is about this one answer, and not stored; what the caches above
/// have told of it.
pub(super) fn receive_from_tier(head: &mut ResponseHeader) -> Vec<HeaderValue> {
    let hops = head.headers.get_all(CACHE_STATUS).iter().cloned().collect();
    for name in [&SEAWALL_TIER, &CACHE_STATUS, &X_CACHE, &X_REQUEST_ID] {
        head.remove_header(name);
    }
    hops
}

/// Cleans what was fetched for the cache, before anything is decided about it; `edited` when an upper tier
/// has gone by the cache response rules already.
pub(super) fn receive_for_store(
    head: &mut ResponseHeader,
    lookup: &Lookup,
    received: SystemTime,
    edited: bool,
) {
    let request = &lookup.site;
    edit(head, strip_for_forwarding);
    head.remove_header(&SEAWALL_TIER);
    if head.status == StatusCode::NO_CONTENT {
        head.remove_header(&CONTENT_LENGTH);
    }
    let status = head.status;
    // A 304 speaks of what is stored, and the rules are asked about that.
    if status != StatusCode::NOT_MODIFIED
        && !edited
        && let Some(edits) = response_edits(request, &lookup.head, status, &head.headers)
    {
        edit(head, |fields| edits.apply(fields));
    }
    if request.settings.strip_set_cookie.value {
        head.remove_header(&SET_COOKIE);
        head.remove_header(&SET_COOKIE2);
    }
    if !head.headers.contains_key(DATE) {
        // RFC 9110 §6.6.1: who stores or forwards it notes when it came.
        let _ = head.insert_header(DATE, httpdate::fmt_http_date(received));
    }
}

/// What the cache response rules of the zone do to a response; `None` for nothing. A 206 becomes part of
/// a stored 200, so what is for that is for it as well.
pub(super) fn response_edits(
    request: &SiteRequest,
    asked: &Parts,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<ResponseEdits> {
    let rules = &request.site.zone.rules.cache_response_rules;
    let whole = (status == StatusCode::PARTIAL_CONTENT).then_some(StatusCode::OK);
    let view = request.view(asked);
    let mut edits: Option<ResponseEdits> = None;
    for status in whole.into_iter().chain([status]) {
        let response = ResponseView { status, headers };
        for (_, rule) in rules.matching_response(&view, &response) {
            edits.get_or_insert_default().merge(&rule.action);
        }
    }
    edits
}

/// Takes out what must not be stored (RFC 9111 §3.1); cookies too, unless a rule says otherwise.
pub(super) fn strip_for_store(fields: &mut HeaderMap, request: &SiteRequest) {
    let with_cookies = fields.clone();
    strip_for_storing(fields);
    if request.settings.store_set_cookie.value {
        update_cookies(fields, &with_cookies);
    }
}

/// Takes the cookies over from `from`, if it sets any.
pub(super) fn update_cookies(fields: &mut HeaderMap, from: &HeaderMap) {
    for name in [SET_COOKIE, SET_COOKIE2] {
        if from.contains_key(&name) {
            fields.remove(&name);
        }
        for cookie in from.get_all(&name) {
            fields.append(name.clone(), cookie.clone());
        }
    }
}

/// Whether the end of the body is announced, so that a cut would be noticed (RFC 9112 §6.3, rule 8).
/// HTTP/2 frames its bodies.
pub(super) fn is_framed(head: &ResponseHeader, method: &Method) -> bool {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let framed = match (codings.next(), codings.next()) {
        (None, _) => head.headers.contains_key(CONTENT_LENGTH),
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    framed
        || head.version >= Version::HTTP_2
        || *method == Method::HEAD
        || matches!(head.status.as_u16(), 0..=199 | 204 | 304)
}

/// Whether the body comes in a transfer coding that is undone on the way (RFC 9112 §6.1).
pub(super) fn is_decodable(head: &ResponseHeader) -> bool {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    codings.all(|coding| {
        let coding = coding.as_bytes().trim_ascii();
        coding.eq_ignore_ascii_case(b"chunked") || coding.eq_ignore_ascii_case(b"identity")
    })
}

/// The length that the fields announce.
pub(super) fn content_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The fields of a 304 made from a response: RFC 9110 §15.4.5 leaves out what describes the content.
pub(super) fn not_modified(mut fields: HeaderMap) -> HeaderMap {
    for name in [
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        CONTENT_RANGE,
    ] {
        fields.remove(name);
    }
    fields
}

/// Dresses the head for the client.
pub(super) fn send(
    head: &mut ResponseHeader,
    asked: &Parts,
    exchange: &Exchange,
    told: &CacheStatus,
    now: SystemTime,
) {
    let (status, version) = (head.status, head.version);
    if !status.is_informational() {
        edit(head, |fields| {
            dress(fields, status, version, asked, exchange, told, now);
        });
    }
}

/// Cleans the head and dresses it in one go; its framing is left to the caller.
pub(super) fn pass_on(
    head: &mut ResponseHeader,
    asked: &Parts,
    exchange: &Exchange,
    told: &CacheStatus,
    now: SystemTime,
) {
    let (status, version) = (head.status, head.version);
    edit(head, |fields| {
        strip_for_forwarding(fields);
        // Only an upper tier says that.
        fields.remove(&SEAWALL_TIER);
        if status == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6: it has neither body nor length.
            fields.remove(CONTENT_LENGTH);
        }
        dress(fields, status, version, asked, exchange, told, now);
    });
}

/// Makes the fields of a response what the client gets.
pub(super) fn dress(
    fields: &mut HeaderMap,
    status: StatusCode,
    version: Version,
    asked: &Parts,
    exchange: &Exchange,
    told: &CacheStatus,
    now: SystemTime,
) {
    exchange.limit_fields(fields);
    let request = exchange.request.as_deref();
    let lookup = request.is_some_and(|request| request.decision == RequestDecision::Lookup);
    let for_tier = request.is_some_and(|request| request.lower.is_some());
    if exchange.varies_by_encoding {
        // On the response without coding as well: caches behind this one must not take it for everybody's.
        vary_by_encoding(fields);
    }
    let mut age = ClientAge::Continue;
    if let Some(ttl) = request.and_then(|request| browser_ttl(request, exchange)) {
        age = apply_browser_ttl(fields, ttl, status);
    }
    match age {
        ClientAge::Restart => {
            // The lifetime for browsers begins here: the policy removed Age, and Date is now.
            if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
                fields.insert(DATE, date);
            }
        }
        ClientAge::Continue => {
            // Pingora puts Age on hits alone and renews every Date, so that a response which was
            // not new when it came would lose its age (RFC 9111 §5.1).
            let age = current_age(fields, exchange, now).as_secs();
            // RFC 9111 §5.1: Age says that the origin was not asked for this request.
            let asked =
                matches!(told.outcome, Outcome::Forwarded(forwarded) if !forwarded.collapsed);
            let tells = exchange.times.is_some() && !asked;
            if lookup && (tells || age > 0 || fields.contains_key(AGE)) {
                fields.insert(AGE, age.into());
            }
        }
    }
    // A lower tier stores what is stored here.
    if !for_tier && !request.is_some_and(|request| request.settings.pass_cache_tags.value) {
        fields.remove(&CACHE_TAG);
        fields.remove(&SURROGATE_KEY);
    }
    if !for_tier {
        // RFC 9213 §2.1: meant for this cache alone.
        fields.remove(&SEAWALL_CDN_CACHE_CONTROL);
    }
    fields.append(VIA, HeaderValue::from_static(via(version)));
    // RFC 9211 §2: the cache next to the origin comes first.
    for hop in &exchange.hops {
        fields.append(CACHE_STATUS, hop.clone());
    }
    fields.append(CACHE_STATUS, exchange.cache_status(told));
    fields.insert(X_CACHE, HeaderValue::from_static(told.x_cache().as_str()));
    if let Ok(id) = HeaderValue::from_str(exchange.request_id.as_str()) {
        fields.insert(X_REQUEST_ID, id);
    }
    match request {
        Some(request) if !for_tier => {
            keep_session(fields, asked, exchange, request);
            // A policy for the site's pages would take the challenge's script away.
            if told.outcome != Outcome::AnsweredAtEdge(EdgeReason::Challenge) {
                apply_rules(fields, status, asked, request);
            }
            keep_place(fields, exchange);
        }
        Some(_) => {
            if let Some(verdict) = tiered::verdict(exchange, told, status) {
                fields.insert(SEAWALL_TIER, verdict.to_value());
            }
        }
        None => {}
    }
}

/// The lifetime that rules give the response in browsers, where they give one.
pub(super) fn browser_ttl(request: &SiteRequest, exchange: &Exchange) -> Option<BrowserTtl> {
    let ttl = request.settings.browser_ttl.value;
    // What may not be kept here for everybody is not for a rule to keep in browsers either.
    let lookup = request.decision == RequestDecision::Lookup && !exchange.storing_refused;
    // A lower tier tells browsers itself.
    let lookup = lookup && request.lower.is_none();
    (lookup && ttl != BrowserTtl::RespectOrigin).then_some(ttl)
}

/// The cookie by which the client's session stays at its replica, on what is for this client alone.
fn keep_session(fields: &mut HeaderMap, asked: &Parts, exchange: &Exchange, request: &SiteRequest) {
    let Some(cookie) = &exchange.origin.cookie else {
        return;
    };
    // Caches behind this one may be told to share the answer, cookie and all.
    let shared = fields.get_all(CACHE_CONTROL).iter().any(|line| {
        let line = line.as_bytes().to_ascii_lowercase();
        let directives = line.split(|byte| *byte == b',');
        let mut names = directives.map(|one| one.split(|byte| *byte == b'=').next());
        names.any(|name| {
            name.map(<[u8]>::trim_ascii)
                .is_some_and(|name| name == b"public" || name == b"s-maxage")
        })
    });
    if !shared && !request.is_shared(asked) {
        fields.append(SET_COOKIE, cookie.clone());
    }
}

/// The cookie by which the client keeps its place in a waiting room. What comes with it is for this client
/// alone, whatever it was before: what is stored was stored without.
fn keep_place(fields: &mut HeaderMap, exchange: &Exchange) {
    let Some(cookie) = &exchange.room_cookie else {
        return;
    };
    fields.append(SET_COOKIE, cookie.clone());
    let mut told = fields.get_all(CACHE_CONTROL).iter();
    let no_store = told.any(|line| {
        let line = line.as_bytes().to_ascii_lowercase();
        line.split(|byte| *byte == b',')
            .any(|one| one.trim_ascii() == b"no-store")
    });
    if !no_store {
        let private = HeaderValue::from_static("private, no-cache");
        fields.insert(CACHE_CONTROL, private);
    }
    for name in ["cdn-cache-control", "surrogate-control", "expires"] {
        fields.remove(name);
    }
}

/// What rules add to the answer for this client: the cookies of splits, and changes of fields.
fn apply_rules(fields: &mut HeaderMap, status: StatusCode, asked: &Parts, request: &SiteRequest) {
    for cookie in &request.applied.cookies {
        fields.append(SET_COOKIE, cookie.clone());
    }
    if request.applied.by_cookie {
        // For caches behind this one: another visitor may get another variant.
        fields.append(VARY, HeaderValue::from_static("cookie"));
    }
    let rules = &request.site.zone.rules.response_header_rules;
    if rules.is_empty() {
        return;
    }
    let response = ResponseView {
        status,
        headers: fields,
    };
    let view = request.view(asked);
    let edits: Vec<HeaderEdit> = rules
        .matching_response(&view, &response)
        .flat_map(|(_, rule)| rule.action.edits(&view, Some(&response)))
        .collect();
    if !edits.is_empty() {
        apply(&edits, fields);
    }
}

fn current_age(fields: &HeaderMap, exchange: &Exchange, now: SystemTime) -> Duration {
    if let Some(times) = exchange.times {
        return times.age(now);
    }
    let requested = exchange
        .requested
        .or(exchange.origin.requested.map(|(wall, _)| wall));
    let times = ExchangeTimes {
        requested: requested.unwrap_or(now),
        received: now,
    };
    initial_age(fields, &times)
}

/// A head with these fields for a client that speaks `version`.
///
/// # Errors
/// When a value is not a valid field value.
pub(super) fn head(
    version: Version,
    status: StatusCode,
    fields: HeaderMap,
) -> Result<ResponseHeader> {
    if version >= Version::HTTP_2 {
        // RFC 9113 §8.2: names are in lower case there.
        let mut parts = http::Response::new(()).into_parts().0;
        (parts.status, parts.headers) = (status, fields);
        return Ok(parts.into());
    }
    let mut head = ResponseHeader::build(status, Some(fields.len() + 2))?;
    for (name, value) in &fields {
        head.append_header(titled(name), value.clone())?;
    }
    Ok(head)
}

/// Changes the fields through plain `http` types; Pingora's record of their case follows.
pub(super) fn edit(head: &mut ResponseHeader, change: impl FnOnce(&mut HeaderMap)) {
    let mut fields = head.headers.clone();
    change(&mut fields);
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
                let _ = head.append_header(titled(name), value.clone());
            }
        }
    }
}
