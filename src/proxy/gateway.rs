//! Pingora's hooks, in the order in which a request meets them. Each borrows, asks, applies.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, Version};
use pingora_cache::key::HashBinary;
use pingora_cache::lock::CacheKeyLockImpl;
use pingora_cache::predictor::Predictor;
use pingora_cache::{
    CacheKey, CacheMeta, CacheOptionOverrides, ForcedFreshness, HitHandler, RespCacheable,
};
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, RangeType, Session};

use super::collapse::Collapse;
use super::exchange::Exchange;
use super::{answer, arrival, caching, deadline, error_page, forward, record};
use crate::cache::eligibility::RequestDecision;
use crate::cache::reuse::{ForwardReason, OriginState, StoredTimes};
use crate::clock;
use crate::fields::validators::{Condition, Validators, evaluate};
use crate::server::Shared;

/// Keys remembered as uncacheable: 16 shards of this many.
const REMEMBERED_PER_SHARD: usize = 4096;
/// How often a waiter competes anew after another request's fetch came to nothing.
const LOCK_RETRIES: usize = 10;

/// The proxy behind all listeners.
pub(super) struct Gateway {
    shared: Arc<Shared>,
    collapse: &'static CacheKeyLockImpl,
    uncacheable: &'static Predictor<16>,
}

