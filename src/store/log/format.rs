//! What stands where in a segment file, version 1. Pure: bytes to values and back.
//!
//! ```text
//! 0    segment header: magic, version, number, size, seed, checksum           64 bytes
//! 64   seal: magic, offset of the index, count, checksums; zero while open    64 bytes
//! 128  records, each at a multiple of 8
//!      index of a sealed segment: `count` entries of 56 bytes, then `count` marks of one byte
//! ```
//! A record is its header (72 bytes), the primary key, the head, one checksum for each block of
//! the body, and the body. The record's own checksum covers all of that before the body. Every
//! checksum is XXH3 with the directory's seed, which clients do not know: a body that looks like
//! records is never taken for them. A record's sequence is its place, segment and offset, so
//! bytes that belong elsewhere do not pass either. Numbers are little endian.

use std::ops::Range;

use twox_hash::XxHash3_64;

/// The version that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;
/// Bytes of a body that share a checksum.
pub(super) const BLOCK: u64 = 64 * 1024;
pub(super) const SEGMENT_HEADER: usize = 64;
pub(super) const SEAL_AT: u64 = SEGMENT_HEADER as u64;
pub(super) const SEAL: usize = 64;
/// Where the first record stands.
pub(super) const FIRST: u64 = 128;
pub(super) const RECORD_HEADER: usize = 72;
pub(super) const INDEX_ENTRY: usize = 56;
/// What a record takes in the index: its entry and its mark.
pub(super) const INDEX_SHARE: u64 = INDEX_ENTRY as u64 + 1;
/// Where in a record its mark stands.
pub(super) const MARK_AT: u64 = 4;
/// The mark of a record, or of its index entry, that may be found. Any other value: it may not.
pub(super) const ALIVE: u8 = 0xA5;
pub(super) const DEAD: u8 = 0;

const SEGMENT_MAGIC: [u8; 8] = *b"SWSEGMNT";
const SEAL_MAGIC: [u8; 8] = *b"SWSEALED";
const RECORD_MAGIC: [u8; 4] = *b"SWRC";

pub(super) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Up to the next multiple of 8.
pub(super) fn aligned(length: u64) -> u64 {
    length.next_multiple_of(8)
}

/// How many checksums a body of this length has.
pub(super) fn blocks(body_len: u64) -> u64 {
    body_len.div_ceil(BLOCK)
}

/// Where a record stands, which is also its sequence: a later record has a greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Location {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

impl Location {
    pub(super) fn sequence(self) -> u64 {
        (u64::from(self.segment) << 32) | u64::from(self.offset)
    }
}

/// The first bytes of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u32,
    /// Bytes that were set aside for it.
    pub(super) size: u64,
    pub(super) seed: u64,
}

/// Why a segment's header is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    Damaged,
    /// Written by another version of the format.
    Version(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER);
        bytes.extend_from_slice(&SEGMENT_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.seed.to_le_bytes());
        bytes.resize(SEGMENT_HEADER - 8, 0);
        let sum = checksum(self.seed, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        Self::read(bytes).unwrap_or(Err(BadHeader::Damaged))
    }

    fn read(bytes: &[u8]) -> Option<Result<Self, BadHeader>> {
        if bytes.get(..8)? != SEGMENT_MAGIC {
            return None;
        }
        let version = u32_at(bytes, 8)?;
        if version != VERSION {
            // Only magic and version stand where they do in every version.
            return Some(Err(BadHeader::Version(version)));
        }
        let header = Self {
            number: u32_at(bytes, 12)?,
            size: u64_at(bytes, 16)?,
            seed: u64_at(bytes, 24)?,
        };
        let sum = checksum(header.seed, bytes.get(..SEGMENT_HEADER - 8)?);
        (u64_at(bytes, SEGMENT_HEADER - 8)? == sum).then_some(Ok(header))
    }
}

