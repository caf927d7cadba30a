//! Reading: nothing leaves that was not verified.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::device::{read_at, read_now_at};
use super::format::{self, BLOCK, Preamble};
use super::index::Id;
use super::segment::Segment;
use super::state::count;
use super::{Entry, Log, ReadError};

/// A larger piece of a body is not read at once.
const PIECE: u64 = 1024 * 1024;

/// The medium would have to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WouldWait;

/// Where a record is read.
struct Place {
    id: Id,
    segment: Arc<Segment>,
    offset: u64,
    /// The length of what stands before the body.
    preamble: u64,
}

impl Log {
    /// The head of a record; nothing if it is not what it was, or not any more.
    pub fn read_head(&self, primary: &[u8], entry: &Entry) -> Result<Option<Bytes>, ReadError> {
        self.read_verified(primary, entry, 0, |_, preamble, bytes| {
            Ok(Some(bytes.slice(preamble.head.clone())))
        })
    }

    /// A part of the body of a record, in pieces; nothing if it is not what it was, or not any
    /// more. Reads and verifies the blocks of 64 KiB that the range touches.
    pub fn read_body(
        &self,
        primary: &[u8],
        entry: &Entry,
        range: Range<u64>,
    ) -> Result<Option<Vec<Bytes>>, ReadError> {
        let range = range.start..range.end.min(entry.body_len);
        if range.is_empty() {
            return Ok(Some(Vec::new()));
        }
        self.read_verified(primary, entry, 0, |segment, preamble, _| {
            let body_at = u64::from(entry.location.offset) + preamble.header.preamble_len();
            let mut pieces = Vec::new();
            let mut start = range.start - range.start % BLOCK;
            while start < range.end {
                let end = (start + PIECE).min(range.end.next_multiple_of(BLOCK));
                let end = end.min(entry.body_len);
                let bytes = read_at(&*segment.blob, body_at + start, end - start)?;
                if !preamble.verify_blocks(self.shared.seed, start / BLOCK, &bytes) {
                    return Ok(None);
                }
                let wanted = range.start.max(start) - start..range.end.min(end) - start;
                pieces.push(part(Bytes::from(bytes), wanted));
                start = end;
            }
            Ok(Some(pieces))
        })
    }

    /// The head and the whole body of a record, with one read: for small ones.
    pub fn read(&self, primary: &[u8], entry: &Entry) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        self.read_verified(primary, entry, entry.body_len, |_, preamble, bytes| {
            Ok(self.whole(preamble, bytes))
        })
    }

    /// The same, if the system has all of it in memory.
    pub fn read_now(
        &self,
        primary: &[u8],
        entry: &Entry,
    ) -> Result<Option<(Bytes, Bytes)>, WouldWait> {
        let Some(place) = self.place(primary, entry) else {
            return Ok(None);
        };
        let length = place.preamble + entry.body_len;
        let read = read_now_at(&*place.segment.blob, place.offset, length).ok_or(WouldWait)?;
        let whole =
            |_: &Segment, preamble: &Preamble<'_>, bytes: &Bytes| Ok(self.whole(preamble, bytes));
        let read = self.verified(primary, entry, &place, Ok(read), whole);
        // It was read already: nothing is left that could fail.
        Ok(read.ok().flatten())
    }

    fn whole(&self, preamble: &Preamble<'_>, bytes: &Bytes) -> Option<(Bytes, Bytes)> {
        let body = bytes.slice(usize_of(preamble.header.preamble_len())..);
        let right = preamble.verify_blocks(self.shared.seed, 0, &body);
        right.then(|| (bytes.slice(preamble.head.clone()), body))
    }

    /// Where the record is, if it is still what is found by its key.
    fn place(&self, primary: &[u8], entry: &Entry) -> Option<Place> {
        let shared = &self.shared;
        let id = Id {
            digest: shared.digest(primary),
            slot: entry.slot,
        };
        if shared.is_closed() || !shared.index.touch(id, entry.location) {
            return None;
        }
        Some(Place {
            id,
            segment: shared.segment(entry.location.segment)?,
            offset: entry.location.offset.into(),
            preamble: format::preamble_len(primary.len() as u64, entry.head_len, entry.body_len),
        })
    }

    /// Reads what stands before the body and `more` bytes behind it, and has `then` make something
    /// of it. A record that is not right is dropped.
    fn read_verified<T>(
        &self,
        primary: &[u8],
        entry: &Entry,
        more: u64,
        then: impl FnOnce(&Segment, &Preamble<'_>, &Bytes) -> io::Result<Option<T>>,
    ) -> Result<Option<T>, ReadError> {
        let Some(place) = self.place(primary, entry) else {
            return Ok(None);
        };
        let read = read_at(&*place.segment.blob, place.offset, place.preamble + more);
        self.verified(primary, entry, &place, read, then)
    }

    fn verified<T>(
        &self,
        primary: &[u8],
        entry: &Entry,
        place: &Place,
        read: io::Result<Vec<u8>>,
        then: impl FnOnce(&Segment, &Preamble<'_>, &Bytes) -> io::Result<Option<T>>,
    ) -> Result<Option<T>, ReadError> {
        let shared = &self.shared;
        let result = read.and_then(|bytes| {
            let bytes = Bytes::from(bytes);
            let Some(front) = bytes.get(..usize_of(place.preamble)) else {
                return Ok(Err(()));
            };
            let sequence = entry.location.sequence();
            let Some(preamble) = Preamble::verify(front, shared.seed, sequence) else {
                return Ok(Err(()));
            };
            if preamble.key != primary {
                // Another key with this digest, which has as much of a right to it.
                return Ok(Ok(None));
            }
            let header = &preamble.header;
            let same = header.slot == entry.slot
                && header.fill == entry.fill
                && header.generation == entry.generation
                && u64::from(header.head_len) == entry.head_len
                && header.body_len == entry.body_len;
            if !same {
                return Ok(Err(()));
            }
            Ok(then(&place.segment, &preamble, &bytes)?.map(Some).ok_or(()))
        });
        match result {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(())) => {
                self.corrupt(place.id, entry);
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.corrupt(place.id, entry);
                Ok(None)
            }
            Err(error) => {
                count(&shared.counters.read_errors, 1);
                Err(error.into())
            }
        }
    }

    fn corrupt(&self, id: Id, entry: &Entry) {
        count(&self.shared.counters.corrupt, 1);
        self.shared.discard(id, entry.location);
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn part(bytes: Bytes, range: Range<u64>) -> Bytes {
    let range = usize_of(range.start)..usize_of(range.end);
    if range.end <= bytes.len() {
        bytes.slice(range)
    } else {
        bytes
    }
}
