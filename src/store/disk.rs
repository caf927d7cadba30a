//! The disk tier: what memory stores is written behind it, and is there again after a restart.
//!
//! Disk follows memory. Whatever changes what is stored under a key does so under the key's lock, and
//! takes care of the disk before memory shows the change: the older version is gone from disk by then,
//! whether the new one gets there or not. So what is on disk is never older than what was served.
//! Writing is nobody's wait; what the disk cannot take in time is kept in memory alone.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::log::{Log, Options, Record, State, Why};
use super::memory::MemoryStore;
use super::purge::Purges;
use super::record::{self, Place};
use super::reserve::trust;
use super::slices::{SLICE, SliceTier};
use super::stored::{Content, Selection, StoreKey, StoredId, StoredResponse};
use crate::clock;
use crate::config;
use crate::purge::Generation;

/// What can be validated is worth keeping for so long after it can no longer be served.
const VALIDATED_WITHIN: Duration = Duration::from_hours(24);
/// Bytes that may wait to be written.
const QUEUE: u64 = 64 << 20;
/// Most responses on disk under one key, as in memory.
const MOST_VARIANTS: usize = 64;
/// How often the journal of purges is made to follow what is on disk.
const TEND: Duration = Duration::from_secs(1);
/// The same while another process has the directory.
const WAIT: Duration = Duration::from_millis(50);
/// What no response's key begins with.
const SLICE_KEY: &[u8] = b"\xff\xffslice";
/// Keys that are loaded at the same time.
const TURNS: usize = 256;

/// The disk tier.
pub(super) struct Disk {
    pub(super) log: Log,
    /// Whether the purges of earlier processes are known, so that what is there may be served.
    ready: AtomicBool,
    /// Who reads a key; others wait and find it in memory then.
    pub(super) turns: Vec<tokio::sync::Mutex<()>>,
    /// Responses that were read into memory.
    pub(super) loaded: AtomicU64,
}

/// What the disk does about a change in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// All of it.
    Change,
    /// A purge: what is gone goes. What is merely stale by now the journal knows.
    Purge,
    /// Nothing: what is stored is the same, and only more was made of it.
    Encoding,
    /// A purge of the key: what memory does not hold goes as well.
    PurgeOfKey,
}

/// The state of the disk tier, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskStatistics {
    /// Records on disk: responses, and slices of large ones.
    pub records: u64,
    /// Bytes that files take.
    pub bytes: u64,
    /// Bytes that they may take.
    pub capacity: u64,
    /// Bytes of memory that the index takes.
    pub index_bytes: u64,
    /// `healthy`, `waiting`, `read_only` or `failed`.
    pub state: &'static str,
    /// Bytes written.
    pub written_bytes: u64,
    /// Responses read into memory.
    pub loaded: u64,
    /// Records not written, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Reads that failed.
    pub read_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Records that were not what had been written.
    pub corrupt: u64,
    /// How long it took to find what earlier processes left; `None` while that goes on.
    pub recovery: Option<Duration>,
}

impl MemoryStore {
    /// Puts a disk behind the memory. Before anything is stored. Gives whether there was something in its
    /// directory before.
    ///
    /// # Errors
    /// When the directory cannot be used, in a sentence.
    pub fn use_disk(self: &Arc<Self>, config: &config::Disk) -> Result<bool, String> {
        let directory = &config.directory;
        let unusable = |error: io::Error| format!("cannot use {}: {error}", directory.display());
        std::fs::create_dir_all(directory).map_err(unusable)?;
        let used = std::fs::read_dir(directory)
            .map_err(unusable)?
            .next()
            .is_some();
        let now = clock::now();
        if self.reserve().is_none() {
            trust::end(directory).map_err(unusable)?;
        }
        self.purges.write_to(directory, now).map_err(unusable)?;
        let store = Arc::downgrade(self);
        let hot = move |primary: &[u8]| {
            let store = Weak::upgrade(&store);
            store.is_some_and(|store| store.holds(&StoreKey(Arc::from(primary))))
        };
        let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut options =
            Options::new(config.capacity, Arc::new(move || since_epoch(clock::now())));
        options.queue = QUEUE.min(config.capacity);
        options.write_rate = config.write_rate;
        let log = Log::open(directory, options, hot).map_err(|error| error.to_string())?;
        let disk = Arc::new(Disk {
            log,
            ready: AtomicBool::new(false),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
            loaded: AtomicU64::new(0),
        });
        disk.tend(&self.purges, used, None);
        self.slices.set_tier(disk.clone());
        self.set_disk(disk);
        let store = Arc::downgrade(self);
        let directory = directory.clone();
        std::thread::Builder::new()
            .name("seawall-disk".to_owned())
            .spawn(move || tend(&store, &directory, used))
            .map_err(|error| format!("no thread for the disk: {error}"))?;
        let directory = config.directory.display();
        tracing::info!(%directory, capacity = config.capacity, "storing on disk");
        Ok(used)
    }

