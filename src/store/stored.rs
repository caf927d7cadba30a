//! One stored response: head, times, body, and which requests it is for.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{HeaderName, StatusCode};

use super::body::Body;
use super::encoded::Encoded;
use super::slices::{MissingSlice, Sliced};
use super::times::Times;
use crate::cache::key::CacheKey;
use crate::cache::reuse::StoredTimes;
use crate::fields::stored::StoredFields;
use crate::fields::vary::Vary;
use crate::purge::{Generation, Subject, without_port};

/// Bytes that a stored response takes beside its key, its fields and its body, with what the allocator
/// rounds up, so that many small objects do not outgrow the configured memory. It is what is left of the
/// resident memory of 100,000 responses of 1 KiB (`tests/memory.rs`). Half of it is this structure.
const OVERHEAD: u64 = 536;

/// Bytes that a shared text takes beside its own.
const SHARED: usize = 24;

/// Bytes counted for the bookkeeping of one part.
const PART_OVERHEAD: u64 = 128;

/// The full primary key: the URI with its zone. Two resources whose digests collide stay apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreKey(pub Arc<[u8]>);

impl StoreKey {
    /// What purges may name a response under it by; it has these tags. Bytes that are no key have
    /// neither zone nor host nor path.
    pub(super) fn subject<'a>(&'a self, tags: &'a [Box<str>]) -> Subject<'a> {
        let key = CacheKey::decode(&self.0);
        Subject {
            zone: key.map_or("", |key| key.zone),
            host: key.map_or("", |key| without_port(key.host)),
            path: key.map_or("", |key| key.path),
            key: &self.0,
            tags,
        }
    }
}

/// A list to share; an empty one takes no memory.
pub fn shared<T>(items: Vec<T>) -> Arc<[T]> {
    if items.is_empty() {
        Arc::default()
    } else {
        items.into()
    }
}

/// Tells one stored response from the one that later took its place. A freshened response keeps it,
/// as its body is the same. Larger ones came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredId(pub u64);

/// A response in memory.
#[derive(Clone, Debug)]
pub struct StoredResponse {
    /// Its identity.
    pub id: StoredId,
    /// Purges after this one concern it: the last before its fetch began.
    pub generation: Generation,
    /// Its status; 200 for parts of one.
    pub status: StatusCode,
    /// Its fields, as a complete response would have them.
    pub fields: StoredFields,
    /// Freshness and age.
    pub times: Times,
    /// The requests it answers.
    pub selection: Selection,
    /// Its tags, for purging.
    pub tags: Arc<[Box<str>]>,
    /// Its body.
    pub content: Content,
    /// Its encoded forms; `None` when it may have none.
    pub encoded: Option<Encoded>,
    /// Whether it may be kept on disk.
    pub disk: bool,
    /// How often it was served.
    pub uses: Served,
}

/// How often a response was served since it is in memory. What is made of it goes on counting.
#[derive(Debug, Default)]
pub struct Served(AtomicU32);

impl Served {
    /// Counts once more.
    pub fn count(&self) {
        // That of two at once only one counts does not matter, and waiting for one another would.
        let count = self.0.load(Ordering::Relaxed);
        self.0.store(count.saturating_add(1), Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Served {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.get()))
    }
}

/// The requests that a stored response answers, beyond its key (RFC 9111 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The fields it varies by.
    pub vary: Vary,
    /// What those fields, and what rules add to the key, were in its own request.
    pub key: Arc<[u8]>,
    /// The same with its Content-Language in place of Accept-Language, where that may select it.
    pub by_language: Option<Arc<[u8]>>,
}

impl Selection {
    /// Bytes that it takes beside its place in a response, about.
    fn weight(&self) -> usize {
        let vary = match &self.vary {
            Vary::Fields(names) => names.len() * size_of::<HeaderName>(),
            Vary::None | Vary::Any => 0,
        };
        let keys = [Some(&self.key), self.by_language.as_ref()];
        let keys = keys.into_iter().flatten();
        let keys = keys.filter(|key| !key.is_empty());
        vary + keys.map(|key| key.len() + SHARED).sum::<usize>()
    }
}

