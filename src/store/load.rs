//! From disk into memory: what a request does not find there, and the disk may have.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::body::Body;
use super::disk::{Disk, slot};
use super::log::{Entry, WouldWait};
use super::memory::MemoryStore;
use super::record::{self, Place};
use super::resource::Resource;
use super::slices::Sliced;
use super::stored::{Content, StoreKey, StoredId, StoredResponse};
use crate::purge::Generation;

/// Most bytes that a thread reads and verifies between two requests.
const AT_ONCE: u64 = 256 << 10;
/// How much of a buffer may be kept for the rest of it: one part in so many.
const BESIDE: usize = 32;

impl MemoryStore {
    /// Brings what the disk has under `key`, and memory has not, into memory, and gives all that is there
    /// then: memory may let go of it at once. `None` when there is nothing that was not there before, which
    /// costs a look into an index when the disk has nothing.
    pub async fn load(self: &Arc<Self>, key: &StoreKey) -> Option<Resource> {
        let disk = self.disk()?;
        let entries = self.missing(disk, key);
        if entries.is_empty() {
            return None;
        }
        if let Some(resource) = self.load_quickly(disk, key, &entries) {
            return Some(resource);
        }
        let _turn = disk.turn(key).await;
        let entries = self.missing(disk, key);
        if entries.is_empty() {
            // Somebody else brought it.
            return self.find(key);
        }
        let (store, key) = (self.clone(), key.clone());
        let loading = tokio::task::spawn_blocking(move || {
            let disk = store.disk()?;
            store.load_entries(disk, &key, &entries)
        });
        loading.await.ok().flatten()
    }

    /// The same without waiting for anything: little responses that the system has in memory. `None` when
    /// that is not all, too.
    pub fn load_now(&self, key: &StoreKey) -> Option<Resource> {
        let disk = self.disk()?;
        self.load_quickly(disk, key, &self.missing(disk, key))
    }

    /// The same where waiting for the disk is nobody's trouble.
    pub fn load_blocking(&self, key: &StoreKey) {
        if let Some(disk) = self.disk() {
            let _ = self.load_entries(disk, key, &self.missing(disk, key));
        }
    }

    /// Two threads that do so at once for the same key do no harm: what is there already is not added.
    fn load_quickly(&self, disk: &Disk, key: &StoreKey, entries: &[Entry]) -> Option<Resource> {
        let sizes = entries.iter().map(|entry| entry.body_len);
        if sizes.sum::<u64>() > AT_ONCE {
            return None;
        }
        let read = |entry: &Entry| disk.log.read_now(&key.0, entry);
        self.load_with(disk, key, entries, read).ok().flatten()
    }

    /// Blocks on the disk.
    fn load_entries(&self, disk: &Disk, key: &StoreKey, entries: &[Entry]) -> Option<Resource> {
        // What cannot be read is a miss; the log counts it.
        let read = |entry: &Entry| Ok(disk.log.read(&key.0, entry).ok().flatten());
        self.load_with(disk, key, entries, read).ok().flatten()
    }

    /// What is on disk under `key` and could be in memory, newest first. What would not fit beside
    /// what is there is left where it is.
    fn missing(&self, disk: &Disk, key: &StoreKey) -> Vec<Entry> {
        if !disk.is_ready() || self.purges.is_behind() {
            return Vec::new();
        }
        let mut entries = disk.log.find(&key.0);
        if entries.is_empty() {
            return entries;
        }
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.sequence()));
        let known = self.peek(key);
        let mut total = known.as_ref().map_or(0, Resource::weight);
        let largest = self.largest();
        entries.retain(|entry| {
            let known = known.as_ref();
            if known.is_some_and(|known| known.holds(StoredId(entry.fill))) {
                return false;
            }
            let weight = entry
                .body_len
                .saturating_add(entry.head_len.saturating_mul(2));
            total = total.saturating_add(weight);
            total <= largest
        });
        entries
    }

    /// Gives what is in memory after the last that came there.
    fn load_with(
        &self,
        disk: &Disk,
        key: &StoreKey,
        entries: &[Entry],
        read: impl Fn(&Entry) -> Result<Option<(Bytes, Bytes)>, WouldWait>,
    ) -> Result<Option<Resource>, WouldWait> {
        let mut loaded = None;
        for entry in entries {
            let generation = Generation(entry.generation);
            // Purges that come while it is read are kept in mind.
            let _reading = self.purges.begin_reading(generation);
            if self.purges.disown(generation) {
                disk.log.retract(&key.0, entry.slot);
            } else if let Some((head, body)) = read(entry)?
                && let Some(stored) = self.decode(disk, key, entry, &head, body)
            {
                disk.loaded.fetch_add(1, Ordering::Relaxed);
                loaded = self.admit(disk, key, entry, stored).or(loaded);
            }
        }
        Ok(loaded)
    }

    fn decode(
        &self,
        disk: &Disk,
        key: &StoreKey,
        entry: &Entry,
        head: &[u8],
        body: Bytes,
    ) -> Option<StoredResponse> {
        let beside = head.len() + key.0.len();
        let Some(head) = record::decode(head).filter(|head| is_of(head, entry)) else {
            disk.log.retract(&key.0, entry.slot);
            return None;
        };
        let body = match head.place {
            // It is a part of what was read, which it keeps alive.
            Place::Inline if beside <= body.len() / BESIDE => Body::of(body),
            Place::Inline => Body::copy_of(&[body]),
            Place::Slices(id) => {
                let slices = Sliced::new(StoredId(id), self.slices.clone());
                Body::sliced(Arc::new(slices), head.length)
            }
        };
        (body.len() == head.length).then(|| head.with(Content::Complete(Arc::new(body))))
    }

    /// Puts a response that was read into memory, if it is still what the disk has; what is there then.
    fn admit(
        &self,
        disk: &Disk,
        key: &StoreKey,
        entry: &Entry,
        stored: StoredResponse,
    ) -> Option<Resource> {
        let (stored, resource) = {
            let _writing = self.writer(key);
            // Whoever changes the key takes it from disk first.
            if disk.log.get(&key.0, entry.slot).as_ref() != Some(entry) {
                return None;
            }
            let Some(stored) = self.purges.apply(key, &Arc::new(stored)) else {
                disk.log.retract(&key.0, entry.slot);
                return None;
            };
            let known = self.peek(key);
            let mut resource = known.unwrap_or_default();
            if !resource.add(stored.clone(), self.largest()) {
                return None;
            }
            self.show(key, resource.clone());
            (stored, resource)
        };
        self.meet_purges(key, &stored);
        Some(resource)
    }
}

/// Whether the head is that of the record it stands in.
fn is_of(head: &record::Head, entry: &Entry) -> bool {
    head.id().0 == entry.fill
        && head.generation().0 == entry.generation
        && slot(head.selection()) == entry.slot
}

impl Disk {
    async fn turn(&self, key: &StoreKey) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let count = u64::try_from(self.turns.len()).unwrap_or(1).max(1);
        let index = usize::try_from(hasher.finish() % count).unwrap_or(0);
        match self.turns.get(index) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }
}
