//! What a request has the origin asked for.

use http::{HeaderValue, Method, header};

use super::super::fetching::Purpose;
use super::super::lookup::Stock;
use super::Request;
use crate::cache::partial;
use crate::fields::range::RangeSpec;
use crate::fields::validators::Validators;
use crate::store::{SLICE, StoredResponse};

/// A larger body is not completed but asked for anew: what completes one is held until all of it is
/// there.
const LARGEST_COMPLETED: u64 = 4 << 20;

impl Request<'_> {
    /// What to ask for when nothing is stored: a range the client wants is all that is needed.
    pub(super) fn purpose(&self) -> Purpose {
        match (self.in_slices(), self.single_range()) {
            (Some(slice), _) => slice,
            (None, Some(range)) => Purpose::Range(range),
            (None, None) => Purpose::Whole,
        }
    }

    /// The slice to begin with, where a rule wants slices: the first that the client needs, as far as
    /// that can be told without knowing the length.
    pub(super) fn in_slices(&self) -> Option<Purpose> {
        let site = &self.lookup.site;
        let head = &self.lookup.head;
        let wanted = site.settings.origin_range_requests.value
            && head.method == Method::GET
            && self.lookup.too_rare(&self.gateway.shared.store).is_none();
        let first = match RangeSpec::of(&head.headers) {
            Some(RangeSpec::From { first, .. }) => first,
            _ => 0,
        };
        wanted.then_some(Purpose::Slice(first / SLICE))
    }

    /// The client's Range, if it is one range of bytes.
    pub(super) fn single_range(&self) -> Option<HeaderValue> {
        let head = &self.lookup.head;
        let single = head.method == Method::GET && RangeSpec::of(&head.headers).is_some();
        head.headers.get(header::RANGE).filter(|_| single).cloned()
    }

    /// The client's own request; a validation where something is stored and the client has no
    /// conditions.
    pub(super) fn own(&self, stock: &Stock) -> Purpose {
        let head = &self.lookup.head;
        let conditional = [
            header::RANGE,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_MATCH,
            header::IF_UNMODIFIED_SINCE,
        ];
        let plain = head.method == Method::GET
            && !conditional
                .iter()
                .any(|name| head.headers.contains_key(name));
        if plain && matches!(stock, Stock::Selected(..)) {
            Purpose::Whole
        } else {
            Purpose::Own
        }
    }

    /// What to ask for when part of the response is stored and all of it is wanted.
    pub(super) fn completing(&self, stored: &StoredResponse) -> Purpose {
        let complete = stored.content.complete_length();
        let worthwhile = self.lookup.head.method == Method::GET
            && complete.is_some_and(|length| length <= LARGEST_COMPLETED)
            && can_join(stored);
        match partial::missing(&stored.content.ranges(), complete) {
            Some(missing) if worthwhile => Purpose::Complete(missing),
            _ => Purpose::Whole,
        }
    }
}

/// Whether what is missing of a stored part is worth asking for: with a weak validator, what comes
/// could not be joined to it. Without any, the answer shows.
fn can_join(stored: &StoredResponse) -> bool {
    let fields = stored.fields.to_map();
    partial::if_range(&fields).is_some() || !Validators::of(&fields).any()
}
