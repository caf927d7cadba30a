//! A request that may use the cache, from its lookup to its answer.
//!
//! Asks the policy, and does what it says: answer from the store, wait for another request's fetch,
//! or begin one. Each waiter decides for itself what to do with how the fetch ended.

mod outcome;

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, Method, StatusCode, header};
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::exchange::Exchange;
use super::fetching::{Fetch, Landed, Purpose};
use super::gateway::Gateway;
use super::lookup::{Lookup, Stock};
use super::serve::{self, Source};
use crate::cache::partial;
use crate::cache::reuse::{ForwardReason, OriginState, ReuseDecision, StaleMode, decide_reuse};
use crate::cache::status::CacheStatus;
use crate::clock;
use crate::fields::range::RangeSpec;
use crate::fields::validators::{RangeCondition, Validators, evaluate_if_range};
use crate::fields::vary::Vary;
use crate::store::{Boarding, FlightKey, Landing, Lead, StoredResponse};

/// How often a request looks again when what it waited for was not for it.
const MOST_ROUNDS: usize = 8;

/// What one round of looking and waiting came to.
enum Round {
    Answered,
    /// Look again; responses under this key are now known to vary by this.
    Again(Option<Vary>),
    /// Look again: the fetch that was followed failed.
    AfterFailure,
    /// Do not wait for anybody any more.
    Alone,
}

/// Answers the request in `session`.
///
/// # Errors
/// What keeps it from being answered; see [`super::error_page`].
pub(super) async fn answer(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
) -> Result<()> {
    let Some(site) = exchange.request.clone() else {
        return Error::e_explain(ErrorType::InternalError, "no zone");
    };
    let lookup = Arc::new(Lookup::of(site, session.req_header().clone()));
    exchange.key = Some(lookup.key.clone());
    let mut request = Request {
        gateway,
        lookup,
        vary: None,
        failed: false,
    };
    for _ in 0..MOST_ROUNDS {
        match request.round(session, exchange).await? {
            Round::Answered => return Ok(()),
            Round::Again(vary) => request.vary = vary.or(request.vary),
            Round::AfterFailure => request.failed = true,
            Round::Alone => break,
        }
    }
    request.alone(session, exchange).await
}

struct Request<'g> {
    gateway: &'g Gateway,
    lookup: Arc<Lookup>,
    /// What responses under the key vary by, as a fetch showed.
    vary: Option<Vary>,
    /// Whether a fetch that it followed has failed.
    failed: bool,
}

