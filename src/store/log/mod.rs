//! An append-only log of records on disk: what the disk tier keeps responses in.
//!
//! It stands alone: nothing of the rest of Seawall is used in it. A record is a primary key, a
//! slot that tells the records of a key apart, a head, and a body. [`Log::put`] hands it to the
//! one thread that writes; [`Log::find`] looks into an index in memory; [`Log::read_head`] and
//! [`Log::read_body`] verify everything that they read.
//!
//! What holds, also after the process was killed at any moment:
//! - What a put replaced is not found once the put returned, whether the new record is written,
//!   still waits or was dropped. The same goes for what was retracted.
//! - What a [`Receipt`] says is written is found by the next process, until it is replaced,
//!   retracted or reclaimed.
//! - Bytes that are not exactly those of the record are a miss.
//!
//! Nothing is synchronised to the medium. After a power failure a record may be gone, and one that
//! was replaced shortly before may be back; wrong bytes are a miss even then.
//!
//! The log has a directory of its own and holds a lock in it. A second process waits for that in
//! the background and does nothing until then.

mod append;
mod core;
mod device;
mod format;
mod get;
mod index;
mod journal;
mod queue;
mod reclaim;
mod recovery;
mod segment;
mod state;
#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use self::append::Appender;
use self::core::Core;
use self::device::{Device, Disk, read_at};
use self::format::{BLOCK, Location, Preamble};
use self::index::{Id, Index, Known};
use self::journal::Journal;
use self::queue::Queue;
use self::segment::Segment;
use self::state::{Counters, Health, count};

pub use self::queue::Receipt;
pub use self::state::{State, Statistics, Why};

/// Says whether a primary key is worth keeping when its segment is reclaimed.
type Hot = dyn Fn(&[u8]) -> bool + Send + Sync;

/// A larger piece of a body is not read at once.
const PIECE: u64 = 1024 * 1024;
/// A process that waits for the directory looks this often whether it is free.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// How a log is opened.
#[derive(Clone)]
pub struct Options {
    /// The bytes that segment files may take together.
    pub capacity: u64,
    /// The bytes of a segment; by default 64 MiB, up to 256 MiB in a very large log, and a quarter
    /// to an eighth of a small one.
    pub segment: Option<u64>,
    /// The bytes that may wait to be written.
    pub queue: u64,
    /// The most bytes to write in a second.
    pub write_rate: Option<u64>,
    /// How long to wait before trying again what the disk refused.
    pub retry: Duration,
    /// The time since 1970, now.
    pub now: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Options {
    /// Options with their defaults.
    pub fn new(capacity: u64, now: Arc<dyn Fn() -> Duration + Send + Sync>) -> Self {
        Self {
            capacity,
            segment: None,
            queue: 64 * 1024 * 1024,
            write_rate: None,
            retry: Duration::from_secs(5),
            now,
        }
    }
}

/// What is stored.
#[derive(Debug, Clone)]
pub struct Record {
    /// The key that it is found by, compared in full when it is read.
    pub primary: Arc<[u8]>,
    /// Tells the records of a key apart. A record replaces the one with its key and slot.
    pub slot: u64,
    /// Which fill it comes from.
    pub fill: u64,
    /// The purge generation that it carries.
    pub generation: u64,
    /// Seconds since 1970 from when on nobody needs it.
    pub useful_until: u64,
    /// Metadata.
    pub head: Bytes,
    /// The body, in pieces.
    pub body: Vec<Bytes>,
}

impl Record {
    /// The bytes that it takes in a segment, unless they are too many to count.
    fn length(&self) -> Option<u64> {
        let body: u64 = self.body.iter().map(|piece| piece.len() as u64).sum();
        let (key, head) = (self.primary.len() as u64, self.head.len() as u64);
        let small = [key, head, body]
            .iter()
            .all(|length| *length <= u64::from(u32::MAX / 4));
        small.then(|| format::aligned(format::preamble_len(key, head, body) + body))
    }
}

/// A record as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// [`Record::slot`]
    pub slot: u64,
    /// [`Record::fill`]
    pub fill: u64,
    /// [`Record::generation`]
    pub generation: u64,
    /// [`Record::useful_until`]; the greatest number stands for all from 2106 on.
    pub useful_until: u64,
    /// The length of the head.
    pub head_len: u64,
    /// The length of the body.
    pub body_len: u64,
    location: Location,
}

