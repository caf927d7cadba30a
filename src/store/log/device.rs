//! Files, as far as the log needs them; a trait, so that tests can make them fail.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use rustix::io::{ReadWriteFlags, preadv2};

/// A segment file.
pub(super) trait Blob: Send + Sync {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// The same without waiting for the medium; false when not all of it was in memory, or nobody can tell.
    fn read_now(&self, _bytes: &mut [u8], _offset: u64) -> bool {
        false
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn truncate(&self, length: u64) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
}

/// Where segment files are made, opened and removed.
pub(super) trait Device: Send + Sync {
    /// Makes a file of `length` bytes, with room for them where the file system can promise it.
    fn create(&self, path: &Path, length: u64) -> io::Result<Box<dyn Blob>>;
    fn open(&self, path: &Path) -> io::Result<Box<dyn Blob>>;
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The file system.
pub(super) struct Disk;

impl Device for Disk {
    fn create(&self, path: &Path, length: u64) -> io::Result<Box<dyn Blob>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        if let Err(error) = preallocate(&file, length) {
            // Or it would be in the way of the next attempt.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Blob>> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        match file {
            // On a file system that became read-only, what is there can still be read.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Ok(Box::new(File::open(path)?))
            }
            file => Ok(Box::new(file?)),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

fn preallocate(file: &File, length: u64) -> io::Result<()> {
    let bytes = i64::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Then a full disk shows when it is written to.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => file.set_len(length),
        Err(error) => Err(error.into()),
    }
}

impl Blob for File {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn read_now(&self, bytes: &mut [u8], offset: u64) -> bool {
        let wanted = bytes.len();
        // What goes wrong is for a read that may wait to find out.
        let read = preadv2(
            self,
            &mut [IoSliceMut::new(bytes)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        read == Ok(wanted)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// Reads `length` bytes at `offset`.
pub(super) fn read_at(blob: &dyn Blob, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = vec![0; length];
    blob.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The same, if that needs no waiting.
pub(super) fn read_now_at(blob: &dyn Blob, offset: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    blob.read_now(&mut bytes, offset).then_some(bytes)
}
