//! One of those who read a response while it arrives.

use std::sync::Arc;

use bytes::Bytes;

use super::state::{End, State};
use super::{Fill, FillError, Keep, length};
use crate::store::slices::{SLICE, cut};

/// One reader of a [`Fill`].
#[derive(Debug)]
pub struct FillReader {
    pub(super) fill: Arc<Fill>,
    pub(super) id: u64,
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
        let bytes = cut(slice, number, next, state.written);
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
