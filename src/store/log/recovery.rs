//! Finding again what is on disk: the index of every sealed segment, and the records of the others.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::device::{Blob, read_at};
use super::format::{
    self, ALIVE, BadHeader, FIRST, INDEX_ENTRY, IndexEntry, Location, Preamble, RECORD_HEADER,
    RecordHeader, SEAL, SEGMENT_HEADER, Seal, SealState, SegmentHeader,
};
use super::index::Known;
use super::journal;
use super::segment::{self, Segment};
use super::shared::Shared;

/// A segment of an earlier process.
pub(super) struct Found {
    segment: Arc<Segment>,
    seal: Option<Seal>,
}

/// What a segment file turned out to be.
pub(super) enum Opened {
    Segment(SegmentHeader, Option<Seal>),
    /// Another version of the format.
    Foreign(u32),
    Damaged,
}

/// Reads the beginning of a segment file.
pub(super) fn examine(blob: &dyn Blob) -> io::Result<Opened> {
    if blob.length()? < FIRST {
        return Ok(Opened::Damaged);
    }
    let bytes = read_at(blob, 0, FIRST)?;
    let header = match SegmentHeader::decode(&bytes) {
        Ok(header) => header,
        Err(BadHeader::Version(version)) => return Ok(Opened::Foreign(version)),
        Err(BadHeader::Damaged) => return Ok(Opened::Damaged),
    };
    let seal = bytes.get(SEGMENT_HEADER..SEGMENT_HEADER + SEAL);
    Ok(match Seal::decode(seal.unwrap_or_default(), header.seed) {
        SealState::Open => Opened::Segment(header, None),
        SealState::Complete(seal) => Opened::Segment(header, Some(seal)),
        SealState::Damaged => Opened::Damaged,
    })
}

/// The index of a sealed segment with the marks; nothing if it is damaged.
pub(super) fn read_index(
    blob: &dyn Blob,
    seed: u64,
    seal: &Seal,
) -> io::Result<Option<Vec<(IndexEntry, bool)>>> {
    let count = u64::from(seal.count);
    let Some(end) = seal.index_at.checked_add(count * (INDEX_ENTRY as u64 + 1)) else {
        return Ok(None);
    };
    if seal.index_at < FIRST || end > blob.length()? {
        return Ok(None);
    }
    let bytes = read_at(blob, seal.index_at, end - seal.index_at)?;
    let entries_len = seal.count as usize * INDEX_ENTRY;
    let Some((entries, marks)) = bytes.split_at_checked(entries_len) else {
        return Ok(None);
    };
    if format::checksum(seed, entries) != seal.index_sum {
        return Ok(None);
    }
    let entries = entries.chunks_exact(INDEX_ENTRY).map(IndexEntry::decode);
    let marked = entries.zip(marks);
    Ok(marked
        .map(|(entry, mark)| Some((entry?, *mark == ALIVE)))
        .collect())
}

/// The records of a segment without a seal.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) entries: Vec<IndexEntry>,
    /// Where the records end.
    pub(super) end: u64,
    /// The bytes of records that are marked alive and damaged.
    pub(super) damaged: u64,
}

/// Goes from record to record as their lengths say, and takes those that are alive and right. One
/// that is damaged is passed over, if its lengths lead to another record.
pub(super) fn scan(blob: &dyn Blob, header: &SegmentHeader) -> io::Result<Scan> {
    let length = blob.length()?;
    let mut scan = Scan {
        end: FIRST,
        ..Scan::default()
    };
    let mut offset = FIRST;
    while offset.saturating_add(RECORD_HEADER as u64) <= length {
        let bytes = read_at(blob, offset, RECORD_HEADER as u64)?;
        let Ok(place) = u32::try_from(offset) else {
            break;
        };
        let location = Location {
            segment: header.number,
            offset: place,
        };
        let step = match RecordHeader::decode(&bytes) {
            Some(record) if record.sequence == location.sequence() => {
                scan_record(blob, header, location, &record, length, &mut scan)?
            }
            // Not a record; what follows is one if the lengths are still right.
            _ => RecordHeader::length_at(&bytes)
                .filter(|step| offset.saturating_add(*step) < length)
                .filter(|step| begins_record(blob, header.number, offset + step))
                .inspect(|step| scan.damaged += step),
        };
        let Some(step) = step else {
            break;
        };
        offset = offset.saturating_add(step);
        scan.end = offset;
    }
    Ok(scan)
}

