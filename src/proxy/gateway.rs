//! Pingora's hooks, in the order in which a request meets them. Each borrows, asks, applies.

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, Version};
use pingora_core::protocols::Digest;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use super::downstream::{
    await_body, body_is_late, body_is_too_slow, body_stopped, is_reset, nothing_final_written,
};
use super::exchange::{Evaluated, Exchange};
use super::fetching::Landed;
use super::{
    answer, cached, deadline, edge_reply, error_page, forward, guarding, hit, limiting, passing,
    record, serve, upstream, waiting, zone_page,
};
use crate::cache::eligibility::RequestDecision;
use crate::clock;
use crate::origin::{Ask, Fetcher, Outcome, is_outage};
use crate::rules::phase::OriginPatch;
use crate::server::Shared;
use crate::store::Flights;

/// The proxy behind all listeners.
#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) shared: Arc<Shared>,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) flights: Arc<Flights<Landed>>,
}

impl Gateway {
    pub(super) fn new(shared: Arc<Shared>, conf: &ServerConf) -> Self {
        Self {
            shared,
            fetcher: Arc::new(Fetcher::new(conf)),
            flights: Flights::new(),
        }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Box<Exchange>;

    fn new_ctx(&self) -> Box<Exchange> {
        let runtime = self.shared.runtime();
        Box::new(Exchange::new(runtime, clock::instant(), clock::now()))
    }

    fn init_downstream_modules(&self, _modules: &mut pingora_core::modules::http::HttpModules) {
        // Pingora's compression module would change bodies behind the policy's back.
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        if session.req_header().version <= Version::HTTP_10 {
            // RFC 9110 §15.2: such a client knows no interim responses.
            session.as_downstream_mut().set_ignore_info_resp(true);
        }
        if exchange.request.is_none() && exchange.refusal.is_none() {
            let has_body = !session.as_downstream_mut().is_body_empty();
            if is_reset(session).await {
                return Error::e_explain(
                    ErrorType::ConnectionClosed,
                    "the client reset the stream",
                )
                .map_err(|error: Box<Error>| error.into_down());
            }
            self.receive(session, exchange, has_body);
            if let Some(request) = limiting::ask(&self.shared, exchange).await {
                self.resume(session, exchange, request);
            }
        }
        match exchange.refusal.take() {
            None => Ok(()),
            Some(refusal) => Error::e_explain(
                ErrorType::HTTPStatus(refusal.status),
                refusal.why.into_owned(),
            )
            .map_err(|error: Box<Error>| error.into_down()),
        }
    }

    /// An HTTP/1 request was evaluated before Pingora saw it.
    fn on_connection_reuse(
        &self,
        session: &mut Session,
        exchange: &mut Box<Exchange>,
        carried: Box<dyn Any + Send + Sync>,
    ) {
        let Ok(carried) = carried.downcast::<Evaluated>() else {
            return;
        };
        let Evaluated {
            exchange: evaluated,
            head,
        } = *carried;
        *exchange = evaluated;
        if let Err(error) = forward::adopt(session.req_header_mut(), &head) {
            // It came out of a head, so it fits into one.
            tracing::warn!(%error, "a request was not taken over");
            *exchange = self.new_ctx();
        }
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Box<Exchange>,
    ) -> Result<bool> {
        let asked: &Parts = session.req_header();
        guarding::settle(&self.shared, asked, exchange).await;
        if exchange.edge.is_none() {
            // Who is refused takes no place.
            exchange.edge = waiting::on_arrival(exchange);
        }
        if let Some(found) = edge_reply::found(exchange, asked) {
            let asked = asked.clone();
            serve::found(session, exchange, found, &asked).await?;
            return Ok(true);
        }
        // The origin of what goes past the cache may have been asked before Pingora was.
        if exchange.replaced.is_some()
            && let Some(status) = exchange.origin.status
        {
            return zone_page::replace(status);
        }
        if let Some(failure) = exchange.failure {
            serve::refuse(self, session, exchange, error_page::status_of(failure)).await?;
            return Ok(true);
        }
        let lookup = exchange
            .request
            .as_ref()
            .is_some_and(|request| request.decision == RequestDecision::Lookup);
        if lookup {
            // An HTTP/1 request has been looked for in memory before it came here.
            if exchange.lookup.is_none() {
                let asked = Arc::new(session.req_header().as_owned_parts());
                if let Some(found) = hit::find(&self.shared, exchange, &asked) {
                    serve::found(session, exchange, found, &asked).await?;
                    return Ok(true);
                }
            }
            // In a box, so that what is not needed for a hit is not moved for one.
            Box::pin(cached::answer(self, session, exchange)).await?;
            return Ok(true);
        }
        passing::prepare(self, session, exchange).await
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Box<Exchange>,
    ) -> Result<Box<HttpPeer>> {
        let upgrade = exchange
            .request
            .as_ref()
            .is_some_and(|request| request.upgrade);
        let Some(pool) = exchange.pool().cloned() else {
            return Error::e_explain(ErrorType::HTTPStatus(421), "no zone");
        };
        // The place at a replica that failed is given up first.
        exchange.origin.end_attempt();
        let head = session.req_header();
        let request = exchange.request.as_ref();
        let ask = Ask {
            tried: &exchange.origin.tried,
            hash: request.and_then(|request| pool.hash(&request.view(head))),
            client: request.map(|request| request.client_of(head)),
            stays_open: upgrade,
        };
        let turn = match pool.turn(&ask) {
            Ok(turn) => turn,
            Err(failure) => {
                exchange.failure = Some(failure);
                return Error::e_explain(ErrorType::HTTPStatus(503), "no replica may be asked");
            }
        };
        if exchange.origin.attempts == 0 {
            pool.retries.earn();
        }
        let patch = exchange
            .request
            .as_ref()
            .map(|request| &request.applied.origin);
        let mut peer = pool.peer(
            turn.replica(),
            upgrade,
            patch.unwrap_or(&OriginPatch::default()),
        );
        if let Some(request) = &exchange.request {
            let head = session.req_header();
            let pause = upstream::longest_pause(head, request, &peer, exchange.started);
            peer.options.read_timeout = pause;
        }
        exchange.origin.begin_attempt(turn, clock::instant());
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        exchange: &mut Box<Exchange>,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let (Some(pool), Some(replica)) = (exchange.pool(), exchange.origin.replica()) {
            pool.record(replica, Outcome::NotConnected);
        }
        self.count_failure(exchange, &error);
        // Nothing was sent, so every method may be tried elsewhere.
        let again = self.may_retry(exchange);
        if !again {
            exchange.tell_pool(false);
        }
        error.set_retry(again);
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _reused: bool,
        _: &HttpPeer,
        socket: RawFd,
        _: Option<&Digest>,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        exchange.origin.connected(clock::instant());
        exchange.origin.socket = Some(socket);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        exchange.origin.requested = Some((clock::now(), clock::instant()));
        if let Some(replica) = exchange.origin.replica() {
            replica.count_request();
        }
        let Some(request) = &exchange.request else {
            return Ok(());
        };
        upstream::arm(session.req_header(), head.version, exchange, request);
        self.shared
            .metrics
            .origin_request(&request.site.pool.config.name);
        forward::prepare(head, request, exchange.request_id.as_str())?;
        if let Some(replica) = exchange.origin.replica() {
            request.site.pool.make_out(head, replica)?;
        }
        if request.has_body {
            await_body(session, exchange);
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        let arrived = body.as_ref().map_or(0, Bytes::len);
        exchange.body_received = exchange
            .body_received
            .saturating_add(u64::try_from(arrived).unwrap_or(u64::MAX));
        let upgraded = session.as_downstream().was_upgraded();
        if !upgraded && exchange.body_received > exchange.max_body_size() {
            return Error::e_explain(
                ErrorType::HTTPStatus(413),
                "the body is larger than allowed",
            )
            .map_err(|error: Box<Error>| error.into_down());
        }
        if !end && body_is_too_slow(session, exchange) {
            return Error::e_explain(ErrorType::HTTPStatus(408), "the body comes too slowly")
                .map_err(|error: Box<Error>| error.into_down());
        }
        exchange.body_ended |= end;
        if end {
            deadline::await_body(None);
            upstream::sent(exchange);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let asked = exchange
            .request
            .as_ref()
            .is_some_and(|request| request.upgrade);
        if head.status == StatusCode::SWITCHING_PROTOCOLS && !asked {
            // RFC 9110 §15.2.2: nobody asked for another protocol.
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "an unsolicited 101")
                .map_err(|error: Box<Error>| error.into_up());
        }
        exchange.origin.answered(head.status, clock::instant());
        // What is said before the whole body is there may be for the client that holds it back: a few such clients
        // would have everybody refused.
        if !(exchange.owes_body() && is_outage(head.status)) {
            exchange.tell_pool(!is_outage(head.status));
        }
        if let (Some(pool), Some(after)) = (exchange.pool(), exchange.origin.first_byte_after) {
            self.shared
                .metrics
                .origin_first_byte(&pool.config.name, after);
            if let Some(replica) = exchange.origin.replica() {
                pool.record(replica, Outcome::Answered(head.status.as_u16(), after));
            }
        }
        upstream::answered(session.req_header(), head, exchange);
        passing::answered(self, session, exchange, head);
        let error = exchange.pool().and_then(|pool| {
            let asked = session.req_header();
            pool.receive(asked, head)
        });
        if let Some(status) = error {
            // There is a page of ours for it, or one of the zone's.
            exchange.replaced = Some(HeaderMap::new());
            return zone_page::replace(status);
        }
        if zone_page::takes_over(session.req_header(), exchange, head) {
            return zone_page::replace(head.status);
        }
        answer::receive(head);
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Box<Exchange>,
    ) -> Result<Option<Duration>> {
        if deadline::body_is_late() {
            return Err(body_stopped(session));
        }
        if deadline::passed() {
            // On a connection that is shared nothing else ends it.
            return Error::e_explain(ErrorType::ReadTimedout, "the pool's `total` has passed")
                .map_err(|error: Box<Error>| error.into_up());
        }
        passing::body(&self.shared.store, exchange, body.as_ref(), end);
        if end {
            deadline::disarm();
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        let status = passing::status(exchange);
        exchange.status = Some(status);
        answer::send(head, session.req_header(), exchange, &status, clock::now());
        if !head.status.is_informational() {
            serve::keep_date(session, head);
        }
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Box<Exchange>,
        _reused: bool,
    ) -> Box<Error> {
        if body_is_late(exchange, &error) {
            deadline::disarm();
            return body_stopped(session);
        }
        let timed_out = deadline::passed()
            || matches!(
                error.etype(),
                ErrorType::ReadTimedout | ErrorType::WriteTimedout
            );
        deadline::disarm();
        if *error.esource() != ErrorSource::Upstream || exchange.replaced.is_some() {
            error.set_retry(false);
            return error;
        }
        if let (Some(pool), Some(replica)) = (exchange.pool(), exchange.origin.replica()) {
            let outcome = if timed_out {
                Outcome::TimedOut
            } else {
                Outcome::Broken
            };
            pool.record(replica, outcome);
        }
        self.count_failure(exchange, &error);
        // RFC 9110 §9.2.2: only what is idempotent may be sent twice. A slow origin is not asked
        // again, and an answer that has begun cannot be taken back.
        let method = &session.req_header().method;
        let repeatable = (method.is_idempotent() || upstream::was_refused(&error))
            && !session.as_downstream().retry_buffer_truncated()
            && nothing_final_written(session)
            && exchange.origin.status.is_none()
            && (!timed_out || upstream::may_replace(method, exchange));
        let again = repeatable && self.may_retry(exchange);
        if again {
            deadline::forget();
        }
        if exchange.origin.status.is_none() {
            exchange.attempt_failed(again);
        }
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Box<Exchange>,
    ) -> FailToProxy {
        let status = error_page::status(error, deadline::passed());
        deadline::disarm();
        let nothing_sent = nothing_final_written(session);
        if let Some(status) = status.filter(|_| nothing_sent)
            && let Err(error) = self.send_error(session, exchange, status).await
        {
            tracing::debug!(%error, "error page not sent");
        }
        FailToProxy {
            error_code: status.map_or(0, |status| status.as_u16()),
            can_reuse_downstream: false,
        }
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&Error>,
        exchange: &mut Box<Exchange>,
    ) {
        deadline::disarm();
        let duration = clock::instant().saturating_duration_since(exchange.started);
        record::session(&self.shared, session, error, exchange, duration);
    }
}

impl Gateway {
    fn may_retry(&self, exchange: &Exchange) -> bool {
        let Some(pool) = exchange.pool() else {
            return false;
        };
        let may = exchange.origin.attempts <= pool.config.retries.max && pool.retries.spend();
        if may {
            self.shared.metrics.origin_retry(&pool.config.name);
        }
        may
    }

    fn count_failure(&self, exchange: &Exchange, error: &Error) {
        if let Some(pool) = exchange.pool() {
            let kind = error_page::kind(error, deadline::passed());
            self.shared.metrics.origin_failure(&pool.config.name, kind);
        }
    }
}
