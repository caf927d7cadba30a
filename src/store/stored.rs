//! One stored response: its key, head, times and body.

use std::sync::Arc;
use std::time::SystemTime;

use pingora_cache::CacheMeta;
use pingora_cache::key::{CacheHashKey, CacheKey};
use pingora_http::ResponseHeader;

use super::body::Body;
use crate::cache::reuse::StoredTimes;

/// Bytes counted for bookkeeping beside key, head and body, so that many small objects cannot
/// outgrow the configured memory.
const OVERHEAD: u64 = 512;

/// The full key and, for a variant, the digest of its selecting fields.
///
/// The index compares all of it, so two resources whose digests collide stay apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StoreKey {
    primary: Box<[u8]>,
    variance: Option<[u8; 16]>,
}

impl StoreKey {
    pub(super) fn new(key: &CacheKey) -> Self {
        Self {
            primary: key.primary_key().into(),
            variance: key.variance_bin(),
        }
    }

    fn len(&self) -> usize {
        self.primary.len() + 16
    }
}

/// What Pingora's metadata holds beside the head, in a form that can be cloned.
#[derive(Clone, Debug)]
pub(super) struct StoredMeta {
    head: Arc<ResponseHeader>,
    times: Option<StoredTimes>,
    fresh_until: SystemTime,
    provenance: SystemTime,
    epoch: SystemTime,
    stale_while_revalidate: u32,
    stale_if_error: u32,
    variance: Option<[u8; 16]>,
}

impl StoredMeta {
    pub(super) fn new(meta: &CacheMeta) -> Self {
        Self {
            head: Arc::new(meta.response_header_copy()),
            times: meta.extensions().get::<StoredTimes>().copied(),
            fresh_until: meta.fresh_until(),
            provenance: meta.provenance(),
            epoch: meta.epoch(),
            stale_while_revalidate: meta.stale_while_revalidate_sec(),
            stale_if_error: meta.stale_if_error_sec(),
            variance: meta.variance(),
        }
    }

    /// Pingora's own form. The creation time is given as the provenance, so that variants stay
    /// valid when the primary one is fetched anew; the age counts from the epoch.
    pub(super) fn to_cache_meta(&self) -> CacheMeta {
        let mut meta = CacheMeta::new(
            self.fresh_until,
            self.provenance,
            self.stale_while_revalidate,
            self.stale_if_error,
            (*self.head).clone(),
        );
        meta.set_epoch_override(self.epoch);
        if let Some(variance) = self.variance {
            meta.set_variance(variance);
        }
        if let Some(times) = self.times {
            meta.extensions_mut().insert(times);
        }
        meta
    }

    /// The length that the head announces.
    pub(super) fn content_length(&self) -> Option<u64> {
        let value = self.head.headers.get(http::header::CONTENT_LENGTH)?;
        value.to_str().ok()?.parse().ok()
    }

    /// The head of a complete body: its length is known now, whatever framing brought it here.
    pub(super) fn with_length(&self, length: u64) -> Self {
        let mut head = (*self.head).clone();
        if !matches!(head.status.as_u16(), 0..=199 | 204 | 304) {
            // Digits are a valid field value.
            let _ = head.insert_header(http::header::CONTENT_LENGTH, length.to_string());
        }
        Self {
            head: Arc::new(head),
            ..self.clone()
        }
    }

    fn size(&self) -> usize {
        self.head
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum()
    }
}

/// Tells one stored response from the one that later took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u64);

/// A complete response in memory.
#[derive(Clone, Debug)]
pub(super) struct StoredResponse {
    pub(super) generation: Generation,
    pub(super) meta: StoredMeta,
    pub(super) body: Arc<Body>,
}

impl StoredResponse {
    /// Bytes it accounts for.
    pub(super) fn weight(&self, key: &StoreKey) -> u64 {
        let head = u64::try_from(key.len() + self.meta.size()).unwrap_or(u64::MAX);
        self.body
            .len()
            .saturating_add(head)
            .saturating_add(OVERHEAD)
    }
}
