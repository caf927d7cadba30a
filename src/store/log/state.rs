//! How the log is: its state, and what it counted.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

/// What the log is able to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It reads and writes.
    Healthy,
    /// Another process has the directory. It does nothing until that one leaves.
    Waiting,
    /// It reads, but cannot write for want of space or leave. It tries again.
    ReadOnly(String),
    /// Writing failed for another reason. It reads what it can, and tries again.
    Failed(String),
}

impl State {
    /// The state in one word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Waiting => "waiting",
            Self::ReadOnly(_) => "read_only",
            Self::Failed(_) => "failed",
        }
    }

    /// What an error of writing means.
    fn of(action: &str, error: &io::Error) -> Self {
        let why = format!("{action}: {error}");
        let code = error.raw_os_error().map(Errno::from_raw);
        match code {
            Some(Errno::ENOSPC | Errno::EDQUOT | Errno::EROFS | Errno::EACCES | Errno::EPERM) => {
                Self::ReadOnly(why)
            }
            _ => Self::Failed(why),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Waiting => f.write_str("waiting for another process to leave the directory"),
            Self::ReadOnly(why) => write!(f, "read only: {why}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// Why a record was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is larger than a segment.
    TooLarge,
    /// More waits to be written than may.
    QueueFull,
    /// The disk cannot be written to for the time being.
    Unwritable,
    /// Another process has the directory.
    Waiting,
    /// The log was closed.
    Closed,
    /// It was replaced or retracted before it was written.
    Superseded,
}

impl Why {
    /// All of them, in the order of [`Statistics::dropped`].
    pub const ALL: [Self; 6] = [
        Self::TooLarge,
        Self::QueueFull,
        Self::Unwritable,
        Self::Waiting,
        Self::Closed,
        Self::Superseded,
    ];

    /// The reason in one word, for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::QueueFull => "queue_full",
            Self::Unwritable => "unwritable",
            Self::Waiting => "waiting",
            Self::Closed => "closed",
            Self::Superseded => "superseded",
        }
    }
}

/// What the log holds now, and what it has counted since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Records that can be found.
    pub entries: u64,
    /// Their heads and bodies.
    pub live_bytes: u64,
    /// What the segment files take.
    pub disk_bytes: u64,
    /// What they may take.
    pub capacity: u64,
    /// How many there are.
    pub segments: u64,
    /// What waits to be written.
    pub queued_bytes: u64,
    /// The memory of the index.
    pub index_bytes: u64,
    /// Records written, those moved by reclaim not among them.
    pub written: u64,
    /// Bytes written, whatever for.
    pub written_bytes: u64,
    /// Records not written, by reason: [`Why::ALL`].
    pub dropped: [u64; Why::ALL.len()],
    /// Records that did not pass their checks when read.
    pub corrupt: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Segments removed to make room.
    pub reclaimed_segments: u64,
    /// Records that were removed with them.
    pub reclaimed: u64,
    /// Records that were used, or hot, and were moved instead.
    pub moved: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) written: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) dropped: [AtomicU64; Why::ALL.len()],
    pub(super) corrupt: AtomicU64,
    pub(super) read_errors: AtomicU64,
    pub(super) write_errors: AtomicU64,
    pub(super) reclaimed_segments: AtomicU64,
    pub(super) reclaimed: AtomicU64,
    pub(super) moved: AtomicU64,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn dropped(&self, why: Why) {
        let place = Why::ALL.iter().position(|known| *known == why);
        if let Some(counter) = place.and_then(|place| self.dropped.get(place)) {
            count(counter, 1);
        }
    }

    pub(super) fn read_into(&self, statistics: &mut Statistics) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        statistics.written = read(&self.written);
        statistics.written_bytes = read(&self.written_bytes);
        for (number, counter) in statistics.dropped.iter_mut().zip(&self.dropped) {
            *number = read(counter);
        }
        statistics.corrupt = read(&self.corrupt);
        statistics.read_errors = read(&self.read_errors);
        statistics.write_errors = read(&self.write_errors);
        statistics.reclaimed_segments = read(&self.reclaimed_segments);
        statistics.reclaimed = read(&self.reclaimed);
        statistics.moved = read(&self.moved);
    }
}

/// The state, with one line in the process log at each change.
pub(super) struct Health {
    state: Mutex<State>,
    healthy: AtomicBool,
}

impl Health {
    pub(super) fn new(state: State) -> Self {
        Self {
            healthy: AtomicBool::new(state == State::Healthy),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> State {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    pub(super) fn failed(&self, directory: &std::path::Path, action: &str, error: &io::Error) {
        self.set(directory, State::of(action, error));
    }

    pub(super) fn set(&self, directory: &std::path::Path, new: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = state.word() != new.word();
        self.healthy.store(new == State::Healthy, Ordering::Release);
        *state = new;
        if changed {
            let directory = directory.display();
            match &*state {
                State::Healthy | State::Waiting => {
                    tracing::info!(%directory, "the disk store is {}", *state);
                }
                State::ReadOnly(_) | State::Failed(_) => {
                    tracing::warn!(%directory, "the disk store is {}; trying again", *state);
                }
            }
        }
    }
}
