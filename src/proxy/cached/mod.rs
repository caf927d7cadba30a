//! A request that may use the cache, from its lookup to its answer.
//!
//! Asks the policy, and does what it says: answer from the store, wait for another request's fetch,
//! or begin one. Each waiter decides for itself what to do with how the fetch ended.

mod background;
mod outcome;
mod purpose;

use background::is_behind;
pub(super) use background::renew;

use std::sync::Arc;
use std::time::SystemTime;

use http::{Method, StatusCode, Version, header};
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::answer::content_length;
use super::exchange::Exchange;
use super::fetching::{Fetch, Landed, Purpose, Refetch, can_refetch};
use super::gateway::Gateway;
use super::lookup::{Lookup, Stock};
use super::{encoding, serve, source::Source, waiting};
use crate::cache::partial;
use crate::cache::reuse::{ForwardReason, OriginState, ReuseDecision, StaleMode, decide_reuse};
use crate::cache::status::CacheStatus;
use crate::clock;
use crate::fields::range::RangeSpec;
use crate::fields::validators::{
    Condition, RangeCondition, Validators, evaluate, evaluate_if_range,
};
use crate::fields::vary::Vary;
use crate::purge::Generation;
use crate::store::{Begun, Boarding, Content, Flight, FlightKey, Landing, Lead, StoredResponse};

/// How often a request looks again when what it waited for was not for it.
const MOST_ROUNDS: usize = 8;

