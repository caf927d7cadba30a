//! Asks the origin on behalf of the cache, in a task of its own: a client that leaves hurts nobody.
//!
//! One [`Fetch`] is one request to the origin and what becomes of the answer: stored, freshened,
//! passed on, or failed. Those who wait are told as soon as the head is there.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::sync::{mpsc, oneshot};

use super::answer;
use super::forward;
use super::lookup::Lookup;
use crate::cache::freshen::{HeadUpdate, head_update, selected_by, update};
use crate::cache::freshness::Lifetimes;
use crate::cache::partial::{Missing, if_range, may_combine};
use crate::cache::response::{ExchangeTimes, ResponseView};
use crate::cache::reuse::{Found, OriginState, ReuseDecision, StoredTimes, decide_reuse};
use crate::cache::status::Storing;
use crate::cache::storing::{NoStoreReason, StoreDecision, decide_storing, shares_failure};
use crate::clock;
use crate::fields::content_range::ContentRange;
use crate::fields::tags::cache_tags;
use crate::fields::validators::{Validators, make_validating};
use crate::fields::vary::Vary;
use crate::origin::{Answer, AnswerBody, FetchFailure, FetchReport, Fetcher, Observer};
use crate::purge::Generation;
use crate::server::Shared;
use crate::store::{
    Body, Content, Fill, FillReader, FlightKey, Flights, Keep, Lead, Part, StoredResponse,
};

/// How a fetch ended for those who follow it.
#[derive(Clone)]
pub(super) enum Landed {
    /// Its answer may be stored: read along.
    Filling(Arc<Fill>),
    /// This stored response answers it: it was validated or completed.
    Stored(Arc<StoredResponse>),
    /// Its answer is for one request alone.
    Passing,
    /// The origin failed, and this is what it said, if it said anything fit to be shared.
    Failed(FetchFailure, Option<Arc<Fill>>),
}

/// How a fetch ended for the one who began it.
pub(super) struct Arrived {
    pub(super) result: ArrivedResult,
    /// What became of the answer.
    pub(super) storing: Storing,
    /// The origin's status.
    pub(super) status: Option<StatusCode>,
    pub(super) requested: Option<SystemTime>,
    pub(super) report: FetchReport,
}

/// What to answer with.
pub(super) enum ArrivedResult {
    /// What comes from the origin.
    Reader(FillReader),
    /// What is stored.
    Stored(Arc<StoredResponse>),
    Failed(FetchFailure),
}

/// What the origin is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The whole, unless the candidates still hold (RFC 9111 §4.3.1).
    Whole,
    /// The client's range.
    Range(HeaderValue),
    /// What is missing of the first candidate (RFC 9111 §3.4).
    Complete(Missing),
    /// The client's own request as it is: what comes is hardly for others.
    Own,
}

/// One fetch.
pub(super) struct Fetch {
    pub(super) shared: Arc<Shared>,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) flights: Arc<Flights<Landed>>,
    pub(super) lookup: Arc<Lookup>,
    pub(super) flight: FlightKey,
    /// Held while others may follow.
    pub(super) lead: Option<Lead<Landed>>,
    pub(super) generation: Generation,
    pub(super) purpose: Purpose,
    /// Stored responses that may be validated or completed, the selected one first.
    pub(super) candidates: Vec<Arc<StoredResponse>>,
    /// Times of the first candidate, when it is the selected one.
    pub(super) selected: Option<StoredTimes>,
    pub(super) started: Instant,
    pub(super) request_id: String,
    /// Who is told; nobody for a background validation.
    pub(super) arrived: Option<oneshot::Sender<Arrived>>,
    pub(super) interim: Option<mpsc::UnboundedSender<ResponseHeader>>,
}

struct Watcher<'a> {
    shared: &'a Shared,
    pool: &'a str,
    interim: Option<&'a mpsc::UnboundedSender<ResponseHeader>>,
}

