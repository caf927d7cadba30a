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

const ENTRY: usize = 32;

impl Retraction {
    fn encode(self, seed: u64) -> Vec<u8> {
        let reach = (u64::from(self.below) << 1) | u64::from(self.all);
        let mut bytes = Vec::with_capacity(ENTRY);
        for number in [self.id.digest, self.id.slot, reach] {
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
        let reach = u64_at(bytes, 16)?;
        Some(Self {
            id: Id {
                digest: u64_at(bytes, 0)?,
                slot: u64_at(bytes, 8)?,
            },
            all: reach & 1 == 1,
            below: u32::try_from(reach >> 1).ok()?,
        })
    }
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
        if file.is_none() {
            let new = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)?;
            let _ = new.try_lock();
            *file = Some(new);
        }
        match file.as_mut() {
            Some(file) => file.write_all(&retraction.encode(self.seed)),
            None => Ok(()),
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
        let bytes = std::fs::read(&path)?;
        let entries = bytes.chunks_exact(ENTRY);
        retractions.extend(entries.filter_map(|bytes| Retraction::decode(bytes, seed)));
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
