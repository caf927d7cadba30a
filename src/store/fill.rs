//! The body of a response under way: one writer, any number of readers that stream along.
//!
//! While the response may still be stored, all of it is kept. What is not to be stored, or proves
//! larger than what may be, passes through a window: new readers are turned away, and the writer
//! waits for those there. A writer that goes away before the end fails every reader, so that a
//! truncated body never looks complete.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;

use super::body::Body;
use super::stored::Selection;
use crate::cache::reuse::StoredTimes;

/// Bytes held for readers of what is not kept.
const WINDOW: u64 = 4 << 20;

/// How long the writer of such a response waits for slow readers while others could go on.
const PATIENCE: Duration = Duration::from_secs(5);

/// A response whose head is known, shared by its writer and its readers.
#[derive(Debug)]
pub struct Fill {
    /// Its status, as clients get it.
    pub status: StatusCode,
    /// Its fields, hop-by-hop ones removed.
    pub fields: Arc<HeaderMap>,
    /// Its freshness, when it is on its way into the store.
    pub times: Option<StoredTimes>,
    /// The requests it answers.
    pub selection: Selection,
    budget: Budget,
    state: Mutex<State>,
    changed: Notify,
    drained: Notify,
}

/// The memory that all fills of a store share.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bytes held now.
    pub(super) held: Arc<AtomicU64>,
    /// Beyond this nothing more is kept whole.
    pub(super) most: u64,
}

impl Budget {
    /// Whether fills hold as much as they may.
    pub fn is_spent(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.most
    }
}

/// How much of a body is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it, up to this many bytes.
    UpTo(u64),
    /// No more than readers need.
    Window,
}

#[derive(Debug)]
struct State {
    keep: Keep,
    /// Chunks not yet dropped, each with the position of its first byte.
    chunks: VecDeque<(u64, Bytes)>,
    /// Bytes that count towards the budget.
    held: u64,
    written: u64,
    end: Option<End>,
    /// Position of each reader's next byte.
    readers: BTreeMap<u64, u64>,
    next_reader: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Aborted,
}

/// Why a write or a read cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The writer went away before the end.
    #[error("the response ended before its time")]
    Aborted,
    /// Too far behind on a response that is not kept.
    #[error("the reader fell too far behind")]
    TooSlow,
    /// Not kept, and nobody reads it any more.
    #[error("not to be stored, and no reader is left")]
    Pointless,
}

impl Fill {
    /// A response with this head and no body yet.
    pub fn new(
        status: StatusCode,
        fields: Arc<HeaderMap>,
        times: Option<StoredTimes>,
        selection: Selection,
        keep: Keep,
        budget: Budget,
    ) -> Self {
        Self {
            status,
            fields,
            times,
            selection,
            budget,
            state: Mutex::new(State {
                keep,
                chunks: VecDeque::new(),
                held: 0,
                written: 0,
                end: None,
                readers: BTreeMap::new(),
                next_reader: 0,
            }),
            changed: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// A reader from the first byte; `None` when the beginning is gone, or will be.
    pub fn reader(self: &Arc<Self>) -> Option<FillReader> {
        let mut state = self.lock();
        let begins = state.written == 0 && state.readers.is_empty();
        if state.end == Some(End::Aborted) || (state.keep == Keep::Window && !begins) {
            return None;
        }
        let id = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(id, 0);
        Some(FillReader {
            fill: self.clone(),
            id,
        })
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.lock().written
    }

    /// Appends `chunk`; waits for readers when it is not kept.
    ///
    /// # Errors
    /// [`FillError::Pointless`] when nobody wants it any more.
    pub async fn write(&self, chunk: Bytes) -> Result<(), FillError> {
        if chunk.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.lock();
            let len = length(&chunk);
            let at = state.written;
            state.written = at.saturating_add(len);
            state.held = state.held.saturating_add(len);
            self.budget.held.fetch_add(len, Ordering::Relaxed);
            let fits = |largest| state.written <= largest && (at == 0 || !self.budget.is_spent());
            if matches!(state.keep, Keep::UpTo(largest) if !fits(largest)) {
                state.keep = Keep::Window;
            }
            state.chunks.push_back((at, chunk));
        }
        self.changed.notify_waiters();
        self.wait_for_readers().await
    }

    async fn wait_for_readers(&self) -> Result<(), FillError> {
        let mut patience = std::pin::pin!(tokio::time::sleep(PATIENCE));
        let mut patient = true;
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            // Registered before the look, so that a reader in between is not missed.
            drained.as_mut().enable();
            {
                let mut state = self.lock();
                if state.keep != Keep::Window {
                    return Ok(());
                }
                let dropped = state.drop_read();
                self.budget.held.fetch_sub(dropped, Ordering::Relaxed);
                if state.readers.is_empty() {
                    return Err(FillError::Pointless);
                }
                if !state.any_lags() {
                    return Ok(());
                }
                if !patient && state.leave_behind() {
                    drop(state);
                    self.changed.notify_waiters();
                    continue;
                }
            }
            tokio::select! {
                () = drained => {}
                () = &mut patience, if patient => patient = false,
            }
        }
    }

