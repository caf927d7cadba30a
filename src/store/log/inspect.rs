//! Looking at a directory from outside, also while a process uses it: nothing is changed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;

use super::device::{Blob, read_at};
use super::format::{
    self, IndexEntry, Location, Preamble, RECORD_HEADER, RecordHeader, Seal, SegmentHeader,
};
use super::recovery::{Opened, examine, read_index, scan};
use super::segment;

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The directory.
    pub directory: PathBuf,
    /// The version of the format that this program reads and writes.
    pub format_version: u32,
    /// Bytes of all segment files.
    pub bytes: u64,
    /// Records that a restart finds, the expired among them.
    pub live: u64,
    /// Their heads and bodies.
    pub live_bytes: u64,
    /// Records that were replaced or retracted.
    pub dead: u64,
    /// Live records that are of no use any more.
    pub expired: u64,
    /// Every segment, the oldest first.
    pub segments: Vec<SegmentReport>,
    /// What is damaged.
    pub damaged: Vec<Damage>,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// Its number; a later one has a greater one.
    pub number: u32,
    /// Whether it is complete.
    pub state: SegmentState,
    /// The bytes of its file.
    pub bytes: u64,
    /// Records that a restart finds.
    pub live: u64,
    /// Their heads and bodies.
    pub live_bytes: u64,
    /// Records that were replaced or retracted; not known of a segment that is open.
    pub dead: u64,
    /// Live records that are of no use any more.
    pub expired: u64,
    /// Seconds since 1970 when the file was last written to, marks included.
    pub modified: u64,
}

/// How a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentState {
    /// Complete, with an index.
    Sealed,
    /// Written to, or left behind by a process that was killed.
    Open,
    /// Of another version of the format.
    Foreign,
    /// Not readable as a segment.
    Damaged,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The segment.
    pub segment: u32,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// A record out of the bytes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// [`super::Record::primary`]
    pub primary: Bytes,
    /// [`super::Record::slot`]
    pub slot: u64,
    /// [`super::Record::fill`]
    pub fill: u64,
    /// [`super::Record::generation`]
    pub generation: u64,
    /// [`super::Record::head`]
    pub head: Bytes,
    /// [`super::Record::body`]
    pub body: Bytes,
}

/// What the indexes of a directory say. `now` is in seconds since 1970.
pub fn inspect(directory: &Path, now: u64) -> io::Result<Report> {
    report(directory, now, false)
}

/// [`inspect`], and every live record is read and checked.
pub fn verify(directory: &Path, now: u64) -> io::Result<Report> {
    report(directory, now, true)
}

/// The records that recovery and reading would get out of a segment file with these bytes.
pub fn salvage(segment: &[u8]) -> Vec<Salvaged> {
    let image = Image(segment.to_vec());
    let Ok(Opened::Segment(header, seal)) = examine(&image) else {
        return Vec::new();
    };
    let Ok(listing) = list_records(&image, &header, seal.as_ref()) else {
        return Vec::new();
    };
    let alive = listing.entries.iter().filter(|(_, alive)| *alive);
    alive
        .filter_map(|(entry, _)| read_record(&image, &header, entry).ok()?.ok())
        .collect()
}