impl Entry {
    fn new(known: &Known) -> Self {
        Self {
            slot: known.id.slot,
            fill: known.fill,
            generation: known.generation,
            useful_until: match known.useful_until {
                u32::MAX => u64::MAX,
                until => until.into(),
            },
            head_len: known.head_len.into(),
            body_len: known.body_len.into(),
            location: known.location,
        }
    }

    /// Grows with every record that is written.
    pub fn sequence(&self) -> u64 {
        self.location.sequence()
    }
}

/// What became of a record that was put.
#[derive(Debug, Clone)]
pub enum Put {
    /// It waits to be written. Nobody has to wait for that.
    Queued(Receipt),
    /// It is not going to be.
    Dropped(Why),
}

/// How far recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Records found again.
    pub entries: u64,
    /// Segments that they are in.
    pub segments: u32,
    /// Bytes that were damaged.
    pub bytes_skipped: u64,
    /// Whether everything was looked at.
    pub done: bool,
    /// How long that took.
    pub took: Duration,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no directory, and none can be made.
    #[error("cannot use {} as the directory of the disk store: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file in it cannot be made or read.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no thread for it.
    #[error("cannot start a thread for the disk store: {0}")]
    Thread(io::Error),
}

/// The disk did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot read from the disk store: {0}")]
pub struct ReadError(#[from] io::Error);

/// The log. Dropping it closes it.
pub struct Log {
    core: Arc<Core>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("directory", &self.core.directory)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `directory`, which is made if it is not there. Returns at once: recovery,
    /// and waiting for another process, go on in the background. `hot` says of a primary key
    /// whether its records are worth keeping when their segment is reclaimed.
    pub fn open(
        directory: &Path,
        options: Options,
        hot: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(Disk), directory, options, Box::new(hot))
    }

    fn open_on(
        device: Arc<dyn Device>,
        directory: &Path,
        options: Options,
        hot: Box<Hot>,
    ) -> Result<Self, OpenError> {
        std::fs::create_dir_all(directory).map_err(|error| OpenError::Directory {
            path: directory.to_owned(),
            error,
        })?;
        let seed = seed(directory)?;
        let lock = Lock::new(directory)?;
        let state = if lock.held {
            State::Healthy
        } else {
            State::Waiting
        };
        let core = Arc::new(Core {
            directory: directory.to_owned(),
            seed,
            device,
            hot,
            now: options.now,
            retry: options.retry,
            write_rate: options.write_rate,
            segment: options.segment,
            capacity: AtomicU64::new(options.capacity),
            index: Index::new(),
            stripes: Core::new_stripes(),
            segments: RwLock::default(),
            next_segment: AtomicU32::new(1),
            first_own: AtomicU32::new(u32::MAX),
            condemned: Mutex::default(),
            queue: Queue::new(options.queue),
            health: Health::new(state),
            counters: Counters::default(),
            journal: Journal::new(directory, seed),
            recovery: Mutex::default(),
            recovered: Condvar::new(),
            newest_generation: AtomicU64::new(0),
            newest_fill: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let background = Arc::clone(&core);
        let thread = std::thread::Builder::new()
            .name("seawall-log".to_owned())
            .spawn(move || run(&background, lock))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            core,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Everything stored under a primary key, as far as recovery has come. Looks into memory only.
    pub fn find(&self, primary: &[u8]) -> Vec<Entry> {
        if self.core.is_closed() {
            return Vec::new();
        }
        let found = self.core.index.find(self.core.digest(primary));
        found.iter().map(Entry::new).collect()
    }

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
                if !preamble.verify_blocks(self.core.seed, start / BLOCK, &bytes) {
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
            let body = bytes.slice(usize_of(preamble.header.preamble_len())..);
            let right = preamble.verify_blocks(self.core.seed, 0, &body);
            Ok(right.then(|| (bytes.slice(preamble.head.clone()), body)))
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
        let core = &self.core;
        let id = Id {
            digest: core.digest(primary),
            slot: entry.slot,
        };
        if core.is_closed() || !core.index.touch(id, entry.location) {
            return Ok(None);
        }
        let Some(segment) = core.segment(entry.location.segment) else {
            return Ok(None);
        };
        let preamble = format::preamble_len(primary.len() as u64, entry.head_len, entry.body_len);
        let offset = u64::from(entry.location.offset);
        let result = read_at(&*segment.blob, offset, preamble + more).and_then(|bytes| {
            let bytes = Bytes::from(bytes);
            let Some(front) = bytes.get(..usize_of(preamble)) else {
                return Ok(Err(()));
            };
            let sequence = entry.location.sequence();
            let Some(preamble) = Preamble::verify(front, core.seed, sequence) else {
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
            Ok(then(&segment, &preamble, &bytes)?.map(Some).ok_or(()))
        });
        match result {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(())) => {
                self.corrupt(id, entry);
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.corrupt(id, entry);
                Ok(None)
            }
            Err(error) => {
                count(&core.counters.read_errors, 1);
                Err(error.into())
            }
        }
    }

    fn corrupt(&self, id: Id, entry: &Entry) {
        count(&self.core.counters.corrupt, 1);
        self.core.discard(id, entry.location);
    }

    /// Stores a record in place of the one with its key and slot, which is not found any more when
    /// this returns, even if the new one was dropped. Of the disk it waits for one byte at most,
    /// with which that one is marked.
    pub fn put(&self, record: Record) -> Put {
        self.core.put(record)
    }

    /// Whether a record with a body of `bytes` would find room among those that wait.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.core.queue.has_room(bytes)
    }

    /// Waits until it would; false if it would not after `patience`.
    pub fn wait_for_room(&self, bytes: u64, patience: Duration) -> bool {
        self.core.queue.wait_for_room(bytes, patience)
    }

    /// Drops a record: when this returns, no restart finds it either. False when the disk refused
    /// that, in which case it is tried again in the background.
    pub fn retract(&self, primary: &[u8], slot: u64) -> bool {
        self.core.retract(primary, slot)
    }

    /// [`Log::retract`] for every record of a key.
    pub fn retract_all(&self, primary: &[u8]) -> bool {
        self.core.retract_all(primary)
    }

    /// What it holds, and what it has counted.
    pub fn statistics(&self) -> Statistics {
        let core = &self.core;
        let segments = core.all_segments();
        let mut statistics = Statistics {
            entries: core.index.len() as u64,
            live_bytes: segments.iter().map(|segment| segment.live_bytes()).sum(),
            disk_bytes: segments.iter().map(|segment| segment.length()).sum(),
            capacity: core.capacity(),
            segments: segments.len() as u64,
            queued_bytes: core.queue.bytes(),
            index_bytes: core.index.memory() as u64,
            ..Statistics::default()
        };
        core.counters.read_into(&mut statistics);
        statistics
    }

    /// What it is able to do.
    pub fn state(&self) -> State {
        self.core.health.state()
    }

    /// How far recovery is.
    pub fn recovery(&self) -> Recovery {
        let recovery = &self.core.recovery;
        *recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for recovery to be done; false if it is not after `patience`.
    pub fn wait_recovered(&self, patience: Duration) -> bool {
        self.core.wait_recovered(patience)
    }

    /// A purge generation that no stored record, nor one on its way, is from before: what purges
    /// up to it removed cannot come back. 0 until recovery is done, the greatest number if there
    /// is no record.
    pub fn oldest_generation(&self) -> u64 {
        if !self.core.is_recovered() {
            return 0;
        }
        // In this order: a record goes from the queue into a segment.
        let queued = self.core.queue.generation();
        let segments = self.core.all_segments();
        let stored = segments.iter().map(|segment| segment.generation()).min();
        stored.unwrap_or(u64::MAX).min(queued)
    }

    /// The greatest purge generation and the greatest fill of any record; complete once recovery is
    /// done.
    pub fn newest(&self) -> (u64, u64) {
        let core = &self.core;
        (
            core.newest_generation.load(Ordering::Relaxed),
            core.newest_fill.load(Ordering::Relaxed),
        )
    }

    /// Changes the bytes that segments may take; what is too much goes in the background.
    pub fn set_capacity(&self, bytes: u64) {
        self.core.capacity.store(bytes, Ordering::Relaxed);
        self.core.queue.poke();
    }

    /// Writes what waits, seals the open segment and leaves the directory. Nothing is found or
    /// stored afterwards.
    pub fn close(&self) {
        self.core.queue.close();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

/// The life of a log in the background.
fn run(core: &Arc<Core>, mut lock: Lock) {
    if !lock.held {
        core.health.set(&core.directory, State::Waiting);
        tracing::info!(directory = %core.directory.display(), "the disk store waits for another process to leave the directory");
    }
    while !lock.acquire() {
        core.queue.pause(LOCK_POLL);
        if core.queue.is_closing() {
            core.closed.store(true, Ordering::SeqCst);
            return;
        }
    }
    let began = (core.now)();
    let found = loop {
        match core.register() {
            Ok(found) => break found,
            Err(error) => {
                core.health
                    .failed(&core.directory, "could not open a segment", &error);
                core.queue.pause(core.retry);
                if core.queue.is_closing() {
                    break Vec::new();
                }
            }
        }
    };
    core.health.set(&core.directory, State::Healthy);
    let recovering = Arc::clone(core);
    let recovery = std::thread::Builder::new()
        .name("seawall-recovery".to_owned())
        .spawn(move || recovering.recover_all(found, began));
    Appender::new(Arc::clone(core)).run();
    if let Ok(recovery) = recovery {
        let _ = recovery.join();
    }
    core.closed.store(true, Ordering::SeqCst);
    for stripe in &core.stripes {
        // Whoever is in the middle of a change ends it before the directory is another's.
        drop(stripe.lock());
    }
    drop(lock);
}

/// The lock of the directory.
struct Lock {
    file: File,
    held: bool,
}

impl Lock {
    fn new(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join("lock");
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(|error| OpenError::File { path, error })?;
        let mut lock = Self { file, held: false };
        lock.acquire();
        Ok(lock)
    }

    fn acquire(&mut self) -> bool {
        if !self.held {
            self.held = match self.file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                // A file system without locks: it is the operator's who uses it.
                Err(TryLockError::Error(_)) => true,
            };
        }
        self.held
    }
}

/// The seed of all checksums in the directory; made when there is none.
fn seed(directory: &Path) -> Result<u64, OpenError> {
    let path = directory.join("seed");
    let fail = |error| OpenError::File {
        path: path.clone(),
        error,
    };
    match std::fs::read(&path) {
        Ok(bytes) => {
            let parts = (format::u64_at(&bytes, 0), format::u64_at(&bytes, 8));
            if let (Some(seed), Some(sum)) = parts
                && sum == format::checksum(0, &seed.to_le_bytes())
            {
                return Ok(seed);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    let seed = random();
    let mut bytes = seed.to_le_bytes().to_vec();
    let sum = format::checksum(0, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    let new = directory.join(format!("seed.{:016x}", random()));
    std::fs::write(&new, &bytes).map_err(fail)?;
    std::fs::rename(&new, &path).map_err(fail)?;
    Ok(seed)
}

/// A number that is hard to guess, from the system's randomness.
fn random() -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(0);
    hasher.finish()
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

/// The size of a segment in a log of this capacity.
fn segment_size(capacity: u64, configured: Option<u64>) -> u64 {
    const MIB: u64 = 1024 * 1024;
    let usual = (capacity / 1024).clamp(64 * MIB, 256 * MIB);
    // Large enough for a slice of 1 MiB even in a small log.
    let fitting = (capacity / 8).max(2 * MIB).min(usual);
    let size = configured.unwrap_or(fitting).min(capacity / 4);
    size.min(1024 * MIB) / 4096 * 4096
}

/// The longest record that fits into a segment of this size.
fn largest_record(segment: u64) -> u64 {
    segment.saturating_sub(format::FIRST + format::INDEX_SHARE)
}