/// Takes in the record at `location`; returns how far it is to the next.
fn scan_record(
    blob: &dyn Blob,
    header: &SegmentHeader,
    location: Location,
    record: &RecordHeader,
    length: u64,
    scan: &mut Scan,
) -> io::Result<Option<u64>> {
    let offset = u64::from(location.offset);
    let content = record.preamble_len().saturating_add(record.body_len);
    if offset.saturating_add(content) > length {
        return Ok(None);
    }
    if record.mark != ALIVE {
        return Ok(Some(record.record_len()));
    }
    let bytes = read_at(blob, offset, record.preamble_len())?;
    match Preamble::verify(&bytes, header.seed, location.sequence()) {
        Some(preamble) => scan.entries.push(IndexEntry {
            digest: format::checksum(header.seed, preamble.key),
            slot: record.slot,
            fill: record.fill,
            generation: record.generation,
            useful_until: record.useful_until,
            offset: location.offset,
            head_len: record.head_len,
            body_len: u32::try_from(record.body_len).unwrap_or(u32::MAX),
        }),
        None => scan.damaged += record.record_len(),
    }
    Ok(Some(record.record_len()))
}

/// Whether the header of a record that belongs there is at `offset`.
fn begins_record(blob: &dyn Blob, segment: u32, offset: u64) -> bool {
    let (Ok(bytes), Ok(place)) = (
        read_at(blob, offset, RECORD_HEADER as u64),
        u32::try_from(offset),
    ) else {
        return false;
    };
    let location = Location {
        segment,
        offset: place,
    };
    RecordHeader::decode(&bytes).is_some_and(|record| record.sequence == location.sequence())
}

impl Shared {
    /// Lists the segments that are there, and gives new ones greater numbers.
    pub(super) fn number_segments(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let segments = segment::list(&self.directory)?;
        let first = segments.last().map_or(1, |(number, _)| number + 1);
        let before = self.next_segment.fetch_max(first, Ordering::SeqCst);
        let first = first.max(before);
        self.first_own.store(first, Ordering::SeqCst);
        self.journal.note_below(first);
        Ok(segments)
    }

    /// Opens the segments that are there, so that their room counts and new ones have new numbers.
    pub(super) fn register(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for (number, path) in self.number_segments()? {
            let blob = self.device.open(&path)?;
            let length = blob.length()?;
            match examine(&*blob)? {
                Opened::Segment(header, seal)
                    if header.number == number && header.seed == self.seed =>
                {
                    let segment = match &seal {
                        Some(seal) => Segment::sealed(number, path, blob, length, seal),
                        None => Segment::open(number, path, blob, length),
                    };
                    let segment = Arc::new(segment);
                    found.push(Found { segment, seal });
                }
                Opened::Foreign(version) => set_aside(&path, version),
                Opened::Segment(..) | Opened::Damaged => {
                    tracing::warn!(path = %path.display(), "removed a segment of the disk store that is damaged");
                    self.skipped(length);
                    self.device.remove(&path)?;
                }
            }
        }
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for found in &found {
            segments.insert(found.segment.number, Arc::clone(&found.segment));
        }
        Ok(found)
    }

    fn skipped(&self, bytes: u64) {
        let mut recovery = self.recovery.lock().unwrap_or_else(PoisonError::into_inner);
        recovery.bytes_skipped += bytes;
    }