impl Observer for Watcher<'_> {
    fn asked(&mut self) {
        self.shared.metrics.origin_request(self.pool);
    }

    fn retried(&mut self) {
        self.shared.metrics.origin_retry(self.pool);
    }

    fn failed(&mut self, failure: FetchFailure) {
        self.shared
            .metrics
            .origin_failure(self.pool, failure.kind());
    }

    fn interim(&mut self, head: &ResponseHeader) {
        if let Some(interim) = self.interim {
            let _ = interim.send(head.clone());
        }
    }
}

/// An answer, cleaned, with what is needed to decide about it.
struct Received {
    head: ResponseHeader,
    times: ExchangeTimes,
    /// Whether a cut would be noticed.
    framed: bool,
    body: AnswerBody,
}

impl Fetch {
    /// Runs to the end of the body.
    pub(super) async fn run(mut self) {
        let mut report = FetchReport::default();
        for _ in 0..2 {
            let answer = self.ask(&mut report).await;
            let received = match answer {
                Ok(answer) => self.receive(answer),
                Err(failure) => return self.fail(failure, report),
            };
            self.shared.metrics.origin_first_byte(
                &self.lookup.site.site.pool.config.name,
                report.first_byte_after.unwrap_or_default(),
            );
            let again = match (received.head.status, &self.purpose) {
                (StatusCode::NOT_MODIFIED, Purpose::Whole) if !self.candidates.is_empty() => {
                    self.not_modified(received, &report).await
                }
                (StatusCode::PARTIAL_CONTENT, Purpose::Complete(missing)) => {
                    let missing = *missing;
                    self.completed(received, &missing, &report).await
                }
                _ => {
                    self.answered(received, report).await;
                    return;
                }
            };
            if !again {
                return;
            }
            // What was stored is of no use: ask for everything.
            self.candidates.clear();
            self.purpose = Purpose::Whole;
        }
        self.fail(FetchFailure::Protocol, report);
    }

    async fn ask(&self, report: &mut FetchReport) -> Result<Answer, FetchFailure> {
        let request = self.request().map_err(|_| FetchFailure::Protocol)?;
        let pool = &self.lookup.site.site.pool;
        let mut watcher = Watcher {
            shared: &self.shared,
            pool: &pool.config.name,
            interim: self.interim.as_ref(),
        };
        self.fetcher
            .fetch(pool, &request, self.started, report, &mut watcher)
            .await
    }

    /// The request that the origin gets.
    fn request(&self) -> pingora_error::Result<RequestHeader> {
        let mut head = self.lookup.head.clone();
        head.set_version(Version::HTTP_11);
        let mut fields = head.headers.clone();
        match &self.purpose {
            Purpose::Own => {}
            Purpose::Whole => {
                let stored: Vec<&HeaderMap> = self
                    .candidates
                    .iter()
                    .map(|stored| &*stored.fields)
                    .collect();
                make_validating(&mut fields, &stored);
            }
            Purpose::Range(_) => {
                fields.remove(header::IF_NONE_MATCH);
                fields.remove(header::IF_MODIFIED_SINCE);
            }
            Purpose::Complete(missing) => {
                make_validating(&mut fields, &[]);
                fields.insert(header::RANGE, missing.to_value());
                let stored = self.candidates.first();
                if let Some(condition) = stored.and_then(|stored| if_range(&stored.fields)) {
                    fields.insert(header::IF_RANGE, condition.clone());
                }
            }
        }
        forward::replace_request_fields(&mut head, &fields)?;
        forward::prepare(&mut head, &self.lookup.site, &self.request_id)?;
        Ok(head)
    }

    fn receive(&self, answer: Answer) -> Received {
        let Answer {
            mut head,
            requested,
            body,
        } = answer;
        let received = clock::now();
        let framed = answer::is_framed(&head, &self.lookup.head.method);
        answer::receive_for_store(&mut head, &self.lookup.site, received);
        Received {
            head,
            times: ExchangeTimes {
                requested,
                received,
            },
            framed,
            body,
        }
    }

