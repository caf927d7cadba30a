//! A stored body: small ones whole, large ones in slices that may be here or elsewhere.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::fill::{Budget, Taken};
use super::slices::{MissingSlice, SLICE, Sliced, cut, positions};

/// An immutable body.
#[derive(Debug, Default)]
pub struct Body(Form);

/// There is one for every stored response, and most are small.
#[derive(Debug)]
enum Form {
    /// At most one slice, held here.
    One(Bytes),
    /// Several slices, held here: parts, and what others made of a body.
    Held(Box<Held>),
    /// More than a slice, shared with all tiers, and its length.
    Sliced(Arc<Sliced>, u64),
}

/// Slice after slice.
#[derive(Debug)]
struct Held {
    slices: Vec<Bytes>,
    len: u64,
    /// What it takes of what fills share.
    _taken: Option<Taken>,
}

impl Default for Form {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Body {
    /// A body held as it is. It must not be a part of something much larger, which it would keep alive.
    pub fn of(bytes: Bytes) -> Self {
        Self(Form::One(bytes))
    }

    /// A body of `len` bytes whose slices are elsewhere.
    pub fn sliced(slices: Arc<Sliced>, len: u64) -> Self {
        Self(Form::Sliced(slices, len))
    }

    /// Copies `chunks` and holds them: a network buffer must not be kept alive for a few bytes of it.
    pub fn copy_of(chunks: &[Bytes]) -> Self {
        let total: usize = chunks.iter().map(Bytes::len).sum();
        let size = usize::try_from(SLICE).unwrap_or(usize::MAX);
        let mut slices = Vec::with_capacity(total.div_ceil(size));
        let mut slice = BytesMut::with_capacity(total.min(size));
        let mut rest = total;
        for chunk in chunks {
            let mut chunk = chunk.clone();
            while !chunk.is_empty() {
                let part = chunk.split_to(chunk.len().min(size - slice.len()));
                slice.extend_from_slice(&part);
                if slice.len() == size {
                    rest -= size;
                    let next = BytesMut::with_capacity(rest.min(size));
                    slices.push(std::mem::replace(&mut slice, next).freeze());
                }
            }
        }
        if !slice.is_empty() {
            slices.push(slice.freeze());
        }
        Self(match slices.as_mut_slice() {
            [] => Form::default(),
            [one] => Form::One(std::mem::take(one)),
            _ => Form::Held(Box::new(Held {
                slices,
                len: length(total),
                _taken: None,
            })),
        })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Form::One(bytes) => length(bytes.len()),
            Form::Held(held) => held.len,
            Form::Sliced(_, len) => *len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it holds itself. Slices are accounted for where they are.
    pub fn weight(&self) -> u64 {
        match &self.0 {
            Form::One(_) | Form::Held(_) => self.len(),
            Form::Sliced(..) => 0,
        }
    }

    /// Its slices, when they are elsewhere.
    pub fn slices(&self) -> Option<&Arc<Sliced>> {
        match &self.0 {
            Form::One(_) | Form::Held(_) => None,
            Form::Sliced(slices, _) => Some(slices),
        }
    }

    /// The same body with all of its bytes held: whoever reads it so does not lose any. Readers share
    /// it. `None` when some are not in memory, or the budget has no room for them.
    pub fn held(&self, budget: &Budget) -> Option<Arc<Self>> {
        self.slices()?.held(|| {
            let len = self.len();
            let taken = budget.take(len)?;
            let slices = self.in_memory(0..len)?;
            Some(Self(Form::Held(Box::new(Held {
                slices: slices.into_vec(),
                len,
                _taken: Some(taken),
            }))))
        })
    }

    /// Whether every byte is in memory or in a tier below.
    pub fn is_whole(&self) -> bool {
        self.slices()
            .is_none_or(|slices| (0..self.len().div_ceil(SLICE)).all(|number| slices.holds(number)))
    }

    /// The bytes of `range`, when all of them are in memory. What is returned stays in memory: who
    /// writes slowly should ask for little at a time.
    pub fn in_memory(&self, range: Range<u64>) -> Option<SmallVec<[Bytes; 2]>> {
        let end = range.end.min(self.len());
        let mut at = range.start;
        let mut found = SmallVec::new();
        while at < end {
            let bytes = self.here(at, end)?;
            at = at.saturating_add(length(bytes.len()));
            found.push(bytes);
        }
        Some(found)
    }

    /// The bytes from `start` to the end of their slice, but not beyond `end`; `None` past the end.
    ///
    /// # Errors
    /// When the slice is gone, and only the origin has it.
    pub async fn read(&self, start: u64, end: u64) -> Result<Option<Bytes>, MissingSlice> {
        let end = end.min(self.len());
        if start >= end {
            return Ok(None);
        }
        let Form::Sliced(slices, len) = &self.0 else {
            return Ok(self.here(start, end));
        };
        let number = start / SLICE;
        let slice = slices.read(number).await.ok_or(MissingSlice { number })?;
        // A slice of another length than it must have is none.
        if length(slice.len()) == positions(number, *len).end - number * SLICE {
            Ok(Some(cut(&slice, number, start, end)))
        } else {
            Err(MissingSlice { number })
        }
    }

    /// The bytes from `start`, which lies within the body, to the end of their slice, if that is in
    /// memory.
    fn here(&self, start: u64, end: u64) -> Option<Bytes> {
        let number = start / SLICE;
        let slice = match &self.0 {
            Form::One(bytes) => return Some(cut(bytes, 0, start, end)),
            Form::Held(held) => held.slices.get(usize::try_from(number).ok()?)?.clone(),
            Form::Sliced(slices, _) => slices.in_memory(number)?,
        };
        let bytes = cut(&slice, number, start, end);
        (!bytes.is_empty()).then_some(bytes)
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_reads_back_whole_and_in_ranges() {
        let content: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
        let chunks: Vec<Bytes> = content.chunks(70_001).map(Bytes::copy_from_slice).collect();
        let held = Body::copy_of(&chunks);
        let store = crate::store::MemoryStore::new(64 << 20).unwrap();
        let slices = Arc::new(Sliced::new(store.next_id(), store.slices.clone()));
        for (number, slice) in (0..).zip(content.chunks(1 << 20)) {
            slices.put(number, &Bytes::copy_from_slice(slice));
        }
        for body in [held, Body::sliced(slices, 2_500_000)] {
            assert_eq!(body.len(), 2_500_000);
            assert!(body.is_whole());
            for (start, end) in [
                (0, u64::MAX),
                (1_048_575, 1_048_577),
                (1_048_576, 1_048_577),
                (2_499_999, 2_500_000),
                (7, 7),
            ] {
                let mut read = Vec::new();
                let mut at = start;
                while let Some(bytes) = body.read(at, end).await.unwrap() {
                    at += bytes.len() as u64;
                    read.extend_from_slice(&bytes);
                }
                let at = |offset: u64| usize::try_from(offset.min(2_500_000)).unwrap();
                let expected = &content[at(start)..at(end)];
                assert_eq!(read, expected, "{start}..{end}");
                let here = body.in_memory(start..end).unwrap();
                assert_eq!(here.concat(), expected, "{start}..{end}");
            }
        }
        assert_eq!(Body::copy_of(&[]).read(0, 1).await, Ok(None));
    }

    #[tokio::test]
    async fn a_missing_slice_is_named() {
        let store = crate::store::MemoryStore::new(64 << 20).unwrap();
        let slices = Arc::new(Sliced::new(store.next_id(), store.slices.clone()));
        slices.put(0, &Bytes::from(vec![0; 1 << 20]));
        let body = Body::sliced(slices, 3 << 20);
        assert!(!body.is_whole());
        assert!(body.in_memory(0..1 << 20).is_some());
        assert!(body.in_memory(0..(1 << 20) + 1).is_none());
        let gone = body.read(2 << 20, u64::MAX).await;
        assert_eq!(gone, Err(MissingSlice { number: 2 }));
        drop(body);
        assert_eq!(store.slices.weight(), 0, "slices leave with their body");
    }

    #[test]
    fn readers_share_what_they_hold_and_it_counts_once() {
        let store = crate::store::MemoryStore::new(64 << 20).unwrap();
        let slices = Arc::new(Sliced::new(store.next_id(), store.slices.clone()));
        slices.put(0, &Bytes::from(vec![0; 1 << 20]));
        slices.put(1, &Bytes::from(vec![1; 7]));
        let body = Body::sliced(slices.clone(), (1 << 20) + 7);
        let budget = Budget {
            most: 2 << 20,
            ..store.fill_budget()
        };
        let taken = || budget.held.load(std::sync::atomic::Ordering::Relaxed);
        let (one, other) = (body.held(&budget).unwrap(), body.held(&budget).unwrap());
        assert_eq!(taken(), (1 << 20) + 7);
        slices.lose(0);
        assert!(body.in_memory(0..1).is_none() && other.in_memory(0..1).is_some());
        drop(one);
        assert_eq!(taken(), (1 << 20) + 7);
        drop(other);
        assert_eq!(taken(), 0);
        assert!(body.held(&budget).is_none(), "not all of it is there");
        assert_eq!(taken(), 0);
        slices.put(0, &Bytes::from(vec![0; 1 << 20]));
        let full = Budget {
            most: 1 << 20,
            ..budget.clone()
        };
        assert!(body.held(&full).is_none(), "no room");
        assert_eq!(taken(), 0);
    }
}