/// What says that a segment is complete, and where its index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) index_at: u64,
    pub(super) count: u32,
    /// Of the index entries; marks change and are not covered.
    pub(super) index_sum: u64,
}

/// What stands where the seal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SealState {
    Open,
    Complete(Seal),
    Damaged,
}

impl Seal {
    pub(super) fn encode(&self, seed: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEAL);
        bytes.extend_from_slice(&SEAL_MAGIC);
        bytes.extend_from_slice(&self.index_at.to_le_bytes());
        bytes.extend_from_slice(&u64::from(self.count).to_le_bytes());
        bytes.extend_from_slice(&self.index_sum.to_le_bytes());
        bytes.resize(SEAL - 8, 0);
        let sum = checksum(seed, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8], seed: u64) -> SealState {
        if bytes.iter().all(|byte| *byte == 0) {
            return SealState::Open;
        }
        Self::read(bytes, seed).map_or(SealState::Damaged, SealState::Complete)
    }

    fn read(bytes: &[u8], seed: u64) -> Option<Self> {
        let sum = checksum(seed, bytes.get(..SEAL - 8)?);
        if bytes.get(..8)? != SEAL_MAGIC || u64_at(bytes, SEAL - 8)? != sum {
            return None;
        }
        Some(Self {
            index_at: u64_at(bytes, 8)?,
            count: u32::try_from(u64_at(bytes, 16)?).ok()?,
            index_sum: u64_at(bytes, 24)?,
        })
    }

    pub(super) fn marks_at(&self) -> u64 {
        self.index_at + u64::from(self.count) * INDEX_ENTRY as u64
    }

    /// Where the segment ends.
    pub(super) fn end(&self) -> u64 {
        self.marks_at() + u64::from(self.count)
    }
}

/// A record as an index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) digest: u64,
    pub(super) slot: u64,
    pub(super) fill: u64,
    pub(super) generation: u64,
    pub(super) useful_until: u64,
    pub(super) offset: u32,
    pub(super) head_len: u32,
    pub(super) body_len: u32,
}

impl IndexEntry {
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        for number in [
            self.digest,
            self.slot,
            self.fill,
            self.generation,
            self.useful_until,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.offset, self.head_len, self.body_len, 0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            digest: u64_at(bytes, 0)?,
            slot: u64_at(bytes, 8)?,
            fill: u64_at(bytes, 16)?,
            generation: u64_at(bytes, 24)?,
            useful_until: u64_at(bytes, 32)?,
            offset: u32_at(bytes, 40)?,
            head_len: u32_at(bytes, 44)?,
            body_len: u32_at(bytes, 48)?,
        })
    }
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) mark: u8,
    pub(super) sum: u64,
    pub(super) sequence: u64,
    pub(super) slot: u64,
    pub(super) fill: u64,
    pub(super) generation: u64,
    pub(super) useful_until: u64,
    pub(super) key_len: u32,
    pub(super) head_len: u32,
    pub(super) body_len: u64,
}

impl RecordHeader {
    /// The header with the key, the head and the checksums of the body's blocks behind it. It is
    /// not alive yet: its mark is set once all of it is written.
    pub(super) fn encode(
        &self,
        seed: u64,
        key: &[u8],
        head: &[u8],
        sums: &[u64],
        to: &mut Vec<u8>,
    ) {
        let start = to.len();
        to.extend_from_slice(&RECORD_MAGIC);
        to.extend_from_slice(&[DEAD, u8::try_from(VERSION).unwrap_or(0), 0, 0]);
        to.extend_from_slice(&[0; 8]);
        for number in [
            self.sequence,
            self.slot,
            self.fill,
            self.generation,
            self.useful_until,
        ] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(&self.key_len.to_le_bytes());
        to.extend_from_slice(&self.head_len.to_le_bytes());
        to.extend_from_slice(&self.body_len.to_le_bytes());
        to.extend_from_slice(key);
        to.extend_from_slice(head);
        for sum in sums {
            to.extend_from_slice(&sum.to_le_bytes());
        }
        let sum = checksum(seed, to.get(start + 16..).unwrap_or_default());
        if let Some(place) = to.get_mut(start + 8..start + 16) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }

    /// The fields as they stand, when they could be those of a record; nothing is verified.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let version = *bytes.get(5)?;
        let known = bytes.get(..4)? == RECORD_MAGIC
            && u32::from(version) == VERSION
            && bytes.get(6..8)? == [0, 0];
        if !known {
            return None;
        }
        Some(Self {
            mark: *bytes.get(4)?,
            sum: u64_at(bytes, 8)?,
            sequence: u64_at(bytes, 16)?,
            slot: u64_at(bytes, 24)?,
            fill: u64_at(bytes, 32)?,
            generation: u64_at(bytes, 40)?,
            useful_until: u64_at(bytes, 48)?,
            key_len: u32_at(bytes, 56)?,
            head_len: u32_at(bytes, 60)?,
            body_len: u64_at(bytes, 64)?,
        })
    }

    /// The length that the record would have if its lengths are right; nothing where they are
    /// those of no record.
    pub(super) fn length_at(bytes: &[u8]) -> Option<u64> {
        let key = u64::from(u32_at(bytes, 56)?);
        let head = u64::from(u32_at(bytes, 60)?);
        let body = u64_at(bytes, 64)?;
        if key == 0 && head == 0 && body == 0 {
            return None;
        }
        preamble_len(key, head, body)
            .checked_add(body)?
            .checked_next_multiple_of(8)
    }

    /// The length of all that stands before the body; lengths that no record has saturate.
    pub(super) fn preamble_len(&self) -> u64 {
        preamble_len(self.key_len.into(), self.head_len.into(), self.body_len)
    }

    /// The length of the whole record and what lies between it and the next.
    pub(super) fn record_len(&self) -> u64 {
        self.preamble_len()
            .saturating_add(self.body_len)
            .checked_next_multiple_of(8)
            .unwrap_or(u64::MAX)
    }
}

/// The bytes of a record before its body.
pub(super) fn preamble_len(key: u64, head: u64, body: u64) -> u64 {
    (RECORD_HEADER as u64)
        .saturating_add(key)
        .saturating_add(head)
        .saturating_add(blocks(body) * 8)
}

/// All of a record before its body, verified.
pub(super) struct Preamble<'b> {
    pub(super) header: RecordHeader,
    pub(super) key: &'b [u8],
    /// Where in the bytes the head is.
    pub(super) head: Range<usize>,
    sums: &'b [u8],
}

impl<'b> Preamble<'b> {
    /// What `bytes` are, if they are exactly the preamble of the record that belongs at `sequence`.
    pub(super) fn verify(bytes: &'b [u8], seed: u64, sequence: u64) -> Option<Self> {
        let header = RecordHeader::decode(bytes)?;
        if header.sequence != sequence || header.preamble_len() != bytes.len() as u64 {
            return None;
        }
        if checksum(seed, bytes.get(16..)?) != header.sum {
            return None;
        }
        let key_end = RECORD_HEADER + usize::try_from(header.key_len).ok()?;
        let head_end = key_end + usize::try_from(header.head_len).ok()?;
        Some(Self {
            header,
            key: bytes.get(RECORD_HEADER..key_end)?,
            head: key_end..head_end,
            sums: bytes.get(head_end..)?,
        })
    }

    /// The checksum of block `number` of the body.
    pub(super) fn block_sum(&self, number: u64) -> Option<u64> {
        u64_at(self.sums, usize::try_from(number.checked_mul(8)?).ok()?)
    }

    /// Whether `bytes` are the blocks of the body from block `first` on.
    pub(super) fn verify_blocks(&self, seed: u64, first: u64, bytes: &[u8]) -> bool {
        let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
        (first..)
            .zip(bytes.chunks(block))
            .all(|(number, bytes)| self.block_sum(number) == Some(checksum(seed, bytes)))
    }
}
