//! The body of a response under way: one writer, any number of readers that stream along.
//!
//! While the response may still be stored, all of it is kept: what makes up a slice leaves for
//! [`Slices`](super::Slices), where readers find it that are further behind than a window. What is not to be stored, or
//! proves larger than what may be, passes through that window alone: new readers are turned away, and
//! the writer waits for those there. A writer that goes away before the end fails every reader, so
//! that a truncated body never looks complete.

mod reader;
mod state;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;

use super::body::Body;
use super::slices::{SLICE, Sliced};
use super::stored::Selection;
use crate::cache::reuse::StoredTimes;

pub use reader::FillReader;
use state::{End, State};

/// Bytes held for readers, where what came before is not kept, or is kept in slices.
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
    slices: Arc<Sliced>,
    /// Bytes that are expected, as far as is known.
    expected: Option<u64>,
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

    /// Takes so many bytes until what is returned is dropped; `None` when there are not so many.
    pub(super) fn take(&self, bytes: u64) -> Option<Taken> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let taken = Taken {
            held: self.held.clone(),
            bytes,
        };
        (before.saturating_add(bytes) <= self.most).then_some(taken)
    }
}

/// Bytes taken of a budget.
#[derive(Debug)]
pub(super) struct Taken {
    held: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How much of a body is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it, to be stored.
    Stored {
        /// Up to this many bytes.
        most: u64,
        /// Whether slices that are gone can be fetched again.
        again: bool,
    },
    /// All of it, up to this many bytes, for those who read along, or to become part of something.
    UpTo(u64),
    /// No more than readers need.
    Window,
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
    /// This slice is gone, and only the origin has it.
    #[error("slice {0} of the body is gone")]
    Missing(u64),
}