/// A stored body.
#[derive(Clone, Debug)]
pub enum Content {
    /// All of it.
    Complete(Arc<Body>),
    /// Some of it.
    Parts(Arc<Parts>),
}

/// Disjoint parts of a body, in order (RFC 9111 §3.3).
#[derive(Debug, Default)]
pub struct Parts {
    parts: Vec<Part>,
    /// The length of the whole, when the origin told it.
    complete: Option<u64>,
}

/// Some consecutive bytes of a body.
#[derive(Clone, Debug)]
pub struct Part {
    /// Position of the first byte.
    pub first: u64,
    /// The bytes.
    pub body: Arc<Body>,
}

impl Part {
    /// The positions it covers.
    pub fn range(&self) -> Range<u64> {
        self.first..self.first.saturating_add(self.body.len())
    }

    /// The bytes at these positions of the whole. Parts are held, never sliced.
    fn bytes(&self, range: Range<u64>) -> Vec<Bytes> {
        let start = range.start.saturating_sub(self.first);
        let end = range.end.saturating_sub(self.first);
        self.body.in_memory(start..end).unwrap_or_default().to_vec()
    }
}

impl Content {
    /// The length of the whole, when it is known.
    pub fn complete_length(&self) -> Option<u64> {
        match self {
            Self::Complete(body) => Some(body.len()),
            Self::Parts(parts) => parts.complete,
        }
    }

    /// Whether the whole may be of this length, as far as both are known.
    pub fn is_of_length(&self, complete: Option<u64>) -> bool {
        self.complete_length()
            .zip(complete)
            .is_none_or(|(known, other)| known == other)
    }

    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete(_))
    }

    /// The positions that are there, in order.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        match self {
            Self::Complete(body) => std::iter::once(0..body.len()).collect(),
            Self::Parts(of) => of.parts.iter().map(Part::range).collect(),
        }
    }

    /// The bytes from `start` on, as many as lie together, but not beyond `end`; `None` when there is
    /// none.
    ///
    /// # Errors
    /// When they are in a slice that is gone, and only the origin has it.
    pub async fn read(&self, start: u64, end: u64) -> Result<Option<Bytes>, MissingSlice> {
        match self {
            Self::Complete(body) => body.read(start, end).await,
            Self::Parts(of) => {
                let Some(part) = of.parts.iter().find(|part| part.range().contains(&start)) else {
                    return Ok(None);
                };
                let (start, end) = (
                    start.saturating_sub(part.first),
                    end.saturating_sub(part.first),
                );
                part.body.read(start, end).await
            }
        }
    }

    /// Its slices, when the body is kept in slices.
    pub fn slices(&self) -> Option<&Arc<Sliced>> {
        match self {
            Self::Complete(body) => body.slices(),
            Self::Parts(_) => None,
        }
    }

    /// Whether all that belongs to it is in memory or in a tier below.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Complete(body) => body.is_whole(),
            Self::Parts(_) => true,
        }
    }

    /// Bytes of it, wherever they are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Complete(body) => body.len(),
            Self::Parts(of) => of.parts.iter().map(|part| part.body.len()).sum(),
        }
    }

    /// Bytes that it holds itself, with the bookkeeping.
    fn weight(&self) -> u64 {
        match self {
            Self::Complete(body) => body.weight(),
            Self::Parts(of) => of
                .parts
                .iter()
                .map(|part| part.body.weight().saturating_add(PART_OVERHEAD))
                .sum(),
        }
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// These parts and `new`, which wins where they overlap; complete once nothing is missing.
    #[must_use]
    pub fn with(&self, new: &Part, complete: Option<u64>) -> Self {
        let Self::Parts(known) = self else {
            return self.clone();
        };
        let complete = complete.or(known.complete);
        let taken = new.range();
        let mut pieces: Vec<(u64, Vec<Bytes>)> = Vec::new();
        for part in &known.parts {
            let range = part.range();
            for piece in [
                range.start..range.end.min(taken.start),
                range.start.max(taken.end)..range.end,
            ] {
                if piece.start < piece.end {
                    let bytes = part.bytes(piece.clone());
                    pieces.push((piece.start, bytes));
                }
            }
        }
        pieces.push((new.first, new.bytes(new.range())));
        pieces.sort_by_key(|(first, _)| *first);
        let mut joined: Vec<(u64, u64, Vec<Bytes>)> = Vec::new();
        for (first, bytes) in pieces {
            let length: u64 = bytes.iter().map(|b| b.len() as u64).sum();
            match joined.last_mut() {
                Some((_, end, known)) if *end == first => {
                    *end += length;
                    known.extend(bytes);
                }
                _ => joined.push((first, first.saturating_add(length), bytes)),
            }
        }
        if let ([(0, end, chunks)], Some(complete)) = (joined.as_slice(), complete)
            && *end == complete
        {
            return Self::Complete(Arc::new(Body::copy_of(chunks)));
        }
        let parts = joined.into_iter().map(|(first, _, chunks)| Part {
            first,
            body: Arc::new(Body::copy_of(&chunks)),
        });
        Self::Parts(Arc::new(Parts {
            parts: parts.collect(),
            complete,
        }))
    }
}

