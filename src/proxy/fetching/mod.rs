//! Asks the origin on behalf of the cache, in a task of its own: a client that leaves hurts nobody.
//!
//! One [`Fetch`] is one request to the origin and what becomes of the answer: stored, freshened,
//! passed on, or failed. Those who wait are told as soon as the head is there.

mod answered;
mod asking;
mod reserve;
mod resume;
mod slice;
mod validated;

pub(super) use asking::Watcher;
use asking::{Asked, Asker, FromTier};
pub(super) use slice::{Ahead, Refetch, can_refetch};

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::sync::{mpsc, oneshot};

use super::answer;
use super::exchange::{RequestId, SiteRequest};
use super::forward;
use super::lookup::Lookup;
use crate::cache::freshness::Lifetimes;
use crate::cache::partial::{Missing, if_range};
use crate::cache::response::{ExchangeTimes, ResponseView};
use crate::cache::reuse::StoredTimes;
use crate::cache::status::Storing;
use crate::cache::storing::{NoStoreReason, StoreDecision, decide_storing};
use crate::clock;
use crate::fields::validators::{Validators, make_validating};
use crate::origin::{Answer, AnswerBody, FetchFailure, FetchReport, Fetcher};
use crate::request::RequestView;
use crate::rules::phase::Priority;
use crate::server::Shared;
use crate::store::{Begun, Fill, FillReader, FlightKey, Flights, Lead, StoredResponse, positions};
use crate::tier::verdict::Verdict;

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
    /// What the reserve had, which is to be validated.
    pub(super) recalled: Option<(Arc<StoredResponse>, StoredTimes)>,
    /// What the caches that the answer came by have told of it.
    pub(super) hops: Vec<HeaderValue>,
}

/// What to answer with.
pub(super) enum ArrivedResult {
    /// What comes from the origin, with the fields that are for this client.
    Reader(FillReader, Arc<HeaderMap>),
    /// What is stored.
    Stored(Arc<StoredResponse>),
    /// What the reserve had, and is stored here by now.
    Recalled,
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
    /// This slice of the whole, unless the candidates still hold.
    Slice(u64),
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
    /// Since when purges concern it.
    pub(super) begun: Begun,
    pub(super) purpose: Purpose,
    /// Stored responses that may be validated or completed, the selected one first.
    pub(super) candidates: Vec<Arc<StoredResponse>>,
    /// Times of the first candidate, when it is the selected one.
    pub(super) selected: Option<StoredTimes>,
    /// What the reserve had of it.
    pub(super) recalled: Option<(Arc<StoredResponse>, StoredTimes)>,
    /// What comes with an answer of an upper tier.
    pub(super) from: Option<FromTier>,
    pub(super) started: Instant,
    pub(super) request_id: RequestId,
    /// Who is told; nobody for a background validation.
    pub(super) arrived: Option<oneshot::Sender<Arrived>>,
    pub(super) interim: Option<mpsc::UnboundedSender<ResponseHeader>>,
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
        if self.ask_reserve().await {
            return;
        }
        for _ in 0..2 {
            let Some(answer) = self.ask_unless_alone(&mut report).await else {
                return;
            };
            let received = match answer.and_then(|asked| self.receive(asked)) {
                Ok(received) => received,
                Err(failure) => return self.fail(failure, report),
            };
            let status = received.head.status;
            let again = match (status, &self.purpose) {
                (StatusCode::NOT_MODIFIED, Purpose::Whole | Purpose::Slice(_))
                    if !self.candidates.is_empty() =>
                {
                    self.not_modified(received, &report).await
                }
                (StatusCode::PARTIAL_CONTENT, Purpose::Complete(missing)) => {
                    let missing = *missing;
                    self.completed(received, &missing, &report).await
                }
                (StatusCode::PARTIAL_CONTENT, Purpose::Slice(number)) => {
                    let number = *number;
                    self.first_slice(received, number, &report).await
                }
                // The stored part is of another representation, or there is no such slice.
                (StatusCode::RANGE_NOT_SATISFIABLE, Purpose::Complete(_) | Purpose::Slice(_)) => {
                    true
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
            self.purpose = match self.purpose {
                Purpose::Slice(_) => self.without_slices(status),
                _ => Purpose::Whole,
            };
        }
        self.fail(FetchFailure::Protocol, report);
    }

    /// It does not come in slices: the client's own request is made, and those who follow make theirs,
    /// as they may want other ranges.
    fn without_slices(&mut self, status: StatusCode) -> Purpose {
        // That a client asks for more than there is says nothing of the origin.
        if status != StatusCode::RANGE_NOT_SATISFIABLE {
            self.flights
                .remember_uncacheable(&self.flight, clock::instant());
        }
        if let Some(lead) = self.lead.take() {
            lead.end(Landed::Passing);
        }
        match self.arrived {
            Some(_) => Purpose::Own,
            None => Purpose::Whole,
        }
    }

    /// The answer; `None` when the client for whom alone it is has left.
    async fn ask_unless_alone(
        &mut self,
        report: &mut FetchReport,
    ) -> Option<Result<Asked, FetchFailure>> {
        let priority = self.priority();
        if self.lead.is_some() {
            return Some(self.ask(report, priority).await);
        }
        let Some(mut client) = self.arrived.take() else {
            return Some(self.ask(report, priority).await);
        };
        let answer = tokio::select! {
            answer = self.ask(report, priority) => Some(answer),
            () = client.closed() => None,
        };
        self.arrived = Some(client);
        answer
    }

    async fn ask(
        &self,
        report: &mut FetchReport,
        priority: Priority,
    ) -> Result<Asked, FetchFailure> {
        let request = self.request().map_err(|_| FetchFailure::Protocol)?;
        self.asker(priority).ask(&request, report).await
    }

    fn asker(&self, priority: Priority) -> Asker<'_> {
        Asker {
            priority,
            shared: &self.shared,
            fetcher: &self.fetcher,
            lookup: &self.lookup,
            request_id: self.request_id,
            started: self.started,
            interim: self.interim.as_ref(),
        }
    }

