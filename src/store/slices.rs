//! Slices: large bodies in pieces of one mebibyte, each of which may be there or not.
//!
//! They have a cache of their own, because a piece of a large object competes with other such pieces
//! and not with pages. It takes memory from the responses as slices come, up to half of all, and gives
//! it back: a site without large objects loses nothing. Below it there may be a [`SliceTier`].

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::body::Body;
use super::flight::Flights;
use super::memory::shards;
use super::stored::StoredId;

/// Bytes of every slice but the last of a body.
pub const SLICE: u64 = 1 << 20;

/// Bytes counted for the bookkeeping of a slice.
const OVERHEAD: u64 = 128;

/// The share of all memory that slices may take.
const LARGEST_SHARE: u64 = 2;

/// The share of slices for those that were asked for again. The rest is for what is new: a slice must
/// last until those who read a body one behind the other have passed.
const HOT: f64 = 0.75;

/// Memory changes hands in so many steps.
const STEPS: u64 = 32;

/// How often a fill looks whether the lower tier has room again.
const LOOK: Duration = Duration::from_millis(5);

/// How long a fill waits for that.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where slices are kept beside memory.
pub trait SliceTier: Send + Sync {
    /// Takes a slice, or lets it go. Never waits.
    fn put(&self, id: StoredId, number: u64, bytes: Bytes);
    /// The slice. May block.
    fn get(&self, id: StoredId, number: u64) -> Option<Bytes>;
    /// Whether it has the slice. Never blocks.
    fn holds(&self, id: StoredId, number: u64) -> bool;
    /// Whether it takes slices at the moment. Never blocks.
    fn has_room(&self) -> bool;
    /// The body is stored no more. Never waits.
    fn forget(&self, id: StoredId);
}

/// A slice that is neither in memory nor below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slice {number} of the body is gone")]
pub struct MissingSlice {
    /// Its number, from 0.
    pub number: u64,
}

/// Why a slice could not be had from the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SliceFailure {
    /// The origin has another representation by now.
    #[error("the representation has changed")]
    Changed,
    /// The origin did not give it.
    #[error("the origin did not give the slice")]
    Failed,
}

type SliceKey = (StoredId, u64);
type Memory =
    Cache<SliceKey, Bytes, ByBytes, DefaultHashBuilder, DefaultLifecycle<SliceKey, Bytes>>;

#[derive(Clone)]
struct ByBytes;

impl Weighter<SliceKey, Bytes> for ByBytes {
    fn weight(&self, _: &SliceKey, bytes: &Bytes) -> u64 {
        length(bytes).saturating_add(OVERHEAD)
    }
}

/// The slices of all bodies.
pub struct Slices {
    memory: Memory,
    budget: Mutex<Shared>,
    /// Tells the responses how much memory is theirs.
    leave: Box<dyn Fn(u64) + Send + Sync>,
    tier: OnceLock<Arc<dyn SliceTier>>,
    /// Slices being fetched from the origin.
    pub flights: Arc<Flights<Result<Bytes, SliceFailure>>>,
}

/// Memory shared with the responses.
struct Shared {
    all: u64,
    taken: u64,
}

impl fmt::Debug for Slices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slices").finish_non_exhaustive()
    }
}

impl Slices {
    /// No slices, in at most half of `all` bytes; `leave` is told what is left for others.
    pub(super) fn new(all: u64, leave: Box<dyn Fn(u64) + Send + Sync>) -> Result<Self, String> {
        let capacity = all / LARGEST_SHARE;
        let options = OptionsBuilder::new()
            .shards(shards(capacity))
            .estimated_items_capacity(usize::try_from(capacity / SLICE).unwrap_or(0).max(64))
            .weight_capacity(capacity)
            .hot_allocation(HOT)
            .build()
            .map_err(|error| error.to_string())?;
        let memory = Cache::with_options(
            options,
            ByBytes,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        );
        Ok(Self {
            memory,
            budget: Mutex::new(Shared { all, taken: 0 }),
            leave,
            tier: OnceLock::new(),
            flights: Flights::new(),
        })
    }

    /// Changes the memory shared with the responses.
    pub(super) fn set_capacity(&self, all: u64) {
        self.memory.set_capacity(all / LARGEST_SHARE);
        let mut shared = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        shared.all = all;
        shared.taken = self.share(all);
        (self.leave)(all.saturating_sub(shared.taken));
    }

    /// Puts a tier below memory; only the first counts.
    pub fn set_tier(&self, tier: Arc<dyn SliceTier>) {
        let _ = self.tier.set(tier);
    }

    /// Whether there is a tier below memory.
    pub(super) fn has_tier(&self) -> bool {
        self.tier.get().is_some()
    }

    /// Bytes in memory.
    pub(super) fn weight(&self) -> u64 {
        self.memory.weight()
    }

    /// Whether a body of so many bytes could be kept, all of it. Memory must have it to spare, as
    /// slices do not spread evenly.
    pub fn could_hold(&self, bytes: u64) -> bool {
        bytes <= self.memory.capacity() / 4 * 3 || self.tier.get().is_some_and(|t| t.has_room())
    }

    /// Waits as long as `nobody_reads` until the tier below, if there is one, takes slices; false when it
    /// does not for so long that it must be out of order.
    pub async fn room(&self, nobody_reads: impl Fn() -> bool) -> bool {
        let full = || self.tier.get().is_some_and(|tier| !tier.has_room());
        let room = async {
            while nobody_reads() && full() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, room).await.is_ok()
    }

