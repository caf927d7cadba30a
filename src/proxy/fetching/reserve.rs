//! What a fetch has to do with the reserve: it is asked before the origin is, and gets what is stored.

use super::{ArrivedResult, Fetch, Landed, Purpose};
use crate::cache::partial::if_range;
use crate::cache::reuse::{Found, OriginState, ReuseDecision, decide_reuse};
use crate::cache::status::Storing;
use crate::clock;
use crate::fields::vary::Vary;
use crate::origin::FetchReport;
use crate::store::{SLICE, Selection, StoredResponse, Wanted};

impl Fetch {
    /// Asks the reserve, if a rule says so and nothing is stored here. True when it had what answers
    /// the request; what it had that is to be validated becomes the first candidate.
    pub(super) async fn ask_reserve(&mut self) -> bool {
        // A background validation knows what it validates, and so does everybody who found something.
        let asks = self.lookup.site.settings.reserve.value
            && self.lead.is_some()
            && self.arrived.is_some()
            && self.selected.is_none()
            && matches!(
                self.purpose,
                Purpose::Whole | Purpose::Slice(_) | Purpose::Range(_)
            );
        if !asks || !self.recall().await {
            return false;
        }
        let Some((stored, times)) = self.lookup.selected(&self.shared.store) else {
            return false;
        };
        let now = clock::now();
        let control = &self.lookup.control;
        let decision = decide_reuse(control, Found::Complete(&times), OriginState::Unasked, now);
        if let ReuseDecision::Reuse { .. } | ReuseDecision::ReuseStale { .. } = decision {
            self.land(Landed::Stored(stored), now);
            let report = FetchReport::default();
            self.tell(
                ArrivedResult::Recalled,
                Storing::Unknown,
                None,
                None,
                report,
            );
            return true;
        }
        if !matches!(self.purpose, Purpose::Range(_)) && stored.content.is_complete() {
            self.selected = Some(times);
            self.candidates = vec![stored.clone()];
            self.recalled = Some((stored, times));
        }
        false
    }

    async fn recall(&self) -> bool {
        let lookup = &self.lookup;
        let wanted = Wanted {
            key: &lookup.key,
            extras: lookup.extras(),
            selecting: &|vary: &Vary| lookup.selecting_key(vary),
            selects: &|selection: &Selection| lookup.selects(selection),
            disk: lookup.site.settings.disk.value,
        };
        self.shared.store.recall(&wanted, &self.begun).await
    }

    /// Has the reserve keep what is stored now, or forget what it has in its place.
    pub(super) fn to_reserve(&self, stored: &StoredResponse) {
        if !self.lookup.site.settings.reserve.value {
            return;
        }
        let store = &self.shared.store;
        if !self.is_fit(stored) {
            return store.withdraw(&self.lookup.key);
        }
        // It may have come too late, or not have fitted.
        let known = store.find(&self.lookup.key);
        if known.is_some_and(|known| known.holds(stored.id)) {
            store.keep(&self.lookup.key, self.lookup.extras(), stored);
        }
    }

    /// The same for what was freshened, whose object is as good as before.
    pub(super) fn freshened_in_reserve(&self, stored: &StoredResponse) {
        if self.lookup.site.settings.reserve.value && self.is_fit(stored) {
            let store = &self.shared.store;
            store.keep_up(&self.lookup.key, self.lookup.extras(), stored);
        }
    }

    /// What the reserve has for this key is not current any more.
    pub(super) fn not_in_reserve(&self) {
        if self.lookup.site.settings.reserve.value {
            self.shared.store.withdraw(&self.lookup.key);
        }
    }

    /// Whether the reserve keeps it: a whole of some size. Slices of it may be lost later, and must then
    /// be told from those of another representation.
    fn is_fit(&self, stored: &StoredResponse) -> bool {
        let length = stored.content.len();
        stored.content.is_complete()
            && length >= self.lookup.site.settings.reserve_min_size.value
            && stored.selection.vary != Vary::Any
            && (length <= SLICE || if_range(&stored.fields.to_map()).is_some())
    }
}