impl Fill {
    /// A response with this head and no body yet, of which `expected` bytes are to come.
    pub fn new(
        status: StatusCode,
        fields: Arc<HeaderMap>,
        times: Option<StoredTimes>,
        selection: Selection,
        (keep, expected): (Keep, Option<u64>),
        (slices, budget): (Sliced, Budget),
    ) -> Self {
        Self {
            status,
            fields,
            times,
            selection,
            slices: Arc::new(slices),
            expected,
            budget,
            state: Mutex::new(State {
                keep,
                chunks: VecDeque::new(),
                held: 0,
                written: 0,
                slice: BytesMut::new(),
                slices: 0,
                sealed: false,
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
        let gone = state.end == Some(End::Aborted) || (state.keep == Keep::Window && !begins);
        if gone || !self.can_begin(&state) {
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

    /// Whether the beginning is there, or can be had again.
    fn can_begin(&self, state: &State) -> bool {
        matches!(state.keep, Keep::Stored { again: true, .. })
            || state.chunks.front().is_none_or(|(at, _)| *at == 0)
            || (0..state.slices).all(|number| self.slices.holds(number))
    }

    /// Its slices, as far as it is kept in slices.
    pub fn slices(&self) -> &Arc<Sliced> {
        &self.slices
    }

    /// The length of the whole, as far as it is known.
    pub fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Whether it is kept for later and nobody reads it now.
    pub fn is_background(&self) -> bool {
        let state = self.lock();
        state.keep != Keep::Window && state.readers.is_empty()
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
        let whole = self.append(chunk);
        self.keep_slices(&whole);
        self.changed.notify_waiters();
        self.wait_for_readers().await
    }

    /// Takes in a chunk. Gives the slices that are whole now.
    fn append(&self, chunk: Bytes) -> Vec<(u64, Bytes)> {
        let mut state = self.lock();
        let len = length(&chunk);
        let at = state.written;
        state.written = at.saturating_add(len);
        self.hold(&mut state, len);
        let mut whole = Vec::new();
        if !state.sealed {
            if !self.may_keep(&state, at) {
                state.keep = Keep::Window;
                let dropped = length_of(&std::mem::take(&mut state.slice));
                self.release(&mut state, dropped);
            }
            if matches!(state.keep, Keep::Stored { .. }) {
                whole = self.collect(&mut state, at, &chunk);
            }
        }
        state.chunks.push_back((at, chunk));
        whole
    }

    fn may_keep(&self, state: &State, at: u64) -> bool {
        let fits = |largest| state.written <= largest && (at == 0 || !self.budget.is_spent());
        match state.keep {
            Keep::Window => true,
            Keep::UpTo(largest) => fits(largest),
            Keep::Stored { most, .. } => {
                // With a length it was asked before the first byte, and the lower tier may be busy for
                // a moment.
                let sure = self.expected.is_some() || state.written <= SLICE;
                fits(most) && (sure || self.slices.slices().could_hold(state.written))
            }
        }
    }

    /// Copies `chunk`, which begins at `at`, to where slices are made: a network buffer must not be kept
    /// alive for a few bytes of it. Gives the slices that are whole now, and not the body's last.
    fn collect(&self, state: &mut State, at: u64, chunk: &Bytes) -> Vec<(u64, Bytes)> {
        let size = usize::try_from(SLICE).unwrap_or(usize::MAX);
        let mut whole = Vec::new();
        let mut chunk = chunk.clone();
        let mut at = at;
        let mut next = state.slices;
        while !chunk.is_empty() {
            if state.slice.len() == size {
                whole.push((next, std::mem::take(&mut state.slice).freeze()));
                next += 1;
            }
            if state.slice.capacity() == 0 {
                let rest = self.expected.map(|expected| expected.saturating_sub(at));
                let rest = rest.and_then(|rest| usize::try_from(rest).ok());
                state.slice.reserve(rest.unwrap_or(chunk.len()).min(size));
            }
            let part = chunk.split_to(chunk.len().min(size - state.slice.len()));
            state.slice.extend_from_slice(&part);
            at = at.saturating_add(length(&part));
            self.hold(state, length(&part));
        }
        whole
    }

    /// Keeps whole slices as such, and lets go of what came as chunks, as far as readers can do
    /// without.
    fn keep_slices(&self, whole: &[(u64, Bytes)]) {
        if whole.is_empty() {
            return;
        }
        for (number, slice) in whole {
            self.slices.put(*number, slice);
        }
        let mut state = self.lock();
        state.slices += u64::try_from(whole.len()).unwrap_or(0);
        let bytes: u64 = whole.iter().map(|(_, slice)| length(slice)).sum();
        let dropped = match state.keep {
            Keep::Stored { again: true, .. } => state.drop_sliced(true),
            _ if self.slices.slices().has_tier() => state.drop_sliced(false),
            // Memory may let go of slices that nobody else has: readers keep them.
            _ => {
                state.hold_sliced(whole);
                0
            }
        };
        self.release(&mut state, dropped.saturating_add(bytes));
    }

    /// The body with the `last` chunk, which is written afterwards; `None` when it is not kept. One that
    /// was not to be stored as such is held, whatever its size.
    pub fn seal(&self, last: &Bytes) -> Option<Arc<Body>> {
        let (mut whole, rest, number, len) = {
            let mut state = self.lock();
            let at = state.written;
            let len = at.saturating_add(length(last));
            match state.keep {
                Keep::Stored { most, .. } if len <= most => {}
                Keep::UpTo(most) if len <= most => {
                    state.sealed = true;
                    let chunks = state.chunks.iter().map(|(_, chunk)| chunk.clone());
                    let chunks: Vec<Bytes> = chunks.chain([last.clone()]).collect();
                    return Some(Arc::new(Body::copy_of(&chunks)));
                }
                _ => return None,
            }
            let whole = self.collect(&mut state, at, last);
            state.sealed = true;
            let rest = std::mem::take(&mut state.slice);
            let number = state.slices + u64::try_from(whole.len()).unwrap_or(0);
            (whole, rest, number, len)
        };
        let held = length_of(&rest);
        let rest = trimmed(rest);
        if number == 0 {
            self.release(&mut self.lock(), held);
            return Some(Arc::new(Body::of(rest)));
        }
        whole.push((number, rest));
        self.keep_slices(&whole);
        Some(Arc::new(Body::sliced(self.slices.clone(), len)))
    }

    fn hold(&self, state: &mut State, bytes: u64) {
        state.held = state.held.saturating_add(bytes);
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn release(&self, state: &mut State, bytes: u64) {
        let bytes = bytes.min(state.held);
        state.held -= bytes;
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
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
                self.release(&mut state, dropped);
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

    /// The body is stored: readers go on from there, and it counts as stored memory alone. Of one in
    /// slices, readers close behind keep what they have.
    pub fn settle(&self, body: &Body) {
        let mut state = self.lock();
        if !state.sealed || body.len() != state.written || body.slices().is_some() {
            return;
        }
        state.chunks.clear();
        let mut at = 0;
        for chunk in body.in_memory(0..body.len()).unwrap_or_default() {
            let len = length(&chunk);
            state.chunks.push_back((at, chunk));
            at += len;
        }
        let held = state.held;
        self.release(&mut state, held);
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
        let mut state = self.lock();
        let held = state.held;
        self.release(&mut state, held);
        if !state.sealed && state.slices > 0 {
            self.slices.retire();
        }
    }
}

/// Without room to grow that is never used.
fn trimmed(bytes: BytesMut) -> Bytes {
    if bytes.capacity() - bytes.len() > bytes.len() / 8 {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes.freeze()
    }
}

fn length_of(bytes: &BytesMut) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn length(chunk: &Bytes) -> u64 {
    u64::try_from(chunk.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "fill/tests.rs"]
mod tests;