    /// No answer: those who wait fall back on what is stored, or fail alike.
    fn fail(&mut self, failure: FetchFailure, report: FetchReport) {
        self.land(Landed::Failed(failure, None), clock::now());
        self.tell(
            ArrivedResult::Failed(failure),
            Storing::Unknown,
            None,
            None,
            report,
        );
    }

    /// Tells those who follow. Only what is fresh may be followed from now on: later requests begin
    /// anew.
    fn land(&mut self, landed: Landed, now: SystemTime) {
        let fresh = match &landed {
            Landed::Filling(fill) => fill
                .times
                .is_some_and(|times| times.is_fresh(now) && !times.validate_always),
            _ => false,
        };
        if let Some(lead) = &self.lead {
            lead.land(landed);
        }
        if !fresh {
            self.lead = None;
        }
    }

    fn tell(
        &mut self,
        result: ArrivedResult,
        storing: Storing,
        status: Option<StatusCode>,
        requested: Option<SystemTime>,
        report: FetchReport,
    ) {
        if let Some(arrived) = self.arrived.take() {
            // A client that left is not told.
            let _ = arrived.send(Arrived {
                result,
                storing,
                status,
                requested,
                report,
            });
        }
    }

    fn decide(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
        times: &ExchangeTimes,
    ) -> StoreDecision {
        let site = &self.lookup.site;
        let response = ResponseView {
            status,
            headers: fields,
        };
        decide_storing(
            &site.view(&self.lookup.head),
            &self.lookup.control,
            &response,
            &site.settings,
            times,
        )
    }

    /// RFC 9111 §4.3.3 and §4.3.4: what the 304 selects is freshened. True when it selects nothing.
    async fn not_modified(&mut self, received: Received, report: &FetchReport) -> bool {
        let Received {
            head,
            times,
            mut body,
            ..
        } = received;
        // There is none; this settles the connection.
        let _ = body.read().await;
        self.fetcher.release(body).await;
        let fields: Vec<&HeaderMap> = self
            .candidates
            .iter()
            .map(|stored| &*stored.fields)
            .collect();
        let selected = selected_by(&head.headers, &fields);
        let mut answer = None;
        for index in selected {
            let Some(stored) = self.candidates.get(index).cloned() else {
                continue;
            };
            let (freshened, storing) = self.freshened(&stored, &head.headers, &times);
            // The selected response answers; without one, the newest that the 304 names.
            if answer.is_none() {
                answer = Some((Arc::new(freshened), storing));
            }
        }
        let Some((stored, storing)) = answer else {
            return true;
        };
        let landed = match storing {
            Storing::Freshened => Landed::Stored(stored.clone()),
            _ => Landed::Passing,
        };
        self.land(landed, times.received);
        self.tell(
            ArrivedResult::Stored(stored),
            storing,
            Some(StatusCode::NOT_MODIFIED),
            Some(times.requested),
            report.clone(),
        );
        false
    }

    /// One stored response with the fields of a 304, in the store as well if it may stay there.
    fn freshened(
        &self,
        stored: &Arc<StoredResponse>,
        not_modified: &HeaderMap,
        times: &ExchangeTimes,
    ) -> (StoredResponse, Storing) {
        let store = &self.shared.store;
        let key = &self.lookup.key;
        let mut fields = HeaderMap::clone(&stored.fields);
        update(&mut fields, not_modified);
        let decision = self.decide(stored.status, &fields, times);
        let mut freshened = StoredResponse::clone(stored);
        freshened.generation = self.generation;
        freshened.tags = cache_tags(&fields).into();
        if let StoreDecision::Store(lifetimes) = &decision {
            freshened.times = stored_times(lifetimes, &fields, times);
        }
        freshened.fields = Arc::new(fields);
        match decision {
            StoreDecision::Store(_) => {
                store.replace(key, freshened.clone());
                if !self.lookup.selects(&stored.selection) {
                    // The origin chose this variant for a request that no stored one answered.
                    freshened.id = store.next_id();
                    freshened.selection = self.lookup.selection(&freshened.fields);
                    store.insert(key, freshened.clone());
                }
                (freshened, Storing::Freshened)
            }
            StoreDecision::DoNotStore(reason) => {
                store.remove(key, stored.id);
                (freshened, Storing::NotStored(reason))
            }
        }
    }

