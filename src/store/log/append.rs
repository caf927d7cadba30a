//! The thread that writes: it alone gives records their places.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::format::{
    self, BLOCK, FIRST, INDEX_SHARE, IndexEntry, Location, RecordHeader, SegmentHeader,
};
use super::index::Id;
use super::queue::Queued;
use super::segment::{self, Segment};
use super::shared::{Origin, Shared};
use super::state::{State, Why, count};
use super::types::largest_record;

/// What is taken from the queue and published at a time.
const BATCH: u64 = 1024 * 1024;
/// Pieces of a body from this size on are written as they are, smaller ones are put together.
const LARGE: usize = 64 * 1024;

/// The segment that is written to.
pub(super) struct Open {
    pub(super) segment: Arc<Segment>,
    size: u64,
    /// Where the next record goes.
    end: u64,
    entries: Vec<IndexEntry>,
    staged: Vec<Staged>,
    /// What is to be written next, and where.
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// A record that is written, or about to be, and not found yet.
struct Staged {
    entry: IndexEntry,
    origin: Origin,
}

/// What of a record is to be written.
pub(super) struct Content<'c> {
    pub(super) id: Id,
    pub(super) primary: &'c [u8],
    pub(super) fill: u64,
    pub(super) generation: u64,
    pub(super) useful_until: u64,
    pub(super) head: &'c [u8],
    pub(super) body: &'c [Bytes],
}

impl Open {
    /// Whether a record of this length and its share of the index fit.
    pub(super) fn fits(&self, length: u64) -> bool {
        let records = (self.entries.len() + self.staged.len() + 1) as u64;
        self.end + length + records * INDEX_SHARE <= self.size
    }

