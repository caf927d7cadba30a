//! One origin fetch for concurrent requests on a key.

use std::time::Duration;

use pingora_cache::CacheKey;
use pingora_cache::lock::{CacheKeyLock, CacheLock, LockStatus, Locked, WritePermit};

use super::caching::is_passing;

/// Pingora's cache lock, but a passing failure lets waiters compete again instead of releasing all
/// of them to the origin.
pub(super) struct Collapse(CacheLock);

impl Collapse {
    /// A fetch older than `timeout` no longer holds others back.
    pub(super) fn new(timeout: Duration) -> Self {
        Self(CacheLock::new(timeout))
    }
}

impl CacheKeyLock for Collapse {
    fn lock(&self, key: &CacheKey, stale_writer: bool) -> Locked {
        self.0.lock(key, stale_writer)
    }

    fn release(&self, key: &CacheKey, permit: WritePermit, reason: LockStatus) {
        self.0.release(key, permit, reason);
    }

    fn custom_lock_status(&self, reason: &'static str) -> LockStatus {
        if is_passing(reason) {
            LockStatus::TransientError
        } else {
            LockStatus::GiveUp
        }
    }
}
