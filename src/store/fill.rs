//! A response on its way into the store: one writer, any number of readers that stream along.
//!
//! While the response may still be stored, all of it is kept. Once it proves larger than what may
//! be stored, it becomes a tee: new readers are turned away, and the writer waits for those there,
//! for a while, so that only a window of it is held. It never waits for its own client, who is
//! served by the same task: there the connection's back pressure does the same. A writer that goes
//! away before the end fails every reader, so that a truncated body never looks complete.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::stored::StoredMeta;

/// Bytes held for readers once a response is too large to store.
const WINDOW: u64 = 4 << 20;

/// How long the writer of such a response waits for readers before it goes on without the slowest.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shared by the writer and its readers.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) meta: StoredMeta,
    largest: u64,
    /// Bytes held by all fills of the store.
    filling: Arc<AtomicU64>,
    state: Mutex<State>,
    changed: Notify,
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Chunks not yet dropped; the first one has the number `dropped`.
    chunks: Vec<Bytes>,
    dropped: usize,
    held: u64,
    written: u64,
    too_large: bool,
    end: Option<End>,
    readers: BTreeMap<u64, Place>,
    next_reader: u64,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Number of its next chunk.
    next: usize,
    role: Role,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The client whose request fetches the response.
    Leader,
    /// A client that came while it was being fetched.
    Follower,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Aborted,
}

/// Why a write or a read cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FillError {
    /// The writer went away before the end.
    #[error("the response ended before its time")]
    Aborted,
    /// Too far behind on a response that is too large to keep.
    #[error("the reader fell too far behind")]
    TooSlow,
    /// Too large to store, and nobody reads it any more.
    #[error("too large to store and no reader is left")]
    Pointless,
}

impl Fill {
    pub(super) fn new(meta: StoredMeta, largest: u64, filling: Arc<AtomicU64>) -> Self {
        Self {
            meta,
            largest,
            filling,
            state: Mutex::default(),
            changed: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// A reader from the first byte; `None` when the beginning is gone.
    pub(super) fn reader(self: &Arc<Self>, role: Role) -> Option<FillReader> {
        let mut state = self.lock();
        if state.dropped > 0 || state.too_large || state.end == Some(End::Aborted) {
            return None;
        }
        let id = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(id, Place { next: 0, role });
        Some(FillReader {
            fill: self.clone(),
            id,
        })
    }

    /// Appends `chunk`.
    pub(super) async fn write(&self, chunk: Bytes) -> Result<(), FillError> {
        if chunk.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.lock();
            let len = length(&chunk);
            state.written = state.written.saturating_add(len);
            state.held = state.held.saturating_add(len);
            self.filling.fetch_add(len, Ordering::Relaxed);
            state.too_large |= state.written > self.largest;
            state.chunks.push(chunk);
        }
        self.changed.notify_waiters();
        self.wait_for_readers().await
    }

    async fn wait_for_readers(&self) -> Result<(), FillError> {
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Registered before the look, so that a reader in between is not missed.
            drained.as_mut().enable();
            {
                let mut state = self.lock();
                if !state.too_large {
                    return Ok(());
                }
                let dropped = state.drop_read();
                self.filling.fetch_sub(dropped, Ordering::Relaxed);
                if state.readers.is_empty() {
                    return Err(FillError::Pointless);
                }
                if !state.followers_lag() {
                    return Ok(());
                }
            }
            tokio::select! {
                () = drained => {}
                () = &mut patience => {
                    self.lock().leave_behind();
                    self.changed.notify_waiters();
                }
            }
        }
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.lock().written
    }

    /// Marks the end. The chunks, when the whole may be stored.
    pub(super) fn complete(&self) -> Option<Vec<Bytes>> {
        let chunks = {
            let mut state = self.lock();
            state.end = Some(End::Complete);
            (!state.too_large).then(|| state.chunks.clone())
        };
        self.changed.notify_waiters();
        chunks
    }

    /// Marks the response as failed, unless it is complete.
    pub(super) fn abort(&self) {
        self.lock().end.get_or_insert(End::Aborted);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let held = self.lock().held;
        self.filling.fetch_sub(held, Ordering::Relaxed);
    }
}

fn length(chunk: &Bytes) -> u64 {
    u64::try_from(chunk.len()).unwrap_or(u64::MAX)
}

impl State {
    /// Drops the chunks that every reader has read; how many bytes.
    fn drop_read(&mut self) -> u64 {
        let slowest = self.readers.values().map(|place| place.next).min();
        let slowest = slowest.unwrap_or(self.dropped);
        let readable = slowest.saturating_sub(self.dropped).min(self.chunks.len());
        let bytes = self
            .chunks
            .drain(..readable)
            .map(|chunk| length(&chunk))
            .sum();
        self.dropped += readable;
        self.held = self.held.saturating_sub(bytes);
        bytes
    }

    /// Whether more than the window is held for a follower.
    fn followers_lag(&self) -> bool {
        let mut followers = self
            .readers
            .values()
            .filter(|place| place.role == Role::Follower);
        followers.any(|place| self.bytes_from(place.next) > WINDOW)
    }

    /// Ends the followers that are more than the window behind.
    fn leave_behind(&mut self) {
        let mut readers = std::mem::take(&mut self.readers);
        readers
            .retain(|_, place| place.role == Role::Leader || self.bytes_from(place.next) <= WINDOW);
        self.readers = readers;
    }

    fn bytes_from(&self, next: usize) -> u64 {
        let unread = self.chunks.iter().skip(next.saturating_sub(self.dropped));
        unread.map(length).sum()
    }
}

/// One reader of a [`Fill`].
#[derive(Debug)]
pub(super) struct FillReader {
    fill: Arc<Fill>,
    id: u64,
}

impl FillReader {
    /// The next chunk; `None` at the end.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, FillError> {
        loop {
            let changed = self.fill.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.poll_chunk() {
                Some(read) => return read,
                None => changed.await,
            }
        }
    }

    fn poll_chunk(&self) -> Option<Result<Option<Bytes>, FillError>> {
        let mut state = self.fill.lock();
        let Some(place) = state.readers.get(&self.id).copied() else {
            return Some(Err(FillError::TooSlow));
        };
        let chunk = place
            .next
            .checked_sub(state.dropped)
            .and_then(|at| state.chunks.get(at))
            .cloned();
        if let Some(chunk) = chunk {
            let next = place.next + 1;
            state.readers.insert(self.id, Place { next, ..place });
            if state.too_large {
                self.fill.drained.notify_one();
            }
            return Some(Ok(Some(chunk)));
        }
        match state.end? {
            End::Complete => Some(Ok(None)),
            End::Aborted => Some(Err(FillError::Aborted)),
        }
    }
}

impl Drop for FillReader {
    fn drop(&mut self) {
        self.fill.lock().readers.remove(&self.id);
        self.fill.drained.notify_one();
    }
}
