//! Where every record is: an index in memory, in shards with a lock each that nobody holds while
//! the disk works.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;

use super::format::{IndexEntry, Location};

pub(super) const SHARDS: usize = 256;

/// What a record is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub(super) digest: u64,
    pub(super) slot: u64,
}

/// Which shard, and which lock of the changes, a digest belongs to: by bits that neither the place
/// in a table nor its tags are made of.
pub(super) fn shard(digest: u64) -> usize {
    usize::try_from((digest >> 40) % SHARDS as u64).unwrap_or(0)
}

/// A record as it is known in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: Id,
    pub(super) fill: u64,
    pub(super) generation: u64,
    /// Seconds since the epoch, as far as 32 bits reach.
    pub(super) useful_until: u32,
    pub(super) location: Location,
    /// Its number in the segment's index.
    pub(super) ordinal: u32,
    pub(super) head_len: u32,
    pub(super) body_len: u32,
    /// Whether it was read since it was written.
    pub(super) used: bool,
}

impl Known {
    pub(super) fn new(segment: u32, ordinal: u32, entry: &IndexEntry) -> Self {
        Self {
            id: Id {
                digest: entry.digest,
                slot: entry.slot,
            },
            fill: entry.fill,
            generation: entry.generation,
            useful_until: u32::try_from(entry.useful_until).unwrap_or(u32::MAX),
            location: Location {
                segment,
                offset: entry.offset,
            },
            ordinal,
            head_len: entry.head_len,
            body_len: entry.body_len,
            used: false,
        }
    }

    /// The bytes that are its own: head and body.
    pub(super) fn weight(&self) -> u64 {
        u64::from(self.head_len) + u64::from(self.body_len)
    }
}

const USED: u32 = 1 << 31;

/// [`Known`] in 56 bytes.
struct Packed {
    digest: u64,
    slot: u64,
    fill: u64,
    generation: u64,
    useful_until: u32,
    segment: u32,
    offset: u32,
    /// The number in the segment's index, and whether it was used.
    ordinal: AtomicU32,
    head_len: u32,
    body_len: u32,
}

impl Packed {
    fn new(known: &Known) -> Self {
        let used = if known.used { USED } else { 0 };
        Self {
            digest: known.id.digest,
            slot: known.id.slot,
            fill: known.fill,
            generation: known.generation,
            useful_until: known.useful_until,
            segment: known.location.segment,
            offset: known.location.offset,
            ordinal: AtomicU32::new(known.ordinal | used),
            head_len: known.head_len,
            body_len: known.body_len,
        }
    }

    fn known(&self) -> Known {
        let ordinal = self.ordinal.load(Ordering::Relaxed);
        Known {
            id: Id {
                digest: self.digest,
                slot: self.slot,
            },
            fill: self.fill,
            generation: self.generation,
            useful_until: self.useful_until,
            location: Location {
                segment: self.segment,
                offset: self.offset,
            },
            ordinal: ordinal & !USED,
            head_len: self.head_len,
            body_len: self.body_len,
            used: ordinal & USED != 0,
        }
    }

    fn is(&self, id: Id) -> bool {
        self.digest == id.digest && self.slot == id.slot
    }
}

/// Entries side by side, and a table of their places: the table's spare room costs four bytes a
/// place, not a whole entry.
#[derive(Default)]
struct Shard {
    entries: Vec<Packed>,
    places: HashTable<u32>,
}

impl Shard {
    fn entry(&self, place: u32) -> Option<&Packed> {
        self.entries.get(place as usize)
    }

    fn place(&self, id: Id) -> Option<u32> {
        let is = |place: &u32| self.entry(*place).is_some_and(|entry| entry.is(id));
        self.places.find(id.digest, is).copied()
    }

    fn get(&self, id: Id) -> Option<&Packed> {
        self.entry(self.place(id)?)
    }

