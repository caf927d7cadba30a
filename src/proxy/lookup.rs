//! What a request asks the store: its key, which of the stored responses it selects, and what was
//! found.

use std::sync::Arc;
use std::time::SystemTime;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};

use super::exchange::SiteRequest;
use crate::cache::extras::{reductions, write_extras};
use crate::cache::key::CacheKey;
use crate::cache::reuse::{Found, StoredTimes};
use crate::cache::settings::{RequestCacheControl, VarySettings};
use crate::cache::storing::{NoStoreReason, too_rare};
use crate::clock;
use crate::fields::accept_language;
use crate::fields::request_control::RequestControl;
use crate::fields::tags::cache_tags_with;
use crate::fields::vary::{Vary, content_language};
use crate::store::{
    FlightKey, MemoryStore, Resource, Selection, StoreKey, StoredId, StoredResponse, shared,
};

/// A request as the store sees it.
pub(super) struct Lookup {
    pub(super) site: Arc<SiteRequest>,
    /// The client's request as it was brought into form on arrival; of fields that count by what they
    /// contain, what was found.
    pub(super) head: Arc<Parts>,
    pub(super) key: StoreKey,
    /// What rules add to the key, in front of every selecting key.
    extras: Vec<u8>,
    /// The client's directives, as far as the zone follows them.
    pub(super) control: RequestControl,
}

/// What the store holds for a request.
pub(super) enum Stock {
    Nothing,
    /// Responses for other requests, newest first.
    Others(Vec<Arc<StoredResponse>>),
    /// The response that the request selects, whole or in part, with its times after all purges.
    Selected(Arc<StoredResponse>, StoredTimes),
}

impl Lookup {
    /// The request with this head, as it was brought into form on arrival.
    pub(super) fn of(site: Arc<SiteRequest>, mut head: Arc<Parts>) -> Self {
        reduce(&mut head, &site);
        let view = site.view(&head);
        // The port counts: it is forwarded, and pages hold absolute links. The query was brought
        // into the form that counts when the request arrived.
        let zone = &site.site.zone.name;
        let host = site.keyed_host();
        let key = CacheKey::of(zone, host, &view, view.query);
        let key = StoreKey(key.encode().into());
        let mut extras = Vec::new();
        write_extras(&view, &site.settings.key.value, &mut extras);
        extras.extend_from_slice(&site.applied.key);
        let control = match site.settings.request_cache_control.value {
            RequestCacheControl::Respect => RequestControl::of(&head.headers),
            RequestCacheControl::Ignore => RequestControl::default(),
        };
        Self {
            site,
            head,
            key,
            extras,
            control,
        }
    }

    /// What rules add to the key.
    pub(super) fn extras(&self) -> &[u8] {
        &self.extras
    }

    /// Counts this request, where its rules want more than one before anything is stored.
    pub(super) fn count_use(&self, store: &MemoryStore) {
        if self.site.settings.min_uses.value > 1 {
            store.uses.count(&self.use_key(), clock::instant());
        }
    }

    /// Why what may be stored for it is not stored yet.
    pub(super) fn too_rare(&self, store: &MemoryStore) -> Option<NoStoreReason> {
        let settings = &self.site.settings;
        if settings.min_uses.value <= 1 {
            return None;
        }
        too_rare(
            store.uses.recent(&self.use_key(), clock::instant()),
            settings,
        )
    }

    fn use_key(&self) -> Vec<u8> {
        [&*self.key.0, &self.extras].concat()
    }

    /// The tags by which a response with these fields can be purged.
    pub(super) fn tags(&self, fields: &HeaderMap) -> Arc<[Box<str>]> {
        shared(cache_tags_with(fields, &self.site.settings.tags.value))
    }

    fn vary_settings(&self) -> &VarySettings {
        &self.site.settings.vary.value
    }

    /// The requests that a response with these fields to this one answers.
    pub(super) fn selection(&self, response: &HeaderMap) -> Selection {
        let vary = Vary::of(response);
        let by_language =
            content_language(response).and_then(|language| self.language_key(&vary, language));
        Selection {
            key: self.selecting_key(&vary),
            by_language,
            vary,
        }
    }

    /// What rules add to the key, and the fields that the response varies by.
    pub(super) fn selecting_key(&self, vary: &Vary) -> Arc<[u8]> {
        let mut key = self.extras.clone();
        if !vary.write_selecting_key(&self.head.headers, self.vary_settings(), &mut key) {
            // `Vary: *` is never stored; should it be, no request would have this key.
            key.push(b'*');
        }
        shared(key)
    }

    fn language_key(&self, vary: &Vary, language: &[u8]) -> Option<Arc<[u8]>> {
        let key = vary.language_key(&self.head.headers, language, self.vary_settings())?;
        Some([&*self.extras, &*key].concat().into())
    }

