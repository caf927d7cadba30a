//! The memory tier: `quick_cache` over whole resources, within a budget of bytes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::fill::Budget;
use super::purge::Purges;
use super::resource::Resource;
use super::stored::{StoreKey, StoredId, StoredResponse};
use super::uses::Uses;

/// A shard must hold its largest object in its hot part, or `quick_cache` evicts it at once.
const SHARD: u64 = 64 << 20;
const MOST_SHARDS: u64 = 64;
/// Locks under which resources are changed.
const WRITERS: usize = 64;

/// Responses in memory.
pub struct MemoryStore {
    complete: Cache<
        StoreKey,
        Arc<Resource>,
        ByBytes,
        DefaultHashBuilder,
        DefaultLifecycle<StoreKey, Arc<Resource>>,
    >,
    shards: u64,
    writers: Vec<Mutex<()>>,
    next_id: AtomicU64,
    /// Bytes held by fills, and by readers of finished ones.
    filling: Arc<AtomicU64>,
    /// Purges in force.
    pub purges: Arc<Purges>,
    /// How often keys were asked for, where a rule counts that.
    pub uses: Uses,
}

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

impl Weighter<StoreKey, Arc<Resource>> for ByBytes {
    fn weight(&self, key: &StoreKey, resource: &Arc<Resource>) -> u64 {
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
        let shards = usize::try_from((capacity / SHARD).clamp(1, MOST_SHARDS)).unwrap_or(1);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(
                usize::try_from(capacity / 16_384)
                    .unwrap_or(0)
                    .clamp(128, 1 << 20),
            )
            .weight_capacity(capacity)
            .build()
            .map_err(|error| error.to_string())?;
        let complete = Cache::with_options(
            options,
            ByBytes,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        );
        Ok(Self {
            complete,
            shards: u64::try_from(shards).unwrap_or(1),
            writers: (0..WRITERS).map(|_| Mutex::default()).collect(),
            next_id: AtomicU64::new(0),
            filling: Arc::default(),
            purges: Arc::default(),
            uses: Uses::default(),
        })
    }

    /// Changes the budget; what no longer fits is evicted.
    pub fn set_capacity(&self, capacity: u64) {
        self.complete.set_capacity(capacity);
    }

    /// What is stored now.
    pub fn statistics(&self) -> StoreStatistics {
        StoreStatistics {
            objects: u64::try_from(self.complete.len()).unwrap_or(u64::MAX),
            bytes: self.complete.weight(),
            capacity: self.complete.capacity(),
        }
    }

    /// What is stored under `key`.
    pub fn find(&self, key: &StoreKey) -> Option<Arc<Resource>> {
        self.complete.get(key)
    }

    /// The same, without a use being counted.
    pub(super) fn peek(&self, key: &StoreKey) -> Option<Arc<Resource>> {
        self.complete.peek(key)
    }

    /// An identity for a new response.
    pub fn next_id(&self) -> StoredId {
        StoredId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The memory that fills share: half as much again as what is complete.
    pub fn fill_budget(&self) -> Budget {
        Budget {
            held: self.filling.clone(),
            most: self.complete.capacity() / 2,
        }
    }

    /// Stores a response, unless a purge that came after its fetch began concerns it.
    pub fn insert(&self, key: &StoreKey, stored: StoredResponse) {
        let Some(stored) = self.purges.apply(key, &Arc::new(stored)) else {
            return;
        };
        self.change(key, |resource| resource.put(stored.clone(), self.largest()));
        self.meet_purges(key, &stored);
    }

    /// Puts `stored` in the place of the response with the same identity, if that is still there:
    /// what was evicted, replaced or purged in the meantime stays gone.
    pub fn replace(&self, key: &StoreKey, stored: StoredResponse) {
        let Some(stored) = self.purges.apply(key, &Arc::new(stored)) else {
            return;
        };
        self.change(key, |resource| {
            if resource.holds(stored.id) {
                resource.put(stored.clone(), self.largest());
            }
        });
        self.meet_purges(key, &stored);
    }

    /// A purge whose sweep passed before the response was there has not missed it.
    pub(super) fn meet_purges(&self, key: &StoreKey, stored: &Arc<StoredResponse>) {
        match self.purges.apply(key, stored) {
            None => self.remove(key, stored.id),
            Some(left) if left.times != stored.times => self.change(key, |resource| {
                resource.change(|known| {
                    Some(if known.id == left.id {
                        left.clone()
                    } else {
                        known.clone()
                    })
                });
            }),
            Some(_) => {}
        }
    }

    /// Removes one response.
    pub fn remove(&self, key: &StoreKey, id: StoredId) {
        self.change(key, |resource| {
            resource.remove(id);
        });
    }

    /// Changes a resource under its lock.
    pub(super) fn change(&self, key: &StoreKey, change: impl FnOnce(&mut Resource)) {
        let _writing = self.writer(key);
        let known = self.complete.peek(key);
        let mut resource = known.as_deref().cloned().unwrap_or_default();
        change(&mut resource);
        if !resource.is_empty() {
            self.complete.insert(key.clone(), Arc::new(resource));
        } else if known.is_some() {
            self.complete.remove(key);
        }
    }

    /// Every resource, in no order.
    pub(super) fn resources(&self) -> impl Iterator<Item = (StoreKey, Arc<Resource>)> {
        self.complete.iter()
    }

    /// The most that one resource may weigh.
    pub(super) fn largest(&self) -> u64 {
        self.complete.capacity() / self.shards / 10 * 9
    }

    fn writer(&self, key: &StoreKey) -> MutexGuard<'_, ()> {
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
