//! The body of a response under way: one writer, any number of readers that stream along.
//!
//! While the response may still be stored, all of it is kept: what makes up a slice leaves for
//! [`Slices`](super::Slices), where readers find it that are further behind than a window. What is not to be stored, or
//! proves larger than what may be, passes through that window alone: new readers are turned away, and
//! the writer waits for those there. A writer that goes away before the end fails every reader, so
//! that a truncated body never looks complete.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;

use super::body::Body;
use super::slices::{SLICE, Sliced, cut};
use super::stored::Selection;
use crate::cache::reuse::StoredTimes;

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
}

/// How much of a body is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it, up to this many bytes, to be stored.
    Stored(u64),
    /// All of it, up to this many bytes, for those who read along, or to become part of something.
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
    /// What came since the last whole slice, on its way to be one; for what is to be stored.
    slice: BytesMut,
    /// Whole slices that are kept as such.
    slices: u64,
    /// The body is made, and nothing is added to it.
    sealed: bool,
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
        self.keep_slices(whole);
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
            if matches!(state.keep, Keep::Stored(_)) {
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
            Keep::Stored(largest) => {
                let inline = state.written <= SLICE;
                fits(largest) && (inline || self.slices.slices().could_hold(state.written))
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

    /// Keeps whole slices as such, and lets go of what came as chunks, as far as no reader that is
    /// close behind needs it.
    fn keep_slices(&self, whole: Vec<(u64, Bytes)>) {
        if whole.is_empty() {
            return;
        }
        let bytes = whole.iter().map(|(_, slice)| length(slice)).sum();
        for (number, slice) in &whole {
            self.slices.put(*number, slice);
        }
        let mut state = self.lock();
        state.slices += u64::try_from(whole.len()).unwrap_or(0);
        let dropped = state.drop_sliced();
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
                Keep::Stored(most) if len <= most => {}
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
        self.keep_slices(whole);
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
        bytes
    }

    /// Drops the chunks that are kept as slices, but not what a reader close behind is about to read;
    /// how many bytes.
    fn drop_sliced(&mut self) -> u64 {
        let kept = self.slices.saturating_mul(SLICE);
        let close = self.written.saturating_sub(WINDOW);
        let wanted = self.readers.values().copied().filter(|next| *next >= close);
        let upto = wanted.min().unwrap_or(u64::MAX).min(kept);
        let mut bytes = 0;
        while let Some((at, chunk)) = self.chunks.front()
            && at.saturating_add(length(chunk)) <= upto
        {
            bytes += length(chunk);
            self.chunks.pop_front();
        }
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
    /// When the response was cut short, or this reader was too slow. One that misses a slice may
    /// [`take`](Self::take) it from elsewhere and go on.
    pub async fn read(&mut self) -> Result<Option<Bytes>, FillError> {
        loop {
            let mut changed = std::pin::pin!(self.fill.changed.notified());
            changed.as_mut().enable();
            match self.look() {
                Look::Read(read) => return read,
                Look::Wait => changed.await,
                Look::Slice(number) => {
                    let slice = self.fill.slices.read(number).await;
                    return match slice {
                        Some(slice) => Ok(Some(self.take(number, &slice))),
                        None if self.fill.lock().end == Some(End::Aborted) => {
                            Err(FillError::Aborted)
                        }
                        None => Err(FillError::Missing(number)),
                    };
                }
            }
        }
    }

    fn look(&self) -> Look {
        let mut state = self.fill.lock();
        let Some(next) = state.readers.get(&self.id).copied() else {
            return Look::Read(Err(FillError::TooSlow));
        };
        if let Some(chunk) = state.chunk(next) {
            let read = next.saturating_add(length(&chunk));
            state.readers.insert(self.id, read);
            if state.keep == Keep::Window {
                self.fill.drained.notify_one();
            }
            return Look::Read(Ok(Some(chunk)));
        }
        if next < state.slices.saturating_mul(SLICE).min(state.written) {
            return Look::Slice(next / SLICE);
        }
        match state.end {
            None => Look::Wait,
            Some(End::Complete) => Look::Read(Ok(None)),
            Some(End::Aborted) => Look::Read(Err(FillError::Aborted)),
        }
    }

    /// The next bytes, from the slice that holds them.
    pub fn take(&self, number: u64, slice: &Bytes) -> Bytes {
        let mut state = self.fill.lock();
        let next = state.readers.get(&self.id).copied().unwrap_or(u64::MAX);
        let bytes = cut(slice, number, next, u64::MAX);
        self.move_to(&mut state, next.saturating_add(length(&bytes)));
        bytes
    }

    /// Passes over what lies before `start`, as far as it has come; the position of the next byte.
    pub fn skip(&self, start: u64) -> u64 {
        let mut state = self.fill.lock();
        let next = state.readers.get(&self.id).copied().unwrap_or_default();
        let to = start.min(state.written).max(next);
        self.move_to(&mut state, to);
        to
    }

    fn move_to(&self, state: &mut State, next: u64) {
        if let Some(known) = state.readers.get_mut(&self.id) {
            *known = next;
        }
        if state.keep == Keep::Window {
            self.fill.drained.notify_one();
        }
    }
}

/// What a reader finds.
enum Look {
    Read(Result<Option<Bytes>, FillError>),
    /// The next bytes are in this slice.
    Slice(u64),
    Wait,
}

impl Drop for FillReader {
    fn drop(&mut self) {
        self.fill.lock().readers.remove(&self.id);
        self.fill.drained.notify_waiters();
        self.fill.drained.notify_one();
    }
}