impl Request<'_> {
    async fn round(&self, session: &mut Session, exchange: &mut Exchange) -> Result<Round> {
        let stock = self.lookup.find(&self.gateway.shared.store);
        let now = clock::now();
        if let Stock::Selected(stored, _) = &stock
            && !stored.content.is_complete()
        {
            return self
                .serve_parts(session, exchange, stored, &stock, now)
                .await;
        }
        let decision = decide_reuse(
            &self.lookup.control,
            stock.found(),
            OriginState::Unasked,
            now,
        );
        match (decision, &stock) {
            (ReuseDecision::Reuse { ttl }, Stock::Selected(stored, _)) => {
                let status = CacheStatus::hit(ttl);
                self.serve_stored(session, exchange, stored, status).await
            }
            (ReuseDecision::ReuseStale { ttl, mode }, Stock::Selected(stored, _)) => {
                if mode == StaleMode::WhileRevalidating {
                    self.revalidate(exchange, &stock);
                }
                let status = CacheStatus::stale_hit(ttl, mode);
                self.serve_stored(session, exchange, stored, status).await
            }
            (ReuseDecision::GatewayTimeout, _) => {
                exchange.status = Some(CacheStatus::gateway_timeout());
                serve::refuse(self.gateway, session, exchange, StatusCode::GATEWAY_TIMEOUT).await?;
                Ok(Round::Answered)
            }
            (ReuseDecision::Validate(reason), _) => {
                self.forward(session, exchange, &stock, reason, Purpose::Whole)
                    .await
            }
            (ReuseDecision::Forward(reason), _) => {
                self.forward(session, exchange, &stock, reason, self.purpose())
                    .await
            }
            // Nothing found cannot be reused; the types do not say so.
            _ => Ok(Round::Alone),
        }
    }

    /// What to ask for when nothing is stored: a range the client wants is all that is needed.
    fn purpose(&self) -> Purpose {
        match self.single_range() {
            Some(range) => Purpose::Range(range),
            None => Purpose::Whole,
        }
    }

    /// The client's Range, if it is one range of bytes.
    fn single_range(&self) -> Option<HeaderValue> {
        let head = &self.lookup.head;
        let single = head.method == Method::GET && RangeSpec::of(&head.headers).is_some();
        head.headers.get(header::RANGE).filter(|_| single).cloned()
    }

    /// Part of the response is stored: it may be enough, or worth completing.
    async fn serve_parts(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stored: &Arc<StoredResponse>,
        stock: &Stock,
        now: SystemTime,
    ) -> Result<Round> {
        let control = &self.lookup.control;
        let decision = decide_reuse(control, stock.found(), OriginState::Unasked, now);
        let parts = stored.content.ranges();
        let complete = stored.content.complete_length();
        let ReuseDecision::Reuse { ttl } = decision else {
            // A stale part is not worth a validation.
            let reason = ForwardReason::Stale;
            return self
                .forward(session, exchange, stock, reason, self.purpose())
                .await;
        };
        let Some(wanted) = self.single_range() else {
            let purpose = match partial::missing(&parts, complete) {
                Some(missing) if self.lookup.head.method == Method::GET => {
                    Purpose::Complete(missing)
                }
                _ => Purpose::Whole,
            };
            let reason = ForwardReason::Partial;
            return self
                .forward(session, exchange, stock, reason, purpose)
                .await;
        };
        let validators = Validators::of(&stored.fields);
        let applies =
            evaluate_if_range(&self.lookup.head.headers, &validators) == RangeCondition::Apply;
        let spec = RangeSpec::of(&self.lookup.head.headers);
        let held = spec.and_then(|spec| partial::answer(&parts, complete, &spec));
        match held {
            Some(range) if applies => {
                let status = CacheStatus::hit(ttl);
                exchange.served_age(&stored.times);
                serve::part(session, exchange, stored, range, status).await?;
                Ok(Round::Answered)
            }
            _ => {
                let reason = ForwardReason::Partial;
                self.forward(session, exchange, stock, reason, Purpose::Range(wanted))
                    .await
            }
        }
    }

    async fn serve_stored(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stored: &StoredResponse,
        status: CacheStatus,
    ) -> Result<Round> {
        exchange.served_age(&stored.times);
        let source = Source::Stored(stored.content.clone());
        serve::response(
            session,
            exchange,
            stored.status,
            &stored.fields,
            source,
            status,
        )
        .await?;
        Ok(Round::Answered)
    }

    /// A background validation (RFC 5861 §3), unless one is under way.
    fn revalidate(&self, exchange: &Exchange, stock: &Stock) {
        let key = self.lookup.flight(self.known_vary(stock), None);
        if let Boarding::Lead(lead) = self.board(&key) {
            let fetch = self.fetch(exchange, stock, key, Some(lead), Purpose::Whole);
            tokio::spawn(fetch.run());
        }
    }

    /// Goes to the origin, or follows a request that does.
    async fn forward(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stock: &Stock,
        reason: ForwardReason,
        purpose: Purpose,
    ) -> Result<Round> {
        exchange.forward = reason;
        // RFC 9110 §13.1.1: these are for the origin to judge.
        let fields = &self.lookup.head.headers;
        let for_origin = fields.contains_key(header::IF_MATCH)
            || fields.contains_key(header::IF_UNMODIFIED_SINCE);
        if self.lookup.head.method == Method::HEAD || for_origin || self.lookup.control.no_store {
            return Ok(Round::Alone);
        }
        let range = match &purpose {
            Purpose::Range(range) => Some(range),
            _ => None,
        };
        let key = self.lookup.flight(self.known_vary(stock), range);
        match self.board(&key) {
            Boarding::Alone => Ok(Round::Alone),
            Boarding::Lead(lead) => {
                self.lead(session, exchange, stock, key, lead, purpose)
                    .await
            }
            Boarding::Follow(flight) => {
                let patience = exchange.runtime.config.cache.collapse_timeout;
                let began = clock::instant();
                let landing = timeout(patience, flight.landing()).await;
                let waited = clock::instant().saturating_duration_since(began);
                exchange.waited = Some(exchange.waited.unwrap_or_default() + waited);
                match landing {
                    Ok(Landing::Landed(landed)) => {
                        self.follow(session, exchange, stock, landed).await
                    }
                    Ok(Landing::Lost) => Ok(Round::Again(None)),
                    Err(_) => Ok(Round::Alone),
                }
            }
        }
    }

    fn validates_variants(&self) -> bool {
        self.lookup.site.settings.vary.value.validate_variants
    }

    fn known_vary<'a>(&'a self, stock: &'a Stock) -> Option<&'a Vary> {
        self.vary.as_ref().or_else(|| stock.vary())
    }

    fn board(&self, key: &FlightKey) -> Boarding<Landed> {
        let purges = &self.gateway.shared.store.purges;
        self.gateway
            .flights
            .board(key, purges.current(), clock::instant(), |generation| {
                purges.spare(&key.key, &self.lookup.subject, generation)
            })
    }

    fn fetch(
        &self,
        exchange: &Exchange,
        stock: &Stock,
        flight: FlightKey,
        lead: Option<Lead<Landed>>,
        purpose: Purpose,
    ) -> Fetch {
        let shared = &self.gateway.shared;
        let generation = lead
            .as_ref()
            .map_or_else(|| shared.store.purges.current(), Lead::generation);
        let mut candidates = match stock {
            Stock::Others(_) if !self.validates_variants() => Vec::new(),
            stock => stock.candidates(),
        };
        if purpose == Purpose::Whole {
            // A part cannot stand for the whole, however valid it is.
            candidates.retain(|stored| stored.content.is_complete());
        }
        Fetch {
            shared: shared.clone(),
            fetcher: self.gateway.fetcher.clone(),
            flights: self.gateway.flights.clone(),
            lookup: self.lookup.clone(),
            flight,
            lead,
            generation,
            purpose,
            candidates,
            selected: stock.times().copied(),
            started: clock::instant(),
            request_id: exchange.request_id.clone(),
            arrived: None,
            interim: None,
        }
    }

    async fn lead(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stock: &Stock,
        key: FlightKey,
        lead: Lead<Landed>,
        purpose: Purpose,
    ) -> Result<Round> {
        let fetch = self.fetch(exchange, stock, key, Some(lead), purpose);
        self.run(session, exchange, stock, fetch).await
    }

    /// Asks for this request alone, with the client's own conditions.
    async fn alone(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        let stock = self.lookup.find(&self.gateway.shared.store);
        let key = self.lookup.flight(self.known_vary(&stock), None);
        let fetch = self.fetch(exchange, &stock, key, None, Purpose::Own);
        self.run(session, exchange, &stock, fetch).await.map(drop)
    }

    /// Runs a fetch and answers with what arrives.
    async fn run(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stock: &Stock,
        mut fetch: Fetch,
    ) -> Result<Round> {
        let (tell, mut told) = oneshot::channel();
        let (interim, mut interims) = mpsc::unbounded_channel();
        fetch.arrived = Some(tell);
        fetch.interim = Some(interim);
        tokio::spawn(fetch.run());
        let arrived = loop {
            tokio::select! {
                biased;
                Some(head) = interims.recv() => {
                    session.write_response_header(Box::new(head), false).await?;
                }
                arrived = &mut told => break arrived,
            }
        };
        let Ok(arrived) = arrived else {
            return Error::e_explain(ErrorType::InternalError, "the fetch ended without a word");
        };
        self.arrived(session, exchange, stock, arrived).await
    }
}
