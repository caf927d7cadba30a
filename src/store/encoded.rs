//! Encoded forms of stored responses: made once, in the background, and kept beside the response they
//! are of, so that whatever happens to that happens to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::HeaderMap;

use super::body::Body;
use super::memory::MemoryStore;
use super::stored::{Content, StoreKey, StoredId, StoredResponse, weight_of};
use crate::cache::encoding::{codings_for, encoded_fields, is_worthwhile};
use crate::cache::response::ResponseView;
use crate::fields::content_coding::{Coding, CodingWeights, Codings};

/// What is known of the encoded forms of one response. It never changes, but for the note of what was
/// asked for: the store counts its bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The codings that rules and response allowed when it was stored or freshened.
    allowed: Codings,
    /// Those that saved too little, or did not fit.
    useless: Codings,
    forms: Vec<Form>,
    /// Those that are being made.
    asked: Arc<AtomicU8>,
}

#[derive(Clone, Debug)]
struct Form {
    coding: Coding,
    fields: Arc<HeaderMap>,
    content: Content,
}

/// What a client gets of a stored response.
#[derive(Clone, Copy, Debug)]
pub struct Representation<'s> {
    /// Its fields.
    pub fields: &'s Arc<HeaderMap>,
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
    pub fn of(
        response: &ResponseView<'_>,
        content: &Content,
        allowed: Codings,
    ) -> Option<Arc<Self>> {
        let allowed = codings_for(response, content.complete_length(), allowed);
        let encoded = || Self {
            allowed,
            useless: Codings::NONE,
            forms: Vec::new(),
            asked: Arc::default(),
        };
        (!allowed.is_empty()).then(|| Arc::new(encoded()))
    }

    /// Bytes it accounts for.
    pub(super) fn weight(&self) -> u64 {
        let forms = self.forms.iter();
        forms
            .map(|form| weight_of(&form.fields).saturating_add(form.content.len()))
            .sum()
    }

    fn made(&self) -> Codings {
        self.forms.iter().map(|form| form.coding).collect()
    }

    /// Whether a form may still be made.
    fn lacks(&self, coding: Coding) -> bool {
        let known = self.useless.contains(coding) || self.made().contains(coding);
        self.allowed.contains(coding) && !known
    }

    /// Notes that `coding` is being made; false when it was already.
    pub fn ask(&self, coding: Coding) -> bool {
        let bit = Codings::NONE.with(coding).bits();
        self.asked.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Nobody is making `coding` any more.
    pub fn dismiss(&self, coding: Coding) {
        let bit = Codings::NONE.with(coding).bits();
        self.asked.fetch_and(!bit, Ordering::Relaxed);
    }

    fn is_asked(&self, coding: Coding) -> bool {
        self.asked.load(Ordering::Relaxed) & Codings::NONE.with(coding).bits() != 0
    }

    fn with(&self, form: Form) -> Self {
        let mut encoded = self.clone();
        encoded.forms.push(form);
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
    /// Whether other clients may get it in another form, which each of its answers says in Vary.
    pub fn varies_by_encoding(&self) -> bool {
        self.encoded.is_some()
    }

    /// What a client gets: of the codings that its rules allow the one that `wanted` likes best among
    /// those that are there. `wanted` is asked only where that matters.
    pub fn representation(
        &self,
        allowed: Codings,
        wanted: impl FnOnce() -> Option<CodingWeights>,
    ) -> Representation<'_> {
        let plain = Representation {
            fields: &self.fields,
            content: &self.content,
            coding: None,
            missing: None,
        };
        let Some(encoded) = self.encoded.as_ref() else {
            return plain;
        };
        let allowed = encoded.allowed.and(allowed);
        if allowed.is_empty() {
            return plain;
        }
        let Some(wanted) = wanted() else {
            return plain;
        };
        let of_use = allowed.without(encoded.useless);
        let Some(best) = wanted.best(of_use) else {
            return plain;
        };
        let there = wanted.best(of_use.and(encoded.made()));
        let found = encoded.forms.iter().find(|form| Some(form.coding) == there);
        let mut representation = found.map_or(plain, |form| Representation {
            fields: &form.fields,
            content: &form.content,
            coding: Some(form.coding),
            missing: None,
        });
        if there != Some(best) && self.content.is_complete() && !encoded.is_asked(best) {
            representation.missing = Some(best);
        }
        representation
    }

    /// Takes over the encoded forms of a response with the same bytes, for the fields that this one has
    /// now, where these still allow them.
    pub fn renew_encoded(&mut self, allowed: Codings) {
        let response = ResponseView {
            status: self.status,
            headers: &self.fields,
        };
        let fresh = Encoded::of(&response, &self.content, allowed);
        self.encoded = match (fresh, &self.encoded) {
            (Some(fresh), Some(known)) => {
                let mut encoded = Encoded::clone(known);
                encoded.allowed = fresh.allowed;
                for form in &mut encoded.forms {
                    let fields = encoded_fields(&self.fields, form.coding, form.content.len());
                    form.fields = Arc::new(fields);
                }
                Some(Arc::new(encoded))
            }
            (fresh, _) => fresh,
        };
    }
}

impl MemoryStore {
    /// The response `id`, if it is still there and its form in `coding` is still to be made.
    pub fn to_encode(
        &self,
        key: &StoreKey,
        id: StoredId,
        coding: Coding,
    ) -> Option<Arc<StoredResponse>> {
        let resource = self.peek(key)?;
        let stored = resource.variants().iter().find(|stored| stored.id == id)?;
        let lacks = |encoded: &Arc<Encoded>| encoded.lacks(coding);
        let wanted = stored.content.is_complete() && stored.encoded.as_ref().is_some_and(lacks);
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
        let largest = self.largest();
        let mut kept = Kept::Gone;
        self.change(key, |resource| {
            let room = largest.saturating_sub(resource.weight());
            resource.change(|known| {
                let Some(encoded) = known.encoded.as_ref().filter(|encoded| {
                    // A freshened response has the same identity, and other fields.
                    known.id == source.id && encoded.lacks(coding)
                }) else {
                    return Some(known.clone());
                };
                let fields = encoded_fields(&known.fields, coding, content.len());
                let fits = weight_of(&fields).saturating_add(content.len()) <= room;
                let mut changed = StoredResponse::clone(known);
                changed.encoded = Some(Arc::new(if worthwhile && fits {
                    kept = Kept::Stored;
                    encoded.with(Form {
                        coding,
                        fields: Arc::new(fields),
                        content: content.clone(),
                    })
                } else {
                    kept = Kept::NotSmaller;
                    encoded.without(coding)
                }));
                Some(Arc::new(changed))
            });
        });
        kept
    }
}
