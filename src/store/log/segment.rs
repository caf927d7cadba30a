//! One segment file: its marks, and what is counted of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::device::Blob;
use super::format::{self, ALIVE, DEAD, IndexEntry, SEAL_AT, Seal};
use super::index::Known;

/// A segment that records are found in.
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) blob: Box<dyn Blob>,
    marks: Mutex<Marks>,
    /// Bytes that the file takes.
    length: AtomicU64,
    live: AtomicU64,
    live_bytes: AtomicU64,
    /// The last moment at which any of its records is useful.
    useful_until: AtomicU64,
    /// The smallest purge generation of any record that was ever in it.
    generation: AtomicU64,
    /// Being removed: what is in it is not to be relied on.
    gone: AtomicBool,
}

/// Where the mark of a record is.
enum Marks {
    /// In its header, while the segment is open. The ordinals of the dead are kept for the seal.
    InRecords { dead: Vec<u32> },
    /// Behind the index of the sealed segment.
    InIndex { at: u64 },
}

impl Segment {
    /// A segment without a seal.
    pub(super) fn open(number: u32, path: PathBuf, blob: Box<dyn Blob>, length: u64) -> Self {
        Self::new(
            number,
            path,
            blob,
            length,
            Marks::InRecords { dead: vec![] },
        )
    }

    /// A segment with a seal.
    pub(super) fn sealed(
        number: u32,
        path: PathBuf,
        blob: Box<dyn Blob>,
        length: u64,
        seal: &Seal,
    ) -> Self {
        let at = seal.marks_at();
        Self::new(number, path, blob, length, Marks::InIndex { at })
    }

    fn new(number: u32, path: PathBuf, blob: Box<dyn Blob>, length: u64, marks: Marks) -> Self {
        Self {
            number,
            path,
            blob,
            marks: Mutex::new(marks),
            length: AtomicU64::new(length),
            live: AtomicU64::new(0),
            live_bytes: AtomicU64::new(0),
            useful_until: AtomicU64::new(0),
            generation: AtomicU64::new(u64::MAX),
            gone: AtomicBool::new(false),
        }
    }

    /// Counts a record in, before it can be found.
    pub(super) fn admit(&self, known: &Known) {
        self.generation
            .fetch_min(known.generation, Ordering::SeqCst);
        let until = match known.useful_until {
            u32::MAX => u64::MAX,
            until => until.into(),
        };
        self.useful_until.fetch_max(until, Ordering::Relaxed);
        self.live_bytes.fetch_add(known.weight(), Ordering::Relaxed);
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a record out.
    pub(super) fn dismiss(&self, known: &Known) {
        self.live_bytes.fetch_sub(known.weight(), Ordering::Relaxed);
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Makes a record that is written completely one that a restart finds.
    pub(super) fn mark_alive(&self, offset: u32) -> io::Result<()> {
        let at = u64::from(offset) + format::MARK_AT;
        self.blob.write_all_at(&[ALIVE], at)
    }

    /// Makes a record one that no restart finds.
    pub(super) fn mark_dead(&self, known: &Known) -> io::Result<()> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *marks {
            Marks::InRecords { dead } => {
                dead.push(known.ordinal);
                let at = u64::from(known.location.offset) + format::MARK_AT;
                self.blob.write_all_at(&[DEAD], at)
            }
            Marks::InIndex { at } => {
                let at = *at + u64::from(known.ordinal);
                self.blob.write_all_at(&[DEAD], at)
            }
        }
    }

    /// Writes the index of `entries` at `index_at` and then the seal, from when on marks are those
    /// behind the index. A process that is killed before leaves an open segment, whose marks are in
    /// its records and right.
    pub(super) fn seal(&self, seed: u64, index_at: u64, entries: &[IndexEntry]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(entries.len() * format::INDEX_ENTRY);
        for entry in entries {
            entry.encode(&mut bytes);
        }
        let seal = Seal {
            index_at,
            count: u32::try_from(entries.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            index_sum: format::checksum(seed, &bytes),
        };
        self.blob.write_all_at(&bytes, index_at)?;
        {
            let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            let mut alive = vec![ALIVE; entries.len()];
            if let Marks::InRecords { dead } = &*marks {
                for ordinal in dead {
                    if let Some(mark) = alive.get_mut(*ordinal as usize) {
                        *mark = DEAD;
                    }
                }
            }
            self.blob.write_all_at(&alive, seal.marks_at())?;
            self.blob.write_all_at(&seal.encode(seed), SEAL_AT)?;
            *marks = Marks::InIndex {
                at: seal.marks_at(),
            };
        }
        // What was set aside and not needed; if that fails, it is needed less.
        if self.blob.truncate(seal.end()).is_ok() {
            self.length.store(seal.end(), Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    pub(super) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn useful_until(&self) -> u64 {
        self.useful_until.load(Ordering::Relaxed)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Lowers the generation before a record is on its way into the segment.
    pub(super) fn set_generation(&self, generation: u64) {
        self.generation.fetch_min(generation, Ordering::SeqCst);
    }

    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

/// The file of a segment.
pub(super) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08x}.segment"))
}

/// The number of the segment whose file this is.
pub(super) fn number(path: &Path) -> Option<u32> {
    if path.extension()? != "segment" {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    (stem.len() == 8).then(|| u32::from_str_radix(stem, 16).ok())?
}

/// The segment files in a directory, oldest first.
pub(super) fn list(directory: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        found.extend(number(&path).map(|number| (number, path)));
    }
    found.sort_unstable();
    Ok(found)
}
