//! A response of its own: decided about, told to those who wait, read to its end and stored.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::super::answer;
use super::slice::can_refetch;
use super::{ArrivedResult, Fetch, Landed, Purpose, Received, is_failure, is_lasting};
use crate::cache::partial::{may_combine, part_of};
use crate::cache::response::ResponseView;
use crate::cache::reuse::{Found, OriginState, ReuseDecision, StoredTimes, decide_reuse};
use crate::cache::status::Storing;
use crate::cache::storing::{NoStoreReason, StoreDecision, shares_failure};
use crate::clock;
use crate::fields::content_range::ContentRange;
use crate::fields::stored::StoredFields;
use crate::fields::vary::Vary;
use crate::origin::{AnswerBody, FetchFailure, FetchReport};
use crate::store::{
    Body, Content, Fill, Keep, Part, SLICE, Selection, Served, Sliced, StoredId, StoredResponse,
};

/// Most parts kept of one response; with more, what was there makes room for what is new.
const MOST_PARTS: usize = 16;

/// How often a body goes on from elsewhere.
const MOST_CUTS: u32 = 2;

/// A writer that goes away fails its readers, whatever the reason.
struct AbortWhenDropped(Arc<Fill>);

impl Drop for AbortWhenDropped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fetch {
    /// A response of its own: decided about, told, and read to its end.
    pub(super) async fn answered(&mut self, received: Received, report: FetchReport) {
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
        let failed = is_failure(status);
        let hidden = failed && self.may_hide_failure(now);
        let decision = match self.decide(&self.lookup.head.method, status, &head.headers, &times) {
            StoreDecision::Store(_) if !framed => {
                StoreDecision::DoNotStore(NoStoreReason::UnknownLength)
            }
            StoreDecision::Store(_) if self.shared.store.fill_budget().is_spent() => {
                StoreDecision::DoNotStore(NoStoreReason::StoreBusy)
            }
            StoreDecision::Store(_) if hidden => StoreDecision::DoNotStore(NoStoreReason::Status),
            StoreDecision::Store(_) if !self.has_room(status, &head.headers) => {
                StoreDecision::DoNotStore(NoStoreReason::TooLarge(None))
            }
            decision => decision,
        };
        self.remember(status, &head.headers, &decision);
        let stored_times = match &decision {
            StoreDecision::Store(lifetimes) => {
                Some(self.stored_times(lifetimes, &head.headers, &times))
            }
            StoreDecision::DoNotStore(_) => None,
        };
        let shared =
            stored_times.is_none() && failed && self.may_share_failure(status, &head.headers);
        let largest = self.lookup.site.settings.max_object_size.value;
        // What is too rare to be kept is shared all the same by those who wait for it. What is stored
        // already was wanted often enough.
        let too_rare = stored_times
            .filter(|_| self.selected.is_none())
            .and_then(|_| self.lookup.too_rare(&self.shared.store));
        let expected = self.expected_length(status, &head.headers);
        let keep = match (stored_times, too_rare) {
            (Some(_), None) if status != StatusCode::PARTIAL_CONTENT => Keep::Stored {
                most: largest,
                again: can_refetch(&head.headers) && expected.is_some(),
            },
            (None, _) if !shared => Keep::Window,
            _ => Keep::UpTo(largest),
        };
        let store = &self.shared.store;
        let on_disk = self.lookup.site.settings.disk.value;
        let slices = Sliced::new(store.next_id(), store.slices.clone()).below(on_disk);
        let own = Arc::new(head.headers.clone());
        let mut fields = own.clone();
        if stored_times.is_some() || shared {
            // Others get what is stored: no more than that is for them.
            answer::strip_for_store(Arc::make_mut(&mut fields), &self.lookup.site);
        }
        let fill = Arc::new(Fill::new(
            status,
            fields,
            stored_times,
            self.lookup.selection(&head.headers),
            (keep, expected),
            (slices, store.fill_budget()),
        ));
        let _ended = AbortWhenDropped(fill.clone());
        let stored_times = stored_times.filter(|_| too_rare.is_none());
        if let Some(times) = stored_times
            && fill.expected() == Some(0)
        {
            self.store(&fill, &Arc::default(), times);
            self.lead = None;
        }
        let reader = self.arrived.as_ref().and_then(|_| fill.reader());
        let landed = match &decision {
            StoreDecision::DoNotStore(_) if failed => {
                Landed::Failed(FetchFailure::Closed, shared.then(|| fill.clone()))
            }
            StoreDecision::Store(_) => Landed::Filling(fill.clone()),
            StoreDecision::DoNotStore(_) => Landed::Passing,
        };
        self.land(landed, now);
        let storing = match (decision, too_rare) {
            (StoreDecision::Store(_), None) => Storing::Stored,
            (StoreDecision::Store(_), Some(reason)) | (StoreDecision::DoNotStore(reason), _) => {
                Storing::NotStored(reason)
            }
        };
        if let Some(reader) = reader {
            let result = ArrivedResult::Reader(reader, own);
            self.tell(result, storing, Some(status), Some(times.requested), report);
        } else if self.arrived.is_none() && stored_times.is_none() {
            // A background validation whose answer is not to be kept: its body is nobody's.
            self.flights.rest(&self.flight, clock::instant());
            return;
        }
        self.pump(fill, body, stored_times).await;
    }

