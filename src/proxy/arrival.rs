//! A request arrives: one canonical form, its zone, its settings, and whether it may use the cache.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::header::{CONNECTION, COOKIE, HOST, UPGRADE};
use http::{HeaderMap, Version};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::edge_reply::EdgeReply;
use super::exchange::{Applied, Exchange, SiteRequest};
use crate::cache::eligibility::{RequestDecision, eligibility, post_may_fill};
use crate::cache::query::keyed_query;
use crate::cache::settings::KeySettings;
use crate::clock;
use crate::config::Config;
use crate::request::Scheme;
use crate::request::arrival::{self, Refusal};
use crate::rules::{Circumstances, Plan, Planned, plan, target_text};
use crate::server::Shared;
use crate::zone::{Authority, Slashes};

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
    arrival::check_form(&head.method, &head.headers).or_else(refused)?;
    tidy(head)?;
    let in_target = head.uri.authority().map(http::uri::Authority::as_str);
    let authority = arrival::authority(&head.headers, in_target, scheme).or_else(refused)?;
    let site = exchange.runtime.site(authority.host());
    let merges = site.is_some_and(|site| site.zone.merge_slashes);
    let slashes = if merges {
        Slashes::Merge
    } else {
        Slashes::Keep
    };
    normalise(head, &authority, slashes)?;
    let head = session.req_header();
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let most = &exchange.runtime.config.client;
    arrival::check_size(target, &head.headers, most).or_else(refused)?;
    let Some(site) = site else {
        // RFC 9110 §15.5.20.
        return refuse(421, "no zone answers for this host");
    };
    let mut request = SiteRequest {
        session_cookie: arrival::session_cookie(&head.headers, &site.zone.session_cookies)
            .is_some(),
        has_body: unannounced_body || arrival::has_body(&head.headers),
        body_size: arrival::announced_length(&head.headers),
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
        // Nobody else asks for it.
        chance: if site.zone.rules.splits.is_empty() {
            0
        } else {
            clock::chance()
        },
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
        if target.len() > exchange.runtime.config.client.max_uri_length {
            return refuse(414, "the rewritten target is too long");
        }
        set_target(head, &target)?;
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
    let target = target_text(head.uri.path(), keyed.as_deref());
    set_target(head, &target)
}

/// Whether the client sent the operators' token.
fn may_see_keys(headers: &HeaderMap, config: &Config) -> bool {
    let sent = headers.get(SEAWALL_DEBUG).map(http::HeaderValue::as_bytes);
    let wanted = config.cache.debug_token.as_ref();
    sent.zip(wanted)
        .is_some_and(|(sent, wanted)| wanted.matches(sent))
}

fn refuse<T>(status: u16, why: &'static str) -> Result<T> {
    refused(Refusal {
        status,
        why: why.into(),
    })
}

fn refused<T>(refusal: Refusal) -> Result<T> {
    Error::e_explain(
        ErrorType::HTTPStatus(refusal.status),
        refusal.why.into_owned(),
    )
    .map_err(|error: Box<Error>| error.into_down())
}

/// Takes out what neither rules, key nor Vary would see, and makes Cookie one line.
fn tidy(head: &mut RequestHeader) -> Result<()> {
    for name in arrival::unkeyed(&head.headers) {
        head.remove_header(&name);
    }
    match arrival::connection(&head.headers) {
        Some(options) => head.insert_header(CONNECTION, options)?,
        None => drop(head.remove_header(&CONNECTION)),
    }
    match arrival::joined_cookies(&head.headers) {
        Some(cookies) => head.insert_header(COOKIE, cookies),
        None => Ok(()),
    }
}

/// Rewrites target and Host to their canonical form: what is matched, keyed and forwarded is one.
fn normalise(head: &mut RequestHeader, authority: &Authority, slashes: Slashes) -> Result<()> {
    let target = arrival::canonical_target(head.uri.path(), head.uri.query(), slashes);
    let target = target.or_else(refused)?;
    let current = head.uri.path_and_query();
    if current.is_none_or(|current| current.as_str() != target) || head.uri.authority().is_some() {
        set_target(head, &target)?;
    }
    head.insert_header(HOST, authority.as_str())
}

fn set_target(head: &mut RequestHeader, target: &str) -> Result<()> {
    head.set_uri(arrival::parse_target(target).or_else(refused)?);
    Ok(())
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
