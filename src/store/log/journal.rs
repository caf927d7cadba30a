//! Retractions from before recovery is done, on disk.
//!
//! A retraction marks its record dead. While recovery has not come to a record yet, nobody knows
//! where it is; so the retraction is noted in a file, which every later recovery obeys until one
//! is complete and has marked all of them. Each process has a file of its own and holds a lock on
//! it: one that waits for the directory may have to retract, too.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::directory::random;
use super::format::{checksum, u64_at};
use super::index::Id;

/// What is retracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retraction {
    pub(super) id: Id,
    /// Not only this slot but all.
    pub(super) all: bool,
    /// It concerns the segments with smaller numbers; later ones hold what was put after it.
    pub(super) below: u32,
}

/// [`Retraction::below`] before the process has the directory and knows.
pub(super) const NOT_KNOWN: u32 = u32::MAX;

const ENTRY: usize = 32;

/// What a file consists of.
enum Entry {
    Retraction(Retraction),
    /// Where it was not known before in this file, this is [`Retraction::below`].
    Below(u32),
}

impl Entry {
    fn encode(&self, seed: u64) -> Vec<u8> {
        let (id, kind, below) = match self {
            Self::Retraction(retraction) => {
                let kind = u64::from(retraction.all);
                (retraction.id, kind, retraction.below)
            }
            Self::Below(below) => (Id { digest: 0, slot: 0 }, 2, *below),
        };
        let mut bytes = Vec::with_capacity(ENTRY);
        for number in [id.digest, id.slot, (u64::from(below) << 2) | kind] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(seed, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], seed: u64) -> Option<Self> {
        if u64_at(bytes, 24)? != checksum(seed, bytes.get(..24)?) {
            return None;
        }
        let id = Id {
            digest: u64_at(bytes, 0)?,
            slot: u64_at(bytes, 8)?,
        };
        let last = u64_at(bytes, 16)?;
        let below = u32::try_from(last >> 2).ok()?;
        let all = match last & 3 {
            0 => false,
            1 => true,
            _ => return Some(Self::Below(below)),
        };
        Some(Self::Retraction(Retraction { id, all, below }))
    }
}

/// The retractions in the bytes of a file.
fn decode(bytes: &[u8], seed: u64) -> Vec<Retraction> {
    let mut retractions: Vec<Retraction> = Vec::new();
    let entries = bytes.chunks_exact(ENTRY);
    for entry in entries.filter_map(|bytes| Entry::decode(bytes, seed)) {
        match entry {
            Entry::Retraction(retraction) => retractions.push(retraction),
            Entry::Below(below) => {
                for earlier in &mut retractions {
                    earlier.below = earlier.below.min(below);
                }
            }
        }
    }
    retractions
}

/// This process's file.
pub(super) struct Journal {
    path: PathBuf,
    seed: u64,
    file: Mutex<Option<File>>,
}

impl Journal {
    pub(super) fn new(directory: &Path, seed: u64) -> Self {
        let name = format!("{:016x}.retracted", random());
        Self {
            path: directory.join(name),
            seed,
            file: Mutex::new(None),
        }
    }

    /// Notes a retraction, for good.
    pub(super) fn note(&self, retraction: Retraction) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = Entry::Retraction(retraction).encode(self.seed);
        if let Some(file) = file.as_mut() {
            return file.write_all(&bytes);
        }
        let mut new = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        let _ = new.try_lock();
        let written = new.write_all(&bytes);
        *file = Some(new);
        written
    }

    /// Notes which segments the retractions up to now concern. If that fails they concern all that
    /// are there, which costs misses.
    pub(super) fn note_below(&self, below: u32) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.as_mut() {
            let _ = file.write_all(&Entry::Below(below).encode(self.seed));
        }
    }

    /// Removes it: everything is marked.
    pub(super) fn remove(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What earlier processes noted, and their files.
pub(super) fn load(directory: &Path, seed: u64) -> io::Result<(Vec<Retraction>, Vec<PathBuf>)> {
    let mut retractions = Vec::new();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "retracted")
        {
            continue;
        }
        retractions.extend(decode(&std::fs::read(&path)?, seed));
        files.push(path);
    }
    Ok((retractions, files))
}

/// Removes the files of processes that are gone.
pub(super) fn remove(files: &[PathBuf]) {
    for path in files {
        let left = File::open(path).is_ok_and(|file| file.try_lock().is_ok());
        if left {
            let _ = std::fs::remove_file(path);
        }
    }
}
