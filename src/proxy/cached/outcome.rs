//! How a request is answered once the fetch it began, or followed, has an outcome.

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use pingora_error::Result;
use pingora_proxy::Session;

use super::super::error_page;
use super::super::exchange::Exchange;
use super::super::fetching::{Arrived, ArrivedResult, Landed, Refetch, is_failure};
use super::super::lookup::{Stock, ttl};
use super::super::serve;
use super::super::source::Source;
use super::{Request, Round};
use crate::cache::reuse::{Found, OriginState, ReuseDecision, StoredTimes, decide_reuse};
use crate::cache::status::{CacheStatus, Forwarded, Outcome, Storing};
use crate::clock;
use crate::origin::{FetchFailure, Shed};
use crate::store::Fill;

impl Request<'_> {
    pub(super) async fn arrived(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stock: &Stock,
        arrived: Arrived,
    ) -> Result<Round> {
        if matches!(arrived.result, ArrivedResult::Recalled) {
            return Ok(Round::Again(None));
        }
        let recalled = arrived.recalled;
        let recalled = recalled.map(|(stored, times)| Stock::Selected(stored, times));
        let stock = recalled.as_ref().unwrap_or(stock);
        exchange.origin.fetched(&arrived.report, arrived.status);
        exchange.storing_refused =
            matches!(arrived.storing, Storing::NotStored(reason) if !reason.is_rarity());
        exchange.requested = arrived.requested;
        exchange.hops = arrived.hops;
        let now = clock::now();
        let failed = match &arrived.result {
            ArrivedResult::Failed(_) => true,
            ArrivedResult::Reader(..) => arrived.status.is_some_and(is_failure),
            ArrivedResult::Stored(_) | ArrivedResult::Recalled => false,
        };
        let origin = match &arrived.result {
            ArrivedResult::Failed(failure) => state_after(*failure),
            _ => OriginState::Failed,
        };
        if failed && let Some(round) = self.stale(session, exchange, stock, origin, now).await? {
            return Ok(round);
        }
        let mut forwarded = Forwarded {
            reason: exchange.forward,
            status: arrived.status,
            storing: arrived.storing,
            collapsed: false,
        };
        match arrived.result {
            ArrivedResult::Failed(failure) => {
                let told = CacheStatus {
                    outcome: Outcome::Forwarded(forwarded),
                    ttl: None,
                };
                self.failed(session, exchange, failure, told).await
            }
            ArrivedResult::Recalled => Ok(Round::Again(None)),
            ArrivedResult::Stored(stored) => {
                let status = CacheStatus {
                    ttl: kept(&forwarded).then(|| stored.times().ttl(now)),
                    outcome: Outcome::Forwarded(forwarded),
                };
                self.serve_stored(session, exchange, &stored, status).await
            }
            ArrivedResult::Reader(reader, fields) => {
                let fill = reader.fill().clone();
                let refetch = self.refetch(exchange, &fill);
                if let Some(times) = &fill.times {
                    exchange.served_age(times);
                }
                forwarded.status = Some(fill.status);
                let status = CacheStatus {
                    ttl: ttl(fill.times.as_ref().filter(|_| kept(&forwarded)), now),
                    outcome: Outcome::Forwarded(forwarded),
                };
                serve::response(
                    session,
                    exchange,
                    fill.status,
                    Arc::unwrap_or_clone(fields),
                    Source::filling(reader, refetch),
                    status,
                )
                .await?;
                Ok(Round::Answered)
            }
        }
    }

    /// What another request's fetch came to, for this one.
    pub(super) async fn follow(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stock: &Stock,
        landed: Landed,
    ) -> Result<Round> {
        let now = clock::now();
        let reason = exchange.forward;
        let collapsed = |status, ttl| CacheStatus::collapsed(reason, status, Storing::Unknown, ttl);
        match landed {
            Landed::Passing => Ok(Round::Alone),
            Landed::Stored(stored) => {
                if !self.lookup.selects(&stored.selection) {
                    return Ok(Round::Again(Some(stored.selection.vary.clone())));
                }
                if !self.may_reuse(&stored.times(), now) {
                    return Ok(Round::Alone);
                }
                let status = collapsed(Some(stored.status), Some(stored.times().ttl(now)));
                self.serve_stored(session, exchange, &stored, status).await
            }
            Landed::Filling(fill) => {
                if !self.lookup.selects(&fill.selection) {
                    return Ok(Round::Again(Some(fill.selection.vary.clone())));
                }
                let reader = fill
                    .times
                    .filter(|times| self.may_reuse(times, now))
                    .and_then(|_| fill.reader());
                let Some(reader) = reader else {
                    return Ok(Round::Alone);
                };
                if let Some(times) = &fill.times {
                    exchange.served_age(times);
                }
                let status = collapsed(Some(fill.status), ttl(fill.times.as_ref(), now));
                let source = Source::filling(reader, self.refetch(exchange, &fill));
                let fields = HeaderMap::clone(&fill.fields);
                serve::response(session, exchange, fill.status, fields, source, status).await?;
                Ok(Round::Answered)
            }
            Landed::Failed(failure, shared) => {
                let origin = state_after(failure);
                if let Some(round) = self.stale(session, exchange, stock, origin, now).await? {
                    return Ok(round);
                }
                // What waited for its turn in vain does not do so twice.
                let waited = matches!(
                    failure,
                    FetchFailure::Timeout | FetchFailure::Shed(Shed::QueueTimeout)
                );
                if !self.failed && !waited {
                    // One of those who waited tries once more, for all of them.
                    return Ok(Round::AfterFailure);
                }
                let shared = shared.filter(|fill| self.lookup.selects(&fill.selection));
                let Some(fill) = shared else {
                    let told = collapsed(None, None);
                    return self.failed(session, exchange, failure, told).await;
                };
                let Some(reader) = fill.reader() else {
                    return Ok(Round::Alone);
                };
                let status = collapsed(Some(fill.status), None);
                let source = Source::filling(reader, self.refetch(exchange, &fill));
                let fields = HeaderMap::clone(&fill.fields);
                serve::response(session, exchange, fill.status, fields, source, status).await?;
                Ok(Round::Answered)
            }
        }
    }

    /// For readers that are so far behind that slices are gone.
    fn refetch(&self, exchange: &Exchange, fill: &Fill) -> Option<Refetch> {
        let body = (fill.slices(), fill.expected()?);
        let gateway = self.gateway;
        Some(Refetch::new(
            gateway,
            &self.lookup,
            exchange,
            &fill.fields,
            body,
        ))
    }

    /// Stale, without a place in the queue, where that is allowed; validated when there is room.
    pub(super) async fn while_limited(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stock: &Stock,
        now: SystemTime,
    ) -> Result<Option<Round>> {
        let limited = OriginState::Limited;
        let control = &self.lookup.control;
        let decision = decide_reuse(control, stock.found(), limited, now);
        if !matches!(decision, ReuseDecision::ReuseStale { .. }) {
            return Ok(None);
        }
        self.revalidate(exchange, stock);
        self.stale(session, exchange, stock, limited, now).await
    }

    /// Serves the stale response in place of a failure, where the policy allows it (RFC 5861 §4).
    pub(super) async fn stale(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stock: &Stock,
        origin: OriginState,
        now: SystemTime,
    ) -> Result<Option<Round>> {
        let Stock::Selected(stored, _) = stock else {
            return Ok(None);
        };
        // A purge may have come while the origin was asked.
        let purges = &self.gateway.shared.store.purges;
        let Some(times) = purges.times(&self.lookup.key, stored) else {
            return Ok(None);
        };
        let control = &self.lookup.control;
        let decision = decide_reuse(control, Found::Complete(&times), origin, now);
        // An origin that fails does not give missing slices either.
        let servable = stored.content.is_complete() && stored.content.is_whole();
        match decision {
            ReuseDecision::Reuse { ttl } if servable => {
                let status = CacheStatus::hit(ttl);
                self.serve_stored(session, exchange, stored, status)
                    .await
                    .map(Some)
            }
            ReuseDecision::ReuseStale { ttl, mode } if servable => {
                let status = CacheStatus::stale_hit(ttl, mode);
                self.serve_stored(session, exchange, stored, status)
                    .await
                    .map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether a response that another request fetched may answer this one: not when it is to be
    /// validated for each (RFC 9111 §5.2.2.4).
    fn may_reuse(&self, times: &StoredTimes, now: SystemTime) -> bool {
        let control = &self.lookup.control;
        let decision = decide_reuse(control, Found::Complete(times), OriginState::Unasked, now);
        matches!(
            decision,
            ReuseDecision::Reuse { .. } | ReuseDecision::ReuseStale { .. }
        )
    }

    async fn failed(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        failure: FetchFailure,
        told: CacheStatus,
    ) -> Result<Round> {
        exchange.status = Some(told);
        exchange.failure = Some(failure);
        let status = error_page::status_of(failure);
        serve::refuse(self.gateway, session, exchange, status).await?;
        Ok(Round::Answered)
    }
}

/// What a failure says of the origin.
const fn state_after(failure: FetchFailure) -> OriginState {
    if failure.is_limit() {
        OriginState::Limited
    } else {
        OriginState::Failed
    }
}

const fn kept(forwarded: &Forwarded) -> bool {
    matches!(forwarded.storing, Storing::Stored | Storing::Freshened)
}
