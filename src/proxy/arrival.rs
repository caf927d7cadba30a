//! A request arrives: one canonical form, its zone, its settings, and whether it may use the cache.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Uri, Version};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::edge_reply::EdgeReply;
use super::exchange::{Applied, Exchange, SiteRequest};
use crate::cache::eligibility::{RequestDecision, eligibility, post_may_fill};
use crate::cache::query::keyed_query;
use crate::cache::settings::KeySettings;
use crate::clock;
use crate::config::{Client, Config};
use crate::fields::cookies::cookies;
use crate::fields::hop_by_hop::{connection_options, nominated};
use crate::request::Scheme;
use crate::rules::{Circumstances, Plan, Planned, plan, target_text};
use crate::server::Shared;
use crate::zone::{Authority, SessionCookies, Slashes, canonical_path_with};

/// Holds the token that lets a client see keys in Cache-Status.
const SEAWALL_DEBUG: &str = "seawall-debug";

/// Fills `exchange` from the head in `session`.
///
/// # Errors
/// An HTTP status when no zone may answer: 400, 413, 421.
pub(super) fn receive(
    shared: &Shared,
    session: &mut Session,
    exchange: &mut Exchange,
) -> Result<()> {
    let scheme = scheme(session);
    let client = client_address(session);
    if session.req_header().version <= Version::HTTP_10 {
        // RFC 9110 §15.2: such a client knows no interim responses.
        session.as_downstream_mut().set_ignore_info_resp(true);
    }
    // Only HTTP/2 can have a body that no field announces (RFC 9113 §8.1).
    let unannounced_body = session.req_header().version == Version::HTTP_2
        && !session.as_downstream_mut().is_body_empty();
    let head = session.req_header_mut();
    check_form(head)?;
    remove_unkeyed(head)?;
    join_cookies(head)?;
    let authority = authority(head, scheme)?;
    let site = exchange.runtime.site(authority.host());
    let merges = site.is_some_and(|site| site.zone.merge_slashes);
    let slashes = if merges {
        Slashes::Merge
    } else {
        Slashes::Keep
    };
    normalise(head, &authority, slashes)?;
    let head = session.req_header();
    check_size(head, &exchange.runtime.config.client)?;
    let Some(site) = site else {
        // RFC 9110 §15.5.20.
        return refuse(421, "no zone answers for this host");
    };
    let mut request = SiteRequest {
        session_cookie: has_session_cookie(&head.headers, &site.zone.session_cookies),
        has_body: unannounced_body || has_body(head),
        body_size: announced_length(head),
        upgrade: head.version == Version::HTTP_11 && head.headers.contains_key(UPGRADE),
        settings: site.zone.rules.cache_rules.no_settings(),
        decision: RequestDecision::Lookup,
        applied: Applied::default(),
        unix_seconds: clock::unix_seconds_of(exchange.arrived),
        place: exchange.runtime.geo.place(client),
        site: site.clone(),
        client,
        scheme,
        authority,
        version: head.version,
    };
    if head.method.as_str() == "PURGE" {
        // It is about the URL, not for it.
        request.decision = eligibility(&request.view(head), &request.settings);
        exchange.request = Some(Arc::new(request));
        return Ok(());
    }
    let circumstances = Circumstances {
        chance: clock::chance(),
        slashes,
        development_mode: shared
            .development
            .is_on(&site.zone.name, request.unix_seconds),
    };
    let zone = site.zone.clone();
    match plan(&zone.rules, &request.view(head), &circumstances, &mut ()) {
        Planned::Answer(answer) => {
            let reply = EdgeReply::of(answer, &zone.rules, &exchange.request_id);
            exchange.edge = Some(reply);
            exchange.request = Some(Arc::new(request));
            return Ok(());
        }
        Planned::Forward(plan) => follow(session.req_header_mut(), &mut request, *plan, exchange)?,
    }
    let head = session.req_header();
    if request.decision == RequestDecision::Lookup
        || post_may_fill(&request.view(head), &request.settings)
    {
        key_query(session.req_header_mut(), &request.settings.key.value)?;
    }
    exchange.debug = may_see_keys(&session.req_header().headers, &exchange.runtime.config);
    exchange.request = Some(Arc::new(request));
    Ok(())
}