/// A range that begins no further than this behind what has arrived is waited for.
const SOON: u64 = 1 << 20;

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
    if is_behind(gateway, &site).await {
        // Not from here: what is stored may have been purged. The lower tier asks elsewhere.
        exchange.refused_here = true;
        return serve::refuse(gateway, session, exchange, StatusCode::SERVICE_UNAVAILABLE).await;
    }
    let lookup = exchange.lookup.take().unwrap_or_else(|| {
        let head = session.req_header().as_owned_parts();
        Arc::new(Lookup::of(site, Arc::new(head)))
    });
    lookup.count_use(&gateway.shared.store);
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
        let stock = self.stock(exchange).await;
        let now = clock::now();
        if let Stock::Selected(stored, _) = &stock
            && !stored.content.is_complete()
        {
            return self
                .serve_parts(session, exchange, stored, &stock, now)
                .await;
        }
        if let Stock::Selected(stored, _) = &stock
            && !stored.content.is_whole()
            && !can_refetch(&stored.fields.to_map())
        {
            // Slices are gone, and nothing tells whether new ones would be of the same body.
            let store = &self.gateway.shared.store;
            store.remove(&self.lookup.key, stored);
            return Ok(Round::Again(None));
        }
        let decision = decide_reuse(
            &self.lookup.control,
            stock.found(),
            OriginState::Unasked,
            now,
        );
        match (decision, &stock) {
            (ReuseDecision::Reuse { ttl }, Stock::Selected(stored, _)) => {
                if std::mem::take(&mut exchange.early) {
                    self.gateway.shared.metrics.early_revalidation();
                    self.revalidate(exchange, &stock);
                }
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
            (ReuseDecision::GatewayTimeout, _) => self.gateway_timeout(session, exchange).await,
            (ReuseDecision::Validate(_) | ReuseDecision::Forward(_), Stock::Selected(..))
                if self.lookup.site.site.pool.is_limited()
                    && let Some(round) =
                        self.while_limited(session, exchange, &stock, now).await? =>
            {
                Ok(round)
            }
            (ReuseDecision::Validate(reason), _) => {
                let purpose = self.in_slices().unwrap_or(Purpose::Whole);
                self.forward(session, exchange, &stock, reason, purpose)
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

    /// What the store has for the request, on disk if not in memory.
    async fn stock(&self, exchange: &mut Exchange) -> Stock {
        let store = &self.gateway.shared.store;
        let stock = self.lookup.find(store);
        if stock.selected().is_some() {
            return stock;
        }
        match store.load(&self.lookup.key).await {
            Some(resource) => {
                exchange.from_disk = true;
                self.lookup.find_in(&resource, store)
            }
            None => stock,
        }
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
        if self.lookup.control.only_if_cached && !matches!(decision, ReuseDecision::Reuse { .. }) {
            return self.gateway_timeout(session, exchange).await;
        }
        let ReuseDecision::Reuse { ttl } = decision else {
            // A stale part is not worth a validation.
            let reason = ForwardReason::Stale;
            return self
                .forward(session, exchange, stock, reason, self.purpose())
                .await;
        };
        let fields = stored.fields.to_map();
        let validators = Validators::of(&fields);
        let head = &self.lookup.head;
        let condition = evaluate(&head.method, &head.headers, stored.status, &validators);
        if condition == Condition::NotModified {
            let status = CacheStatus::hit(ttl);
            return self.serve_stored(session, exchange, stored, status).await;
        }
        let Some(wanted) = self.single_range() else {
            if self.lookup.control.only_if_cached {
                return self.gateway_timeout(session, exchange).await;
            }
            let purpose = self.completing(stored);
            let reason = ForwardReason::Partial;
            return self
                .forward(session, exchange, stock, reason, purpose)
                .await;
        };
        let applies =
            evaluate_if_range(&self.lookup.head.headers, &validators) == RangeCondition::Apply;
        let spec = RangeSpec::of(&self.lookup.head.headers);
        let answer = spec.and_then(|spec| partial::answer(&parts, complete, &spec));
        match answer {
            Some(range) if applies => {
                let status = CacheStatus::hit(ttl);
                exchange.served_age(&stored.times());
                encoding::note(exchange, stored.status, &fields, complete);
                serve::part(session, exchange, stored, range, status).await?;
                Ok(Round::Answered)
            }
            _ if control.only_if_cached => self.gateway_timeout(session, exchange).await,
            _ => {
                let reason = ForwardReason::Partial;
                self.forward(session, exchange, stock, reason, Purpose::Range(wanted))
                    .await
            }
        }
    }

    /// RFC 9111 §5.2.1.7.
    async fn gateway_timeout(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Round> {
        exchange.status = Some(CacheStatus::gateway_timeout());
        serve::refuse(self.gateway, session, exchange, StatusCode::GATEWAY_TIMEOUT).await?;
        Ok(Round::Answered)
    }

    async fn serve_stored(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stored: &StoredResponse,
        status: CacheStatus,
    ) -> Result<Round> {
        stored.uses.count();
        exchange.served_age(&stored.times());
        let (shared, key) = (&self.gateway.shared, &self.lookup.key);
        let asked = &self.lookup.head.headers;
        let chosen = encoding::choose(shared, asked, exchange, key, stored);
        // An encoded form is never in slices.
        let source = if chosen.content.slices().is_some() {
            self.source(exchange, stored)
        } else {
            Source::stored(chosen.content.clone(), None)
        };
        let fields = chosen.fields.to_map();
        serve::response(session, exchange, stored.status, fields, source, status).await?;
        Ok(Round::Answered)
    }

    /// A stored body to read: slices of it may go while it is read, and are fetched again where that is
    /// possible, and held from the beginning where it is not and there is memory for that.
    fn source(&self, exchange: &Exchange, stored: &StoredResponse) -> Source {
        let (Content::Complete(body), Some(slices)) = (&stored.content, stored.content.slices())
        else {
            return Source::stored(stored.content.clone(), None);
        };
        let fields = stored.fields.to_map();
        if !can_refetch(&fields)
            && let Some(held) = body.held(&self.gateway.shared.store.fill_budget())
        {
            return Source::stored(Content::Complete(held), None);
        }
        let refetch = Refetch::new(
            self.gateway,
            &self.lookup,
            exchange,
            &Arc::new(fields),
            (slices, body.len()),
        );
        Source::stored(stored.content.clone(), Some(refetch))
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
        if waiting::turns_away(session, exchange, &self.lookup.head).await? {
            return Ok(Round::Answered);
        }
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
        if range.is_some()
            && let Some(round) = self.range_of_whole(session, exchange, stock).await?
        {
            return Ok(round);
        }
        let key = self.lookup.flight(self.known_vary(stock), range);
        match self.board(&key) {
            (Boarding::Alone, _) => Ok(Round::Alone),
            (Boarding::Lead(lead), begun) => {
                // A fetch may have ended between looking and leading.
                let latest = self.lookup.find(&self.gateway.shared.store);
                if latest.selected() != stock.selected() {
                    return Ok(Round::Again(None));
                }
                let fetch = self.fetch(exchange, stock, (key, Some(lead), begun), purpose);
                self.run(session, exchange, stock, fetch).await
            }
            (Boarding::Follow(flight), _) => match wait(exchange, &flight).await {
                Some(Landing::Landed(landed)) => {
                    self.follow(session, exchange, stock, landed).await
                }
                Some(Landing::Lost) => Ok(Round::Again(None)),
                None => Ok(Round::Alone),
            },
        }
    }

    /// A range of a response that another request is fetching as a whole, if it comes soon.
    async fn range_of_whole(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        stock: &Stock,
    ) -> Result<Option<Round>> {
        let key = self.lookup.flight(self.known_vary(stock), None);
        let flights = &self.gateway.flights;
        let Some(flight) = flights.find(&key, |generation| self.is_current(generation)) else {
            return Ok(None);
        };
        let Some(Landing::Landed(Landed::Filling(fill))) = wait(exchange, &flight).await else {
            return Ok(None);
        };
        let head = &self.lookup.head.headers;
        let range = content_length(&fill.fields)
            .filter(|_| fill.status == StatusCode::OK)
            .and_then(|length| RangeSpec::of(head)?.resolve(length));
        match range {
            Some(range) if range.start <= fill.written().saturating_add(SOON) => self
                .follow(session, exchange, stock, Landed::Filling(fill))
                .await
                .map(Some),
            _ => Ok(None),
        }
    }

    fn validates_variants(&self) -> bool {
        self.lookup.site.settings.vary.value.validate_variants
    }

    fn known_vary<'a>(&'a self, stock: &'a Stock) -> Option<&'a Vary> {
        self.vary.as_ref().or_else(|| stock.vary())
    }

    /// Joins the fetch for `key`, or begins one.
    fn board(&self, key: &FlightKey) -> (Boarding<Landed>, Begun) {
        let begun = self.gateway.shared.store.purges.begin();
        let boarding =
            self.gateway
                .flights
                .board(key, begun.generation(), clock::instant(), |generation| {
                    self.is_current(generation)
                });
        (boarding, begun)
    }

    /// Whether a fetch that began at `generation` is as good as one that begins now.
    fn is_current(&self, generation: Generation) -> bool {
        let purges = &self.gateway.shared.store.purges;
        purges.spare(&self.lookup.key, generation)
    }

    fn fetch(
        &self,
        exchange: &Exchange,
        stock: &Stock,
        (flight, lead, begun): (FlightKey, Option<Lead<Landed>>, Begun),
        purpose: Purpose,
    ) -> Fetch {
        let mut candidates = match stock {
            Stock::Others(_) if !self.validates_variants() => Vec::new(),
            stock => stock.candidates(),
        };
        candidates.retain(|stored| self.lookup.is_variant(stored));
        if matches!(purpose, Purpose::Whole | Purpose::Slice(_)) {
            // A part cannot stand for the whole, however valid it is.
            candidates.retain(|stored| stored.content.is_complete());
        }
        Fetch {
            shared: self.gateway.shared.clone(),
            fetcher: self.gateway.fetcher.clone(),
            flights: self.gateway.flights.clone(),
            lookup: self.lookup.clone(),
            flight,
            lead,
            begun,
            purpose,
            candidates,
            selected: stock.times().copied(),
            recalled: None,
            from: None,
            started: clock::instant(),
            request_id: exchange.request_id,
            arrived: None,
            interim: None,
        }
    }

    /// Asks for this request alone, with the client's own conditions.
    async fn alone(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        let stock = self.lookup.find(&self.gateway.shared.store);
        let key = self.lookup.flight(self.known_vary(&stock), None);
        let begun = self.gateway.shared.store.purges.begin();
        let fetch = self.fetch(exchange, &stock, (key, None, begun), self.own(&stock));
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
        session.as_downstream_mut().set_abort_on_close(true);
        let arrived = loop {
            tokio::select! {
                biased;
                // A client that leaves: what was fetched for it alone is not fetched on.
                Err(error) = session.as_downstream_mut().read_body_or_idle(true) => {
                    return Err(error.into_down());
                }
                Some(head) = interims.recv() => {
                    // RFC 9110 §15.2: HTTP/1.0 knows none.
                    if session.req_header().version > Version::HTTP_10 {
                        session.write_response_header(Box::new(head), false).await?;
                    }
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

/// Waits for the landing of another request's fetch; `None` when it takes too long.
async fn wait(exchange: &mut Exchange, flight: &Flight<Landed>) -> Option<Landing<Landed>> {
    let patience = exchange.runtime.config.cache.collapse_timeout;
    let began = clock::instant();
    let landing = timeout(patience, flight.landing()).await;
    let waited = clock::instant().saturating_duration_since(began);
    exchange.waited = Some(exchange.waited.unwrap_or_default() + waited);
    landing.ok()
}