    /// The missing bytes came, or something else did. True when they are of no use.
    async fn completed(
        &mut self,
        received: Received,
        missing: &Missing,
        report: &FetchReport,
    ) -> bool {
        let Received {
            head,
            times,
            mut body,
            ..
        } = received;
        let Some(stored) = self.candidates.first().cloned() else {
            return true;
        };
        let range = ContentRange::of(&head.headers);
        let fits = range
            .as_ref()
            .is_some_and(|range| range.first == missing.first)
            && may_combine(&stored.fields, &head.headers);
        if !fits {
            return true;
        }
        let largest = self.lookup.site.settings.max_object_size.value;
        let mut chunks = Vec::new();
        let mut length = 0;
        loop {
            match body.read().await {
                Ok(Some(chunk)) => {
                    length += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                    if length > largest {
                        return true;
                    }
                    chunks.push(chunk);
                }
                Ok(None) => break,
                Err(_) => return true,
            }
        }
        self.fetcher.release(body).await;
        let part = Part {
            first: missing.first,
            body: Arc::new(Body::copy_of(&chunks)),
        };
        let content = stored
            .content
            .with(part, range.and_then(|range| range.complete));
        if !content.is_complete() {
            return true;
        }
        let mut whole = StoredResponse::clone(&stored);
        whole.content = content;
        let (whole, storing) = {
            let whole = Arc::new(whole);
            self.freshened(&whole, &head.headers, &times)
        };
        let whole = Arc::new(whole);
        let landed = match storing {
            Storing::Freshened => Landed::Stored(whole.clone()),
            _ => Landed::Passing,
        };
        self.land(landed, times.received);
        self.tell(
            ArrivedResult::Stored(whole),
            storing,
            Some(StatusCode::PARTIAL_CONTENT),
            Some(times.requested),
            report.clone(),
        );
        false
    }

    /// A response of its own: decided about, told, and read to its end.
    async fn answered(&mut self, received: Received, report: FetchReport) {
        let Received {
            head,
            times,
            framed,
            body,
        } = received;
        let now = times.received;
        let status = head.status;
        if self.lookup.head.method == Method::HEAD {
            self.update_from_head(&head, &times, now);
        }
        let hidden = is_failure(status) && self.may_hide_failure(now);
        let decision = match self.decide(status, &head.headers, &times) {
            StoreDecision::Store(_) if !framed => {
                StoreDecision::DoNotStore(NoStoreReason::UnknownLength)
            }
            StoreDecision::Store(_) if self.shared.store.is_busy() => {
                StoreDecision::DoNotStore(NoStoreReason::StoreBusy)
            }
            StoreDecision::Store(_) if hidden => StoreDecision::DoNotStore(NoStoreReason::Status),
            decision => decision,
        };
        self.remember(status, &head.headers, &decision);
        let stored_times = match &decision {
            StoreDecision::Store(lifetimes) => Some(stored_times(lifetimes, &head.headers, &times)),
            StoreDecision::DoNotStore(_) => None,
        };
        let shared = stored_times.is_none()
            && is_failure(status)
            && shares_failure(&ResponseView {
                status,
                headers: &head.headers,
            });
        let largest = self.lookup.site.settings.max_object_size.value;
        let keep = if stored_times.is_some() || shared {
            Keep::UpTo(largest)
        } else {
            Keep::Window
        };
        let fill = Arc::new(Fill::new(
            status,
            Arc::new(head.headers.clone()),
            stored_times,
            self.lookup.selection(&head.headers),
            keep,
            self.shared.store.filling(),
        ));
        if let Some(times) = stored_times
            && self.expected_length(&fill) == Some(0)
        {
            self.store(&fill, &[], times);
            self.lead = None;
        }
        let reader = self.arrived.as_ref().and_then(|_| fill.reader());
        let landed = match &decision {
            _ if is_failure(status) && (hidden || shared) => {
                Landed::Failed(FetchFailure::Closed, shared.then(|| fill.clone()))
            }
            StoreDecision::Store(_) => Landed::Filling(fill.clone()),
            StoreDecision::DoNotStore(_) => Landed::Passing,
        };
        self.land(landed, now);
        let storing = match decision {
            StoreDecision::Store(_) => Storing::Stored,
            StoreDecision::DoNotStore(reason) => Storing::NotStored(reason),
        };
        if let Some(reader) = reader {
            let result = ArrivedResult::Reader(reader);
            self.tell(result, storing, Some(status), Some(times.requested), report);
        } else if self.arrived.is_none() && stored_times.is_none() {
            // A background validation whose answer is not to be kept: its body is nobody's.
            return;
        }
        self.pump(fill, body, stored_times).await;
    }