/// Makes the request what the plan says.
fn follow(
    head: &mut RequestHeader,
    request: &mut SiteRequest,
    plan: Plan,
    exchange: &Exchange,
) -> Result<()> {
    if let Some(target) = plan.target {
        request.applied.raw_target = Some(target_text(head.uri.path(), head.uri.query()));
        match target.parse::<Uri>() {
            Ok(uri) => head.set_uri(uri),
            Err(_) => return refuse(400, "the rewritten target is malformed"),
        }
    }
    if let Some(name) = &plan.origin.pool
        && let Some(pool) = exchange.runtime.pool(name)
    {
        request.site.pool = pool.clone();
    }
    request.settings = plan.settings;
    request.decision = plan.decision;
    request.applied.splits = plan.splits;
    request.applied.cookies = plan.cookies;
    request.applied.by_cookie = plan.by_cookie;
    request.applied.headers = plan.headers;
    request.applied.origin = plan.origin;
    request.applied.key = plan.key;
    Ok(())
}

/// What does not count in the key does not reach the origin either: it could change a response that
/// others get.
fn key_query(head: &mut RequestHeader, settings: &KeySettings) -> Result<()> {
    let keyed = keyed_query(head.uri.query(), settings);
    if keyed.as_deref() == head.uri.query() {
        return Ok(());
    }
    let target = match keyed {
        Some(query) => format!("{}?{query}", head.uri.path()),
        None => head.uri.path().to_owned(),
    };
    match target.parse::<Uri>() {
        Ok(uri) => {
            head.set_uri(uri);
            Ok(())
        }
        Err(_) => refuse(400, "a malformed query"),
    }
}

/// Whether the client sent the operators' token.
fn may_see_keys(headers: &HeaderMap, config: &Config) -> bool {
    let sent = headers.get(SEAWALL_DEBUG).map(http::HeaderValue::as_bytes);
    let wanted = config.cache.debug_token.as_ref();
    sent.zip(wanted)
        .is_some_and(|(sent, wanted)| wanted.matches(sent))
}

fn refuse<T>(status: u16, why: &'static str) -> Result<T> {
    Error::e_explain(ErrorType::HTTPStatus(status), why)
        .map_err(|error: Box<Error>| error.into_down())
}

/// What the front refuses of HTTP/1 heads, for HTTP/2 as well.
fn check_form(head: &RequestHeader) -> Result<()> {
    if matches!(head.method.as_str(), "TRACE" | "TRACK") {
        return refuse(405, "the method is not for this server");
    }
    let expects =
        |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !head.headers.get_all(EXPECT).iter().all(expects) {
        return refuse(417, "an expectation other than 100-continue");
    }
    Ok(())
}

/// Removes what the origin would read but neither rules, key nor Vary would see: fields that
/// Connection nominates, and fields with an underscore, which CGI and WSGI make one with their
/// hyphenated or server-set namesakes (`SCRIPT_NAME`, `X_Forwarded_Host`).
fn remove_unkeyed(head: &mut RequestHeader) -> Result<()> {
    for name in nominated(&head.headers) {
        if name != UPGRADE {
            head.remove_header(&name);
        }
    }
    let options = connection_options(&head.headers).join(", ");
    if head.remove_header(&CONNECTION).is_some() && !options.is_empty() {
        head.insert_header(CONNECTION, options)?;
    }
    let underscored: Vec<_> = head
        .headers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .cloned()
        .collect();
    for name in underscored {
        head.remove_header(&name);
    }
    Ok(())
}

