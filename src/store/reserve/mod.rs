//! The reserve: object storage below memory and disk, for what is worth keeping for long.
//!
//! It is asked by who is about to ask the origin, and written behind everybody's back. Nothing in it is
//! trusted: an object serves when it is of this very key, undamaged, young enough, and when the purges
//! in force leave it. Those are known as long as an object may live; what was purged by its URL is
//! removed as well. All requests are made on one thread of its own.

mod client;
mod known;
mod name;
mod object;
mod queue;
mod read;
mod tidy;
pub(super) mod trust;
mod write;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use self::client::Client;
use self::known::Known;
use self::queue::{Job, Queue};
pub use self::read::Wanted;
use super::memory::MemoryStore;
use crate::clock;
use crate::config;
use crate::purge::Generation;

/// Large bodies whose objects are known.
const MOST_APART: usize = 10_000;
/// How long the end of the process waits for the reserve, and how often it looks.
const LONGEST_CLOSE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);
/// Objects whose age is known.
const MOST_WRITTEN: usize = 100_000;

/// The reserve.
pub(super) struct Reserve {
    client: Arc<Client>,
    retention: Duration,
    timeout: Duration,
    /// Where requests are made.
    thread: Handle,
    known: Known,
    /// One for every worker; what concerns one URI is done by one worker, in order.
    queues: Vec<mpsc::UnboundedSender<Job>>,
    queue: Arc<Queue>,
    /// Where the slices of large bodies are, by the body's identity.
    apart: Cache<u64, Arc<Apart>>,
    /// When objects were written, by a digest of their name.
    written: Cache<u64, SystemTime>,
    counts: Counts,
    identity: String,
    /// What is of a fetch before this purge may not be used; nothing may while it is not known.
    trusted: OnceLock<Generation>,
    /// The thread ends when this is dropped.
    _end: oneshot::Sender<()>,
}

/// A large body's own object.
#[derive(Debug)]
struct Apart {
    /// The object it belongs to.
    name: String,
    path: String,
    sums: Arc<[u64]>,
}

/// How a look into the reserve ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Hit,
    Miss,
    Expired,
    Purged,
    Corrupt,
    Failed,
}

impl Look {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Hit, "hit"),
        (Self::Miss, "miss"),
        (Self::Expired, "expired"),
        (Self::Purged, "purged"),
        (Self::Corrupt, "corrupt"),
        (Self::Failed, "failed"),
    ];
}

/// Why something was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Too much waits.
    Queue,
    /// The reserve is left alone.
    Resting,
    /// It did not take it.
    Failed,
    /// A purge or a newer response came in between.
    Outdated,
    /// Not all of it is there, or its head is too long.
    Unfit,
}

impl Why {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Queue, "queue"),
        (Self::Resting, "resting"),
        (Self::Failed, "failed"),
        (Self::Outdated, "outdated"),
        (Self::Unfit, "unfit"),
    ];
}

#[derive(Debug, Default)]
struct Counts {
    looks: [AtomicU64; 6],
    dropped: [AtomicU64; 5],
    slices: AtomicU64,
    written: AtomicU64,
    written_bytes: AtomicU64,
    removed: AtomicU64,
}

impl Counts {
    fn look(&self, how: Look) {
        let index = Look::ALL.iter().position(|(known, _)| *known == how);
        add(index.and_then(|index| self.looks.get(index)), 1);
    }

    fn drop(&self, why: Why) {
        let index = Why::ALL.iter().position(|(known, _)| *known == why);
        add(index.and_then(|index| self.dropped.get(index)), 1);
    }
}

