//! Encoded forms of stored responses: made once, in the background, and kept beside the response they
//! are of, so that whatever happens to that happens to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::body::Body;
use super::disk::Follow;
use super::memory::MemoryStore;
use super::stored::{Content, StoreKey, StoredId, StoredResponse};
use crate::cache::encoding::{encoded_fields, is_compressible, is_worthwhile};
use crate::cache::response::ResponseView;
use crate::fields::content_coding::{Coding, CodingWeights, Codings, varies_by_encoding};
use crate::fields::stored::StoredFields;

/// Bytes counted for the bookkeeping of one form.
const OVERHEAD: u64 = 192;

/// What is known of the encoded forms of one response. It never changes, but for the note of what was
/// asked for: the store counts its bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Whether its own Vary tells of Accept-Encoding.
    told: bool,
    /// Codings that saved too little, or did not fit.
    useless: Codings,
    asked: Asked,
    /// `None` as long as there are none: most responses are never asked for in another coding.
    forms: Option<Arc<Vec<Form>>>,
}

/// Codings that are being made. A copy begins without: the worst that comes of it is a job that finds its
/// work done.
#[derive(Debug, Default)]
struct Asked(AtomicU8);

impl Clone for Asked {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[derive(Clone, Debug)]
struct Form {
    coding: Coding,
    fields: StoredFields,
    content: Content,
}

/// What a client gets of a stored response.
#[derive(Clone, Copy, Debug)]
pub struct Representation<'s> {
    /// Its fields.
    pub fields: &'s StoredFields,
    /// Its bytes.
    pub content: &'s Content,
    /// Its coding, if it is not the response as the origin sent it.
    pub coding: Option<Coding>,
    /// The coding that the client would rather have, which is not there yet.
    pub missing: Option<Coding>,
}

/// What became of an encoded form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is there for the next client.
    Stored,
    /// It was not worth its room, and will not be made again.
    NotSmaller,
    /// Its response was gone.
    Gone,
}

impl Kept {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::NotSmaller => "not_smaller",
            Self::Gone => "gone",
        }
    }
}

impl Encoded {
    /// For a response of which no form is made yet; `None` when none may be.
    fn of(response: &ResponseView<'_>, content: &Content) -> Option<Self> {
        let encoded = || Self {
            told: varies_by_encoding(response.headers),
            useless: Codings::NONE,
            asked: Asked::default(),
            forms: None,
        };
        is_compressible(response, content.complete_length()).then(encoded)
    }

    /// Bytes it accounts for.
    pub(super) fn weight(&self) -> u64 {
        self.forms()
            .iter()
            .map(|form| {
                let fields = form.fields.weight();
                fields.saturating_add(form.content.len()) + OVERHEAD
            })
            .sum()
    }

    fn forms(&self) -> &[Form] {
        self.forms.as_deref().map_or(&[], Vec::as_slice)
    }

    fn made(&self) -> Codings {
        self.forms().iter().map(|form| form.coding).collect()
    }

    /// Whether a form may still be made.
    fn lacks(&self, coding: Coding) -> bool {
        !self.useless.contains(coding) && !self.made().contains(coding)
    }

    /// Notes that `coding` is being made; false when it was already.
    pub fn ask(&self, coding: Coding) -> bool {
        let bit = Codings::NONE.with(coding).bits();
        self.asked.0.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Nobody is making `coding` any more.
    pub fn dismiss(&self, coding: Coding) {
        let bit = Codings::NONE.with(coding).bits();
        self.asked.0.fetch_and(!bit, Ordering::Relaxed);
    }

    fn is_asked(&self, coding: Coding) -> bool {
        self.asked.0.load(Ordering::Relaxed) & Codings::NONE.with(coding).bits() != 0
    }

    fn with(&self, form: Form) -> Self {
        let mut encoded = self.clone();
        Arc::make_mut(encoded.forms.get_or_insert_default()).push(form);
        encoded
    }

    fn without(&self, coding: Coding) -> Self {
        Self {
            useless: self.useless.with(coding),
            ..self.clone()
        }
    }
}

impl StoredResponse {
    /// Whether its own Vary tells that it comes in other forms.
    pub fn tells_of_encoding(&self) -> bool {
        self.encoded.as_ref().is_some_and(|encoded| encoded.told)
    }

    /// The response as the origin sent it.
    fn plain(&self) -> Representation<'_> {
        Representation {
            fields: &self.fields,
            content: &self.content,
            coding: None,
            missing: None,
        }
    }