/// RFC 9113 §8.2.3: HTTP/2 clients split Cookie; HTTP/1 origins and Vary want it whole.
fn join_cookies(head: &mut RequestHeader) -> Result<()> {
    let lines: Vec<&[u8]> = head
        .headers
        .get_all(COOKIE)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    if lines.len() < 2 {
        return Ok(());
    }
    let joined = lines.join(&b"; "[..]);
    head.insert_header(COOKIE, joined)
}

fn scheme(session: &Session) -> Scheme {
    let tls = session
        .digest()
        .is_some_and(|digest| digest.ssl_digest.is_some());
    if tls { Scheme::Https } else { Scheme::Http }
}

/// Background validations have no client of their own.
fn client_address(session: &Session) -> IpAddr {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| {
            address.ip().to_canonical()
        })
}

/// The one host the request names. HTTP/2 has it in `:authority` (RFC 9113 §8.3.1), an absolute
/// target in the target (RFC 9112 §3.2.2), everything else in Host; two that differ are refused.
fn authority(head: &RequestHeader, scheme: Scheme) -> Result<Authority> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return refuse(400, "more than one Host");
    }
    let from_host = match host.map(|host| {
        host.to_str()
            .ok()
            .and_then(|host| Authority::parse(host, scheme))
    }) {
        Some(None) => return refuse(400, "a malformed Host"),
        Some(Some(host)) => Some(host),
        None => None,
    };
    let from_target = match head
        .uri
        .authority()
        .map(|target| Authority::parse(target.as_str(), scheme))
    {
        Some(None) => return refuse(400, "a malformed authority"),
        Some(Some(target)) => Some(target),
        None => None,
    };
    match (from_target, from_host) {
        (Some(target), Some(host)) if target != host => {
            refuse(400, "Host and target name different hosts")
        }
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => refuse(400, "no Host"),
    }
}

/// Rewrites target and Host to their canonical form: what is matched, keyed and forwarded is one.
fn normalise(head: &mut RequestHeader, authority: &Authority, slashes: Slashes) -> Result<()> {
    let path = match head.uri.path() {
        // `OPTIONS *` asks about the server, which is this one.
        "*" | "" => "/".into(),
        path => match canonical_path_with(path, slashes) {
            Ok(path) => path.into_owned(),
            Err(error) => {
                return Error::e_explain(ErrorType::HTTPStatus(400), error.to_string())
                    .map_err(|error: Box<Error>| error.into_down());
            }
        },
    };
    let target = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if head
        .uri
        .path_and_query()
        .is_none_or(|current| current.as_str() != target)
        || head.uri.authority().is_some()
    {
        match target.parse::<Uri>() {
            Ok(uri) => head.set_uri(uri),
            Err(_) => return refuse(400, "a malformed target"),
        }
    }
    head.insert_header(HOST, authority.as_str())
}

/// HTTP/1 heads were measured on the way in; HTTP/2 heads are measured here.
fn check_size(head: &RequestHeader, most: &Client) -> Result<()> {
    if head
        .uri
        .path_and_query()
        .is_some_and(|target| target.as_str().len() > most.max_uri_length)
    {
        return refuse(414, "the target is too long");
    }
    // Host was added to what HTTP/2 carries in `:authority`.
    if head.headers.len() > most.max_headers + 1 {
        return refuse(431, "too many fields");
    }
    if announced_length(head).is_some_and(|length| length > most.max_body_size) {
        return refuse(413, "the body is larger than allowed");
    }
    Ok(())
}

fn announced_length(head: &RequestHeader) -> Option<u64> {
    let length = head.headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

fn has_body(head: &RequestHeader) -> bool {
    let length = head.headers.get(CONTENT_LENGTH);
    head.headers.contains_key(TRANSFER_ENCODING)
        || length.is_some_and(|length| length.as_bytes() != b"0")
}

fn has_session_cookie(headers: &HeaderMap, names: &SessionCookies) -> bool {
    cookies(headers).any(|(name, _)| names.contains(name))
}
