//! What a request asks the store: its key, which of the stored responses it selects, and what was
//! found.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, header};
use pingora_http::RequestHeader;

use super::exchange::SiteRequest;
use crate::cache::key::{CacheKey, write_extras};
use crate::cache::reuse::{Found, StoredTimes};
use crate::cache::settings::{LanguageKey, RequestCacheControl, VarySettings};
use crate::fields::accept_language;
use crate::fields::request_control::RequestControl;
use crate::fields::vary::Vary;
use crate::store::{FlightKey, MemoryStore, Selection, StoreKey, StoredResponse, Subject};

/// A request as the store sees it.
pub(super) struct Lookup {
    pub(super) site: Arc<SiteRequest>,
    /// The client's request as it was normalised on arrival.
    pub(super) head: RequestHeader,
    pub(super) key: StoreKey,
    /// For purges.
    pub(super) subject: Arc<Subject>,
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
    pub(super) fn of(site: Arc<SiteRequest>, head: RequestHeader) -> Self {
        let view = site.view(&head);
        let key = CacheKey {
            // The port counts: it is forwarded, and pages hold absolute links.
            host: site.authority.as_str(),
            ..CacheKey::of(&site.site.zone.name, &view)
        };
        let key = StoreKey(key.encode().into());
        let mut extras = Vec::new();
        write_extras(&view, &site.settings.key.value, &mut extras);
        let control = match site.settings.request_cache_control.value {
            RequestCacheControl::Respect => RequestControl::of(&head.headers),
            RequestCacheControl::Ignore => RequestControl::default(),
        };
        let subject = Subject {
            zone: site.site.zone.name.clone(),
            host: site.authority.host().to_owned(),
            path: head.uri.path().to_owned(),
        };
        Self {
            key,
            subject: Arc::new(subject),
            extras,
            control,
            head,
            site,
        }
    }

    fn vary_settings(&self) -> &VarySettings {
        &self.site.settings.vary.value
    }

    /// The requests that a response to this one, varying by `vary`, answers.
    pub(super) fn selection(&self, vary: Vary) -> Selection {
        let key = self.selecting_key(&vary);
        let by_language = self.without_language(&vary).map(|vary| {
            let key = self.selecting_key(&vary);
            (vary, key)
        });
        Selection {
            vary,
            key,
            by_language,
        }
    }

    /// A response varying by nothing matches with an empty key; `Vary: *` matches never.
    fn selecting_key(&self, vary: &Vary) -> Arc<[u8]> {
        let mut key = self.extras.clone();
        key.push(b'|');
        if !vary.write_selecting_key(&self.head.headers, self.vary_settings(), &mut key) {
            key.push(b'*');
        }
        key.into()
    }

    /// `vary` without Accept-Language, when the zone lets Content-Language decide about it.
    fn without_language(&self, vary: &Vary) -> Option<Vary> {
        let Vary::Fields(names) = vary else {
            return None;
        };
        let normalizes = self.vary_settings().accept_language == LanguageKey::Normalize;
        if !normalizes || !names.contains(&header::ACCEPT_LANGUAGE) {
            return None;
        }
        let rest: Vec<_> = names
            .iter()
            .filter(|name| **name != header::ACCEPT_LANGUAGE)
            .cloned()
            .collect();
        Some(if rest.is_empty() {
            Vary::None
        } else {
            Vary::Fields(rest)
        })
    }

    /// Whether a response stored for `selection` answers this request (RFC 9111 §4.1).
    pub(super) fn selects(&self, selection: &Selection, fields: &HeaderMap) -> bool {
        if selection.vary == Vary::Any {
            return false;
        }
        *self.selecting_key(&selection.vary) == *selection.key
            || self.selects_by_language(selection, fields)
    }

    /// RFC 9111 §4.1: a cache may select by what it knows of negotiation; here, that the response
    /// is in the one language the client likes best.
    fn selects_by_language(&self, selection: &Selection, fields: &HeaderMap) -> bool {
        let Some((vary, key)) = &selection.by_language else {
            return false;
        };
        let stored = fields
            .get(header::CONTENT_LANGUAGE)
            .map(HeaderValue::as_bytes);
        let wanted = accept_language::first_choice(&self.head.headers);
        wanted
            .zip(stored)
            .is_some_and(|(wanted, stored)| wanted.eq_ignore_ascii_case(stored))
            && *self.selecting_key(vary) == **key
    }

    /// What the store holds for this request.
    pub(super) fn find(&self, store: &MemoryStore) -> Stock {
        let Some(resource) = store.find(&self.key) else {
            return Stock::Nothing;
        };
        let mut others = Vec::new();
        for stored in resource.variants() {
            let Some(times) = store.purges.times(&self.key, stored) else {
                continue;
            };
            if self.selects(&stored.selection, &stored.fields) {
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

    /// What fetches of this request are collapsed by. `vary` is what responses under this key are
    /// known to vary by, `range` the Range that is forwarded.
    pub(super) fn flight(&self, vary: Option<&Vary>, range: Option<&HeaderValue>) -> FlightKey {
        let mut selecting = self
            .selecting_key(vary.unwrap_or(&Vary::None))
            .to_vec();
        if let Some(range) = range {
            selecting.push(b'=');
            selecting.extend_from_slice(range.as_bytes());
        }
        FlightKey {
            key: self.key.clone(),
            selecting: selecting.into(),
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