    /// Nobody waits for a background fetch.
    fn priority(&self) -> Priority {
        match self.arrived {
            Some(_) => self.lookup.site.priority(&self.lookup.head),
            None => Priority::Background,
        }
    }

    /// The fields of what the fetch can validate.
    fn candidate_fields(&self) -> Vec<HeaderMap> {
        let candidates = self.candidates.iter();
        candidates.map(|stored| stored.fields.to_map()).collect()
    }

    /// The request that the origin gets.
    fn request(&self) -> pingora_error::Result<RequestHeader> {
        origin_request(
            &self.lookup.head,
            &self.lookup.site,
            self.request_id,
            |fields| match &self.purpose {
                Purpose::Own => {}
                Purpose::Whole | Purpose::Slice(_) => {
                    let stored = self.candidate_fields();
                    make_validating(fields, &stored.iter().collect::<Vec<_>>());
                    if let Purpose::Slice(number) = &self.purpose {
                        let wanted = Missing::of(&positions(*number, u64::MAX));
                        fields.insert(header::RANGE, wanted.to_value());
                    }
                }
                Purpose::Range(_) => {
                    fields.remove(header::IF_NONE_MATCH);
                    fields.remove(header::IF_MODIFIED_SINCE);
                }
                Purpose::Complete(missing) => {
                    let stored = self.candidates.first();
                    let stored = stored.map(|stored| stored.fields.to_map());
                    ask_for(fields, *missing, stored.as_ref().and_then(if_range));
                }
            },
        )
    }

    /// Cleans the answer; refuses what nobody asked for or nobody can read.
    fn receive(&mut self, asked: Asked) -> Result<Received, FetchFailure> {
        let Answer {
            mut head,
            requested,
            body,
        } = asked.answer;
        self.from = asked.from;
        let unasked = match head.status {
            StatusCode::PARTIAL_CONTENT => !self.asks(header::RANGE),
            StatusCode::NOT_MODIFIED => {
                !self.asks(header::IF_NONE_MATCH) && !self.asks(header::IF_MODIFIED_SINCE)
            }
            _ => false,
        };
        if unasked || !answer::is_decodable(&head) {
            return Err(FetchFailure::Protocol);
        }
        let received = clock::now();
        let framed = answer::is_framed(&head, &self.lookup.head.method);
        answer::receive_for_store(&mut head, &self.lookup, received, self.from.is_some());
        Ok(Received {
            head,
            times: ExchangeTimes {
                requested,
                received,
            },
            framed,
            body,
        })
    }

