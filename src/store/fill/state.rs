//! What a fill holds at a moment, and who reads it where.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::{Keep, WINDOW, length};
use crate::store::slices::SLICE;

#[derive(Debug)]
pub(super) struct State {
    pub(super) keep: Keep,
    /// Chunks not yet dropped, each with the position of its first byte.
    pub(super) chunks: VecDeque<(u64, Bytes)>,
    /// Bytes that count towards the budget.
    pub(super) held: u64,
    pub(super) written: u64,
    /// What came since the last whole slice, on its way to be one; for what is to be stored.
    pub(super) slice: BytesMut,
    /// Whole slices that are kept as such.
    pub(super) slices: u64,
    /// The body is made, and nothing is added to it.
    pub(super) sealed: bool,
    pub(super) end: Option<End>,
    /// Position of each reader's next byte.
    pub(super) readers: BTreeMap<u64, u64>,
    pub(super) next_reader: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Aborted,
}

impl State {
    /// Drops the chunks that every reader has read; how many bytes.
    pub(super) fn drop_read(&mut self) -> u64 {
        let Some(slowest) = self.readers.values().copied().min() else {
            return 0;
        };
        self.drop_until(slowest)
    }

    /// Drops the chunks that are kept as slices, but not what readers are about to read, or only the
    /// `close` ones among them; how many bytes.
    pub(super) fn drop_sliced(&mut self, close: bool) -> u64 {
        let from = if close {
            self.written.saturating_sub(WINDOW)
        } else {
            0
        };
        let wanted = self.readers.values().copied().filter(|next| *next >= from);
        let upto = wanted.min().unwrap_or(u64::MAX);
        self.drop_until(upto.min(self.slices.saturating_mul(SLICE)))
    }

    /// Holds these slices in the place of the chunks that they were made of.
    pub(super) fn hold_sliced(&mut self, whole: &[(u64, Bytes)]) {
        for (number, slice) in whole {
            let first = number.saturating_mul(SLICE);
            let end = first.saturating_add(length(slice));
            if end > self.written {
                // Its last chunk is yet to be written.
                break;
            }
            let before = self.chunks.partition_point(|(at, _)| *at < first);
            let mut after = self.chunks.split_off(before);
            while after.front().is_some_and(|(at, _)| *at < end) {
                let Some((at, chunk)) = after.pop_front() else {
                    break;
                };
                let inside = usize::try_from(end - at).unwrap_or(usize::MAX);
                if inside < chunk.len() {
                    after.push_front((end, chunk.slice(inside..)));
                }
            }
            self.chunks.push_back((first, slice.clone()));
            self.chunks.append(&mut after);
        }
    }

    fn drop_until(&mut self, upto: u64) -> u64 {
        let mut bytes = 0;
        while let Some((at, chunk)) = self.chunks.front()
            && at.saturating_add(length(chunk)) <= upto
        {
            bytes += length(chunk);
            self.chunks.pop_front();
        }
        bytes
    }

    pub(super) fn lags(&self, next: u64) -> bool {
        self.written.saturating_sub(next) > WINDOW
    }

    /// The bytes from `next` to the end of their chunk.
    pub(super) fn chunk(&self, next: u64) -> Option<Bytes> {
        let after = self.chunks.partition_point(|(at, _)| *at <= next);
        let (at, chunk) = self.chunks.get(after.checked_sub(1)?)?;
        let from = usize::try_from(next.saturating_sub(*at)).ok()?;
        (from < chunk.len()).then(|| chunk.slice(from..))
    }

    pub(super) fn any_lags(&self) -> bool {
        self.readers.values().any(|next| self.lags(*next))
    }

    /// Ends the readers that lag, unless all do: then there is nobody to hurry for.
    pub(super) fn leave_behind(&mut self) -> bool {
        let mut readers = std::mem::take(&mut self.readers);
        let quick = readers.values().filter(|next| !self.lags(**next)).count();
        if quick > 0 {
            readers.retain(|_, next| !self.lags(*next));
        }
        self.readers = readers;
        quick > 0
    }
}