    fn put(&self, key: SliceKey, bytes: &Bytes) {
        self.memory.insert(key, bytes.clone());
        self.balance();
    }

    async fn read(&self, (id, number): SliceKey) -> Option<Bytes> {
        if let Some(bytes) = self.memory.get(&(id, number)) {
            return Some(bytes);
        }
        let tier = self.tier.get().filter(|tier| tier.holds(id, number))?;
        let tier = tier.clone();
        let read = tokio::task::spawn_blocking(move || tier.get(id, number));
        let bytes = read.await.ok().flatten()?;
        self.put((id, number), &bytes);
        Some(bytes)
    }

    /// Takes memory from the responses, or gives it back. Who finds another one at it leaves it to that
    /// one, and to the next slice or response.
    pub(super) fn balance(&self) {
        let Ok(mut shared) = self.budget.try_lock() else {
            return;
        };
        let share = self.share(shared.all);
        if share != shared.taken {
            shared.taken = share;
            (self.leave)(shared.all.saturating_sub(share));
        }
    }

    /// What slices take of `all`, in whole steps.
    fn share(&self, all: u64) -> u64 {
        let step = (all / STEPS).max(1);
        self.weight().div_ceil(step).saturating_mul(step)
    }
}

/// The slices of one body. They leave memory with the last one who holds this.
#[derive(Debug)]
pub struct Sliced {
    id: StoredId,
    slices: Arc<Slices>,
    /// Slices from here on were never put.
    end: AtomicU64,
    /// No longer stored: what is still read of it is kept in memory alone.
    retired: AtomicBool,
    /// All of them, as long as somebody reads them so.
    held: Mutex<Weak<Body>>,
}

impl Sliced {
    /// Those of the body that `id` names, wherever they are.
    pub fn new(id: StoredId, slices: Arc<Slices>) -> Self {
        Self {
            id,
            slices,
            end: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            held: Mutex::default(),
        }
    }

    /// The same, kept from the tier below if not `wanted` there.
    #[must_use]
    pub fn below(self, wanted: bool) -> Self {
        self.retired.store(!wanted, Ordering::Release);
        self
    }

    /// The body's name.
    pub fn id(&self) -> StoredId {
        self.id
    }

    /// The store of all slices.
    pub fn slices(&self) -> &Arc<Slices> {
        &self.slices
    }

    /// Keeps a slice.
    pub fn put(&self, number: u64, bytes: &Bytes) {
        self.end
            .fetch_max(number.saturating_add(1), Ordering::Relaxed);
        if !self.retired.load(Ordering::Acquire)
            && let Some(tier) = self.slices.tier.get()
        {
            tier.put(self.id, number, bytes.clone());
        }
        self.slices.put((self.id, number), bytes);
    }

    /// The slice, when it is in memory.
    pub fn in_memory(&self, number: u64) -> Option<Bytes> {
        self.slices.memory.get(&(self.id, number))
    }

    /// The slice, from memory or below.
    pub async fn read(&self, number: u64) -> Option<Bytes> {
        let read = self.slices.read((self.id, number)).await?;
        self.end
            .fetch_max(number.saturating_add(1), Ordering::Relaxed);
        Some(read)
    }

    /// The body with all of its bytes held, which `make` makes if nobody holds it yet.
    pub(super) fn held(&self, make: impl FnOnce() -> Option<Body>) -> Option<Arc<Body>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(body) = held.upgrade() {
            return Some(body);
        }
        let body = Arc::new(make()?);
        *held = Arc::downgrade(&body);
        Some(body)
    }

    /// As if memory had evicted the slice.
    #[cfg(test)]
    pub(super) fn lose(&self, number: u64) {
        self.slices.memory.remove(&(self.id, number));
    }

    /// Whether the slice is in memory or below.
    pub fn holds(&self, number: u64) -> bool {
        let tier = || self.slices.tier.get();
        self.slices.memory.contains_key(&(self.id, number))
            || tier().is_some_and(|tier| tier.holds(self.id, number))
    }

    /// The body is stored no more: the tier below forgets it.
    pub(super) fn retire(&self) {
        if !self.retired.swap(true, Ordering::AcqRel)
            && let Some(tier) = self.slices.tier.get()
        {
            tier.forget(self.id);
        }
    }
}

impl Drop for Sliced {
    fn drop(&mut self) {
        for number in 0..*self.end.get_mut() {
            // Responses may be evicted to make room for slices, and take theirs with them: nothing is
            // balanced here, within that.
            self.slices.memory.remove(&(self.id, number));
        }
    }
}

/// The bytes of slice `number` from position `start` of the body on, but not beyond `end`.
pub fn cut(slice: &Bytes, number: u64, start: u64, end: u64) -> Bytes {
    let first = number.saturating_mul(SLICE);
    let place = |at: u64| {
        usize::try_from(at.saturating_sub(first))
            .unwrap_or(usize::MAX)
            .min(slice.len())
    };
    let (from, to) = (place(start), place(end));
    slice.slice(from..to.max(from))
}

/// The positions of slice `number` in a body of `len` bytes; empty beyond its end.
pub fn positions(number: u64, len: u64) -> std::ops::Range<u64> {
    let first = number.saturating_mul(SLICE).min(len);
    first..first.saturating_add(SLICE).min(len)
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