impl Gateway {
    /// The one place, with the store, where what Pingora wants static is made so.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let collapse_timeout = shared.runtime().config.cache.collapse_timeout;
        Self {
            collapse: Box::leak(Box::new(Collapse::new(collapse_timeout))),
            uncacheable: Box::leak(Box::new(Predictor::new(
                REMEMBERED_PER_SHARD,
                Some(caching::is_passing),
            ))),
            shared,
        }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new(self.shared.runtime(), clock::instant(), clock::now())
    }

    fn init_downstream_modules(&self, _modules: &mut pingora_core::modules::http::HttpModules) {
        // Pingora's compression module would change bodies behind the policy's back.
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<()> {
        arrival::receive(session, exchange)
    }

    fn request_cache_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        let lookup = exchange
            .request
            .as_ref()
            .is_some_and(|request| request.decision == RequestDecision::Lookup);
        if lookup {
            let mut options = CacheOptionOverrides::default();
            options.wait_timeout = Some(exchange.runtime.config.cache.collapse_timeout);
            options.max_lock_retries = Some(LOCK_RETRIES);
            session.cache.enable(
                self.shared.store,
                None,
                Some(self.uncacheable),
                Some(self.collapse),
                Some(options),
            );
        }
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, exchange: &mut Exchange) -> Result<CacheKey> {
        match &exchange.request {
            Some(request) => Ok(caching::pingora_key(request, session.req_header())),
            None => Error::e_explain(ErrorType::InternalError, "no zone"),
        }
    }

    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        _: &mut Exchange,
        request: &RequestHeader,
    ) -> Option<HashBinary> {
        caching::variance(meta.headers(), &request.headers)
    }

    fn cache_miss(&self, session: &mut Session, exchange: &mut Exchange) {
        let variant = session
            .cache
            .maybe_cache_key()
            .is_some_and(|key| key.get_variance_key().is_some());
        exchange.forward = if variant {
            ForwardReason::VaryMiss
        } else {
            ForwardReason::UriMiss
        };
        session.cache.cache_miss();
    }

    async fn cache_hit_filter(
        &self,
        _: &mut Session,
        meta: &CacheMeta,
        _: &mut HitHandler,
        is_fresh: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<ForcedFreshness>> {
        let Some(times) = meta.extensions().get::<StoredTimes>().copied() else {
            return Ok(Some(ForcedFreshness::ForceMiss));
        };
        exchange.found = Some(times);
        exchange.forward = ForwardReason::Stale;
        Ok(caching::forced_freshness(
            exchange,
            &times,
            is_fresh,
            clock::now(),
        ))
    }

    fn should_serve_stale(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        error: Option<&Error>,
    ) -> bool {
        let origin = match error {
            None => OriginState::Unasked,
            Some(error) if *error.esource() == ErrorSource::Upstream => OriginState::Failed,
            Some(_) => return false,
        };
        let serve = caching::may_serve_stale(exchange, origin, clock::now());
        if serve && error.is_none() {
            // The background validation replays this head as HTTP/1. Pingora would write "HTTP/2"
            // into it, which its own parser refuses, and nothing would ever be validated.
            session.req_header_mut().set_version(Version::HTTP_11);
        }
        serve
    }

    fn cache_not_modified_filter(
        &self,
        session: &Session,
        head: &ResponseHeader,
        _: &mut Exchange,
    ) -> Result<bool> {
        let request = session.req_header();
        let stored = Validators::of(&head.headers);
        Ok(
            evaluate(&request.method, &request.headers, head.status, &stored)
                == Condition::NotModified,
        )
    }

    fn range_header_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        _: &mut Exchange,
    ) -> RangeType {
        caching::range(session.req_header(), head)
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let upgrade = exchange
            .request
            .as_ref()
            .is_some_and(|request| request.upgrade);
        let Some(pool) = exchange.pool().cloned() else {
            return Error::e_explain(ErrorType::HTTPStatus(421), "no zone");
        };
        let Some(replica) = pool.pick(&exchange.origin.tried) else {
            return Error::e_explain(ErrorType::HTTPStatus(503), "the pool has no replica");
        };
        if exchange.origin.attempts == 0 {
            pool.retries.earn();
        }
        let peer = pool.peer(&replica, upgrade);
        exchange.origin.begin_attempt(replica, clock::instant());
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let (Some(pool), Some(replica)) = (exchange.pool(), &exchange.origin.replica) {
            pool.record_connect_failure(replica);
        }
        self.count_failure(exchange, &error);
        // Nothing was sent, so every method may be tried elsewhere.
        error.set_retry(self.may_retry(exchange));
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _reused: bool,
        _: &HttpPeer,
        socket: RawFd,
        _: Option<&Digest>,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let now = clock::instant();
        exchange.origin.connected(now);
        let timeouts = exchange
            .pool()
            .map(|pool| pool.config.timeouts.clone())
            .unwrap_or_default();
        deadline::arm(
            socket,
            (now + timeouts.first_byte).min(exchange.started + timeouts.total),
        );
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        head: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        exchange.origin.requested = Some((clock::now(), clock::instant()));
        if let Some(replica) = &exchange.origin.replica {
            replica.count_request();
        }
        let Some(request) = &exchange.request else {
            return Ok(());
        };
        self.shared
            .metrics
            .origin_request(&request.site.pool.config.name);
        forward::prepare(head, exchange, request)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let arrived = body.as_ref().map_or(0, Bytes::len);
        exchange.body_received = exchange
            .body_received
            .saturating_add(u64::try_from(arrived).unwrap_or(u64::MAX));
        let upgraded = session.as_downstream().was_upgraded();
        if !upgraded && exchange.body_received > exchange.runtime.config.client.max_body_size {
            return Error::e_explain(
                ErrorType::HTTPStatus(413),
                "the body is larger than allowed",
            )
            .map_err(|error: Box<Error>| error.into_down());
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Exchange,
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
        if let (Some(pool), Some(after)) = (exchange.pool(), exchange.origin.first_byte_after) {
            self.shared
                .metrics
                .origin_first_byte(&pool.config.name, after);
        }
        let total = exchange.pool().map(|pool| pool.config.timeouts.total);
        match total.filter(|_| head.status != StatusCode::SWITCHING_PROTOCOLS) {
            Some(total) => deadline::extend(exchange.started + total),
            None => deadline::disarm(),
        }
        if head.status == StatusCode::NOT_MODIFIED {
            exchange.not_modified = Some(head.headers.clone());
        }
        answer::receive(head, exchange);
        Ok(())
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        head: &ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<RespCacheable> {
        let busy = self.shared.store.is_busy();
        Ok(caching::cacheable(
            session,
            head,
            exchange,
            busy,
            clock::now(),
        ))
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        end: bool,
        _: &mut Exchange,
    ) -> Result<Option<Duration>> {
        if end {
            deadline::disarm();
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let now = clock::now();
        let status = caching::status(session, exchange, now);
        exchange.status = Some(status);
        if caching::fills_unknown_length(session, head) {
            // What may turn out too large to keep must not run ahead of this client.
            session.set_proxy_tasks_enabled(false);
        }
        answer::send(head, exchange, &status, now)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        _reused: bool,
    ) -> Box<Error> {
        let timed_out = deadline::passed()
            || matches!(
                error.etype(),
                ErrorType::ReadTimedout | ErrorType::WriteTimedout
            );
        deadline::disarm();
        if *error.esource() != ErrorSource::Upstream {
            error.set_retry(false);
            return error;
        }
        if let Some(replica) = &exchange.origin.replica {
            replica.count_failure();
        }
        self.count_failure(exchange, &error);
        // RFC 9110 §9.2.2: only what is idempotent may be sent twice. A slow origin is not asked
        // again, and an answer that has begun cannot be taken back.
        let repeatable = session.req_header().method.is_idempotent()
            && !session.as_downstream().retry_buffer_truncated()
            && nothing_final_written(session)
            && exchange.origin.status.is_none()
            && !timed_out;
        error.set_retry(repeatable && self.may_retry(exchange));
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
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

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        deadline::disarm();
        let duration = clock::instant().saturating_duration_since(exchange.started);
        record::write(&self.shared, session, error, exchange, duration);
    }
}

/// A 103 before the answer is not the answer.
fn nothing_final_written(session: &Session) -> bool {
    session
        .response_written()
        .is_none_or(|head| head.status.is_informational())
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

    async fn send_error(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        status: StatusCode,
    ) -> Result<()> {
        let (mut head, body) =
            error_page::page(status, &session.req_header().headers, &exchange.request_id)?;
        let now = clock::now();
        let told = caching::status(session, exchange, now);
        exchange.status = exchange.request.is_some().then_some(told);
        head.insert_header(http::header::DATE, httpdate::fmt_http_date(now))?;
        answer::send(&mut head, exchange, &told, now)?;
        let no_body = session.req_header().method == http::Method::HEAD;
        session.set_keepalive(None);
        session
            .write_response_header(Box::new(head), no_body)
            .await?;
        if !no_body {
            session
                .write_response_body(Some(Bytes::from(body)), true)
                .await?;
        }
        Ok(())
    }
}