    /// The whole body so far, when it was kept.
    pub fn whole(&self) -> Option<Vec<Bytes>> {
        let state = self.lock();
        let chunks = state.chunks.iter().map(|(_, chunk)| chunk.clone());
        (state.keep != Keep::Window).then(|| chunks.collect())
    }

    /// The body is stored: readers go on from there, and it counts as stored memory alone.
    pub fn settle(&self, body: &Body) {
        let mut state = self.lock();
        if state.keep == Keep::Window || body.len() != state.written {
            return;
        }
        state.chunks.clear();
        let mut at = 0;
        for chunk in body.chunks(0, body.len()) {
            let len = length(&chunk);
            state.chunks.push_back((at, chunk));
            at += len;
        }
        let held = std::mem::take(&mut state.held);
        self.budget.held.fetch_sub(held, Ordering::Relaxed);
    }

    /// Waits until nobody reads what is not kept.
    pub async fn abandoned(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            {
                let state = self.lock();
                if state.keep == Keep::Window && state.readers.is_empty() {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Marks the end.
    pub fn complete(&self) {
        self.lock().end = Some(End::Complete);
        self.changed.notify_waiters();
    }

    /// Marks the response as failed, unless it is complete.
    pub fn abort(&self) {
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
        self.budget.held.fetch_sub(held, Ordering::Relaxed);
    }
}

fn length(chunk: &Bytes) -> u64 {
    u64::try_from(chunk.len()).unwrap_or(u64::MAX)
}

impl State {
    /// Drops the chunks that every reader has read; how many bytes.
    fn drop_read(&mut self) -> u64 {
        let Some(slowest) = self.readers.values().copied().min() else {
            return 0;
        };
        let mut bytes = 0;
        while let Some((at, chunk)) = self.chunks.front()
            && at.saturating_add(length(chunk)) <= slowest
        {
            bytes += length(chunk);
            self.chunks.pop_front();
        }
        self.held = self.held.saturating_sub(bytes);
        bytes
    }

    fn lags(&self, next: u64) -> bool {
        self.written.saturating_sub(next) > WINDOW
    }

    /// The bytes from `next` to the end of their chunk.
    fn chunk(&self, next: u64) -> Option<Bytes> {
        let after = self.chunks.partition_point(|(at, _)| *at <= next);
        let (at, chunk) = self.chunks.get(after.checked_sub(1)?)?;
        let from = usize::try_from(next.saturating_sub(*at)).ok()?;
        (from < chunk.len()).then(|| chunk.slice(from..))
    }

    fn any_lags(&self) -> bool {
        self.readers.values().any(|next| self.lags(*next))
    }

    /// Ends the readers that lag, unless all do: then there is nobody to hurry for.
    fn leave_behind(&mut self) -> bool {
        let mut readers = std::mem::take(&mut self.readers);
        let quick = readers.values().filter(|next| !self.lags(**next)).count();
        if quick > 0 {
            readers.retain(|_, next| !self.lags(*next));
        }
        self.readers = readers;
        quick > 0
    }
}

/// One reader of a [`Fill`].
#[derive(Debug)]
pub struct FillReader {
    fill: Arc<Fill>,
    id: u64,
}

impl FillReader {
    /// What it reads.
    pub fn fill(&self) -> &Arc<Fill> {
        &self.fill
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// When the response was cut short, or this reader was too slow.
    pub async fn read(&mut self) -> Result<Option<Bytes>, FillError> {
        loop {
            let mut changed = std::pin::pin!(self.fill.changed.notified());
            changed.as_mut().enable();
            match self.poll_chunk() {
                Some(read) => return read,
                None => changed.await,
            }
        }
    }

    fn poll_chunk(&self) -> Option<Result<Option<Bytes>, FillError>> {
        let mut state = self.fill.lock();
        let Some(next) = state.readers.get(&self.id).copied() else {
            return Some(Err(FillError::TooSlow));
        };
        if let Some(chunk) = state.chunk(next) {
            let read = next.saturating_add(length(&chunk));
            state.readers.insert(self.id, read);
            if state.keep == Keep::Window {
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
        self.fill.drained.notify_waiters();
        self.fill.drained.notify_one();
    }
}
