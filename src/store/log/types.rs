//! What the log is given, and what it tells.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::format::{self, Location};
use super::index::Known;
use super::queue::Receipt;
use super::state::Why;

/// Says whether a primary key is worth keeping when its segment is reclaimed.
pub(super) type Hot = dyn Fn(&[u8]) -> bool + Send + Sync;

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
    pub(super) fn length(&self) -> Option<u64> {
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
    pub(super) location: Location,
}

impl Entry {
    pub(super) fn new(known: &Known) -> Self {
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

/// The size of a segment in a log of this capacity.
pub(super) fn segment_size(capacity: u64, configured: Option<u64>) -> u64 {
    const MIB: u64 = 1024 * 1024;
    let usual = (capacity / 1024).clamp(64 * MIB, 256 * MIB);
    // Large enough for a slice of 1 MiB even in a small log.
    let fitting = (capacity / 8).max(2 * MIB).min(usual);
    let size = configured.unwrap_or(fitting).min(capacity / 4);
    size.min(1024 * MIB) / 4096 * 4096
}

/// The longest record that fits into a segment of this size.
pub(super) fn largest_record(segment: u64) -> u64 {
    segment.saturating_sub(format::FIRST + format::INDEX_SHARE)
}
