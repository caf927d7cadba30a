//! The list of all objects: what is there, and what is too old to be.

use std::collections::HashSet;
use std::sync::Weak;
use std::time::Duration;

use object_store::path::Path;

use super::client::Failed;
use super::name::Folder;
use super::{Reserve, add};
use crate::clock;
use crate::store::memory::MemoryStore;

/// How often all objects are listed, at most and at least.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));
/// How soon after listing failed.
const AGAIN: Duration = Duration::from_secs(10);
/// How long after the last process ended what it was writing is done.
const SETTLED: Duration = Duration::from_mins(1);
/// Objects removed in one request.
const AT_ONCE: usize = 1000;
/// The clocks of two machines differ by less.
const SKEW: Duration = Duration::from_mins(5);

/// Keeps the index of what is there right, and removes what is too old, as long as there is a store.
pub(super) async fn keep_in_order(store: Weak<MemoryStore>, retention: Duration) {
    let (shortest, longest) = LOOKS;
    let mut alone_since = None;
    loop {
        let (listed, settled) = {
            let Some(store) = store.upgrade() else {
                return;
            };
            let Some(reserve) = store.reserve() else {
                return;
            };
            let now = clock::instant();
            if reserve.trusted.get().is_some() {
                alone_since.get_or_insert(now);
            }
            let settled = alone_since.is_some_and(|since| now - since >= SETTLED);
            (reserve.list(settled).await.is_ok(), settled)
        };
        let pause = (retention / 4).clamp(shortest, longest);
        let pause = match (listed, settled) {
            (false, _) => AGAIN.min(pause),
            (true, false) => SETTLED.min(pause),
            (true, true) => pause,
        };
        tokio::time::sleep(pause).await;
    }
}

impl Reserve {
    /// Lists all objects, and removes those that are too old to be used.
    async fn list(&self, settled: bool) -> Result<(), Failed> {
        let age = self.retention + SKEW.min(self.retention);
        let oldest = clock::now().checked_sub(age);
        let mut folders = HashSet::new();
        let mut old = Vec::new();
        self.known.begin_listing();
        self.client
            .list(|object| {
                if oldest.is_some_and(|oldest| object.modified < oldest) {
                    old.push(Path::from(object.path));
                } else if let Some(folder) = Folder::holding(&object.path) {
                    folders.insert(folder.short());
                }
            })
            .await?;
        self.known.listed(folders, settled);
        for some in old.chunks(AT_ONCE) {
            let count = self.client.remove(some.to_vec()).await?;
            add(Some(&self.counts.removed), count);
        }
        Ok(())
    }
}