fn report(directory: &Path, now: u64, thorough: bool) -> io::Result<Report> {
    let mut report = Report {
        directory: directory.to_owned(),
        format_version: format::VERSION,
        bytes: 0,
        live: 0,
        live_bytes: 0,
        dead: 0,
        expired: 0,
        segments: Vec::new(),
        damaged: Vec::new(),
    };
    for (number, path) in segment::list(directory)? {
        let file = match File::open(&path) {
            // Reclaimed a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let segment = look_at(number, &file, now, thorough, &mut report.damaged)?;
        report.bytes += segment.bytes;
        report.live += segment.live;
        report.live_bytes += segment.live_bytes;
        report.dead += segment.dead;
        report.expired += segment.expired;
        report.segments.push(segment);
    }
    Ok(report)
}

fn look_at(
    number: u32,
    file: &File,
    now: u64,
    thorough: bool,
    damaged: &mut Vec<Damage>,
) -> io::Result<SegmentReport> {
    let metadata = file.metadata()?;
    let modified = metadata.modified().ok();
    let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let mut report = SegmentReport {
        number,
        state: SegmentState::Damaged,
        bytes: metadata.len(),
        live: 0,
        live_bytes: 0,
        dead: 0,
        expired: 0,
        modified: modified.map_or(0, |since| since.as_secs()),
    };
    let mut damage = |offset, what: &str| {
        damaged.push(Damage {
            segment: number,
            offset,
            what: what.to_owned(),
        });
    };
    let (header, seal) = match examine(file)? {
        Opened::Segment(header, seal) => (header, seal),
        Opened::Foreign(version) => {
            report.state = SegmentState::Foreign;
            damage(0, &format!("version {version} of the format"));
            return Ok(report);
        }
        Opened::Damaged => {
            damage(0, "the segment's header");
            return Ok(report);
        }
    };
    let Ok(listing) = list_records(file, &header, seal.as_ref()) else {
        damage(seal.map_or(0, |seal| seal.index_at), "the segment's index");
        return Ok(report);
    };
    report.state = match seal {
        Some(_) => SegmentState::Sealed,
        None => SegmentState::Open,
    };
    if listing.damaged > 0 {
        let what = format!("{} bytes of records", listing.damaged);
        damage(format::FIRST, &what);
    }
    for (entry, alive) in &listing.entries {
        if !alive {
            report.dead += 1;
            continue;
        }
        report.live += 1;
        report.live_bytes += u64::from(entry.head_len) + u64::from(entry.body_len);
        report.expired += u64::from(entry.useful_until <= now);
        if thorough && let Err(what) = read_record(file, &header, entry)? {
            damage(entry.offset.into(), what);
        }
    }
    Ok(report)
}

struct Listing {
    entries: Vec<(IndexEntry, bool)>,
    damaged: u64,
}

/// The records of a segment, by its index or, without one, by going through it.
fn list_records(
    blob: &dyn Blob,
    header: &SegmentHeader,
    seal: Option<&Seal>,
) -> io::Result<Listing> {
    if let Some(seal) = seal {
        let entries = read_index(blob, header.seed, seal)?;
        return Ok(Listing {
            entries: entries.ok_or(io::ErrorKind::InvalidData)?,
            damaged: 0,
        });
    }
    let scan = scan(blob, header)?;
    Ok(Listing {
        entries: scan
            .entries
            .into_iter()
            .map(|entry| (entry, true))
            .collect(),
        damaged: scan.damaged,
    })
}

/// The record that an index entry names, or what is wrong with it.
fn read_record(
    blob: &dyn Blob,
    header: &SegmentHeader,
    entry: &IndexEntry,
) -> io::Result<Result<Salvaged, &'static str>> {
    match try_read(blob, header, entry) {
        // The file ends before the record does.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err("the file's end")),
        result => result,
    }
}

fn try_read(
    blob: &dyn Blob,
    header: &SegmentHeader,
    entry: &IndexEntry,
) -> io::Result<Result<Salvaged, &'static str>> {
    let offset = u64::from(entry.offset);
    let fixed = read_at(blob, offset, RECORD_HEADER as u64)?;
    let Some(record) = RecordHeader::decode(&fixed) else {
        return Ok(Err("a record's header"));
    };
    let same = record.slot == entry.slot
        && record.fill == entry.fill
        && record.generation == entry.generation
        && record.head_len == entry.head_len
        && record.body_len == u64::from(entry.body_len);
    let end = offset.saturating_add(record.record_len());
    if !same || end > blob.length()?.saturating_add(8) {
        return Ok(Err("a record's header"));
    }
    let bytes = Bytes::from(read_at(blob, offset, record.preamble_len())?);
    let location = Location {
        segment: header.number,
        offset: entry.offset,
    };
    let Some(preamble) = Preamble::verify(&bytes, header.seed, location.sequence()) else {
        return Ok(Err("a record's header, key or head"));
    };
    let body = read_at(blob, offset + record.preamble_len(), record.body_len)?;
    if !preamble.verify_blocks(header.seed, 0, &body) {
        return Ok(Err("a record's body"));
    }
    Ok(Ok(Salvaged {
        primary: Bytes::copy_from_slice(preamble.key),
        slot: record.slot,
        fill: record.fill,
        generation: record.generation,
        head: bytes.slice(preamble.head.clone()),
        body: Bytes::from(body),
    }))
}

/// A segment file in memory.
struct Image(Vec<u8>);

impl Blob for Image {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.saturating_add(bytes.len());
        let there = self.0.get(start..end);
        bytes.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
