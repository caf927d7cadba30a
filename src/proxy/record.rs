//! A finished request becomes figures in the metrics and a line in the access log.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::{Duration, SystemTime};

use http::Version;
use pingora_error::Error;
use pingora_proxy::Session;

use super::exchange::{Exchange, SiteRequest};
use crate::cache::key::short_hash;
use crate::observe::{AccessRecord, RequestFigures};
use crate::server::Shared;

/// Words for a request that no zone answered, which no cache decision is made about.
const NO_ZONE: &str = "-";
const NO_WORD: &str = "NONE";
/// Logged when the client went away before an answer, as nginx does.
const CLIENT_GONE: u16 = 499;

/// Writes the request down. Background validations are no client's request and leave no line.
pub(super) fn write(
    shared: &Shared,
    session: &Session,
    error: Option<&Error>,
    exchange: &Exchange,
    duration: Duration,
) {
    if session.as_downstream().is_subrequest() {
        return;
    }
    let request = exchange.request.as_deref();
    let rule = deciding_rule(request, exchange);
    let status = session
        .response_written()
        .map_or(CLIENT_GONE, |head| head.status.as_u16());
    let cache = exchange
        .status
        .as_ref()
        .map_or(NO_WORD, |status| status.x_cache().as_str());
    let response_bytes = u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX);
    let zone = request.map_or(NO_ZONE, |request| request.site.zone.name.as_str());
    shared.metrics.request(RequestFigures {
        zone,
        cache,
        rule: rule.as_ref().map_or("default", |(name, _)| name),
        status,
        bytes: response_bytes,
        duration,
    });
    if !exchange.runtime.config.log.access {
        return;
    }
    let head = session.req_header();
    let cache_status = exchange.status.as_ref().map(ToString::to_string);
    let target = head.uri.path_and_query();
    let target = target.map_or("", |target| target.as_str());
    let raw_target = request.and_then(|request| request.applied.raw_target.as_deref());
    let record = AccessRecord {
        time: timestamp(exchange.arrived),
        request_id: &exchange.request_id,
        client: client(session, request),
        zone,
        method: head.method.as_str(),
        scheme: request.map_or("", |request| request.scheme.as_str()),
        host: request.map_or("", |request| request.authority.as_str()),
        target: raw_target.unwrap_or(target),
        rewritten: raw_target.map(|_| target),
        protocol: protocol(request.map_or(head.version, |request| request.version)),
        status,
        response_bytes,
        request_bytes: exchange.body_received,
        cache,
        cache_status: cache_status.as_deref().unwrap_or_default(),
        rule: rule.as_ref().map(|(name, _)| *name),
        rule_at: rule.as_ref().map(|(_, place)| place.to_string()),
        key: exchange
            .key
            .as_ref()
            .map(|key| format!("{:016x}", short_hash(&key.0))),
        upstream: exchange.origin.address().map(|address| address.to_string()),
        attempts: exchange.origin.attempts,
        duration_ms: millis(duration),
        connect_ms: exchange.origin.connected_after.map(millis),
        first_byte_ms: exchange.origin.first_byte_after.map(millis),
        collapsed_wait_ms: exchange.waited.map(millis),
        user_agent: head
            .headers
            .get(http::header::USER_AGENT)
            .and_then(|agent| agent.to_str().ok()),
        error: error
            .map(|error| error_text(error).into_owned())
            .or_else(|| exchange.failure.map(|failure| failure.to_string())),
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

fn client(session: &Session, request: Option<&SiteRequest>) -> String {
    match request {
        Some(request) => request.client.to_string(),
        None => session
            .client_addr()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
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

/// RFC 3339 in UTC with milliseconds.
fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
