//! The directory: its lock, and the seed of its checksums.

use std::fs::{File, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::Path;

use super::format;
use super::types::OpenError;

/// The lock of the directory.
pub(super) struct Lock {
    file: File,
    pub(super) held: bool,
}

impl Lock {
    pub(super) fn new(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join("lock");
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(|error| OpenError::File { path, error })?;
        let mut lock = Self { file, held: false };
        lock.acquire();
        Ok(lock)
    }

    pub(super) fn acquire(&mut self) -> bool {
        if !self.held {
            self.held = match self.file.try_lock() {
                Err(TryLockError::WouldBlock) => false,
                // On a file system without locks the operator sees to it.
                Ok(()) | Err(TryLockError::Error(_)) => true,
            };
        }
        self.held
    }
}

/// The seed of all checksums in the directory; made when there is none.
pub(super) fn seed(directory: &Path) -> Result<u64, OpenError> {
    let path = directory.join("seed");
    let fail = |error| OpenError::File {
        path: path.clone(),
        error,
    };
    match std::fs::read(&path) {
        Ok(bytes) => {
            let parts = (format::u64_at(&bytes, 0), format::u64_at(&bytes, 8));
            if let (Some(seed), Some(sum)) = parts
                && sum == format::checksum(0, &seed.to_le_bytes())
            {
                return Ok(seed);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    let seed = random();
    let mut bytes = seed.to_le_bytes().to_vec();
    let sum = format::checksum(0, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    let new = directory.join(format!("seed.{:016x}", random()));
    std::fs::write(&new, &bytes).map_err(fail)?;
    std::fs::rename(&new, &path).map_err(fail)?;
    Ok(seed)
}

/// A number that is hard to guess, from the system's randomness.
pub(super) fn random() -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(0);
    hasher.finish()
}
