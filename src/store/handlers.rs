//! What Pingora's state machine reads bodies from and writes them to.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_cache::key::CacheKey;
use pingora_cache::storage::{HandleHit, HandleMiss, MissFinishType, Storage};
use pingora_cache::trace::SpanHandle;
use pingora_error::{Error, ErrorType, Result};

use super::body::Body;
use super::fill::{Fill, FillReader};
use super::memory::MemoryStore;
use super::stored::{StoreKey, StoredResponse};

/// Reads a body that is all there.
pub(super) struct StoredHit {
    body: Arc<Body>,
    at: u64,
    end: u64,
}

impl StoredHit {
    pub(super) fn new(body: Arc<Body>) -> Self {
        Self {
            at: 0,
            end: body.len(),
            body,
        }
    }
}

#[async_trait]
impl HandleHit for StoredHit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let read = self.body.read(self.at, self.end);
        if let Some(bytes) = &read {
            self.at += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        }
        Ok(read)
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        let position = |offset: usize| u64::try_from(offset).unwrap_or(u64::MAX);
        if position(start) >= self.body.len() {
            return Error::e_explain(ErrorType::InternalError, "seek beyond the stored body");
        }
        self.at = position(start);
        self.end = end.map_or(self.body.len(), position).min(self.body.len());
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// Reads a body while it arrives.
pub(super) struct FillHit {
    reader: FillReader,
}

impl FillHit {
    pub(super) fn new(reader: FillReader) -> Self {
        Self { reader }
    }
}

#[async_trait]
impl HandleHit for FillHit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        self.reader
            .read()
            .await
            .map_err(|e| Error::because(ErrorType::ReadError, "cache fill", e))
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn should_count_access(&self) -> bool {
        false
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// Writes a body into the store. Dropped before [`HandleMiss::finish`], it fails its readers and
/// stores nothing.
pub(super) struct FillWriter {
    store: &'static MemoryStore,
    key: StoreKey,
    id: u64,
    tag: [u8; 8],
    fill: Arc<Fill>,
}

impl FillWriter {
    pub(super) fn new(
        store: &'static MemoryStore,
        key: StoreKey,
        id: u64,
        fill: Arc<Fill>,
    ) -> Self {
        Self {
            store,
            key,
            id,
            tag: id.to_be_bytes(),
            fill,
        }
    }
}

#[async_trait]
impl HandleMiss for FillWriter {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        self.fill
            .write(data)
            .await
            .map_err(|e| Error::because(ErrorType::WriteError, "cache fill", e))
    }

    async fn finish(self: Box<Self>) -> Result<MissFinishType> {
        let expected = self.fill.meta.content_length();
        if expected.is_some_and(|expected| expected != self.fill.written()) {
            return Error::e_explain(
                ErrorType::WriteError,
                "the body is not as long as announced",
            );
        }
        let Some(chunks) = self.fill.complete() else {
            return Ok(MissFinishType::Created(0));
        };
        let body = Body::copy_of(&chunks);
        let size = usize::try_from(body.len()).unwrap_or(usize::MAX);
        let stored = StoredResponse {
            generation: self.store.next_generation(),
            meta: self.fill.meta.with_length(body.len()),
            body: Arc::new(body),
        };
        self.store.insert(self.key.clone(), stored);
        Ok(MissFinishType::Created(size))
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        Some(&self.tag)
    }
}

impl Drop for FillWriter {
    fn drop(&mut self) {
        self.fill.abort();
        self.store.forget_fill(&self.key, self.id);
    }
}
