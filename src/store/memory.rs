//! The memory tier: `quick_cache` over whole resources, within a budget of bytes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::disk::{Disk, Follow, slot};
use super::fill::Budget;
use super::purge::{Begun, Purges};
use super::reserve::Reserve;
use super::resource::Resource;
use super::slices::Slices;
use super::stored::{StoreKey, StoredId, StoredResponse};
use super::uses::Uses;

/// A shard must hold its largest object in its hot part, or `quick_cache` evicts it at once.
const SHARD: u64 = 64 << 20;
const MOST_SHARDS: u64 = 64;
/// What an object is taken to weigh. By it `quick_cache` knows how many keys to remember that it has
/// evicted: half as many as there are objects. Four times too many or too few cost a point of the hit
/// ratio on Zipf(0.9); this is between small objects and pages.
const AVERAGE: u64 = 6 << 10;
/// Locks under which resources are changed.
const WRITERS: usize = 64;

/// Responses in memory.
pub struct MemoryStore {
    complete: Arc<Complete>,
    /// Bytes for responses and slices together.
    capacity: AtomicU64,
    shards: u64,
    writers: Vec<Mutex<()>>,
    next_id: Arc<AtomicU64>,
    /// Slices of large bodies.
    pub slices: Arc<Slices>,
    /// Bytes held by fills, and by readers of finished ones.
    filling: Arc<AtomicU64>,
    /// What is behind memory.
    disk: OnceLock<Arc<Disk>>,
    /// What is below the disk.
    reserve: OnceLock<Arc<Reserve>>,
    /// Purges in force.
    pub purges: Arc<Purges>,
    /// How often keys were asked for, where a rule counts that.
    pub uses: Uses,
}

type Complete =
    Cache<StoreKey, Resource, ByBytes, DefaultHashBuilder, DefaultLifecycle<StoreKey, Resource>>;

/// What the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatistics {
    /// URIs with stored responses.
    pub objects: u64,
    /// Bytes they account for.
    pub bytes: u64,
    /// The budget.
    pub capacity: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<StoreKey, Resource> for ByBytes {
    fn weight(&self, key: &StoreKey, resource: &Resource) -> u64 {
        let key = u64::try_from(key.0.len()).unwrap_or(u64::MAX);
        resource.weight().saturating_add(key)
    }
}

impl MemoryStore {
    /// A store of at most `capacity` bytes.
    ///
    /// # Errors
    /// When the budget cannot be laid out, which means that it is absurd.
    pub fn new(capacity: u64) -> Result<Self, String> {
        let shards = shards(capacity);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(
                usize::try_from(capacity / AVERAGE)
                    .unwrap_or(0)
                    .clamp(128, 1 << 22),
            )
            .weight_capacity(capacity)
            .build()
            .map_err(|error| error.to_string())?;
        let complete = Arc::new(Cache::with_options(
            options,
            ByBytes,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ));
        let rest = complete.clone();
        let slices = Slices::new(capacity, Box::new(move |left| rest.set_capacity(left)))?;
        let purges = Arc::<Purges>::default();
        Ok(Self {
            complete,
            capacity: AtomicU64::new(capacity),
            shards: u64::try_from(shards).unwrap_or(1),
            writers: (0..WRITERS).map(|_| Mutex::default()).collect(),
            next_id: purges.ids.clone(),
            slices: Arc::new(slices),
            filling: Arc::default(),
            disk: OnceLock::new(),
            reserve: OnceLock::new(),
            purges,
            uses: Uses::default(),
        })
    }

