//! What Pingora's connections to origins are watched by, which differs by their version of HTTP.
//!
//! A connection of HTTP/1 is one request's, and its socket is shut down when the request takes too long. One
//! of HTTP/2 is shared: there Pingora's own timer watches the pauses, and what takes too long is given up.

use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, StatusCode, Version};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType};
use pingora_http::ResponseHeader;

use super::deadline;
use super::exchange::{Exchange, SiteRequest};
use super::forward::is_grpc;
use crate::clock;
use crate::config::Http2;

/// Timers that are to come after others come later by this; and no timer is shorter.
const SHORTEST: Duration = Duration::from_millis(10);

/// How long Pingora waits for the origin's next bytes. It has one timer for the head and for pauses within
/// the body, and over HTTP/2 it runs while the request's body is sent as well.
pub(super) fn longest_pause(
    asked: &Parts,
    request: &SiteRequest,
    peer: &HttpPeer,
    started: Instant,
) -> Option<Duration> {
    let pool = &request.site.pool.config;
    let pause = peer.options.read_timeout;
    let pause = pause.map(|pause| pause.max(request.first_byte()));
    if pool.http2 == Http2::Off || request.upgrade {
        return pause;
    }
    if is_grpc(asked) {
        return Some(pool.timeouts.upgraded_idle);
    }
    // So that there is an answer when there is no head in time.
    let deadline = started + pool.timeouts.total;
    let left = deadline.saturating_duration_since(clock::instant());
    let pause = pause.filter(|_| !request.has_body);
    Some(pause.map_or(left, |pause| pause.min(left)).max(SHORTEST))
}

/// A request is about to be sent in `version`.
pub(super) fn arm(asked: &Parts, version: Version, exchange: &Exchange, request: &SiteRequest) {
    let timeouts = &request.site.pool.config.timeouts;
    let deadline = exchange.started + timeouts.total;
    let http2 = version == Version::HTTP_2;
    let pause = timeouts.between_bytes.max(request.first_byte());
    let socket = exchange.origin.socket.filter(|_| !http2);
    let shared = deadline::Watched::Shared(pause + SHORTEST);
    let watched = socket.map_or(shared, deadline::Watched::Socket);
    if http2 && is_grpc(asked) {
        deadline::disarm();
    } else if http2 || request.has_body {
        deadline::arm(watched, deadline);
    } else {
        let first_byte = clock::instant() + request.first_byte();
        deadline::arm(watched, first_byte.min(deadline));
    }
}

/// The origin has the request with its body.
pub(super) fn sent(exchange: &Exchange) {
    if let Some(request) = exchange.request.as_ref().filter(|it| it.has_body)
        && exchange.origin.status.is_none()
    {
        let total = request.site.pool.config.timeouts.total;
        let first_byte = clock::instant() + request.first_byte();
        deadline::hasten(first_byte.min(exchange.started + total));
    }
}

/// The answer's head is there. What may stay open for long ends by pauses alone.
pub(super) fn answered(asked: &Parts, head: &ResponseHeader, exchange: &Exchange) {
    let open = head.status == StatusCode::SWITCHING_PROTOCOLS
        || (head.version == Version::HTTP_2 && is_grpc(asked));
    match exchange.pool().filter(|_| !open) {
        Some(pool) => deadline::extend(exchange.started + pool.config.timeouts.total),
        None => deadline::disarm(),
    }
}

/// Whether a request that was not answered in time is to be sent to another replica.
pub(super) fn may_replace(method: &Method, exchange: &mut Exchange) -> bool {
    let Some((pool, replica)) = exchange.pool().zip(exchange.origin.replica()) else {
        return false;
    };
    let sent = exchange.origin.attempt_started.unwrap_or(exchange.started);
    let may = method.is_safe()
        && !exchange.origin.replaced
        && clock::instant() < exchange.started + pool.config.timeouts.total
        && pool.may_replace(replica, sent, &exchange.origin.tried);
    exchange.origin.replaced |= may;
    may
}

/// Whether the origin did not look at the request (RFC 9113 §8.7).
pub(super) fn was_refused(error: &Error) -> bool {
    *error.etype() == ErrorType::H2Error && error.retry()
}