fn add(counter: Option<&AtomicU64>, count: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// The state of the reserve, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReserveStatistics {
    /// URIs known to have objects.
    pub uris: u64,
    /// Whether what earlier processes have kept may be used, and is known.
    pub ready: bool,
    /// Whether it answered when it was last asked.
    pub healthy: bool,
    /// Looks into it, by how they ended.
    pub lookups: Vec<(&'static str, u64)>,
    /// Slices of large bodies read from it.
    pub slices: u64,
    /// Responses written.
    pub written: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Responses not written, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Objects removed.
    pub removed: u64,
    /// Requests to it that failed.
    pub failures: u64,
    /// What waits to be written or removed.
    pub waiting: u64,
}

impl MemoryStore {
    /// Puts a reserve below the disk, which must come after it, as purges are then kept for both.
    ///
    /// # Errors
    /// When it cannot be used, in a sentence.
    pub fn use_reserve(self: &Arc<Self>, config: &config::Reserve) -> Result<(), String> {
        let client = Arc::new(Client::new(config)?);
        let (queues, jobs): (Vec<_>, Vec<_>) = (0..config.max_uploads)
            .map(|_| mpsc::unbounded_channel())
            .unzip();
        let (end, ended) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let store = Arc::downgrade(self);
        let run = move || run(&store, jobs, &tell, ended);
        std::thread::Builder::new()
            .name("seawall-reserve".to_owned())
            .spawn(run)
            .map_err(|error| format!("no thread for the reserve: {error}"))?;
        let thread = told.recv().map_err(|error| error.to_string())??;
        let reserve = Reserve {
            client,
            retention: config.retention,
            timeout: config.timeout,
            thread: thread.clone(),
            known: Known::default(),
            queues,
            queue: Arc::default(),
            apart: Cache::new(MOST_APART),
            written: Cache::new(MOST_WRITTEN),
            counts: Counts::default(),
            identity: trust::identity(config),
            trusted: OnceLock::new(),
            _end: end,
        };
        self.set_reserve(Arc::new(reserve));
        thread.spawn(tidy::keep_in_order(Arc::downgrade(self), config.retention));
        tracing::info!(
            endpoint = config.endpoint,
            bucket = config.bucket,
            "keeping in the reserve"
        );
        Ok(())
    }

    /// The purges of earlier processes are known: what these have written may be used from now on, if
    /// the journal in `directory` was kept for it.
    pub(super) fn trust_reserve(&self, directory: &Path) {
        let Some(reserve) = self.reserve() else {
            return;
        };
        if reserve.trusted.get().is_some() {
            return;
        }
        match trust::since(directory, &reserve.identity, self.purges.current()) {
            Ok(since) => drop(reserve.trusted.set(since)),
            Err(error) => tracing::debug!(%error, "the reserve cannot be trusted yet"),
        }
    }

    /// Waits for what is to be written to the reserve or removed from it, but not for long.
    pub async fn close_reserve(&self) {
        let Some(reserve) = self.reserve() else {
            return;
        };
        let done = async {
            while reserve.queue.jobs() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(LONGEST_CLOSE, done).await.is_err() {
            let left = reserve.queue.jobs();
            tracing::warn!(left, "not all was written to the reserve");
        }
    }

    /// What the reserve does, if there is one.
    pub fn reserve_statistics(&self) -> Option<ReserveStatistics> {
        let reserve = self.reserve()?;
        let counts = &reserve.counts;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let looks = Look::ALL.iter().map(|(_, word)| *word);
        let dropped = Why::ALL.iter().map(|(_, word)| *word);
        Some(ReserveStatistics {
            uris: u64::try_from(reserve.known.len()).unwrap_or(u64::MAX),
            ready: reserve.trusted.get().is_some() && reserve.known.is_complete(),
            healthy: reserve.client.is_healthy(),
            lookups: looks.zip(counts.looks.iter().map(get)).collect(),
            slices: get(&counts.slices),
            written: get(&counts.written),
            written_bytes: get(&counts.written_bytes),
            dropped: dropped.zip(counts.dropped.iter().map(get)).collect(),
            removed: get(&counts.removed),
            failures: get(&reserve.client.failures),
            waiting: reserve.queue.jobs(),
        })
    }

    /// No object that may still be used was written before this purge; of all purges, without a
    /// reserve.
    pub(super) fn reserve_begins_at(&self) -> Option<Generation> {
        let retention = self.reserve()?.retention;
        let since = clock::now().duration_since(UNIX_EPOCH).ok()?;
        // In steps, as purges are forgotten all at a time.
        let step = (retention / 64).max(Duration::from_secs(1));
        let oldest = since.saturating_sub(retention).as_micros();
        let oldest = oldest.saturating_sub(oldest % step.as_micros());
        // A purge has the time of day for its number, or a larger one.
        Some(Generation(u64::try_from(oldest).ok()?))
    }
}

/// The thread: its workers, until the reserve is no more.
fn run(
    store: &Weak<MemoryStore>,
    jobs: Vec<mpsc::UnboundedReceiver<Job>>,
    tell: &std::sync::mpsc::Sender<Result<Handle, String>>,
    ended: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = tell.send(Err(format!("no runtime for the reserve: {error}")));
            return;
        }
    };
    let _ = tell.send(Ok(runtime.handle().clone()));
    for jobs in jobs {
        runtime.spawn(write::work(store.clone(), jobs));
    }
    let _ = runtime.block_on(ended);
    // Blocking reads from disk may be under way.
    runtime.shutdown_background();
}