    /// Changes what files may take.
    pub fn set_disk_capacity(&self, bytes: u64) {
        if let Some(disk) = self.disk() {
            disk.log.set_capacity(bytes);
        }
    }

    /// Writes what waits and leaves the disk to the next process.
    pub fn close_disk(&self) {
        if let Some(disk) = self.disk() {
            disk.log.close();
        }
    }

    /// What is on disk, if there is one.
    pub fn disk_statistics(&self) -> Option<DiskStatistics> {
        let disk = self.disk()?;
        let statistics = disk.log.statistics();
        let recovery = disk.log.recovery();
        let reasons = Why::ALL.iter().map(|why| why.word());
        Some(DiskStatistics {
            records: statistics.entries,
            bytes: statistics.disk_bytes,
            capacity: statistics.capacity,
            index_bytes: statistics.index_bytes,
            state: disk.log.state().word(),
            written_bytes: statistics.written_bytes,
            loaded: disk.loaded.load(Ordering::Relaxed),
            dropped: reasons.zip(statistics.dropped).collect(),
            read_errors: statistics.read_errors,
            write_errors: statistics.write_errors,
            corrupt: statistics.corrupt,
            recovery: recovery.done.then_some(recovery.took),
        })
    }
}

/// Keeps journal and disk together as long as there is a store.
fn tend(store: &Weak<MemoryStore>, directory: &Path, used: bool) {
    loop {
        let Some(store) = store.upgrade() else {
            return;
        };
        let Some(disk) = store.disk() else {
            return;
        };
        disk.tend(&store.purges, used, store.reserve_begins_at());
        if disk.is_ready() {
            store.trust_reserve(directory);
        }
        let pause = if disk.is_ready() { TEND } else { WAIT };
        drop(store);
        std::thread::sleep(pause);
    }
}

impl Disk {
    /// Whether what is there may be served.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Takes the purges of earlier processes over once this one has the directory, and has purges
    /// forgotten that nothing on disk needs any more.
    fn tend(&self, purges: &Purges, used: bool, reserve: Option<Generation>) {
        if self.is_ready() {
            let oldest = || Generation(self.log.oldest_generation());
            return purges.disk_begins_at(oldest, reserve);
        }
        if self.log.state() == State::Waiting {
            return;
        }
        match purges.take_disk() {
            Ok(untrusted) => {
                if let Some(why) = untrusted.filter(|_| used) {
                    tracing::warn!(
                        why,
                        "nothing that is on disk is served: it may have been purged"
                    );
                }
                self.ready.store(true, Ordering::Release);
            }
            Err(error) => {
                tracing::debug!(%error, "the journal of purges cannot be taken over yet");
            }
        }
    }

