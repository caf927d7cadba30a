//! A log in a directory of its own, records with bodies that tell what they are, and a device that
//! fails when told to.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::super::device::{Blob, Device, Disk};
use super::super::{Hot, Log, Options, Put, Record};

pub(super) const LONG: Duration = Duration::from_secs(30);
pub(super) const FOREVER: u64 = u64::MAX;

pub(super) fn now() -> Duration {
    let now = crate::clock::now();
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

pub(super) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = now() + LONG;
    while !condition() {
        assert!(now() < end, "{what} does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// 16 MiB in segments of 1 MiB.
pub(super) fn options() -> Options {
    Options {
        segment: Some(1 << 20),
        retry: Duration::from_millis(20),
        ..Options::new(16 << 20, Arc::new(now))
    }
}

pub(super) fn open(directory: &Path) -> Log {
    open_with(directory, options())
}

pub(super) fn open_with(directory: &Path, options: Options) -> Log {
    let log = Log::open(directory, options, |_| false).unwrap();
    assert!(log.wait_recovered(LONG));
    log
}

pub(super) fn open_on(device: &Arc<Faulty>, directory: &Path, options: Options) -> Log {
    let hot: Box<Hot> = Box::new(|_| false);
    let device: Arc<dyn Device> = Arc::<Faulty>::clone(device);
    Log::open_on(device, directory, options, hot).unwrap()
}

/// Bytes that are those of this key and version alone.
pub(super) fn body(key: &str, version: u64, length: usize) -> Bytes {
    let seed = super::super::format::checksum(version, key.as_bytes());
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed | 1;
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    Bytes::from(bytes)
}

pub(super) fn head(key: &str, version: u64) -> Bytes {
    Bytes::from(format!("head of {key} in version {version}"))
}

/// A record whose fill is its version.
pub(super) fn record(key: &str, version: u64, length: usize) -> Record {
    Record {
        primary: key.as_bytes().into(),
        slot: 0,
        fill: version,
        generation: 1,
        useful_until: FOREVER,
        head: head(key, version),
        body: vec![body(key, version, length)],
    }
}

/// Puts and waits until it is written.
pub(super) fn write(log: &Log, record: Record) {
    match log.put(record) {
        Put::Queued(receipt) => receipt.wait().unwrap(),
        Put::Dropped(why) => panic!("dropped: {why:?}"),
    }
}

/// The version that is stored, after checking that all of it is right.
pub(super) fn stored(log: &Log, key: &str) -> Option<u64> {
    stored_in(log, key, 0)
}

pub(super) fn stored_in(log: &Log, key: &str, slot: u64) -> Option<u64> {
    let primary = key.as_bytes();
    let entry = log.find(primary).into_iter().find(|e| e.slot == slot)?;
    let found_head = log.read_head(primary, &entry).unwrap()?;
    assert_eq!(found_head, head(key, entry.fill));
    let expected = body(key, entry.fill, entry.body_len.try_into().unwrap());
    if let Ok(found) = log.read_now(primary, &entry) {
        let (found_head, found) = found?;
        assert_eq!(found_head, head(key, entry.fill));
        assert!(found == expected, "wrong body of {key} at once");
    }
    let (found_head, found) = log.read(primary, &entry).unwrap()?;
    assert_eq!(found_head, head(key, entry.fill));
    assert!(found == expected, "wrong body of {key}");
    let pieces = log
        .read_body(primary, &entry, 0..entry.body_len)
        .unwrap()?
        .concat();
    assert!(pieces == expected, "wrong pieces of {key}");
    Some(entry.fill)
}

/// The file system, until told otherwise.
#[derive(Default)]
pub(super) struct Faulty {
    pub(super) faults: Arc<Faults>,
}

#[derive(Default)]
pub(super) struct Faults {
    /// Error numbers, 0 for none.
    pub(super) create: AtomicI32,
    pub(super) open: AtomicI32,
    pub(super) read: AtomicI32,
    pub(super) write: AtomicI32,
    pub(super) remove: AtomicI32,
    /// Writes of one byte: marks.
    pub(super) mark: AtomicI32,
    /// Writes other than marks wait while this is set.
    pub(super) stall: AtomicBool,
    /// Reads wait while this is set.
    pub(super) stall_reads: AtomicBool,
}

fn fail(fault: &AtomicI32) -> io::Result<()> {
    match fault.load(Ordering::SeqCst) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Not for ever: a test that fails closes its log.
fn wait_while(stalled: &AtomicBool) {
    let end = now() + LONG;
    while stalled.load(Ordering::SeqCst) && now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Device for Faulty {
    fn create(&self, path: &Path, length: u64) -> io::Result<Box<dyn Blob>> {
        fail(&self.faults.create)?;
        let blob = Disk.create(path, length)?;
        Ok(Box::new(FaultyBlob(blob, Arc::clone(&self.faults))))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Blob>> {
        fail(&self.faults.open)?;
        let blob = Disk.open(path)?;
        Ok(Box::new(FaultyBlob(blob, Arc::clone(&self.faults))))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fail(&self.faults.remove)?;
        Disk.remove(path)
    }
}

struct FaultyBlob(Box<dyn Blob>, Arc<Faults>);

impl Blob for FaultyBlob {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        wait_while(&self.1.stall_reads);
        fail(&self.1.read)?;
        self.0.read_exact_at(bytes, offset)
    }

    fn read_now(&self, bytes: &mut [u8], offset: u64) -> bool {
        let trouble = self.1.stall_reads.load(Ordering::SeqCst) || fail(&self.1.read).is_err();
        !trouble && self.0.read_now(bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.len() == 1 {
            fail(&self.1.mark)?;
        } else {
            wait_while(&self.1.stall);
            fail(&self.1.write)?;
        }
        self.0.write_all_at(bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        fail(&self.1.write)?;
        self.0.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

/// What a process that was killed now would leave behind: a copy of the directory as it is.
pub(super) fn killed(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match std::fs::copy(&path, copy.path().join(path.file_name().unwrap())) {
            // Removed in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
    copy
}

/// The only segment file in a directory.
pub(super) fn only_segment(directory: &Path) -> std::path::PathBuf {
    let segments = super::super::segment::list(directory).unwrap();
    assert_eq!(segments.len(), 1);
    segments[0].1.clone()
}
