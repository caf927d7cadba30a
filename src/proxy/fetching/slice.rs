//! Slices of a body from the origin: those that are gone (RFC 9111 §3.4), and the first of a response
//! that rules have fetched slice by slice.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use tokio::task::JoinHandle;

use super::super::answer;
use super::super::exchange::{Exchange, RequestId};
use super::super::gateway::Gateway;
use super::super::lookup::Lookup;
use super::{ArrivedResult, Asker, Fetch, Landed, Received, ask_for, origin_request};
use crate::cache::partial::{Missing, if_range, make_complete, may_combine, part_of};
use crate::cache::response::ResponseView;
use crate::cache::status::Storing;
use crate::cache::storing::StoreDecision;
use crate::clock;
use crate::origin::{Answer, AnswerBody, FetchFailure, FetchReport, Fetcher};
use crate::purge::Generation;
use crate::rules::phase::Priority;
use crate::server::Shared;
use crate::store::{
    Boarding, Body, Content, FlightKey, Landing, SLICE, SliceFailure, Sliced, positions,
};

/// How one who reads a body gets the slices of it that are gone.
#[derive(Clone)]
pub(in super::super) struct Refetch {
    shared: Arc<Shared>,
    fetcher: Arc<Fetcher>,
    lookup: Arc<Lookup>,
    request_id: RequestId,
    /// The fields of the response whose body it is.
    fields: Arc<HeaderMap>,
    slices: Arc<Sliced>,
    len: u64,
}

/// A slice that is fetched before it is asked for. Who asked for it has it, whatever becomes of it in
/// the store.
pub(in super::super) struct Ahead {
    number: u64,
    slice: JoinHandle<Result<Bytes, SliceFailure>>,
}

impl Ahead {
    /// The slice, if it is this one.
    pub(in super::super) async fn take(self, number: u64) -> Option<Result<Bytes, SliceFailure>> {
        if self.number != number {
            return None;
        }
        Some(self.slice.await.unwrap_or(Err(SliceFailure::Failed)))
    }
}

impl Refetch {
    pub(in super::super) fn new(
        gateway: &Gateway,
        lookup: &Arc<Lookup>,
        exchange: &Exchange,
        fields: &Arc<HeaderMap>,
        (slices, len): (&Arc<Sliced>, u64),
    ) -> Self {
        Self {
            shared: gateway.shared.clone(),
            fetcher: gateway.fetcher.clone(),
            lookup: lookup.clone(),
            request_id: exchange.request_id,
            fields: fields.clone(),
            slices: slices.clone(),
            len,
        }
    }

    /// The slice, from the origin: one fetch for all who miss it at the same time, in a task of its
    /// own.
    pub(in super::super) async fn slice(&self, number: u64) -> Result<Bytes, SliceFailure> {
        let key = self.flight(number);
        let flights = &self.slices.slices().flights;
        let now = clock::instant();
        match flights.board(&key, Generation::default(), now, |_| true) {
            Boarding::Alone => Box::pin(self.fetch(number)).await,
            Boarding::Follow(flight) => match flight.landing().await {
                Landing::Landed(slice) => slice,
                Landing::Lost => Err(SliceFailure::Failed),
            },
            Boarding::Lead(lead) => {
                // A fetch may have ended between looking and leading.
                if let Some(slice) = self.slices.in_memory(number) {
                    lead.end(Ok(slice.clone()));
                    return Ok(slice);
                }
                let this = self.clone();
                let fetch = tokio::spawn(async move {
                    let slice = this.fetch(number).await;
                    lead.end(slice.clone());
                    slice
                });
                fetch.await.unwrap_or(Err(SliceFailure::Failed))
            }
        }
    }

    /// Begins to fetch a slice that will be wanted soon, unless it is there.
    pub(in super::super) fn ahead(&self, number: u64) -> Option<Ahead> {
        if self.slices.holds(number) {
            return None;
        }
        let this = self.clone();
        let slice = tokio::spawn(async move { this.slice(number).await });
        Some(Ahead { number, slice })
    }

    fn flight(&self, number: u64) -> FlightKey {
        let selecting = [self.slices.id().0.to_be_bytes(), number.to_be_bytes()].concat();
        FlightKey {
            key: self.lookup.key.clone(),
            selecting: selecting.into(),
        }
    }

    /// What another representation has taken the place of is stored no more.
    async fn fetch(&self, number: u64) -> Result<Bytes, SliceFailure> {
        let store = &self.shared.store;
        let slice = match store.recall_slice(self.slices.id(), number, self.len).await {
            Some(slice) => Ok(slice),
            None => self.ask(number).await,
        };
        match &slice {
            Ok(slice) => self.slices.put(number, slice),
            Err(failure) => {
                tracing::debug!(%failure, number, "a slice cannot be had");
                if *failure == SliceFailure::Changed {
                    store.remove_sliced(&self.lookup.key, self.slices.id());
                }
            }
        }
        slice
    }