    /// Reads the body into `fill`, and stores it when it is whole: before the last of it is passed
    /// on, so that who has read it all finds it stored.
    async fn pump(&mut self, fill: Arc<Fill>, mut body: AnswerBody, times: Option<StoredTimes>) {
        let expected = fill.expected();
        let mut unstored = times.filter(|_| expected != Some(0));
        let mut kept = None;
        let mut patient = true;
        let mut cuts = 0;
        loop {
            if patient && unstored.is_some() {
                // What nobody waits for goes no faster than the slowest tier.
                let slices = &self.shared.store.slices;
                patient = slices.room(|| fill.is_background()).await;
            }
            let read = tokio::select! {
                read = body.read() => read,
                () = fill.abandoned() => return,
            };
            let chunk = match read {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(failure) => {
                    tracing::debug!(%failure, "a response was cut short");
                    if self.from.is_none() {
                        let pool = &self.lookup.site.site.pool.config.name;
                        self.shared.metrics.origin_failure(pool, failure.kind());
                    }
                    if cuts == MOST_CUTS {
                        return;
                    }
                    cuts += 1;
                    let Some(rest) = Box::pin(self.resume(&fill)).await else {
                        return;
                    };
                    body = rest;
                    continue;
                }
            };
            let length = fill
                .written()
                .saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if expected == Some(length)
                && let Some(times) = unstored.take()
                && let Some(whole) = fill.seal(&chunk)
            {
                kept = self.store(&fill, &whole, times);
                self.lead = None;
            }
            // Slow readers have as long as the origin has.
            let deadline = tokio::time::Instant::from_std(body.deadline());
            match tokio::time::timeout_at(deadline, fill.write(chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
        if expected.is_some_and(|expected| expected != fill.written()) {
            return;
        }
        if let Some(times) = unstored
            && let Some(whole) = fill.seal(&Bytes::new())
        {
            kept = self.store(&fill, &whole, times);
        }
        self.lead = None;
        fill.complete();
        if let Some(body) = kept {
            fill.settle(&body);
        }
        self.fetcher.release(body).await;
    }

    /// How long the body will be, if that is known.
    fn expected_length(&self, status: StatusCode, fields: &HeaderMap) -> Option<u64> {
        let bodiless =
            self.lookup.head.method == Method::HEAD || matches!(status.as_u16(), 204 | 304);
        if bodiless {
            Some(0)
        } else {
            answer::content_length(fields)
        }
    }

    /// Whether memory, or a tier below, can take the body, as far as its length is known.
    fn has_room(&self, status: StatusCode, fields: &HeaderMap) -> bool {
        let length = self.expected_length(status, fields);
        let length = length.filter(|_| status != StatusCode::PARTIAL_CONTENT);
        length.is_none_or(|length| length <= SLICE || self.shared.store.slices.could_hold(length))
    }

    /// Stores the response with this body, which comes back when it is stored as it is.
    fn store(&self, fill: &Fill, body: &Arc<Body>, times: StoredTimes) -> Option<Arc<Body>> {
        let mut fields = HeaderMap::clone(&fill.fields);
        let store = &self.shared.store;
        let mut same = false;
        let (status, content) = if fill.status == StatusCode::PARTIAL_CONTENT {
            let range = part_of(&ResponseView {
                status: fill.status,
                headers: &fill.fields,
            })?;
            let (content, joined) = self.with_part(&mut fields, &range, body)?;
            same = joined;
            (StatusCode::OK, content)
        } else {
            (fill.status, Content::Complete(body.clone()))
        };
        if !matches!(status.as_u16(), 204 | 304) {
            match content.complete_length() {
                Some(length) => {
                    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                }
                None => drop(fields.remove(header::CONTENT_LENGTH)),
            }
        }
        let (id, selection) = (fill.slices().id(), fill.selection.clone());
        let stored = self.to_store(id, status, &fields, times, selection, content);
        let written = stored.clone();
        if same {
            store.extend(&self.lookup.key, stored);
        } else {
            store.insert(&self.lookup.key, stored, &self.begun);
        }
        self.to_reserve(&written);
        Some(body.clone())
    }

    /// A response of this fetch, ready to be stored.
    pub(super) fn to_store(
        &self,
        id: StoredId,
        status: StatusCode,
        fields: &HeaderMap,
        times: StoredTimes,
        selection: Selection,
        content: Content,
    ) -> StoredResponse {
        let mut stored = StoredResponse {
            id,
            generation: self.begun.generation(),
            status,
            tags: self.lookup.tags(fields),
            fields: StoredFields::from(fields),
            times: times.into(),
            selection,
            content,
            encoded: None,
            uses: Served::default(),
            disk: self.lookup.site.settings.disk.value,
        };
        stored.renew_encoded();
        stored
    }

    /// A 206 becomes part of what is stored, where that is the same representation (RFC 9111 §3.4).
    /// Also tells whether it was joined to anything. `None` when the whole has come in the meantime.
    fn with_part(
        &self,
        fields: &mut HeaderMap,
        range: &ContentRange,
        body: &Arc<Body>,
    ) -> Option<(Content, bool)> {
        fields.remove(header::CONTENT_RANGE);
        let part = Part {
            first: range.first,
            body: body.clone(),
        };
        let nothing = Content::Parts(Arc::default());
        let resource = self.shared.store.find(&self.lookup.key).unwrap_or_default();
        let known = resource
            .variants()
            .iter()
            .find(|stored| self.lookup.selects(&stored.selection));
        if known.is_some_and(|known| {
            known.content.is_complete() && known.times().is_fresh(clock::now())
        }) {
            return None;
        }
        let known = known.filter(|stored| {
            stored.content.ranges().len() < MOST_PARTS
                && stored.content.is_of_length(range.complete)
                && may_combine(&stored.fields.to_map(), fields)
        });
        let joined = known.is_some();
        let known = known.map_or(&nothing, |stored| &stored.content);
        Some((known.with(&part, range.complete), joined))
    }

    /// What the origin says to one visitor about its trouble is not for others; nor is what nobody here
    /// reads.
    fn may_share_failure(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let asked = &self.lookup.head.headers;
        let anonymous =
            !asked.contains_key(header::AUTHORIZATION) && !asked.contains_key(header::COOKIE);
        anonymous && self.arrived.is_some() && shares_failure(&ResponseView { status, headers })
    }

    /// Whether the selected response may be served in place of a failure.
    fn may_hide_failure(&self, now: SystemTime) -> bool {
        self.selected.as_ref().is_some_and(|times| {
            let found = Found::Complete(times);
            let decision = decide_reuse(&self.lookup.control, found, OriginState::Failed, now);
            matches!(
                decision,
                ReuseDecision::Reuse { .. } | ReuseDecision::ReuseStale { .. }
            )
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
                    self.shared.store.remove(&self.lookup.key, stored);
                    self.not_in_reserve();
                }
            }
        }
    }
}
