//! What a fetch makes of stored responses: a 304 freshens them (RFC 9111 §4.3.4), a 206 completes one
//! (§3.4), the answer to a HEAD updates or outdates one (§4.3.5).

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode};
use pingora_http::ResponseHeader;

use super::super::answer;
use super::{ArrivedResult, Fetch, Landed, Received};
use crate::cache::freshen::{HeadUpdate, head_update, selected_by, update};
use crate::cache::partial::{Missing, may_combine, part_of};
use crate::cache::response::{ExchangeTimes, ResponseView};
use crate::cache::status::Storing;
use crate::cache::storing::StoreDecision;
use crate::fields::stored::StoredFields;
use crate::origin::FetchReport;
use crate::rules::phase::ResponseEdits;
use crate::store::{Body, Part, StoredResponse};

impl Fetch {
    /// RFC 9111 §4.3.3 and §4.3.4: what the 304 selects is freshened. True when it selects nothing.
    pub(super) async fn not_modified(&mut self, received: Received, report: &FetchReport) -> bool {
        let Received {
            mut head,
            times,
            mut body,
            ..
        } = received;
        if let Some(edits) = self
            .candidates
            .first()
            .and_then(|stored| self.edits(stored))
        {
            // What was taken away from the stored response does not tell it from another one.
            answer::edit(&mut head, |fields| edits.strip(fields));
        }
        // There is none; this settles the connection.
        let _ = body.read().await;
        self.fetcher.release(body).await;
        let fields = self.candidate_fields();
        let fields: Vec<&HeaderMap> = fields.iter().collect();
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

    /// What the cache response rules do to a stored response.
    fn edits(&self, stored: &StoredResponse) -> Option<ResponseEdits> {
        if self.from.is_some() {
            // An upper tier has gone by them.
            return None;
        }
        let lookup = &self.lookup;
        let fields = stored.fields.to_map();
        answer::response_edits(&lookup.site, &lookup.head, stored.status, &fields)
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
        let mut fields = stored.fields.to_map();
        update(&mut fields, not_modified);
        if let Some(edits) = self.edits(stored) {
            edits.apply(&mut fields);
        }
        if self.lookup.site.settings.store_set_cookie.value {
            answer::update_cookies(&mut fields, not_modified);
        }
        let decision = self.decide(&Method::GET, stored.status, &fields, times);
        let mut freshened = StoredResponse::clone(stored);
        freshened.generation = self.begun.generation();
        freshened.tags = self.lookup.tags(&fields);
        if let StoreDecision::Store(lifetimes) = &decision {
            freshened.times = self.stored_times(lifetimes, &fields, times).into();
        }
        freshened.fields = StoredFields::from(&fields);
        freshened.renew_encoded();
        match decision {
            StoreDecision::Store(_) => {
                store.replace(key, freshened.clone());
                self.freshened_in_reserve(&freshened);
                if !self.lookup.selects(&stored.selection) {
                    // The origin chose this variant for a request that no stored one answered.
                    freshened.id = store.next_id();
                    freshened.selection = self.lookup.selection(&fields);
                    store.insert(key, freshened.clone(), &self.begun);
                    self.to_reserve(&freshened);
                }
                (freshened, Storing::Freshened)
            }
            StoreDecision::DoNotStore(reason) => {
                store.remove(key, stored);
                self.not_in_reserve();
                (freshened, Storing::NotStored(reason))
            }
        }
    }

    /// The missing bytes came, or something else did. True when they are of no use.
    pub(super) async fn completed(
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
        let range = part_of(&ResponseView {
            status: head.status,
            headers: &head.headers,
        });
        let fits = range.as_ref().is_some_and(|range| {
            range.first == missing.first && stored.content.is_of_length(range.complete)
        }) && may_combine(&stored.fields.to_map(), &head.headers);
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
            .with(&part, range.and_then(|range| range.complete));
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

    /// RFC 9111 §4.3.5.
    pub(super) fn update_from_head(
        &self,
        head: &ResponseHeader,
        times: &ExchangeTimes,
        now: SystemTime,
    ) {
        let Some(stored) = self.candidates.first().filter(|_| self.selected.is_some()) else {
            return;
        };
        let length = stored.content.complete_length().unwrap_or_default();
        match head_update(
            stored.status,
            &stored.fields.to_map(),
            length,
            head.status,
            &head.headers,
        ) {
            HeadUpdate::Freshens => {
                self.freshened(stored, &head.headers, times);
            }
            HeadUpdate::Outdates => {
                let mut outdated = StoredResponse::clone(stored);
                outdated.times = outdated.times().expire(now).into();
                self.shared.store.replace(&self.lookup.key, outdated);
            }
            HeadUpdate::Nothing => {}
        }
    }
}