    /// Changes the budget; what no longer fits is evicted.
    pub fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::Relaxed);
        self.slices.set_capacity(capacity);
    }

    /// What is stored now.
    pub fn statistics(&self) -> StoreStatistics {
        StoreStatistics {
            objects: u64::try_from(self.complete.len()).unwrap_or(u64::MAX),
            bytes: self.complete.weight().saturating_add(self.slices.weight()),
            capacity: self.capacity.load(Ordering::Relaxed),
        }
    }

    /// What is stored under `key`.
    pub fn find(&self, key: &StoreKey) -> Option<Resource> {
        self.complete.get(key)
    }

    /// An identity for a new response.
    pub fn next_id(&self) -> StoredId {
        StoredId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The memory that fills share: half as much again as what is complete.
    pub fn fill_budget(&self) -> Budget {
        Budget {
            held: self.filling.clone(),
            most: self.capacity.load(Ordering::Relaxed) / 2,
        }
    }

    /// Stores the outcome of the fetch `begun`, unless a purge that came after it began concerns it, or
    /// what is stored in its place had arrived later than that: an origin that answers slowly does not
    /// bring back what it has replaced since.
    pub fn insert(&self, key: &StoreKey, stored: StoredResponse, begun: &Begun) {
        self.put(key, stored, |resource, stored| {
            let mut variants = resource.variants().iter();
            // What an earlier process stored is older, whatever its identity: the clock may have been
            // set back since.
            let next = self.next_id.load(Ordering::Relaxed);
            let is_later = |id: StoredId| id > begun.id() && id.0 < next;
            // It may have left memory already.
            let on_disk = || self.on_disk(key, stored).is_some_and(is_later);
            !variants.any(|known| known.selection == stored.selection && is_later(known.id))
                && !on_disk()
        });
    }

    /// What the disk has in the place of `stored`.
    fn on_disk(&self, key: &StoreKey, stored: &StoredResponse) -> Option<StoredId> {
        let entry = self.disk()?.log.get(&key.0, slot(&stored.selection))?;
        Some(StoredId(entry.fill))
    }

    /// Stores a response that is made of what is stored in its place, and so no older.
    pub fn extend(&self, key: &StoreKey, stored: StoredResponse) {
        self.put(key, stored, |_, _| true);
    }

    fn put(
        &self,
        key: &StoreKey,
        stored: StoredResponse,
        may: impl FnOnce(&Resource, &StoredResponse) -> bool,
    ) {
        let stored = Arc::new(stored);
        let Some(left) = self.purges.apply(key, &stored) else {
            return stored.retire();
        };
        self.change(key, |resource| {
            if may(resource, &left) {
                resource.put(left.clone(), self.largest());
            } else if !resource.shares_slices(&left) {
                left.retire();
            }
        });
        self.meet_purges(key, &left);
    }

    /// Puts `stored` in the place of the response with the same identity, if that is still there:
    /// what was replaced or purged in the meantime stays gone, and what was evicted unless the disk has it.
    pub fn replace(&self, key: &StoreKey, stored: StoredResponse) {
        let Some(stored) = self.purges.apply(key, &Arc::new(stored)) else {
            return;
        };
        self.change(key, |resource| {
            if resource.holds(stored.id) || self.on_disk(key, &stored) == Some(stored.id) {
                resource.put(stored.clone(), self.largest());
            }
        });
        self.meet_purges(key, &stored);
    }

    /// A purge whose sweep passed before the response was there has not missed it.
    pub(super) fn meet_purges(&self, key: &StoreKey, stored: &Arc<StoredResponse>) {
        match self.purges.apply(key, stored) {
            None => self.remove(key, stored),
            Some(left) if left.times != stored.times => {
                self.change_as(key, Follow::Purge, |resource| {
                    resource.change(|known| {
                        Some(if known.id == left.id {
                            left.clone()
                        } else {
                            known.clone()
                        })
                    });
                });
            }
            Some(_) => {}
        }
    }

    /// Removes one response, from disk too if it has left memory already.
    pub fn remove(&self, key: &StoreKey, stored: &StoredResponse) {
        self.change(key, |resource| {
            let answers = |known: &Arc<StoredResponse>| known.selection == stored.selection;
            // What is not in the index may wait to be written.
            if !resource.remove(stored.id)
                && let Some(disk) = self.disk()
                && !resource.variants().iter().any(answers)
                && self.on_disk(key, stored).is_none_or(|id| id == stored.id)
            {
                disk.log.retract(&key.0, slot(&stored.selection));
                if !resource.shares_slices(stored) {
                    stored.retire();
                }
            }
        });
    }

    /// Removes what has its body in the slices of `id`.
    pub fn remove_sliced(&self, key: &StoreKey, id: StoredId) {
        self.change(key, |resource| {
            resource.change(|known| {
                let gone = known
                    .content
                    .slices()
                    .is_some_and(|slices| slices.id() == id);
                (!gone).then(|| known.clone())
            });
        });
    }

    /// Changes a resource under its lock.
    fn change(&self, key: &StoreKey, change: impl FnOnce(&mut Resource)) {
        self.change_as(key, Follow::Change, change);
    }

    /// The same, with the disk behind it; false when a restart may find there what is gone.
    pub(super) fn change_as(
        &self,
        key: &StoreKey,
        how: Follow,
        change: impl FnOnce(&mut Resource),
    ) -> bool {
        let _writing = self.writer(key);
        let known = self.complete.peek(key);
        let mut resource = known.clone().unwrap_or_default();
        change(&mut resource);
        let mut followed = true;
        if let Some(disk) = self.disk() {
            let before = known.as_ref().map_or(&[][..], |known| known.variants());
            followed = disk.follow(key, before, resource.variants(), how);
        }
        if let Some(known) = &known {
            resource.retire_gone(known);
        }
        if !resource.is_empty() {
            self.complete.insert(key.clone(), resource);
        } else if known.is_some() {
            self.complete.remove(key);
        }
        self.slices.balance();
        followed
    }

    /// What is in memory under `key`, which does not count as use.
    pub(super) fn peek(&self, key: &StoreKey) -> Option<Resource> {
        self.complete.peek(key)
    }

    /// Whether something is in memory under `key`, which does not count as use.
    pub(super) fn holds(&self, key: &StoreKey) -> bool {
        self.complete.contains_key(key)
    }

    /// Puts what the disk has into memory; under the key's lock.
    pub(super) fn show(&self, key: &StoreKey, resource: Resource) {
        self.complete.insert(key.clone(), resource);
    }

    /// The disk behind memory.
    pub(super) fn disk(&self) -> Option<&Disk> {
        self.disk.get().map(|disk| &**disk)
    }

    /// Only the first counts.
    pub(super) fn set_disk(&self, disk: Arc<Disk>) {
        let _ = self.disk.set(disk);
    }

    /// The reserve below the disk.
    pub(super) fn reserve(&self) -> Option<&Reserve> {
        self.reserve.get().map(|reserve| &**reserve)
    }

    /// Only the first counts.
    pub(super) fn set_reserve(&self, reserve: Arc<Reserve>) {
        let _ = self.reserve.set(reserve);
    }

    /// Every resource, in no order.
    pub(super) fn resources(&self) -> impl Iterator<Item = (StoreKey, Resource)> {
        self.complete.iter()
    }

    /// The most that one resource may weigh.
    pub(super) fn largest(&self) -> u64 {
        self.complete.capacity() / self.shards / 10 * 9
    }

    pub(super) fn writer(&self, key: &StoreKey) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let count = u64::try_from(self.writers.len()).unwrap_or(1).max(1);
        let index = usize::try_from(hasher.finish() % count).unwrap_or(0);
        // The list is never empty; a wrong index would only lose the lock.
        let writer = self.writers.get(index).or_else(|| self.writers.first());
        match writer {
            Some(writer) => writer.lock().unwrap_or_else(PoisonError::into_inner),
            None => unreachable!("a store has writers"),
        }
    }
}

/// Into how many shards a cache of so many bytes is divided.
pub(super) fn shards(capacity: u64) -> usize {
    usize::try_from((capacity / SHARD).clamp(1, MOST_SHARDS)).unwrap_or(1)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
