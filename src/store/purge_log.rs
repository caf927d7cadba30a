//! The journal of purges on disk, so that a restart brings nothing back that was purged.
//!
//! Every process writes a file of its own and holds a lock on it; whoever takes the store over reads
//! the files of all and then has them replaced by one. A file is a sequence of frames, each with its
//! length and a digest, followed by zeros: room for more purges when the disk is full. What was being
//! written when the machine stopped is missing, and was not acknowledged. A file that is damaged in
//! any other way is not trusted: everything stored before counts as purged then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::purge::{Generation, Record};

const MAGIC: &[u8; 16] = b"seawall purges 1";
const PREFIX: &str = "purges-";
/// Bytes in front of a frame's payload: its length twice, and the beginning of its digest.
const FRAME: usize = 16;
/// Zeros kept behind the last frame.
const ROOM: usize = 64 << 10;
/// A smaller file is not written anew.
const SMALL: u64 = 1 << 20;

/// What is known of purges: all there is to write down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The purges in force.
    pub(super) records: Vec<Record>,
    /// Everything on disk whose fetch began before this purge counts as purged.
    pub(super) floor: Generation,
    /// The last purge there was, forgotten ones included.
    pub(super) highest: Generation,
    /// Whether this holds the purges of earlier processes too.
    pub(super) whole: bool,
}

impl Known {
    fn merge(&mut self, other: Self) {
        self.records.extend(other.records);
        self.floor = self.floor.max(other.floor);
        self.highest = self.highest.max(other.highest);
        self.whole |= other.whole;
    }
}

/// What the files of earlier processes hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// All purges.
    Trusted(Known),
    /// There is no file, or one that is damaged.
    Untrusted(&'static str),
}

/// The file of this process.
#[derive(Debug)]
pub(super) struct PurgeLog {
    directory: PathBuf,
    name: String,
    waiting: Mutex<Waiting>,
    file: Mutex<Writer>,
}

/// Purges that wait to be written together.
#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    /// Number of the last one.
    last: u64,
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// Where the next frame goes.
    end: u64,
    /// The file's length after it was last written as a whole.
    rewritten: u64,
    /// Number of the last purge that was dealt with, and how that ended.
    done: u64,
    outcome: Result<(), io::ErrorKind>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// Emptied, so that no later process trusts it.
    Emptied,
    /// Neither written nor emptied.
    Broken,
}

impl PurgeLog {
    /// Begins a file in `directory`; `start` tells it from those of other processes. On a full disk it
    /// is empty until it can be written: a file that is not there would not be missed.
    pub(super) fn create(directory: &Path, start: Generation) -> io::Result<Self> {
        let name = format!("{PREFIX}{:020}-{}", start.0, std::process::id());
        let (file, end, state) = match write_whole(directory, &name, &Known::default()) {
            Ok((file, end)) => (file, end, State::Good),
            Err(error) => {
                let empty = write_empty(&directory.join(&name)).map_err(|_| error)?;
                (empty, 0, State::Emptied)
            }
        };
        let writer = Writer {
            file,
            end,
            rewritten: end,
            done: 0,
            outcome: Ok(()),
            state,
        };
        tell(State::Good, &writer);
        Ok(Self {
            directory: directory.to_owned(),
            name,
            waiting: Mutex::default(),
            file: Mutex::new(writer),
        })
    }

    /// What the files of other processes hold, those under way included.
    pub(super) fn earlier(&self) -> io::Result<Earlier> {
        let mut known = Known::default();
        for path in self.others()? {
            match read(&fs::read(path)?) {
                Some(found) => known.merge(found),
                None => return Ok(Earlier::Untrusted("the journal of purges is damaged")),
            }
        }
        Ok(if known.whole {
            Earlier::Trusted(known)
        } else {
            Earlier::Untrusted("there is no journal of purges")
        })
    }