    async fn ask(&self, number: u64) -> Result<Bytes, SliceFailure> {
        // Without a strong validator nobody could tell whether it is of the same representation.
        let condition = if_range(&self.fields).ok_or(SliceFailure::Changed)?;
        let wanted = positions(number, self.len);
        let missing = Missing::of(&wanted);
        let request = origin_request(
            &self.lookup.head,
            &self.lookup.site,
            self.request_id,
            |fields| {
                ask_for(fields, missing, Some(condition));
            },
        );
        let request = request.map_err(|_| SliceFailure::Failed)?;
        let asker = Asker {
            // A client is in the middle of the body.
            priority: Priority::High,
            shared: &self.shared,
            fetcher: &self.fetcher,
            lookup: &self.lookup,
            request_id: self.request_id,
            started: clock::instant(),
            interim: None,
        };
        let mut report = FetchReport::default();
        let got = asker.ask(&request, &mut report).await;
        let got = got.map_err(|_| SliceFailure::Failed)?;
        let Answer {
            mut head, mut body, ..
        } = got.answer;
        let edited = got.from.is_some();
        answer::receive_for_store(&mut head, &self.lookup, clock::now(), edited);
        let skipped = self.offset(head.status, &head.headers, missing)?;
        let slice = read_exactly(&mut body, skipped, wanted.end - wanted.start)
            .await
            .map_err(|_| SliceFailure::Failed)?;
        if skipped == 0 && head.status == StatusCode::PARTIAL_CONTENT {
            finish(&self.fetcher, body).await;
        }
        Ok(slice)
    }

    /// Where in the answer's body the slice begins. A 206 must be exactly what was asked for; an
    /// origin that knows no ranges sends the whole, of which the rest is passed over.
    fn offset(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
        missing: Missing,
    ) -> Result<u64, SliceFailure> {
        let same = may_combine(&self.fields, fields);
        let view = ResponseView {
            status,
            headers: fields,
        };
        match status {
            StatusCode::PARTIAL_CONTENT => {
                let fits = part_of(&view).is_some_and(|range| {
                    range.first == missing.first
                        && Some(range.last) == missing.last
                        && range.complete == Some(self.len)
                });
                (fits && same).then_some(0).ok_or(SliceFailure::Changed)
            }
            StatusCode::OK if same && answer::content_length(fields) == Some(self.len) => {
                Ok(missing.first)
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(SliceFailure::Failed)
            }
            // RFC 9110 §13.1.5: the whole of another representation, or none of it.
            _ => Err(SliceFailure::Changed),
        }
    }
}

/// The `wanted` bytes that follow the first `skipped`.
async fn read_exactly(
    body: &mut AnswerBody,
    skipped: u64,
    wanted: u64,
) -> Result<Bytes, FetchFailure> {
    let wanted = usize::try_from(wanted).map_err(|_| FetchFailure::Protocol)?;
    let mut skipped = skipped;
    let mut slice = BytesMut::with_capacity(wanted);
    while slice.len() < wanted {
        let mut chunk = body.read().await?.ok_or(FetchFailure::Closed)?;
        let passed = usize::try_from(skipped)
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        drop(chunk.split_to(passed));
        skipped = skipped.saturating_sub(u64::try_from(passed).unwrap_or(u64::MAX));
        chunk.truncate(wanted - slice.len());
        slice.extend_from_slice(&chunk);
    }
    Ok(slice.freeze())
}

/// Gives the connection back when nothing but the end is left on it.
async fn finish(fetcher: &Fetcher, mut body: AnswerBody) {
    if matches!(body.read().await, Ok(None)) {
        fetcher.release(body).await;
    }
}

impl Fetch {
    /// The first slice of a response that is to come slice by slice, as the part of a whole that it
    /// is: what else of it is wanted is fetched when it is. True when it is of no use.
    pub(super) async fn first_slice(
        &mut self,
        received: Received,
        number: u64,
        report: &FetchReport,
    ) -> bool {
        let Received {
            head,
            times,
            framed,
            mut body,
        } = received;
        let id = self.shared.store.next_id();
        let mut fields = head.headers.clone();
        let range = part_of(&ResponseView {
            status: head.status,
            headers: &fields,
        });
        let Some((range, len)) = range.and_then(|range| Some((range, range.complete?))) else {
            return true;
        };
        let fits = range.range() == positions(number, len)
            && (if_range(&fields).is_some() || len <= SLICE);
        make_complete(&mut fields, len);
        let decision = self.decide(&Method::GET, StatusCode::OK, &fields, &times);
        let StoreDecision::Store(lifetimes) = decision else {
            return true;
        };
        if !fits || !framed || self.shared.store.fill_budget().is_spent() {
            return true;
        }
        let Ok(slice) = read_exactly(&mut body, 0, range.range().end - range.first).await else {
            return true;
        };
        finish(&self.fetcher, body).await;
        answer::strip_for_store(&mut fields, &self.lookup.site);
        let body = if len <= SLICE {
            Body::of(slice)
        } else {
            let on_disk = self.lookup.site.settings.disk.value;
            let slices = Sliced::new(id, self.shared.store.slices.clone()).below(on_disk);
            slices.put(number, &slice);
            Body::sliced(Arc::new(slices), len)
        };
        let content = Content::Complete(Arc::new(body));
        let of_store = self.stored_times(&lifetimes, &fields, &times);
        let selection = self.lookup.selection(&fields);
        let stored = self.to_store(id, StatusCode::OK, &fields, of_store, selection, content);
        let store = &self.shared.store;
        store.insert(&self.lookup.key, stored.clone(), &self.begun);
        self.to_reserve(&stored);
        let stored = Arc::new(stored);
        self.land(Landed::Stored(stored.clone()), times.received);
        self.tell(
            ArrivedResult::Stored(stored),
            Storing::Stored,
            Some(StatusCode::PARTIAL_CONTENT),
            Some(times.requested),
            report.clone(),
        );
        false
    }
}

/// Whether slices of a response with these fields can be fetched again (RFC 9111 §3.4): only a strong
/// validator tells that they belong together.
pub(in super::super) fn can_refetch(fields: &HeaderMap) -> bool {
    if_range(fields).is_some()
}