    fn insert(&mut self, known: &Known) -> Option<Known> {
        let packed = Packed::new(known);
        if let Some(place) = self.place(known.id) {
            let old = std::mem::replace(self.entries.get_mut(place as usize)?, packed);
            return Some(old.known());
        }
        let place = u32::try_from(self.entries.len()).ok()?;
        if self.entries.len() == self.entries.capacity() {
            // By an eighth, not by doubling: there may be millions.
            self.entries.reserve_exact((self.entries.len() / 8).max(32));
        }
        self.entries.push(packed);
        let entries = &self.entries;
        let digest = |place: &u32| entries.get(*place as usize).map_or(0, |entry| entry.digest);
        self.places.insert_unique(known.id.digest, place, digest);
        None
    }

    fn remove(&mut self, id: Id) -> Option<Known> {
        let place = self.place(id)?;
        let found = self.places.find_entry(id.digest, |found| *found == place);
        found.ok()?.remove();
        let removed = self.entries.swap_remove(place as usize).known();
        // The last entry took its place.
        let last = u32::try_from(self.entries.len()).ok()?;
        if let Some(moved) = self.entries.get(place as usize)
            && let Some(old) = self.places.find_mut(moved.digest, |found| *found == last)
        {
            *old = place;
        }
        Some(removed)
    }
}

/// The index.
pub(super) struct Index {
    shards: Vec<RwLock<Shard>>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "a shard's number is a remainder by their count"
    )]
    fn read(&self, digest: u64) -> RwLockReadGuard<'_, Shard> {
        let lock = &self.shards[shard(digest)];
        lock.read().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "a shard's number is a remainder by their count"
    )]
    fn write(&self, digest: u64) -> RwLockWriteGuard<'_, Shard> {
        let lock = &self.shards[shard(digest)];
        lock.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything known of a digest, in no order.
    pub(super) fn find(&self, digest: u64) -> Vec<Known> {
        let shard = self.read(digest);
        shard
            .places
            .iter_hash(digest)
            .filter_map(|place| shard.entry(*place))
            .filter(|entry| entry.digest == digest)
            .map(Packed::known)
            .collect()
    }

    pub(super) fn get(&self, id: Id) -> Option<Known> {
        self.read(id.digest).get(id).map(Packed::known)
    }

    /// Whether the record that `id` stands for is at `location`; notes that it is used.
    pub(super) fn touch(&self, id: Id, location: Location) -> bool {
        let shard = self.read(id.digest);
        let Some(entry) = shard.get(id) else {
            return false;
        };
        if entry.segment != location.segment || entry.offset != location.offset {
            return false;
        }
        if entry.ordinal.load(Ordering::Relaxed) & USED == 0 {
            entry.ordinal.fetch_or(USED, Ordering::Relaxed);
        }
        true
    }

    /// Puts `known` in place of what its id stood for, and hands that back.
    pub(super) fn insert(&self, known: &Known) -> Option<Known> {
        self.write(known.id.digest).insert(known)
    }

    pub(super) fn remove(&self, id: Id) -> Option<Known> {
        self.write(id.digest).remove(id)
    }

    /// Removes `id` if it still stands for the record at `location`.
    pub(super) fn remove_at(&self, id: Id, location: Location) -> Option<Known> {
        let mut shard = self.write(id.digest);
        let known = shard.get(id)?.known();
        (known.location == location).then(|| shard.remove(id))?
    }

    /// Everything in a segment, in the order in which it was written.
    pub(super) fn in_segment(&self, segment: u32) -> Vec<Known> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let there = shard.entries.iter().filter(|e| e.segment == segment);
            found.extend(there.map(Packed::known));
        }
        found.sort_unstable_by_key(|known| known.location);
        found
    }

    pub(super) fn len(&self) -> usize {
        let count = |shard: &RwLock<Shard>| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.entries.len()
        };
        self.shards.iter().map(count).sum()
    }

    /// The memory that it takes.
    pub(super) fn memory(&self) -> usize {
        let bytes = |shard: &RwLock<Shard>| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.entries.capacity() * size_of::<Packed>() + shard.places.allocation_size()
        };
        self.shards.iter().map(bytes).sum()
    }
}