    /// Writes all that is known in place of what was written, and removes the files of processes that
    /// are gone: it must hold what [`Self::earlier`] told.
    pub(super) fn take_over(&self, known: impl FnOnce() -> Known) -> io::Result<()> {
        let mut writer = self.writer();
        let before = writer.state;
        self.rewrite(&mut writer, &known())?;
        tell(before, &writer);
        for path in self.others()? {
            // The lock is held as long as its process writes there.
            if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Writes `records`, which are in force already and part of what `known` tells; returns when they
    /// are on disk. Those that wait together are written together.
    ///
    /// # Errors
    /// When a later process may miss them.
    pub(super) fn append(
        &self,
        records: &[Record],
        known: impl FnOnce() -> Known,
    ) -> io::Result<()> {
        let number = {
            let mut waiting = self.waiting();
            waiting.records.extend_from_slice(records);
            waiting.last += 1;
            waiting.last
        };
        let mut writer = self.writer();
        if writer.done < number {
            let Waiting { records, last } = {
                let mut waiting = self.waiting();
                Waiting {
                    records: std::mem::take(&mut waiting.records),
                    last: waiting.last,
                }
            };
            let before = writer.state;
            let outcome = self.write(&mut writer, records, known);
            writer.outcome = outcome.map_err(|error| error.kind());
            writer.done = last;
            tell(before, &writer);
        }
        writer.outcome.map_err(io::Error::from)
    }

    /// Tries again to write what could not be written.
    pub(super) fn heal(&self, known: impl FnOnce() -> Known) {
        let mut writer = self.writer();
        let before = writer.state;
        if before != State::Good && self.rewrite(&mut writer, &known()).is_ok() {
            tell(before, &writer);
        }
    }

    /// Whether later processes will know every purge.
    #[cfg(test)]
    fn is_good(&self) -> bool {
        self.writer().state == State::Good
    }

    fn write(
        &self,
        writer: &mut Writer,
        records: Vec<Record>,
        known: impl FnOnce() -> Known,
    ) -> io::Result<()> {
        let grown = writer.end > SMALL && writer.end > writer.rewritten.saturating_mul(4);
        if writer.state == State::Good && !grown {
            let highest = records.iter().map(|record| record.generation).max();
            let added = Known {
                records,
                highest: highest.unwrap_or_default(),
                ..Known::default()
            };
            if writer.append(&added).is_ok() {
                return Ok(());
            }
        }
        let Err(error) = self.rewrite(writer, &known()) else {
            return Ok(());
        };
        // An empty file is not trusted: what it does not say cannot come back then.
        let emptied = writer.file.set_len(0).and_then(|()| writer.file.sync_all());
        writer.state = if emptied.is_ok() {
            State::Emptied
        } else {
            State::Broken
        };
        emptied.map_err(|_| error)
    }

    fn rewrite(&self, writer: &mut Writer, known: &Known) -> io::Result<()> {
        let (file, end) = write_whole(&self.directory, &self.name, known)?;
        writer.file = file;
        writer.end = end;
        writer.rewritten = end;
        writer.state = State::Good;
        Ok(())
    }

    fn others(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) && !name.ends_with(".new") && *name != self.name {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PurgeLog {
    fn drop(&mut self) {
        // A rewrite that failed half way.
        let _ = fs::remove_file(self.directory.join(format!("{}.new", self.name)));
    }
}

impl Writer {
    fn append(&mut self, added: &Known) -> io::Result<()> {
        let frame = frame(added)?;
        self.file.write_all_at(&frame, self.end)?;
        self.file.sync_data()?;
        self.end = self.end.saturating_add(length(&frame));
        Ok(())
    }
}

fn tell(before: State, writer: &Writer) {
    match (before, writer.state) {
        (before, now) if before == now => {}
        (_, State::Good) => tracing::info!("the journal of purges is written again"),
        (_, State::Emptied) => tracing::error!(
            "the journal of purges cannot be written: until it is, a restart begins with an empty disk"
        ),
        (_, State::Broken) => tracing::error!(
            "the journal of purges cannot be written: a restart may bring purged responses back"
        ),
    }
}

/// A new file that holds `known`, locked, and where its next frame goes. It takes its name when it is
/// complete and on disk.
fn write_whole(directory: &Path, name: &str, known: &Known) -> io::Result<(File, u64)> {
    let written = directory.join(format!("{name}.new"));
    let mut bytes = MAGIC.to_vec();
    bytes.extend(frame(known)?);
    let end = length(&bytes);
    bytes.resize(bytes.len() + ROOM, 0);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&written)?;
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&written, directory.join(name))?;
    File::open(directory)?.sync_all()?;
    Ok((file, end))
}

/// A file that no later process trusts, locked.
fn write_empty(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.try_lock().map_err(io::Error::from)?;
    Ok(file)
}

fn frame(known: &Known) -> io::Result<Vec<u8>> {
    let payload = postcard::to_stdvec(known).map_err(io::Error::other)?;
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend((!length).to_le_bytes());
    frame.extend(digest(&payload));
    frame.extend(payload);
    Ok(frame)
}

/// Enough of SHA-256 to find damage.
fn digest(payload: &[u8]) -> [u8; 8] {
    let digest = ring::digest::digest(&ring::digest::SHA256, payload);
    let mut short = [0; 8];
    for (to, from) in short.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    short
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What a file holds; `None` when it is damaged.
fn read(bytes: &[u8]) -> Option<Known> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut known = Known::default();
    while let Some((head, tail)) = rest.split_first_chunk::<FRAME>() {
        let (length, head) = head.split_first_chunk::<4>()?;
        let (again, digest) = head.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length != !u32::from_le_bytes(*again) {
            break;
        }
        let length = usize::try_from(length).ok()?;
        let (payload, tail) = tail.split_at_checked(length).unwrap_or((tail, &[]));
        if payload.len() < length || digest != self::digest(payload) {
            // What was being written last, if there is nothing behind it.
            rest = tail;
            break;
        }
        known.merge(postcard::from_bytes(payload).ok()?);
        rest = tail;
    }
    rest.iter().all(|byte| *byte == 0).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::{Mode, Scope, Target};
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    fn record(generation: u64) -> Record {
        Record {
            generation: Generation(generation),
            at: UNIX_EPOCH + Duration::from_secs(generation),
            mode: Mode::Hard,
            scope: Scope {
                zone: Some("shop".into()),
                target: Target::Tag(format!("tag-{generation}").into()),
            },
        }
    }

    fn known(generations: impl IntoIterator<Item = u64>) -> Known {
        let records: Vec<_> = generations.into_iter().map(record).collect();
        Known {
            highest: records
                .iter()
                .map(|record| record.generation)
                .max()
                .unwrap_or_default(),
            records,
            floor: Generation(0),
            whole: true,
        }
    }

    fn never() -> Known {
        unreachable!("nothing is to be written anew")
    }

    /// The bytes of the file of a process that took over with one purge and made two more.
    fn written(directory: &Path) -> Vec<u8> {
        let log = PurgeLog::create(directory, Generation(1)).unwrap();
        log.take_over(|| known([1])).unwrap();
        log.append(&[record(2)], never).unwrap();
        log.append(&[record(3)], never).unwrap();
        fs::read(directory.join(&log.name)).unwrap()
    }

    #[test]
    fn the_next_process_knows_every_purge_and_leaves_one_file() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path());
        let log = PurgeLog::create(directory.path(), Generation(9)).unwrap();
        let Earlier::Trusted(earlier) = log.earlier().unwrap() else {
            panic!("not trusted");
        };
        assert_eq!(earlier, known([1, 2, 3]));
        log.take_over(|| earlier).unwrap();
        let files = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(files, 1);
    }