    /// Reads the body into `fill`, and stores it when it is whole: before the last of it is passed
    /// on, so that who has read it all finds it stored.
    async fn pump(&mut self, fill: Arc<Fill>, mut body: AnswerBody, times: Option<StoredTimes>) {
        let expected = self.expected_length(&fill);
        let mut unstored = times.filter(|_| expected != Some(0));
        loop {
            let chunk = match body.read().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(failure) => {
                    tracing::debug!(%failure, "a response was cut short");
                    return fill.abort();
                }
            };
            let length = fill
                .written()
                .saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if expected == Some(length)
                && let Some(times) = unstored.take()
                && let Some(mut whole) = fill.whole()
            {
                whole.push(chunk.clone());
                self.store(&fill, &whole, times);
                self.lead = None;
            }
            if fill.write(chunk).await.is_err() {
                return fill.abort();
            }
        }
        if expected.is_some_and(|expected| expected != fill.written()) {
            return fill.abort();
        }
        if let (Some(times), Some(whole)) = (unstored, fill.whole()) {
            self.store(&fill, &whole, times);
        }
        self.lead = None;
        fill.complete();
        self.fetcher.release(body).await;
    }

    /// How long the body will be, if that is known.
    fn expected_length(&self, fill: &Fill) -> Option<u64> {
        let bodiless =
            self.lookup.head.method == Method::HEAD || matches!(fill.status.as_u16(), 204 | 304);
        if bodiless {
            Some(0)
        } else {
            answer::content_length(&fill.fields)
        }
    }

    fn store(&self, fill: &Fill, body: &[Bytes], times: StoredTimes) {
        let body = Body::copy_of(body);
        let mut fields = HeaderMap::clone(&fill.fields);
        let store = &self.shared.store;
        let tags = cache_tags(&fields).into();
        answer::strip_for_store(&mut fields, &self.lookup.site);
        let (status, content) = if fill.status == StatusCode::PARTIAL_CONTENT {
            let Some(range) = ContentRange::of(&fields) else {
                return;
            };
            (
                StatusCode::OK,
                self.with_part(&mut fields, &range, Arc::new(body)),
            )
        } else {
            (fill.status, Content::Complete(Arc::new(body)))
        };
        if !matches!(status.as_u16(), 204 | 304) {
            match content.complete_length() {
                Some(length) => {
                    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                }
                None => drop(fields.remove(header::CONTENT_LENGTH)),
            }
        }
        store.insert(
            &self.lookup.key,
            StoredResponse {
                id: store.next_id(),
                generation: self.generation,
                status,
                fields: Arc::new(fields),
                times,
                selection: fill.selection.clone(),
                tags,
                subject: self.lookup.subject.clone(),
                content,
            },
        );
    }

    /// A 206 becomes part of what is stored, where that is the same representation (RFC 9111 §3.4).
    fn with_part(&self, fields: &mut HeaderMap, range: &ContentRange, body: Arc<Body>) -> Content {
        fields.remove(header::CONTENT_RANGE);
        let part = Part {
            first: range.first,
            body,
        };
        let nothing = Content::Parts {
            parts: Arc::from([]),
            complete: None,
        };
        let known = self.candidates.iter().find(|stored| {
            !stored.content.is_complete()
                && self.lookup.selects(&stored.selection)
                && may_combine(&stored.fields, fields)
        });
        let known = known.map_or(&nothing, |stored| &stored.content);
        known.with(part, range.complete)
    }

    /// RFC 9111 §4.3.5.
    fn update_from_head(&self, head: &ResponseHeader, times: &ExchangeTimes, now: SystemTime) {
        let Some(stored) = self.candidates.first().filter(|_| self.selected.is_some()) else {
            return;
        };
        let length = stored.content.complete_length().unwrap_or_default();
        match head_update(
            stored.status,
            &stored.fields,
            length,
            head.status,
            &head.headers,
        ) {
            HeadUpdate::Freshens => {
                self.freshened(stored, &head.headers, times);
            }
            HeadUpdate::Outdates => {
                let mut outdated = StoredResponse::clone(stored);
                outdated.times = outdated.times.expire(now);
                self.shared.store.replace(&self.lookup.key, outdated);
            }
            HeadUpdate::Nothing => {}
        }
    }

    /// Whether the selected response may be served in place of a failure.
    fn may_hide_failure(&self, now: SystemTime) -> bool {
        self.selected.as_ref().is_some_and(|times| {
            let found = Found::Complete(times);
            let decision = decide_reuse(&self.lookup.control, found, OriginState::Failed, now);
            matches!(decision, ReuseDecision::ReuseStale { .. })
        })
    }

    /// What this answer says of the next request and of what is stored.
    fn remember(&self, status: StatusCode, fields: &HeaderMap, decision: &StoreDecision) {
        match decision {
            StoreDecision::Store(_) => self.flights.forget_uncacheable(&self.flight),
            StoreDecision::DoNotStore(reason) => {
                if is_lasting(*reason, status) {
                    self.flights
                        .remember_uncacheable(&self.flight, clock::instant());
                }
                // RFC 9111 §4.3.3: a full response to a validation says that the stored one is
                // not current any more.
                let replaces = matches!(self.purpose, Purpose::Whole)
                    && !status.is_server_error()
                    && *reason != NoStoreReason::StoreBusy
                    && self.lookup.head.method == Method::GET
                    && Vary::of(fields) != Vary::Any;
                if let Some(stored) = self.candidates.first()
                    && replaces
                    && self.selected.is_some()
                {
                    self.shared.store.remove(&self.lookup.key, stored.id);
                }
            }
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.lead = None;
        let oldest = self.flights.oldest();
        self.shared.store.purges.forget_before(oldest);
    }
}

/// RFC 5861 §4: what counts as an error.
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Whether the next answer will not be storable either, so that requests need not wait for it.
fn is_lasting(reason: NoStoreReason, status: StatusCode) -> bool {
    !status.is_server_error()
        && !matches!(
            reason,
            NoStoreReason::OriginRejected
                | NoStoreReason::StoreBusy
                | NoStoreReason::Method
                | NoStoreReason::Status
                | NoStoreReason::RequestNoStore
                | NoStoreReason::PartialContent
        )
}

fn stored_times(lifetimes: &Lifetimes, fields: &HeaderMap, times: &ExchangeTimes) -> StoredTimes {
    StoredTimes::new(lifetimes, times.received, Validators::of(fields).any())
}