    /// The response in `coding`; as the origin sent it when it is not there.
    pub fn in_coding(&self, coding: Option<Coding>) -> Representation<'_> {
        let forms = self.encoded.iter().flat_map(Encoded::forms);
        let mut found = forms.filter(|form| Some(form.coding) == coding);
        found.next().map_or(self.plain(), |form| Representation {
            fields: &form.fields,
            content: &form.content,
            coding: Some(form.coding),
            missing: None,
        })
    }

    /// What a client gets: of the codings that its rules allow the one that `wanted` likes best among
    /// those that are there. `wanted` is asked only where that matters.
    pub fn representation(
        &self,
        allowed: Codings,
        wanted: impl FnOnce() -> Option<CodingWeights>,
    ) -> Representation<'_> {
        let Some(encoded) = self.encoded.as_ref().filter(|_| !allowed.is_empty()) else {
            return self.plain();
        };
        let Some(wanted) = wanted() else {
            return self.plain();
        };
        let of_use = allowed.without(encoded.useless);
        let best = wanted.best(of_use);
        let there = wanted.best(of_use.and(encoded.made()));
        let mut chosen = self.in_coding(there);
        let whole = self.content.is_complete();
        chosen.missing =
            best.filter(|best| there != Some(*best) && whole && !encoded.is_asked(*best));
        chosen
    }

    /// Finds out whether it may have encoded forms, by the fields that it has now. Forms of the same bytes
    /// that are there stay where these still allow them.
    pub fn renew_encoded(&mut self) {
        let fields = self.fields.to_map();
        let response = ResponseView {
            status: self.status,
            headers: &fields,
        };
        let fresh = Encoded::of(&response, &self.content);
        self.encoded = match (fresh, &self.encoded) {
            (Some(fresh), Some(known)) => {
                let mut encoded = known.clone();
                encoded.told = fresh.told;
                let forms = encoded.forms.as_mut().map(Arc::make_mut);
                for form in forms.into_iter().flatten() {
                    let fields = encoded_fields(&fields, form.coding, form.content.len());
                    form.fields = StoredFields::from(&fields);
                }
                Some(encoded)
            }
            (fresh, _) => fresh,
        };
    }
}

impl MemoryStore {
    /// The response `id`, if it is still there, and good, and its form in `coding` is still to be made.
    pub fn to_encode(
        &self,
        key: &StoreKey,
        id: StoredId,
        coding: Coding,
    ) -> Option<Arc<StoredResponse>> {
        let resource = self.peek(key)?;
        let stored = resource.variants().iter().find(|stored| stored.id == id)?;
        let lacks = |encoded: &Encoded| encoded.lacks(coding);
        let wanted = stored.content.is_complete()
            && stored.encoded.as_ref().is_some_and(lacks)
            && self.purges.times(key, stored).is_some();
        wanted.then(|| stored.clone())
    }