    /// Recovers what was found, the newest first. `began` is when that was.
    pub(super) fn recover_all(&self, mut found: Vec<Found>, began: Duration) {
        let journals = self.load_journals();
        found.sort_by_key(|found| std::cmp::Reverse(found.segment.number));
        for found in found {
            if self.queue.is_closing() {
                return;
            }
            self.recover_segment(&found);
        }
        self.unbar();
        let condemned = self
            .condemned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if condemned.is_empty() {
            journal::remove(&journals);
            self.journal.remove();
        }
        drop(condemned);
        let mut recovery = self.recovery.lock().unwrap_or_else(PoisonError::into_inner);
        recovery.done = true;
        recovery.took = (self.now)().saturating_sub(began);
        tracing::info!(
            directory = %self.directory.display(), entries = recovery.entries,
            segments = recovery.segments, skipped = recovery.bytes_skipped,
            took = ?recovery.took, "the disk store is recovered"
        );
        self.recovered.notify_all();
    }

    fn load_journals(&self) -> Vec<PathBuf> {
        match journal::load(&self.directory, self.seed) {
            Ok((retractions, files)) => {
                for retraction in retractions {
                    self.obey(retraction);
                }
                files
            }
            Err(error) => {
                // Without them, what was retracted might come back.
                tracing::warn!(%error, "could not read what was retracted; the disk store begins empty");
                for segment in self.all_segments() {
                    if segment.number < self.first_own.load(Ordering::SeqCst) {
                        self.condemn(&segment);
                    }
                }
                Vec::new()
            }
        }
    }

    fn recover_segment(&self, found: &Found) {
        let segment = &found.segment;
        if segment.is_gone() {
            return;
        }
        let entries = match &found.seal {
            Some(seal) => self.indexed(segment, seal),
            None => self.scanned(segment),
        };
        // One that cannot be read now might be later, with records long replaced.
        let Some(recovered) = entries else {
            tracing::warn!(path = %segment.path.display(), "removed a segment of the disk store that cannot be read");
            self.skipped(segment.length());
            self.condemn(segment);
            return;
        };
        let mut recovery = self.recovery.lock().unwrap_or_else(PoisonError::into_inner);
        recovery.entries += recovered;
        recovery.segments += 1;
    }

    /// Takes in what the index of a segment names, the newest first.
    fn indexed(&self, segment: &Segment, seal: &Seal) -> Option<u64> {
        let entries = read_index(&*segment.blob, self.seed, seal).ok()??;
        let mut recovered = 0;
        for (ordinal, (entry, alive)) in numbered(&entries) {
            if *alive {
                let known = Known::new(segment.number, ordinal, entry);
                recovered += u64::from(self.recover(segment, &known));
            }
        }
        Some(recovered)
    }

    /// Takes in the records of a segment that was not sealed, and seals it.
    fn scanned(&self, segment: &Segment) -> Option<u64> {
        let header = SegmentHeader {
            number: segment.number,
            size: segment.length(),
            seed: self.seed,
        };
        let scan = scan(&*segment.blob, &header).ok()?;
        self.skipped(scan.damaged);
        let mut recovered = 0;
        for (ordinal, entry) in numbered(&scan.entries) {
            let known = Known::new(segment.number, ordinal, entry);
            recovered += u64::from(self.recover(segment, &known));
        }
        if segment.is_gone() {
            return Some(0);
        }
        if let Err(error) = segment.seal(self.seed, format::aligned(scan.end), &scan.entries) {
            tracing::debug!(%error, number = segment.number, "could not seal a segment");
        }
        Some(recovered)
    }
}

/// Entries with their numbers, the last first.
fn numbered<T>(entries: &[T]) -> impl Iterator<Item = (u32, &T)> {
    let numbered = entries.iter().enumerate().rev();
    numbered.map(|(number, entry)| (u32::try_from(number).unwrap_or(u32::MAX), entry))
}

/// Renames a file that another version of Seawall may want back.
fn set_aside(path: &std::path::Path, version: u32) {
    let aside = path.with_extension("aside");
    let renamed = std::fs::rename(path, &aside);
    tracing::warn!(
        path = %aside.display(), version, ours = format::VERSION, renamed = renamed.is_ok(),
        "set a segment of the disk store aside that is of another version"
    );
}
