//! What nodes tell each other through a Redis or Valkey server: purges, in a stream that can be read
//! again.
//!
//! A purge is in force where it was made before others hear of it, and each node reads the stream from
//! where it has stopped: what was missed while it was away comes first. No request for what is stored
//! ever waits for the server. Decisions are in [`continuity`], [`record`] and [`outbox`];
//! [`limits`] is apart from all that: counters of rate limits. [`link`] speaks to the server, [`run`] says when, [`mod@file`] keeps the position.

mod continuity;
mod file;
mod limits;
mod link;
mod outbox;
mod record;
mod run;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, watch};

pub use self::limits::{SharedLimits, SharedLimitsStatistics};

use self::file::PositionFile;
use self::link::Link;
use self::outbox::{Kept, Outbox};
use self::record::What;
use crate::clock;
use crate::config;
use crate::purge::{Announcement, Position, Scope};

/// How long the end of the process waits for purges to be told, at most.
const LONGEST_CLOSE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// This node's end of what is shared.
pub struct SharedState {
    link: Link,
    timeout: Duration,
    when_unreachable: config::WhenUnreachable,
    /// This process among all.
    node: Box<str>,
    outbox: Mutex<Outbox>,
    /// Something was put into the outbox.
    filled: Notify,
    /// The last entry whose purge is in force here.
    applied: watch::Sender<Option<Position>>,
    /// The last purge that is known here: in force, or about to be.
    known: Mutex<Option<Position>>,
    /// Where that is written down, when there is a disk.
    file: Option<PositionFile>,
    /// Whether earlier processes may have stored something that is still there.
    kept: bool,
    /// When the server was last of use.
    contact: Mutex<Instant>,
    connected: AtomicBool,
    /// It has been of no use for too long.
    lost: AtomicBool,
    /// The server did not take what it was to tell, the last time.
    refused: AtomicBool,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    applied: AtomicU64,
    sent: AtomicU64,
    unreadable: AtomicU64,
    gaps: AtomicU64,
    /// From a purge elsewhere until it was in force here, the last time, in microseconds.
    lag: AtomicU64,
}

/// The state of the connection, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedStatistics {
    /// Whether purges come and go.
    pub connected: bool,
    /// From a purge elsewhere until it was in force here, the last time. It is as exact as the clocks of
    /// the two nodes are.
    pub lag: Duration,
    /// Purges of other nodes put in force.
    pub applied: u64,
    /// Entries that were told to other nodes.
    pub sent: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
    /// How often purges may have been missed.
    pub gaps: u64,
    /// Entries that wait to be told to other nodes.
    pub queued: u64,
}

impl SharedState {
    /// Purges are shared as `config` says; with a store in `disk`, what happened since the last process
    /// is caught up with. `kept` when that process may have left something stored.
    ///
    /// # Errors
    /// When that is not possible, in a sentence.
    pub fn new(
        config: &config::SharedState,
        disk: Option<&Path>,
        kept: bool,
    ) -> Result<Self, String> {
        let link = Link::new(config)?;
        let file = disk.map(|directory| PositionFile::new(directory, &link.stream));
        let applied = file.as_ref().and_then(PositionFile::read);
        let server = link.address();
        tracing::info!(server, stream = link.stream, "purges are shared");
        let state = Self {
            link,
            timeout: config.timeout,
            when_unreachable: config.when_unreachable,
            node: node_id().into(),
            outbox: Mutex::default(),
            filled: Notify::new(),
            applied: watch::Sender::new(applied),
            known: Mutex::new(applied),
            kept: kept && file.is_some(),
            file,
            contact: Mutex::new(clock::instant()),
            connected: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            counts: Counts::default(),
        };
        if state.file.as_ref().is_some_and(PositionFile::is_untold) {
            tracing::warn!("the last process has not told all its purges: others purge everything");
            state.put(What::Lost, None);
        }
        Ok(state)
    }

    /// Tells other nodes of a purge that is in force here, and waits until the server has it, unless it
    /// cannot be reached. Gives its position there; `None` when it waits to be told.
    pub fn tell(&self, purge: Announcement) -> Option<Position> {
        if self.lost.load(Ordering::Acquire) {
            self.put(What::Purge(purge), None);
            return None;
        }
        let (tell, told) = sync_channel(1);
        self.put(What::Purge(purge), Some(tell));
        if let Ok(position) = told.recv_timeout(self.timeout) {
            self.know(position);
            return Some(position);
        }
        self.mark_untold(true);
        None
    }

    /// Notes for the next process, where there is a disk, whether purges wait to be told.
    fn mark_untold(&self, untold: bool) {
        if let Some(file) = &self.file
            && let Err(error) = file.mark_untold(untold)
        {
            tracing::warn!(%error, "whether purges wait to be told cannot be written down");
        }
    }

    /// Tells other nodes that single keys were invalidated here, which nobody waits for.
    pub fn tell_invalidation(&self, scopes: &[Scope], at: SystemTime) {
        let kept = self.outbox().push_invalidation(scopes, at);
        self.after_putting(kept);
    }

    /// Up to where purges are in force here.
    pub fn position(&self) -> Option<Position> {
        *self.applied.borrow()
    }

    /// The last purge that this node knows of. Whoever fetches from another node must not get what it
    /// reaches.
    pub fn known(&self) -> Option<Position> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, position: Position) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = (*known).max(Some(position));
    }

    /// Waits until all purges up to `position` are in force here; false when that takes longer than
    /// `most`.
    pub async fn reaches(&self, position: Position, most: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        let reached =
            applied.wait_for(|applied| applied.is_some_and(|applied| applied >= position));
        matches!(tokio::time::timeout(most, reached).await, Ok(Ok(_)))
    }

    /// What there is to know about it.
    pub fn statistics(&self) -> SharedStatistics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SharedStatistics {
            connected: self.connected.load(Ordering::Acquire),
            lag: Duration::from_micros(get(&self.counts.lag)),
            applied: get(&self.counts.applied),
            sent: get(&self.counts.sent),
            unreadable: get(&self.counts.unreadable),
            gaps: get(&self.counts.gaps),
            queued: u64::try_from(self.outbox().waiting()).unwrap_or(u64::MAX),
        }
    }

    /// Waits until all purges are told, but not for long.
    pub async fn close(&self) {
        let done = async {
            while self.outbox().waiting() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let most = self.timeout.min(LONGEST_CLOSE);
        if tokio::time::timeout(most, done).await.is_err() {
            let left = self.outbox().waiting();
            tracing::error!(left, "not all purges were told to other nodes");
        }
    }

    fn put(&self, what: What, waiter: Option<SyncSender<Position>>) {
        let kept = self.outbox().push(what, waiter);
        self.after_putting(kept);
    }

    fn after_putting(&self, kept: Kept) {
        if kept == Kept::Overflowed {
            tracing::error!(
                "too many purges wait to be told: other nodes will take everything for purged"
            );
        }
        if !self.connected.load(Ordering::Acquire) {
            self.mark_untold(true);
        }
        self.filled.notify_one();
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No other process has this one.
fn node_id() -> String {
    format!("{:016x}{:016x}", clock::chance(), clock::chance())
}

impl std::fmt::Debug for SharedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedState").finish_non_exhaustive()
    }
}
