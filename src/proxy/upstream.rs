//! What Pingora's connections to origins are watched by, which differs by their version of HTTP.
//!
//! A connection of HTTP/1 is one request's, and its socket is shut down when the request takes too long. One
//! of HTTP/2 is shared: there Pingora's own timer watches the pauses, and what takes too long is given up.

use std::time::Duration;

use http::request::Parts;
use http::{StatusCode, Version};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType};
use pingora_http::ResponseHeader;

use super::deadline;
use super::exchange::{Exchange, SiteRequest};
use super::forward::is_grpc;
use crate::clock;
use crate::config::Http2;

/// How long Pingora waits for the origin's next bytes. It has one timer for the head and for pauses within
/// the body, and over HTTP/2 it runs while the request's body is sent as well.
pub(super) fn longest_pause(
    asked: &Parts,
    request: &SiteRequest,
    peer: &HttpPeer,
) -> Option<Duration> {
    let pool = &request.site.pool.config;
    if pool.http2 != Http2::Off && !request.upgrade {
        if is_grpc(asked) {
            return Some(pool.timeouts.upgraded_idle);
        }
        if request.has_body {
            return Some(pool.timeouts.total);
        }
    }
    let pause = peer.options.read_timeout;
    pause.map(|pause| pause.max(request.first_byte()))
}

/// A request is about to be sent in `version`.
pub(super) fn arm(asked: &Parts, version: Version, exchange: &Exchange, request: &SiteRequest) {
    let deadline = exchange.started + request.site.pool.config.timeouts.total;
    let http2 = version == Version::HTTP_2;
    let socket = exchange.origin.socket.filter(|_| !http2);
    if http2 && is_grpc(asked) {
        deadline::disarm();
    } else if http2 || request.has_body {
        deadline::arm(socket, deadline);
    } else {
        let first_byte = clock::instant() + request.first_byte();
        deadline::arm(socket, first_byte.min(deadline));
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

/// Whether the origin did not look at the request (RFC 9113 §8.7).
pub(super) fn was_refused(error: &Error) -> bool {
    *error.etype() == ErrorType::H2Error && error.retry()
}