    /// Whether the request to the origin has this field.
    fn asks(&self, name: header::HeaderName) -> bool {
        self.request()
            .is_ok_and(|request| request.headers.contains_key(name))
    }

    /// No answer: those who wait fall back on what is stored, or fail alike.
    fn fail(&mut self, failure: FetchFailure, report: FetchReport) {
        if self.arrived.is_none() {
            self.flights.rest(&self.flight, clock::instant());
        }
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
        match &self.lead {
            Some(lead) if fresh => lead.land(landed),
            _ => {
                if let Some(lead) = self.lead.take() {
                    lead.end(landed);
                }
            }
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
                recalled: self.recalled.take(),
                hops: self
                    .from
                    .as_mut()
                    .map(|from| std::mem::take(&mut from.hops))
                    .unwrap_or_default(),
            });
        }
    }

    /// Decides about a response to this request with `method`.
    fn decide(
        &self,
        method: &Method,
        status: StatusCode,
        fields: &HeaderMap,
        times: &ExchangeTimes,
    ) -> StoreDecision {
        let site = &self.lookup.site;
        let response = ResponseView {
            status,
            headers: fields,
        };
        let request = RequestView {
            method,
            ..site.view(&self.lookup.head)
        };
        let decision = decide_storing(
            &request,
            &self.lookup.control,
            &response,
            &site.settings,
            times,
        );
        let verdict = self.from.as_ref().map(|from| &from.verdict);
        match (decision, verdict) {
            (StoreDecision::Store(_), Some(Verdict::Unstored { lasting })) => {
                let lasting = *lasting;
                StoreDecision::DoNotStore(NoStoreReason::UpperTier { lasting })
            }
            (decision, _) => decision,
        }
    }

    /// The times of a response that may be stored; no fresher than an upper tier has it.
    fn stored_times(
        &self,
        lifetimes: &Lifetimes,
        fields: &HeaderMap,
        times: &ExchangeTimes,
    ) -> StoredTimes {
        let received = times.received;
        let stored = StoredTimes::new(lifetimes, received, Validators::of(fields).any());
        match &self.from {
            Some(from) => from.verdict.limit(stored, received),
            None => stored,
        }
    }
}

/// The client's request as the origin gets it, with what `ask` makes of its fields.
pub(super) fn origin_request(
    asked: &Parts,
    site: &SiteRequest,
    request_id: RequestId,
    ask: impl FnOnce(&mut HeaderMap),
) -> pingora_error::Result<RequestHeader> {
    let mut parts = asked.clone();
    parts.version = Version::HTTP_11;
    ask(&mut parts.headers);
    forward::strip_request(&mut parts.headers);
    let mut head = RequestHeader::from(parts);
    forward::prepare(&mut head, site, request_id.as_str())?;
    Ok(head)
}

/// Makes the fields ask for some bytes and nothing of the client's own conditions; if the representation
/// is not the one of `condition` any more, for the whole.
fn ask_for(fields: &mut HeaderMap, missing: Missing, condition: Option<&HeaderValue>) {
    make_validating(fields, &[]);
    fields.insert(header::RANGE, missing.to_value());
    if let Some(condition) = condition {
        fields.insert(header::IF_RANGE, condition.clone());
    }
}

/// RFC 5861 §4: what counts as an error.
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Whether the next answer will not be storable either, so that requests need not wait for it.
pub(super) fn is_lasting(reason: NoStoreReason, status: StatusCode) -> bool {
    !status.is_server_error()
        && !matches!(
            reason,
            NoStoreReason::OriginRejected
                | NoStoreReason::Authorization
                | NoStoreReason::StoreBusy
                | NoStoreReason::Method
                | NoStoreReason::Status
                | NoStoreReason::RequestNoStore
                | NoStoreReason::PartialContent
                | NoStoreReason::UpperTier { lasting: false }
        )
}