    /// Does to the disk what was done to memory, before memory shows it; under the key's lock.
    pub(super) fn follow(
        &self,
        key: &StoreKey,
        before: &[Arc<StoredResponse>],
        after: &[Arc<StoredResponse>],
        how: Follow,
    ) -> bool {
        let mut held = true;
        if how == Follow::PurgeOfKey {
            held = self.log.retract_all(&key.0);
        }
        for gone in before {
            if !after.iter().any(|left| left.selection == gone.selection) {
                held &= self.log.retract(&key.0, slot(&gone.selection));
            }
        }
        for stored in after {
            let known = before.iter().any(|known| Arc::ptr_eq(known, stored));
            let new = how == Follow::Change && !known;
            if new || how == Follow::PurgeOfKey {
                self.write(key, stored);
            }
        }
        held
    }

    /// Writes a response in place of the older one that answers the same requests.
    fn write(&self, key: &StoreKey, stored: &StoredResponse) {
        let slot = slot(&stored.selection);
        let Some(record) = to_record(key, slot, stored) else {
            self.log.retract(&key.0, slot);
            return;
        };
        self.log.put(record);
        let mut variants = self.log.find(&key.0);
        if variants.len() > MOST_VARIANTS {
            variants.sort_unstable_by_key(super::log::Entry::sequence);
            let many = variants.len() - MOST_VARIANTS;
            for oldest in variants.iter().take(many) {
                self.log.retract(&key.0, oldest.slot);
            }
        }
    }
}

/// What is written of a response, if it belongs on disk.
fn to_record(key: &StoreKey, slot: u64, stored: &StoredResponse) -> Option<Record> {
    let Content::Complete(body) = &stored.content else {
        return None;
    };
    let times = &stored.times();
    let mut useful_until = times.servable_until();
    if times.validatable {
        useful_until = useful_until.checked_add(VALIDATED_WITHIN)?;
    }
    if !stored.disk || useful_until <= times.received {
        return None;
    }
    let useful_until = useful_until.duration_since(UNIX_EPOCH).ok()?;
    let (place, chunks) = match body.slices() {
        Some(slices) => (Place::Slices(slices.id().0), Vec::new()),
        None => (Place::Inline, body.in_memory(0..body.len())?.to_vec()),
    };
    Some(Record {
        primary: key.0.clone(),
        slot,
        fill: stored.id.0,
        generation: stored.generation.0,
        useful_until: useful_until.as_secs(),
        head: record::encode(stored, place)?,
        body: chunks,
    })
}

/// What tells the responses of a key apart.
pub(super) fn slot(selection: &Selection) -> u64 {
    use crate::fields::vary::Vary;
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let mut part = |bytes: &[u8]| {
        digest.update(&bytes.len().to_le_bytes());
        digest.update(bytes);
    };
    part(&selection.key);
    part(selection.by_language.as_deref().unwrap_or(b"\xff"));
    match &selection.vary {
        Vary::None => {}
        Vary::Any => part(b"*"),
        Vary::Fields(names) => names.iter().for_each(|name| part(name.as_str().as_bytes())),
    }
    let digest = digest.finish();
    let first = digest.as_ref().first_chunk().copied();
    first.map_or(0, u64::from_le_bytes)
}

fn slice_key(id: StoredId) -> Arc<[u8]> {
    [SLICE_KEY, &id.0.to_le_bytes()].concat().into()
}

impl SliceTier for Disk {
    fn put(&self, id: StoredId, number: u64, bytes: Bytes) {
        self.log.put(Record {
            primary: slice_key(id),
            slot: number,
            fill: id.0,
            // Purges reach a slice by its response alone.
            generation: u64::MAX,
            useful_until: u64::MAX,
            head: Bytes::new(),
            body: vec![bytes],
        });
    }

    fn get(&self, id: StoredId, number: u64) -> Option<Bytes> {
        let key = slice_key(id);
        let entry = self.log.get(&key, number)?;
        let (_, bytes) = self.log.read(&key, &entry).ok().flatten()?;
        Some(bytes)
    }

    fn holds(&self, id: StoredId, number: u64) -> bool {
        self.log.get(&slice_key(id), number).is_some()
    }

    fn has_room(&self) -> bool {
        self.log.has_room(SLICE)
    }

    fn forget(&self, id: StoredId) {
        self.log.retract_all(&slice_key(id));
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