    /// Writes a record, or puts it into the buffer.
    pub(super) fn stage(
        &mut self,
        seed: u64,
        content: &Content<'_>,
        origin: Origin,
    ) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let body_len: usize = content.body.iter().map(Bytes::len).sum();
        let entry = IndexEntry {
            digest: content.id.digest,
            slot: content.id.slot,
            fill: content.fill,
            generation: content.generation,
            useful_until: content.useful_until,
            offset: u32::try_from(self.end).map_err(too_large)?,
            head_len: u32::try_from(content.head.len()).map_err(too_large)?,
            body_len: u32::try_from(body_len).map_err(too_large)?,
        };
        let location = Location {
            segment: self.segment.number,
            offset: entry.offset,
        };
        let header = RecordHeader {
            mark: format::DEAD,
            sum: 0,
            sequence: location.sequence(),
            slot: entry.slot,
            fill: entry.fill,
            generation: entry.generation,
            useful_until: entry.useful_until,
            key_len: u32::try_from(content.primary.len()).map_err(too_large)?,
            head_len: entry.head_len,
            body_len: entry.body_len.into(),
        };
        // Before it is on its way: the smallest generation must never look larger than it is.
        self.segment.set_generation(entry.generation);
        self.staged.push(Staged { entry, origin });
        let sums = block_sums(seed, content.body);
        header.encode(seed, content.primary, content.head, &sums, &mut self.buffer);
        for piece in content.body {
            if piece.len() < LARGE {
                self.buffer.extend_from_slice(piece);
                if self.buffer.len() as u64 >= BATCH {
                    self.flush()?;
                }
            } else {
                self.flush()?;
                self.segment.blob.write_all_at(piece, self.buffer_at)?;
                self.buffer_at += piece.len() as u64;
            }
        }
        self.end += header.record_len();
        let padding = self.end - self.buffer_at - self.buffer.len() as u64;
        let filled = self.buffer.len() + usize::try_from(padding).unwrap_or(0);
        self.buffer.resize(filled, 0);
        if self.buffer.len() as u64 >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.segment
            .blob
            .write_all_at(&self.buffer, self.buffer_at)?;
        self.buffer_at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// The checksum of every block of a body, wherever its pieces are cut.
fn block_sums(seed: u64, body: &[Bytes]) -> Vec<u64> {
    let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
    let mut sums = Vec::new();
    let mut carried: Vec<u8> = Vec::new();
    for piece in body {
        let mut rest: &[u8] = piece;
        if !carried.is_empty() {
            let (more, after) = rest.split_at(rest.len().min(block - carried.len()));
            carried.extend_from_slice(more);
            rest = after;
            if carried.len() == block {
                sums.push(format::checksum(seed, &carried));
                carried.clear();
            }
        }
        let mut whole = rest.chunks_exact(block);
        sums.extend(whole.by_ref().map(|block| format::checksum(seed, block)));
        carried.extend_from_slice(whole.remainder());
    }
    if !carried.is_empty() {
        sums.push(format::checksum(seed, &carried));
    }
    sums
}

pub(super) struct Appender {
    pub(super) shared: Arc<Shared>,
    pub(super) open: Option<Open>,
}

impl Appender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: None }
    }

    /// Works until the log is closed, and seals what is open then.
    pub(super) fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let work = shared.queue.take(BATCH, shared.retry);
            let bytes = work.records.iter().map(|queued| queued.length).sum();
            self.append(work.records);
            shared.queue.done(bytes);
            if work.closing {
                break;
            }
            if work.idle {
                self.look_around();
            }
            self.throttle(bytes);
        }
        if let Some(open) = self.open.take() {
            self.seal(&open);
        }
    }

    fn throttle(&self, bytes: u64) {
        if let Some(rate) = self.shared.write_rate.filter(|rate| *rate > 0) {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            self.shared.queue.pause(Duration::from_nanos(nanos));
        }
    }

    fn append(&mut self, records: Vec<Queued>) {
        for queued in records {
            let Queued {
                id,
                ticket,
                record,
                length,
                receipt,
            } = queued;
            let origin = Origin::Put { ticket, receipt };
            if !self.shared.health.is_healthy() {
                self.shared.abandon(id, &origin, Why::Unwritable);
                continue;
            }
            if !self.shared.is_wanted(id, ticket) {
                self.shared.abandon(id, &origin, Why::Superseded);
                continue;
            }
            match self.segment_for(length) {
                Ok(true) => {
                    let content = Content {
                        id,
                        primary: &record.primary,
                        fill: record.fill,
                        generation: record.generation,
                        useful_until: record.useful_until,
                        head: &record.head,
                        body: &record.body,
                    };
                    self.stage(&content, length, origin);
                }
                Ok(false) => self.shared.abandon(id, &origin, Why::TooLarge),
                Err(error) => {
                    // First, so that whoever waits for the outcome finds the state.
                    self.failed("could not begin a segment", &error);
                    self.shared.abandon(id, &origin, Why::Unwritable);
                }
            }
        }
        self.publish();
    }

    pub(super) fn stage(&mut self, content: &Content<'_>, length: u64, origin: Origin) {
        if let Some(open) = &mut self.open {
            count(&self.shared.counters.written_bytes, length);
            if let Err(error) = open.stage(self.shared.seed, content, origin) {
                self.failed("could not write", &error);
            }
        }
    }

    /// Writes what is staged, and then has it found.
    pub(super) fn publish(&mut self) {
        let Some(open) = &mut self.open else {
            return;
        };
        if let Err(error) = open.flush() {
            self.failed("could not write", &error);
            return;
        }
        let mut failure = None;
        for Staged { entry, origin } in std::mem::take(&mut open.staged) {
            let id = Id {
                digest: entry.digest,
                slot: entry.slot,
            };
            if failure.is_some() || open.segment.is_gone() {
                self.shared.abandon(id, &origin, Why::Unwritable);
                continue;
            }
            let ordinal = u32::try_from(open.entries.len()).unwrap_or(u32::MAX);
            // Marks refer to it by its number, so it has its place before it can be found.
            open.entries.push(entry);
            match self.shared.publish(&open.segment, ordinal, &entry, &origin) {
                Ok(Ok(())) => published(&self.shared, &origin),
                Ok(Err(why)) => {
                    open.entries.pop();
                    self.shared.abandon(id, &origin, why);
                }
                Err(error) => {
                    open.entries.pop();
                    let (shared, action) = (&self.shared, "could not mark a record alive");
                    shared.health.failed(&shared.directory, action, &error);
                    self.shared.abandon(id, &origin, Why::Unwritable);
                    failure = Some((action, error));
                }
            }
        }
        let gone = open.segment.is_gone();
        if let Some((action, error)) = failure {
            self.failed(action, &error);
        } else if gone {
            self.open = None;
        }
    }

    /// Gives up on the open segment. What was found in it stays so.
    fn failed(&mut self, action: &str, error: &io::Error) {
        count(&self.shared.counters.write_errors, 1);
        self.shared
            .health
            .failed(&self.shared.directory, action, error);
        if let Some(mut open) = self.open.take() {
            for Staged { entry, origin } in std::mem::take(&mut open.staged) {
                let id = Id {
                    digest: entry.digest,
                    slot: entry.slot,
                };
                self.shared.abandon(id, &origin, Why::Unwritable);
            }
            self.seal(&open);
        }
    }

    /// Makes sure that the open segment takes a record of this length; false when none would.
    fn segment_for(&mut self, length: u64) -> io::Result<bool> {
        if self.open.as_ref().is_some_and(|open| open.fits(length)) {
            return Ok(true);
        }
        if length > largest_record(self.shared.segment_size()) {
            return Ok(false);
        }
        self.publish();
        if let Some(open) = self.open.take() {
            self.seal(&open);
        }
        self.begin()?;
        // With the next one in mind, and where what is worth keeping can go.
        let limit = self
            .shared
            .capacity()
            .saturating_sub(self.shared.segment_size());
        self.make_room(limit)?;
        Ok(self.open.as_ref().is_some_and(|open| open.fits(length)))
    }

    /// Begins a new segment.
    fn begin(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let size = shared.segment_size();
        self.make_room(shared.capacity().saturating_sub(size))?;
        let number = shared.next_segment.fetch_add(1, Ordering::SeqCst);
        let path = segment::path(&shared.directory, number);
        let blob = shared.device.create(&path, size)?;
        let header = SegmentHeader {
            number,
            size,
            seed: shared.seed,
        };
        if let Err(error) = blob.write_all_at(&header.encode(), 0) {
            let _ = shared.device.remove(&path);
            return Err(error);
        }
        let segment = Arc::new(Segment::open(number, path, blob, size));
        let mut segments = shared
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        segments.insert(number, Arc::clone(&segment));
        drop(segments);
        self.open = Some(Open {
            segment,
            size,
            end: FIRST,
            entries: Vec::new(),
            staged: Vec::new(),
            buffer: Vec::new(),
            buffer_at: FIRST,
        });
        Ok(())
    }

    /// Ends a segment: its index is written, and what it does not need is given back.
    pub(super) fn seal(&self, open: &Open) {
        if open.segment.is_gone() {
            return;
        }
        if open.entries.is_empty() {
            self.shared.condemn(&open.segment);
            return;
        }
        let index_at = format::aligned(open.end);
        if let Err(error) = open.segment.seal(self.shared.seed, index_at, &open.entries) {
            // It stays as it is; a restart reads its records instead of its index.
            count(&self.shared.counters.write_errors, 1);
            let (shared, number) = (&self.shared, open.segment.number);
            tracing::debug!(%error, number, "could not seal a segment");
            shared
                .health
                .failed(&shared.directory, "could not seal a segment", &error);
        }
    }

    /// What is done when there is time: remove what nobody needs, heal, follow the capacity.
    fn look_around(&mut self) {
        self.retry_condemned();
        if !self.shared.is_recovered() {
            return;
        }
        // First, as it may be room that is missing.
        if let Err(error) = self.shrink() {
            self.failed("could not make room", &error);
            return;
        }
        if !self.shared.health.is_healthy() {
            match self.probe() {
                Ok(()) => self
                    .shared
                    .health
                    .set(&self.shared.directory, State::Healthy),
                Err(error) => {
                    let directory = &self.shared.directory;
                    let health = &self.shared.health;
                    health.failed(directory, "still not writable", &error);
                }
            }
        }
    }

    /// Whether the disk can be written to again.
    fn probe(&mut self) -> io::Result<()> {
        let condemned = &self.shared.condemned;
        let condemned = condemned.lock().unwrap_or_else(PoisonError::into_inner);
        if !condemned.is_empty() {
            return Err(io::Error::other("a segment cannot be removed"));
        }
        drop(condemned);
        match &self.open {
            None => self.begin(),
            Some(open) => {
                let header = SegmentHeader {
                    number: open.segment.number,
                    size: open.size,
                    seed: self.shared.seed,
                };
                open.segment.blob.write_all_at(&header.encode(), 0)
            }
        }
    }

    fn retry_condemned(&self) {
        let condemned = &self.shared.condemned;
        let mut condemned = condemned.lock().unwrap_or_else(PoisonError::into_inner);
        condemned.retain(|segment| {
            let removed = self.shared.device.remove(&segment.path).is_ok();
            if removed {
                self.shared.forget_segment(segment);
            }
            !removed
        });
    }
}

fn published(shared: &Shared, origin: &Origin) {
    match origin {
        Origin::Put { receipt, .. } => {
            count(&shared.counters.written, 1);
            receipt.settle(Ok(()));
        }
        Origin::Moved(_) => count(&shared.counters.moved, 1),
    }
}
