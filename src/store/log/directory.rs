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
    let there = read_seed(&path).map_err(fail)?;
    if let Some(Some(seed)) = there {
        return Ok(seed);
    }
    let seed = random();
    let mut bytes = seed.to_le_bytes().to_vec();
    let sum = format::checksum(0, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    let new = directory.join(format!("seed.{:016x}", random()));
    std::fs::write(&new, &bytes).map_err(fail)?;
    // Another process may be at it, too: a link, unlike a rename, leaves the first there.
    let linked = there.is_none() && std::fs::hard_link(&new, &path).is_ok();
    if linked {
        let _ = std::fs::remove_file(&new);
        return Ok(seed);
    }
    if there.is_none()
        && let Some(Some(seed)) = read_seed(&path).map_err(fail)?
    {
        let _ = std::fs::remove_file(&new);
        return Ok(seed);
    }
    std::fs::rename(&new, &path).map_err(fail)?;
    Ok(seed)
}

/// The seed in a file: nothing if there is no file, and none if it is damaged.
#[allow(
    clippy::option_option,
    reason = "no file and a damaged one are two cases"
)]
fn read_seed(path: &Path) -> io::Result<Option<Option<u64>>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let seed = format::u64_at(&bytes, 0);
    let sum = format::u64_at(&bytes, 8);
    Ok(Some(seed.filter(|seed| {
        sum == Some(format::checksum(0, &seed.to_le_bytes()))
    })))
}

/// A number that is hard to guess, from the system's randomness.
pub(super) fn random() -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(0);
    hasher.finish()
}