    /// Whether a response stored for `selection` answers this request (RFC 9111 §4.1): by the fields
    /// it varies by, or because it is in the language that the client likes best.
    pub(super) fn selects(&self, selection: &Selection) -> bool {
        let by_language = || {
            let stored = selection.by_language.as_ref()?;
            let wanted = accept_language::first_choice(&self.head.headers)?;
            let key = self.language_key(&selection.vary, &wanted)?;
            Some(key == *stored)
        };
        selection.vary != Vary::Any
            && (self.selecting_key(&selection.vary) == selection.key
                || by_language().unwrap_or_default())
    }

    /// Whether a stored response differs from what this request selects by its Vary alone. What rules
    /// keep apart may come from another origin, and its `ETag` says nothing here.
    pub(super) fn is_variant(&self, stored: &StoredResponse) -> bool {
        let rest = stored.selection.key.strip_prefix(self.extras.as_slice());
        rest.is_some_and(|rest| rest.first().is_none_or(|kind| *kind == 0))
    }

    /// What the store holds for this request.
    pub(super) fn find(&self, store: &MemoryStore) -> Stock {
        match store.find(&self.key) {
            Some(resource) => self.find_in(&resource, store),
            None => Stock::Nothing,
        }
    }

    /// The same among `resource`.
    pub(super) fn find_in(&self, resource: &Resource, store: &MemoryStore) -> Stock {
        let mut others = Vec::new();
        for stored in resource.variants() {
            let Some(times) = store.purges.times(&self.key, stored) else {
                continue;
            };
            if self.selects(&stored.selection) {
                return Stock::Selected(stored.clone(), times);
            }
            others.push(stored.clone());
        }
        if others.is_empty() {
            Stock::Nothing
        } else {
            Stock::Others(others)
        }
    }

    /// The stored response that this request selects.
    pub(super) fn selected(
        &self,
        store: &MemoryStore,
    ) -> Option<(Arc<StoredResponse>, StoredTimes)> {
        self.find(store).into_selected()
    }

    /// What fetches of this request are collapsed by. `vary` is what responses under this key are
    /// known to vary by, `range` the Range that is forwarded.
    pub(super) fn flight(&self, vary: Option<&Vary>, range: Option<&HeaderValue>) -> FlightKey {
        let mut selecting = self.selecting_key(vary.unwrap_or(&Vary::None)).to_vec();
        if let Some(range) = range {
            let condition = self.head.headers.get(header::IF_RANGE);
            for part in [Some(range), condition].into_iter().flatten() {
                selecting.push(b'\n');
                selecting.extend_from_slice(part.as_bytes());
            }
        }
        FlightKey {
            key: self.key.clone(),
            selecting: selecting.into(),
        }
    }
}

/// Of a field that counts by what it contains, leaves the texts that were found.
fn reduce(head: &mut Arc<Parts>, site: &SiteRequest) {
    for (name, value) in reductions(&head.headers, &site.settings.key.value) {
        let headers = &mut Arc::make_mut(head).headers;
        match value {
            Some(value) => drop(headers.insert(name, value)),
            None => drop(headers.remove(&name)),
        }
    }
}

impl Stock {
    /// For the policy.
    pub(super) fn found(&self) -> Found<'_> {
        match self {
            Self::Nothing => Found::Nothing,
            Self::Others(_) => Found::OtherVariant,
            Self::Selected(_, times) => Found::Complete(times),
        }
    }

    /// What a fetch can validate or complete.
    pub(super) fn candidates(&self) -> Vec<Arc<StoredResponse>> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Others(others) => others.clone(),
            Self::Selected(stored, _) => vec![stored.clone()],
        }
    }

    /// What responses under this key vary by, as far as is known.
    pub(super) fn vary(&self) -> Option<&Vary> {
        match self {
            Self::Nothing => None,
            Self::Others(others) => others.first().map(|stored| &stored.selection.vary),
            Self::Selected(stored, _) => Some(&stored.selection.vary),
        }
    }

    /// The selected response, and its times.
    pub(super) fn into_selected(self) -> Option<(Arc<StoredResponse>, StoredTimes)> {
        match self {
            Self::Selected(stored, times) => Some((stored, times)),
            Self::Nothing | Self::Others(_) => None,
        }
    }

    /// Which response is selected, and its times: what changes when it is replaced or freshened.
    pub(super) fn selected(&self) -> Option<(StoredId, StoredTimes)> {
        match self {
            Self::Selected(stored, times) => Some((stored.id, *times)),
            Self::Nothing | Self::Others(_) => None,
        }
    }

    /// The times of the selected response.
    pub(super) fn times(&self) -> Option<&StoredTimes> {
        match self {
            Self::Selected(_, times) => Some(times),
            Self::Nothing | Self::Others(_) => None,
        }
    }
}

/// Whole seconds of freshness left at `now`.
pub(super) fn ttl(times: Option<&StoredTimes>, now: SystemTime) -> Option<i64> {
    times.map(|times| times.ttl(now))
}