impl StoredResponse {
    /// Freshness and age, before any purge.
    pub fn times(&self) -> StoredTimes {
        self.times.into()
    }

    /// Its slices are needed no more.
    pub(super) fn retire(&self) {
        if let Some(slices) = self.content.slices() {
            slices.retire();
        }
    }

    /// Bytes it takes in all tiers together.
    pub fn size(&self) -> u64 {
        let elsewhere = self.content.slices().map(|_| self.content.len());
        self.weight().saturating_add(elsewhere.unwrap_or_default())
    }

    /// Bytes it accounts for in memory. Slices are accounted for where they are.
    pub fn weight(&self) -> u64 {
        let tags: usize = self.tags.iter().map(|tag| tag.len() + SHARED).sum();
        let head = u64::try_from(tags + self.selection.weight()).unwrap_or(u64::MAX);
        let encoded = self.encoded.as_ref().map_or(0, Encoded::weight);
        self.content
            .weight()
            .saturating_add(self.fields.weight())
            .saturating_add(head)
            .saturating_add(encoded)
            .saturating_add(OVERHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u64, text: &str) -> Part {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        Part {
            first,
            body: Arc::new(Body::copy_of(&[bytes])),
        }
    }

    fn parts(parts: &[Part], complete: Option<u64>) -> Content {
        Content::Parts(Arc::new(Parts {
            parts: parts.to_vec(),
            complete,
        }))
    }

    async fn text(content: &Content, start: u64, end: u64) -> String {
        let mut out = Vec::new();
        let mut at = start;
        while let Some(bytes) = content.read(at, end).await.unwrap() {
            at += bytes.len() as u64;
            out.extend_from_slice(&bytes);
        }
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn rfc9111_3_4_parts_join_and_become_the_whole() {
        let one = parts(&[part(4, "456")], Some(10));
        assert_eq!(text(&one, 5, 7).await, "56");
        assert_eq!(one.read(0, 2).await, Ok(None));
        let two = one.with(&part(0, "01"), None);
        assert_eq!(two.ranges(), [0..2, 4..7]);
        assert!(!two.is_complete());
        let three = two.with(&part(2, "2345"), None);
        assert_eq!(three.ranges().len(), 1);
        let whole = three.with(&part(7, "789"), Some(10));
        assert!(whole.is_complete());
        assert_eq!(text(&whole, 0, 99).await, "0123456789");
    }

    #[tokio::test]
    async fn newer_bytes_win_where_parts_overlap() {
        let old = parts(&[part(0, "aaaaaa")], Some(8));
        let new = old.with(&part(2, "bb"), None);
        assert_eq!(text(&new, 0, 6).await, "aabbaa");
        let new = new.with(&part(5, "ccc"), None);
        assert!(new.is_complete());
        assert_eq!(text(&new, 0, 8).await, "aabbaccc");
    }
}
