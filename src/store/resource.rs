//! Everything stored under one URI, newest first.

use std::sync::Arc;

use super::stored::{StoredId, StoredResponse};

/// Most responses kept for one URI; the oldest goes first. A client that makes up values for the
/// fields a response varies by must not fill the store with one page.
const MOST_VARIANTS: usize = 64;

/// The stored responses of one URI, each for other requests. Copies share them, and most have one.
#[derive(Clone, Debug, Default)]
pub struct Resource(Variants);

/// Of one pointer each, as there are as many of them as there are resources.
#[derive(Clone, Debug, Default)]
enum Variants {
    #[default]
    None,
    One(Arc<StoredResponse>),
    Several(Arc<Box<[Arc<StoredResponse>]>>),
}

impl Resource {
    fn of(mut variants: Vec<Arc<StoredResponse>>) -> Self {
        Self(match variants.len() {
            0 | 1 => variants.pop().map_or(Variants::None, Variants::One),
            _ => Variants::Several(Arc::new(variants.into())),
        })
    }

    /// The stored responses, newest first: of several that match, RFC 9111 §4.1 wants the most
    /// recent.
    pub fn variants(&self) -> &[Arc<StoredResponse>] {
        match &self.0 {
            Variants::None => &[],
            Variants::One(only) => std::slice::from_ref(only),
            Variants::Several(variants) => variants,
        }
    }

    fn edit<T>(&mut self, edit: impl FnOnce(&mut Vec<Arc<StoredResponse>>) -> T) -> T {
        let mut variants = self.variants().to_vec();
        let done = edit(&mut variants);
        *self = Self::of(variants);
        done
    }

    /// Puts `new` in front, in place of what answers the same requests; at most `largest` bytes
    /// stay.
    pub(super) fn put(&mut self, new: Arc<StoredResponse>, largest: u64) {
        self.edit(|variants| {
            variants.retain(|known| known.id != new.id && known.selection != new.selection);
            variants.insert(0, new);
            variants.truncate(MOST_VARIANTS);
            let mut total = 0_u64;
            variants.retain(|variant| {
                let weight = variant.weight();
                let fits = total.saturating_add(weight) <= largest || total == 0;
                if fits {
                    total = total.saturating_add(weight);
                }
                fits
            });
        });
    }

    /// Adds what was read from disk, in its place by age, if nothing answers the same requests and all
    /// that is there can stay; whether it did.
    pub(super) fn add(&mut self, stored: Arc<StoredResponse>, largest: u64) -> bool {
        let mut known = self.variants().iter();
        let superseded =
            known.any(|known| known.id == stored.id || known.selection == stored.selection);
        let fits = self.weight().saturating_add(stored.weight()) <= largest;
        if superseded || !fits || self.variants().len() >= MOST_VARIANTS {
            return false;
        }
        let received =
            |known: &Arc<StoredResponse>| known.times.received() > stored.times.received();
        let place = self.variants().partition_point(received);
        self.edit(|variants| variants.insert(place, stored));
        true
    }

    /// Whether the response is still there.
    pub fn holds(&self, id: StoredId) -> bool {
        self.variants().iter().any(|known| known.id == id)
    }

    /// Removes the response; whether it was there.
    pub(super) fn remove(&mut self, id: StoredId) -> bool {
        let there = self.holds(id);
        self.edit(|variants| variants.retain(|known| known.id != id));
        there
    }

    /// Replaces each response by what `change` makes of it; `None` removes it.
    pub(super) fn change(
        &mut self,
        change: impl FnMut(&Arc<StoredResponse>) -> Option<Arc<StoredResponse>>,
    ) {
        *self = Self::of(self.variants().iter().filter_map(change).collect());
    }

    /// Whether any of its responses has its body in the same slices.
    pub(super) fn shares_slices(&self, stored: &StoredResponse) -> bool {
        let id = stored.content.slices().map(|slices| slices.id());
        let mut known = self.variants().iter();
        known.any(|known| known.content.slices().map(|slices| slices.id()) == id && id.is_some())
    }

    /// Lets go of the slices of what was in `before` and is not here. A response and the variant that
    /// a 304 made of it share theirs.
    pub(super) fn retire_gone(&self, before: &Self) {
        for gone in before.variants() {
            if !self.shares_slices(gone) {
                gone.retire();
            }
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.variants().is_empty()
    }

    /// Bytes it accounts for.
    pub(super) fn weight(&self) -> u64 {
        self.variants().iter().map(|variant| variant.weight()).sum()
    }
}
