//! A finished request becomes figures in the metrics and a line in the access log.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::request::Parts;
use http::{StatusCode, Version};
use pingora_error::Error;
use pingora_proxy::Session;

use super::exchange::{Exchange, SiteRequest};
use super::limiting;
use crate::cache::key::short_hash;
use crate::observe::{AccessRecord, KeyHash, OrEmpty, RequestFigures, Shown, Time};
use crate::server::Shared;

/// Words for a request that no zone answered, which no cache decision is made about.
const NO_ZONE: &str = "-";
const NO_WORD: &str = "NONE";
/// Logged when the client went away before an answer, as nginx does.
const CLIENT_GONE: u16 = 499;

/// How a request ended.
pub(super) struct Finished<'a> {
    /// Its head, as it was brought into form on arrival.
    pub(super) head: &'a Parts,
    /// Where it came from, for one that has no zone.
    pub(super) client: Option<IpAddr>,
    /// The status that went out; `None` when the client left before.
    pub(super) status: Option<StatusCode>,
    /// Bytes of the body that went out.
    pub(super) sent: u64,
    pub(super) error: Option<Cow<'a, str>>,
    /// From its head's arrival to the end.
    pub(super) duration: Duration,
}

/// Writes a request of Pingora's down.
pub(super) fn session(
    shared: &Shared,
    session: &Session,
    error: Option<&Error>,
    exchange: &Exchange,
    duration: Duration,
) {
    if session.as_downstream().is_subrequest() {
        return;
    }
    let address = session.client_addr().and_then(|address| address.as_inet());
    let finished = Finished {
        head: session.req_header(),
        client: address.map(SocketAddr::ip),
        status: session.response_written().map(|head| head.status),
        sent: u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX),
        error: error.map(error_text),
        duration,
    };
    write(shared, exchange, &finished);
}

/// Writes the request down.
pub(super) fn write(shared: &Shared, exchange: &Exchange, finished: &Finished<'_>) {
    limiting::count(shared, exchange, finished);
    let request = exchange.request.as_deref();
    let rule = deciding_rule(request, exchange);
    let status = finished
        .status
        .map_or(CLIENT_GONE, |status| status.as_u16());
    let cache = exchange
        .status
        .as_ref()
        .map_or(NO_WORD, |status| status.x_cache().as_str());
    let zone = request.map_or(NO_ZONE, |request| request.site.zone.name.as_str());
    shared.metrics.request(RequestFigures {
        zone,
        cache,
        rule: rule.as_ref().map_or("default", |(name, _)| name),
        status,
        bytes: finished.sent,
        duration: finished.duration,
    });
    if !exchange.runtime.config.log.access {
        return;
    }
    let head = finished.head;
    let target = head.uri.path_and_query();
    let target = target.map_or("", |target| target.as_str());
    let raw_target = request.and_then(|request| request.applied.raw_target.as_deref());
    let failure = exchange
        .failure
        .as_ref()
        .map(|failure| failure as &dyn Display);
    let error = finished.error.as_ref().map(|error| error as &dyn Display);
    let record = AccessRecord {
        time: Time(exchange.arrived),
        request_id: exchange.request_id.as_str(),
        client: OrEmpty(request.map(|request| request.client).or(finished.client)),
        peer: request
            .filter(|request| request.peer != request.client)
            .map(|request| request.peer),
        zone,
        method: head.method.as_str(),
        scheme: request.map_or("", |request| request.scheme.as_str()),
        host: request.map_or("", |request| request.authority.as_str()),
        target: raw_target.unwrap_or(target),
        rewritten: raw_target.map(|_| target),
        protocol: protocol(request.map_or(head.version, |request| request.version)),
        status,
        response_bytes: finished.sent,
        request_bytes: exchange.body_received,
        cache,
        tier: matches!(cache, "HIT" | "STALE" | "UPDATING").then_some(if exchange.from_disk {
            "disk"
        } else {
            "memory"
        }),
        cache_status: OrEmpty(exchange.status.as_ref()),
        rule: rule.as_ref().map(|(name, _)| *name),
        rule_at: rule.as_ref().map(|(_, place)| Shown(*place)),
        key: exchange.key.as_ref().map(|key| KeyHash(short_hash(&key.0))),
        lower_tier: request
            .and_then(|request| request.lower.as_ref())
            .map(|lower| &*lower.node),
        upper_tier: exchange.origin.tier.as_deref(),
        upstream: exchange.origin.address(),
        attempts: exchange.origin.attempts,
        duration_ms: millis(finished.duration),
        connect_ms: exchange.origin.connected_after.map(millis),
        first_byte_ms: exchange.origin.first_byte_after.map(millis),
        collapsed_wait_ms: exchange.waited.map(millis),
        user_agent: head
            .headers
            .get(http::header::USER_AGENT)
            .and_then(|agent| agent.to_str().ok()),
        error: error.or(failure).map(Shown),
    };
    if !shared.access_log.write(&record) {
        shared.metrics.log_dropped();
    }
}

/// Name and place of the rule that decided.
fn deciding_rule<'r>(
    request: Option<&'r SiteRequest>,
    exchange: &'r Exchange,
) -> Option<(&'r str, &'r dyn Display)> {
    if let Some(reply) = &exchange.edge {
        return Some((&reply.rule.0, &reply.rule.1));
    }
    let request = request?;
    let id = request.deciding_rule(exchange.status.as_ref())?;
    let rule = request.site.zone.rules.cache_rules.rules.get(id)?;
    Some((&rule.name, &rule.source))
}

fn error_text(error: &Error) -> Cow<'_, str> {
    match &error.context {
        Some(context) => Cow::Owned(format!("{}: {}", error.etype().as_str(), context.as_str())),
        None => Cow::Borrowed(error.etype().as_str()),
    }
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
