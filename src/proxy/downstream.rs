//! What Pingora knows of a client's connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Version;
use http::request::Parts;
use pingora_error::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use super::arrival::Downstream;
use super::exchange::Exchange;
use super::{deadline, forward};
use crate::clock;
use crate::edge::{self, Guest};
use crate::guard::connections::Refused;
use crate::request::Scheme;
use crate::request::arrival::Refusal;

/// Whether a client of HTTP/2 is gone, or reset its request before anything was done about it. Such a request
/// must cost next to nothing; and its end may no longer show, so that it would be taken for one with a body.
pub(super) async fn is_reset(session: &mut Session) -> bool {
    let Some(closed) = session.as_downstream_mut().watch_h2_stream_close() else {
        return false;
    };
    let mut closed = std::pin::pin!(closed);
    poll_fn(|context| Poll::Ready(closed.as_mut().poll(context).is_ready())).await
}

/// A 103 before the answer is not the answer.
pub(super) fn nothing_final_written(session: &Session) -> bool {
    session
        .response_written()
        .is_none_or(|head| head.status.is_informational())
}

/// The connection of a request that comes from Pingora: one of HTTP/2.
///
/// # Errors
/// When its client sends too many of them.
pub(super) fn downstream(
    session: &Session,
    exchange: &Exchange,
    has_body: bool,
) -> Result<Downstream, Refusal> {
    let guest = guest(session);
    let limits = &exchange.runtime.config.client.limits;
    if guest.is_some_and(|guest| !guest.may_ask(limits)) {
        let why = "too many requests".into();
        return Err(Refusal { status: 429, why });
    }
    let address = edge::client(session.client_addr());
    let digest = session.digest();
    Ok(Downstream {
        client: guest.map_or(address, |guest| guest.client),
        peer: guest.map_or(address, |guest| guest.peer),
        scheme: Scheme::of(digest.is_some_and(|digest| digest.ssl_digest.is_some())),
        unannounced_body: session.req_header().version == Version::HTTP_2 && has_body,
    })
}

/// Whose connection it is, where it is one of HTTP/2.
fn guest(session: &Session) -> Option<&Arc<Guest>> {
    edge::guest(session.digest()?.proxy_digest.as_deref())
}

/// Whether the body of a request over HTTP/2 comes too slowly. One of HTTP/1 is looked at as it is read. A stream
/// of gRPC may be silent.
pub(super) fn body_is_too_slow(session: &Session, exchange: &mut Exchange) -> bool {
    let least = exchange.runtime.config.client.min_body_rate;
    let missed = await_body(session, exchange)
        .is_some_and(|waited| least.is_missed(waited, exchange.body_received));
    if missed {
        told_slow(session);
    }
    missed
}

/// More of the body is to come: if it stops, nothing else would notice. How long it has been coming, where that
/// counts.
pub(super) fn await_body(session: &Session, exchange: &mut Exchange) -> Option<Duration> {
    let asked: &Parts = session.req_header();
    if asked.version != Version::HTTP_2 || forward::is_grpc(asked) {
        return None;
    }
    let now = clock::instant();
    let began = *exchange.body_began.get_or_insert(now);
    let client = &exchange.runtime.config.client;
    // It may be the origin that takes nothing. Pingora's timer for that is this long.
    let origins = exchange
        .pool()
        .map(|pool| pool.config.timeouts.between_bytes);
    let pause = now + client.body_timeout + origins.unwrap_or_default();
    let by_rate = client.min_body_rate.missed_after(exchange.body_received);
    let until = by_rate.map_or(pause, |missed| pause.min(began + missed));
    deadline::await_body(Some(until));
    Some(now.saturating_duration_since(began))
}

/// Whether the origin failed because it was waiting for the body, which is no fault of it.
pub(super) fn body_is_late(exchange: &Exchange, error: &Error) -> bool {
    let unfinished = exchange.owes_body() && exchange.origin.status.is_none();
    *error.esource() == ErrorSource::Upstream
        && (deadline::body_is_late() || unfinished && *error.etype() == ErrorType::ReadTimedout)
}

/// The body has stopped.
#[allow(
    clippy::unnecessary_box_returns,
    reason = "Pingora makes and takes errors in boxes"
)]
pub(super) fn body_stopped(session: &Session) -> Box<Error> {
    told_slow(session);
    let mut error =
        Error::explain(ErrorType::HTTPStatus(408), "the body does not come").into_down();
    error.set_retry(false);
    error
}

fn told_slow(session: &Session) {
    if let Some(guest) = guest(session) {
        guest.refused(Refused::SlowBody);
    }
}