    #[test]
    fn purges_of_a_process_that_waits_for_another_one_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let old = PurgeLog::create(directory.path(), Generation(1)).unwrap();
        old.take_over(|| known([1])).unwrap();
        let new = PurgeLog::create(directory.path(), Generation(5)).unwrap();
        new.append(&[record(6)], never).unwrap();
        old.append(&[record(7)], never).unwrap();
        // The third one reads both, and leaves the file of the second alone.
        drop(old);
        let third = PurgeLog::create(directory.path(), Generation(8)).unwrap();
        let Earlier::Trusted(earlier) = third.earlier().unwrap() else {
            panic!("not trusted");
        };
        let mut generations: Vec<_> = earlier.records.iter().map(|one| one.generation.0).collect();
        generations.sort_unstable();
        assert_eq!(generations, [1, 6, 7]);
        third.take_over(|| earlier).unwrap();
        assert_eq!(third.others().unwrap(), [directory.path().join(&new.name)]);
    }

    #[test]
    fn nothing_is_trusted_without_a_file_or_with_the_file_of_who_never_took_over() {
        let directory = tempfile::tempdir().unwrap();
        let first = PurgeLog::create(directory.path(), Generation(1)).unwrap();
        assert!(matches!(first.earlier().unwrap(), Earlier::Untrusted(_)));
        first.append(&[record(2)], never).unwrap();
        let second = PurgeLog::create(directory.path(), Generation(3)).unwrap();
        assert!(matches!(second.earlier().unwrap(), Earlier::Untrusted(_)));
    }

    #[test]
    fn a_file_cut_anywhere_tells_what_is_before_the_cut() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = written(directory.path());
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let mut seen = Vec::new();
        for cut in 0..end {
            let Some(known) = read(&bytes[..cut]) else {
                // Within the magic, or within the head of a frame.
                continue;
            };
            let count = known.records.len();
            assert_eq!(known.records, self::known([1, 2, 3]).records[..count]);
            seen.push(count);
        }
        assert!(seen.is_sorted() && seen.contains(&2) && !seen.contains(&3));
    }

    #[test]
    fn damage_before_the_last_frame_is_noticed_and_never_changes_a_purge() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = written(directory.path());
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let whole = read(&bytes).unwrap().records;
        let last = end - FRAME - postcard::to_stdvec(&whole[2]).unwrap().len();
        for at in 0..end {
            for bit in [1, 16, 128] {
                let mut damaged = bytes.clone();
                damaged[at] ^= bit;
                if let Some(read) = read(&damaged) {
                    assert!(at >= last - 8, "at {at} of {end}");
                    assert_eq!(read.records, whole[..2]);
                }
            }
        }
    }

    #[test]
    fn purges_at_once_are_all_written() {
        let directory = tempfile::tempdir().unwrap();
        let log = Arc::new(PurgeLog::create(directory.path(), Generation(1)).unwrap());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let log = &log;
                scope.spawn(move || {
                    for number in 0..20 {
                        log.append(&[record(thread * 100 + number)], never).unwrap();
                    }
                });
            }
        });
        let bytes = fs::read(directory.path().join(&log.name)).unwrap();
        let mut generations: Vec<_> = read(&bytes)
            .unwrap()
            .records
            .iter()
            .map(|record| record.generation.0)
            .collect();
        generations.sort_unstable();
        let expected = (0..8).flat_map(|thread| (0..20).map(move |number| thread * 100 + number));
        assert_eq!(generations, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_grown_file_is_written_anew_with_what_is_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let log = PurgeLog::create(directory.path(), Generation(1)).unwrap();
        let many: Vec<_> = (0..20_000).map(record).collect();
        for some in many.chunks(1000) {
            log.append(some, || known([7])).unwrap();
        }
        log.append(&[record(1)], || known([7])).unwrap();
        let bytes = fs::read(directory.path().join(&log.name)).unwrap();
        assert!(bytes.len() < 2 << 20, "{}", bytes.len());
        assert!(read(&bytes).unwrap().records.contains(&record(7)));
    }

    #[test]
    fn what_cannot_be_written_is_refused_or_leaves_nothing_to_trust() {
        let directory = tempfile::tempdir().unwrap();
        let log = PurgeLog::create(directory.path(), Generation(1)).unwrap();
        log.take_over(|| known([1])).unwrap();
        let path = directory.path().join(&log.name);
        // A file open for reading alone stands for a disk that refuses writes, and a folder in place of
        // the new file for one that refuses new files.
        let obstacle = directory.path().join(format!("{}.new", log.name));
        fs::create_dir(&obstacle).unwrap();
        let good = std::mem::replace(&mut log.writer().file, File::open(&path).unwrap());
        assert!(log.append(&[record(2)], || known([1, 2])).is_err());
        assert!(!log.is_good());
        log.heal(|| known([1, 2]));
        assert!(!log.is_good());
        // One that can only be emptied.
        log.writer().file = good;
        log.append(&[record(3)], || known([1, 2, 3])).unwrap();
        assert_eq!(read(&fs::read(&path).unwrap()), None);
        assert!(!log.is_good());
        fs::remove_dir(&obstacle).unwrap();
        log.heal(|| known([1, 2, 3]));
        assert!(log.is_good());
        assert_eq!(read(&fs::read(&path).unwrap()), Some(known([1, 2, 3])));
    }

    #[test]
    fn a_process_that_begins_on_a_full_disk_is_not_trusted_until_it_can_write() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path());
        let name = format!("{PREFIX}{:020}-{}", 9, std::process::id());
        let obstacle = directory.path().join(format!("{name}.new"));
        fs::create_dir(&obstacle).unwrap();
        let log = PurgeLog::create(directory.path(), Generation(9)).unwrap();
        assert!(!log.is_good());
        log.append(&[record(10)], || known([10])).unwrap();
        let next = PurgeLog::create(directory.path(), Generation(11)).unwrap();
        assert!(matches!(next.earlier().unwrap(), Earlier::Untrusted(_)));
        assert!(log.take_over(|| known([1, 2, 3, 10])).is_err());
        fs::remove_dir(&obstacle).unwrap();
        log.take_over(|| known([1, 2, 3, 10])).unwrap();
        assert!(log.is_good());
        let earlier = Earlier::Trusted(known([1, 2, 3, 10]));
        assert_eq!(next.earlier().unwrap(), earlier);
    }
}