    /// Keeps `body`, the whole of `source` in `coding`, if that is worth its room.
    pub fn keep_encoded(
        &self,
        key: &StoreKey,
        source: &StoredResponse,
        coding: Coding,
        body: Body,
    ) -> Kept {
        let worthwhile = is_worthwhile(source.content.len(), body.len());
        let content = Content::Complete(Arc::new(body));
        // As with a fetch: a purge that comes meanwhile is kept in mind, and met at the end.
        let _begun = self.purges.begin();
        if self.to_encode(key, source.id, coding).is_none() {
            return Kept::Gone;
        }
        let largest = self.largest();
        let mut kept = None;
        self.change_as(key, Follow::Encoding, |resource| {
            let room = largest.saturating_sub(resource.weight());
            resource.change(|known| {
                let encoded = known.encoded.as_ref().filter(|encoded| {
                    // A freshened response has the same identity, and other fields.
                    known.id == source.id && encoded.lacks(coding)
                });
                let Some(encoded) = encoded else {
                    return Some(known.clone());
                };
                let fields = encoded_fields(&known.fields.to_map(), coding, content.len());
                let fields = StoredFields::from(&fields);
                let fits = fields.weight().saturating_add(content.len()) + OVERHEAD <= room;
                let mut changed = StoredResponse::clone(known);
                let stored = worthwhile && fits;
                changed.encoded = Some(if stored {
                    encoded.with(Form {
                        coding,
                        fields,
                        content: content.clone(),
                    })
                } else {
                    encoded.without(coding)
                });
                let changed = Arc::new(changed);
                kept = Some((stored, changed.clone()));
                Some(changed)
            });
        });
        let Some((stored, changed)) = kept else {
            return Kept::Gone;
        };
        self.meet_purges(key, &changed);
        if stored {
            Kept::Stored
        } else {
            Kept::NotSmaller
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::super::fixtures;
    use super::*;
    use crate::clock;

    const LENGTH: usize = 5000;

    fn body(length: usize) -> Body {
        Body::copy_of(&[Bytes::from(vec![b'a'; length])])
    }

    fn key() -> StoreKey {
        StoreKey(Arc::from(&b"key"[..]))
    }

    fn fields(version: &'static str) -> StoredFields {
        let mut fields = HeaderMap::new();
        fields.insert("content-type", "text/html".parse().unwrap());
        fields.insert("x-version", version.parse().unwrap());
        StoredFields::from(&fields)
    }

    fn page(store: &MemoryStore, length: usize) -> StoredResponse {
        let mut page = StoredResponse {
            fields: fields("1"),
            ..fixtures::stored(store.next_id(), body(length), clock::now())
        };
        page.renew_encoded();
        page
    }

    fn stored(store: &MemoryStore) -> Arc<StoredResponse> {
        store.find(&key()).unwrap().variants()[0].clone()
    }

    fn wanted(of: &StoredResponse) -> (Option<Coding>, Option<Coding>) {
        let weights = CodingWeights::of_lines(std::iter::once(&b"gzip, br, zstd"[..]));
        let representation = of.representation(Codings::ALL, || Some(weights));
        (representation.coding, representation.missing)
    }

    fn filled() -> (MemoryStore, Arc<StoredResponse>) {
        let store = MemoryStore::new(64 << 20).unwrap();
        let page = page(&store, LENGTH);
        store.extend(&key(), page);
        let page = stored(&store);
        (store, page)
    }

    #[test]
    fn the_best_form_there_is_serves_while_a_better_one_is_made() {
        let (store, page) = filled();
        assert_eq!(wanted(&page), (None, Some(Coding::Zstd)));
        let kept = store.keep_encoded(&key(), &page, Coding::Gzip, body(300));
        assert_eq!(kept, Kept::Stored);
        let page = stored(&store);
        assert_eq!(wanted(&page), (Some(Coding::Gzip), Some(Coding::Zstd)));
        let encoded = page.encoded.as_ref().unwrap();
        assert!(encoded.ask(Coding::Zstd));
        assert!(!encoded.ask(Coding::Zstd), "twice");
        assert_eq!(wanted(&page), (Some(Coding::Gzip), None));
        encoded.dismiss(Coding::Zstd);
        assert_eq!(wanted(&page), (Some(Coding::Gzip), Some(Coding::Zstd)));
        store.keep_encoded(&key(), &page, Coding::Zstd, body(200));
        assert_eq!(wanted(&stored(&store)), (Some(Coding::Zstd), None));
    }

    #[test]
    fn what_saves_nothing_is_not_made_again() {
        let (store, page) = filled();
        for coding in Coding::ALL {
            let kept = store.keep_encoded(&key(), &page, coding, body(LENGTH));
            assert_eq!(kept, Kept::NotSmaller);
            assert!(store.to_encode(&key(), page.id, coding).is_none());
        }
        assert_eq!(wanted(&stored(&store)), (None, None));
        assert_eq!(stored(&store).weight(), page.weight());
    }

    #[test]
    fn the_store_counts_every_form() {
        let (store, page) = filled();
        let before = store.statistics().bytes;
        store.keep_encoded(&key(), &page, Coding::Br, body(400));
        let form = store.statistics().bytes - before;
        assert!((400..1000).contains(&form), "{form}");
        store.remove(&key(), &page);
        assert_eq!(store.statistics().bytes, 0);
    }

    #[test]
    fn a_form_of_what_was_replaced_is_thrown_away() {
        let (store, old) = filled();
        let mut new = page(&store, LENGTH);
        new.fields = fields("2");
        store.extend(&key(), new);
        let kept = store.keep_encoded(&key(), &old, Coding::Br, body(400));
        assert_eq!(kept, Kept::Gone);
        assert_eq!(wanted(&stored(&store)), (None, Some(Coding::Zstd)));
        store.remove(&key(), &stored(&store));
        assert!(store.to_encode(&key(), old.id, Coding::Br).is_none());
        let kept = store.keep_encoded(&key(), &old, Coding::Br, body(400));
        assert_eq!((kept, store.statistics().objects), (Kept::Gone, 0));
    }

    #[test]
    fn a_form_of_what_was_freshened_meanwhile_has_the_new_fields() {
        let (store, page) = filled();
        assert!(page.encoded.as_ref().unwrap().ask(Coding::Zstd));
        let mut freshened = StoredResponse::clone(&page);
        freshened.fields = fields("2");
        freshened.renew_encoded();
        store.replace(&key(), freshened);
        store.keep_encoded(&key(), &page, Coding::Zstd, body(400));
        page.encoded.as_ref().unwrap().dismiss(Coding::Zstd);
        let found = stored(&store);
        assert_eq!(wanted(&found), (Some(Coding::Zstd), None));
        let all = || Some(CodingWeights::of_lines(std::iter::once(&b"*"[..])));
        let fields = found.representation(Codings::ALL, all).fields;
        assert_eq!(fields.get(&"x-version".parse().unwrap()), Some(&b"2"[..]));
    }

    #[test]
    fn forms_do_not_push_their_response_out() {
        let store = MemoryStore::new(1 << 20).unwrap();
        let page = page(&store, 900 << 10);
        store.extend(&key(), page);
        let page = stored(&store);
        let kept = store.keep_encoded(&key(), &page, Coding::Br, body(500 << 10));
        assert_eq!(kept, Kept::NotSmaller);
        assert_eq!(stored(&store).id, page.id);
        let kept = store.keep_encoded(&key(), &page, Coding::Gzip, body(5 << 10));
        assert_eq!(kept, Kept::Stored);
        assert_eq!(stored(&store).id, page.id);
    }
}
