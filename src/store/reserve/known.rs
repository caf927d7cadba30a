//! Which URIs have objects, so that for others the reserve is not asked at all.
//!
//! The list of all objects says so at the start and then from time to time; what is written in between
//! is added. Until the first list is through, every URI may have some. What an earlier process was just
//! writing may come later still: until a list that began well after it, everything that is purged is
//! looked for.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::name::Folder;

/// With more URIs than this, about 64 MiB, every one may have objects.
const MOST: usize = 4_000_000;
/// Writes whose end is not known, at most.
const MOST_UNCERTAIN: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Known {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    folders: HashSet<u64>,
    /// Whether what is not among them has no objects.
    complete: bool,
    /// Whether nothing of earlier processes can appear any more.
    settled: bool,
    /// Those added since listing began.
    added: HashSet<u64>,
    /// Those in which an object may yet appear: a write failed, perhaps on its way back.
    uncertain: HashSet<u64>,
}

impl Known {
    pub(super) fn may_hold(&self, folder: Folder) -> bool {
        let state = self.lock();
        !state.complete || state.folders.contains(&folder.short())
    }

    /// The same for one that is to be emptied.
    pub(super) fn may_come_to_hold(&self, folder: Folder) -> bool {
        let settled = self.lock().settled;
        !settled || self.may_hold(folder)
    }

    /// Whether all are known.
    pub(super) fn is_complete(&self) -> bool {
        self.lock().complete
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().folders.len()
    }

    /// Something is about to be written there.
    pub(super) fn add(&self, folder: Folder) {
        let mut state = self.lock();
        state.folders.insert(folder.short());
        state.added.insert(folder.short());
        if state.folders.len() > MOST {
            *state = State::default();
        }
    }

    /// It was emptied.
    pub(super) fn remove(&self, folder: Folder) {
        self.lock().folders.remove(&folder.short());
    }

    /// A write there failed.
    pub(super) fn doubt(&self, folder: Folder) {
        let mut state = self.lock();
        if state.uncertain.len() < MOST_UNCERTAIN {
            state.uncertain.insert(folder.short());
        }
    }

    /// Whether emptying it may have come before the end of a write.
    pub(super) fn is_doubtful(&self, folder: Folder) -> bool {
        let state = self.lock();
        state.uncertain.len() >= MOST_UNCERTAIN || state.uncertain.contains(&folder.short())
    }

    /// Listing begins.
    pub(super) fn begin_listing(&self) {
        self.lock().added.clear();
    }

    /// These are all that were there when it began, and all of earlier processes if that is `settled`.
    pub(super) fn listed(&self, folders: HashSet<u64>, settled: bool) {
        let mut state = self.lock();
        let added = std::mem::take(&mut state.added);
        state.folders = folders;
        state.folders.extend(added);
        state.complete = state.folders.len() <= MOST;
        state.settled |= settled;
        if !state.complete {
            state.folders = HashSet::new();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::stored::StoreKey;
    use std::sync::Arc;

    fn folder(name: &str) -> Folder {
        Folder::of(&StoreKey(Arc::from(name.as_bytes())))
    }

    #[test]
    fn until_all_is_listed_everything_may_be_there() {
        let known = Known::default();
        assert!(known.may_hold(folder("a")));
        known.begin_listing();
        known.add(folder("b"));
        known.listed(HashSet::from([folder("a").short()]), false);
        assert!(known.may_hold(folder("a")));
        assert!(known.may_hold(folder("b")), "added while listing");
        assert!(!known.may_hold(folder("c")));
        assert!(known.may_come_to_hold(folder("c")));
        known.listed(HashSet::from([folder("a").short()]), true);
        assert!(!known.may_come_to_hold(folder("c")));
        assert!(known.may_come_to_hold(folder("a")));
        known.remove(folder("a"));
        assert!(!known.may_hold(folder("a")));
    }

    #[test]
    fn a_folder_is_doubtful_once_a_write_there_failed() {
        let known = Known::default();
        assert!(!known.is_doubtful(folder("a")));
        known.doubt(folder("a"));
        assert!(known.is_doubtful(folder("a")));
        assert!(!known.is_doubtful(folder("b")));
    }
}
