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
mod device;
mod directory;
mod format;
mod get;
mod index;
mod inspect;
mod journal;
mod queue;
mod read;
mod reclaim;
mod recovery;
mod segment;
mod shared;
mod state;
#[cfg(test)]
mod tests;
mod types;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use self::append::Appender;
use self::device::{Device, Disk};
use self::directory::Lock;
use self::index::Index;
use self::journal::Journal;
use self::queue::Queue;
use self::recovery::Found;
use self::shared::Shared;
use self::state::{Counters, Health};
use self::types::Hot;

pub use self::inspect::{
    Damage, Report, Salvaged, SegmentReport, SegmentState, inspect, salvage, verify,
};
pub use self::queue::Receipt;
pub use self::read::WouldWait;
pub use self::state::{State, Statistics, Why};
pub use self::types::{Entry, OpenError, Options, Put, ReadError, Record, Recovery};

/// A process that waits for the directory looks this often whether it is free.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// The log. Dropping it closes it.
pub struct Log {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("directory", &self.shared.directory)
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
        let fail = |error| OpenError::Directory {
            path: directory.to_owned(),
            error,
        };
        std::fs::create_dir_all(directory).map_err(fail)?;
        let seed = directory::seed(directory)?;
        let lock = Lock::new(directory)?;
        let state = if lock.held {
            State::Healthy
        } else {
            State::Waiting
        };
        let shared = Arc::new(Shared {
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
            stripes: Shared::new_stripes(),
            segments: RwLock::default(),
            next_segment: AtomicU32::new(1),
            first_own: AtomicU32::new(journal::NOT_KNOWN),
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
        if lock.held {
            // What is put before the segments are opened is newer than they are.
            shared.number_segments().map_err(fail)?;
        }
        let background = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("seawall-log".to_owned())
            .spawn(move || run(&background, lock))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Everything stored under a primary key, as far as recovery has come. Looks into memory only.
    pub fn find(&self, primary: &[u8]) -> Vec<Entry> {
        if self.shared.is_closed() {
            return Vec::new();
        }
        let found = self.shared.index.find(self.shared.digest(primary));
        found.iter().map(Entry::new).collect()
    }

    /// Stores a record in place of the one with its key and slot, which is not found any more when
    /// this returns, even if the new one was dropped. Of the disk it waits for one byte at most,
    /// with which that one is marked.
    pub fn put(&self, record: Record) -> Put {
        self.shared.put(record)
    }

    /// Whether a record with a body of `bytes` would find room among those that wait.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.shared.queue.has_room(bytes)
    }

    /// Waits until it would; false if it would not after `patience`.
    pub fn wait_for_room(&self, bytes: u64, patience: Duration) -> bool {
        self.shared.queue.wait_for_room(bytes, patience)
    }

    /// Drops a record: when this returns, no restart finds it either. False when the disk refused
    /// that, in which case it is tried again in the background.
    pub fn retract(&self, primary: &[u8], slot: u64) -> bool {
        self.shared.retract(primary, slot)
    }

    /// [`Log::retract`] for every record of a key.
    pub fn retract_all(&self, primary: &[u8]) -> bool {
        self.shared.retract_all(primary)
    }

    /// What it holds, and what it has counted.
    pub fn statistics(&self) -> Statistics {
        let shared = &self.shared;
        let segments = shared.all_segments();
        let mut statistics = Statistics {
            entries: shared.index.len() as u64,
            live_bytes: segments.iter().map(|segment| segment.live_bytes()).sum(),
            disk_bytes: segments.iter().map(|segment| segment.length()).sum(),
            capacity: shared.capacity(),
            segments: segments.len() as u64,
            queued_bytes: shared.queue.bytes(),
            index_bytes: shared.index.memory() as u64,
            ..Statistics::default()
        };
        shared.counters.read_into(&mut statistics);
        statistics
    }

    /// What it is able to do.
    pub fn state(&self) -> State {
        self.shared.health.state()
    }

    /// How far recovery is.
    pub fn recovery(&self) -> Recovery {
        let recovery = &self.shared.recovery;
        *recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for recovery to be done; false if it is not after `patience`.
    pub fn wait_recovered(&self, patience: Duration) -> bool {
        self.shared.wait_recovered(patience)
    }

    /// A purge generation that no stored record, nor one on its way, is from before: what purges
    /// up to it removed cannot come back. 0 until recovery is done, the greatest number if there
    /// is no record.
    pub fn oldest_generation(&self) -> u64 {
        if !self.shared.is_recovered() {
            return 0;
        }
        // In this order: a record goes from the queue into a segment.
        let queued = self.shared.queue.generation();
        let segments = self.shared.all_segments();
        let stored = segments.iter().map(|segment| segment.generation()).min();
        stored.unwrap_or(u64::MAX).min(queued)
    }

    /// The greatest purge generation and the greatest fill of any record; complete once recovery is
    /// done.
    pub fn newest(&self) -> (u64, u64) {
        let shared = &self.shared;
        (
            shared.newest_generation.load(Ordering::Relaxed),
            shared.newest_fill.load(Ordering::Relaxed),
        )
    }

    /// Changes the bytes that segments may take; what is too much goes in the background.
    pub fn set_capacity(&self, bytes: u64) {
        self.shared.capacity.store(bytes, Ordering::Relaxed);
        self.shared.queue.poke();
    }

    /// Writes what waits, seals the open segment and leaves the directory. Nothing is found or
    /// stored afterwards.
    pub fn close(&self) {
        self.shared.queue.close();
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
fn run(shared: &Arc<Shared>, mut lock: Lock) {
    if !lock.held {
        shared.health.set(&shared.directory, State::Waiting);
        tracing::info!(directory = %shared.directory.display(), "the disk store waits for another process to leave the directory");
    }
    while !lock.acquire() {
        shared.queue.pause(LOCK_POLL);
        if shared.queue.is_closing() {
            shared.closed.store(true, Ordering::SeqCst);
            return;
        }
    }
    if let Some(found) = register(shared) {
        work(shared, found);
    }
    shared.closed.store(true, Ordering::SeqCst);
    for stripe in &shared.stripes {
        // Whoever is in the middle of a change ends it before the directory is another's.
        drop(stripe.lock());
    }
    drop(lock);
}

/// Opens what is there, however often that takes; nothing if the log is closed before.
fn register(shared: &Shared) -> Option<Vec<Found>> {
    loop {
        match shared.register() {
            Ok(found) => return Some(found),
            Err(error) => {
                shared
                    .health
                    .failed(&shared.directory, "could not open a segment", &error);
                shared.queue.pause(shared.retry);
                if shared.queue.is_closing() {
                    shared.abandon_queue();
                    return None;
                }
            }
        }
    }
}

/// Recovers and writes until the log is closed.
fn work(shared: &Arc<Shared>, found: Vec<Found>) {
    let began = (shared.now)();
    shared.health.set(&shared.directory, State::Healthy);
    let recovering = Arc::clone(shared);
    let recovery = std::thread::Builder::new()
        .name("seawall-recovery".to_owned())
        .spawn(move || recovering.recover_all(found, began));
    Appender::new(Arc::clone(shared)).run();
    if let Ok(recovery) = recovery {
        let _ = recovery.join();
    }
}
