//! The memory tier: `quick_cache` for what is complete, a small table for what is being filled.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use pingora_cache::key::CacheKey;
use pingora_cache::storage::{
    HitHandler, MissHandler, PurgeOutcome, PurgeTarget, PurgeType, Storage,
};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheMeta, key::CacheHashKey};
use pingora_error::{Error, ErrorType, Result};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::fill::{Fill, Role};
use super::handlers::{FillHit, FillWriter, StoredHit};
use super::stored::{Generation, StoreKey, StoredMeta, StoredResponse};

/// A shard must hold its largest object in its hot part, or `quick_cache` evicts it at once.
const SHARD: u64 = 64 << 20;
const MOST_SHARDS: u64 = 64;

/// Largest response to store, put into the cache key's extensions by the proxy.
#[derive(Clone, Copy, Debug)]
pub struct LargestObject(pub u64);

/// Responses in memory, within a budget of bytes.
pub struct MemoryStore {
    complete: Cache<
        StoreKey,
        Arc<StoredResponse>,
        ByBytes,
        DefaultHashBuilder,
        DefaultLifecycle<StoreKey, Arc<StoredResponse>>,
    >,
    fills: Mutex<Fills>,
    next_id: AtomicU64,
    /// Bytes held by fills, and by readers of finished ones.
    filling: Arc<AtomicU64>,
}

/// Fills in progress by key, the newest last; a key has more than one when a lock was given up.
type Fills = HashMap<StoreKey, Vec<(u64, Arc<Fill>)>>;

/// What the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatistics {
    /// Stored responses, variants counted one by one.
    pub objects: u64,
    /// Bytes they account for.
    pub bytes: u64,
    /// The budget.
    pub capacity: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<StoreKey, Arc<StoredResponse>> for ByBytes {
    fn weight(&self, key: &StoreKey, stored: &Arc<StoredResponse>) -> u64 {
        stored.weight(key)
    }
}

impl MemoryStore {
    /// A store of at most `capacity` bytes.
    ///
    /// It lives as long as the process: Pingora's storage is a static reference, and this is the
    /// one place that makes it so.
    ///
    /// # Errors
    /// When the budget cannot be laid out, which means that it is absurd.
    pub fn leak(capacity: u64) -> std::result::Result<&'static Self, String> {
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
        Ok(Box::leak(Box::new(Self {
            complete,
            fills: Mutex::default(),
            next_id: AtomicU64::new(0),
            filling: Arc::default(),
        })))
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

    pub(super) fn insert(&self, key: StoreKey, stored: StoredResponse) {
        self.complete.insert(key, Arc::new(stored));
    }

    pub(super) fn next_generation(&self) -> Generation {
        Generation(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether fills hold as much memory as they may: half as much again as what is complete.
    pub fn is_busy(&self) -> bool {
        self.filling.load(Ordering::Relaxed) > self.complete.capacity() / 2
    }

    pub(super) fn forget_fill(&self, key: &StoreKey, id: u64) {
        let mut fills = self.fills();
        if let Some(of_key) = fills.get_mut(key) {
            of_key.retain(|(other, _)| *other != id);
            if of_key.is_empty() {
                fills.remove(key);
            }
        }
    }

    /// A reader of the newest fill of `key`, which is newer than anything complete.
    fn join_fill(&self, key: &StoreKey) -> Option<(CacheMeta, HitHandler)> {
        let fills = self.fills();
        let (_, fill) = fills.get(key)?.last()?;
        let hit: HitHandler = Box::new(FillHit::new(fill.reader(Role::Follower)?));
        Some((fill.meta.to_cache_meta(), hit))
    }

    fn fills(&self) -> MutexGuard<'_, Fills> {
        self.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Storage for MemoryStore {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let key = StoreKey::new(key);
        if let Some(joined) = self.join_fill(&key) {
            return Ok(Some(joined));
        }
        Ok(self.complete.get(&key).map(|stored| {
            let hit: HitHandler = Box::new(StoredHit::new(stored.body.clone()));
            let mut meta = stored.meta.to_cache_meta();
            meta.extensions_mut().insert(stored.generation);
            (meta, hit)
        }))
    }

    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        tag: Option<&[u8]>,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let id = tag
            .and_then(|tag| tag.try_into().ok())
            .map(u64::from_be_bytes);
        let fills = self.fills();
        let fill = fills
            .get(&StoreKey::new(key))
            .and_then(|of_key| of_key.iter().find(|(other, _)| Some(*other) == id));
        let reader = fill
            .and_then(|(_, fill)| Some((fill.meta.to_cache_meta(), fill.reader(Role::Leader)?)));
        match reader {
            Some((meta, reader)) => Ok(Some((meta, Box::new(FillHit::new(reader))))),
            None => Error::e_explain(ErrorType::InternalError, "no such fill"),
        }
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<MissHandler> {
        let largest = key
            .extensions
            .get::<LargestObject>()
            .map_or(u64::MAX, |largest| largest.0);
        let fill = Fill::new(StoredMeta::new(meta), largest, self.filling.clone());
        let fill = Arc::new(fill);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let key = StoreKey::new(key);
        self.fills()
            .entry(key.clone())
            .or_default()
            .push((id, fill.clone()));
        Ok(Box::new(FillWriter::new(self, key, id, fill)))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        _purge_type: PurgeType,
        _trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        // Pingora names a purge's target by digest alone, and this store is keyed by the full key.
        // Eviction is the store's own, so nothing asks for it.
        let digest = target.key().combined();
        Error::e_explain(
            ErrorType::InternalError,
            format!("purge of {digest} by digest"),
        )
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<bool> {
        let key = StoreKey::new(key);
        let Some(stored) = self.complete.peek(&key) else {
            return Ok(false);
        };
        // What was validated may have been replaced meanwhile: its fields do not fit another body.
        if meta.extensions().get::<Generation>() != Some(&stored.generation) {
            return Ok(false);
        }
        let freshened = StoredResponse {
            generation: stored.generation,
            meta: StoredMeta::new(meta),
            body: stored.body.clone(),
        };
        self.insert(key, freshened);
        Ok(true)
    }

    fn support_streaming_partial_write(&self) -> bool {
        true
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}
