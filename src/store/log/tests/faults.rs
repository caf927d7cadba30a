//! A disk that is full, read-only or broken: one state, counted drops, and healing by itself.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;

use super::super::{Log, OpenError, Options, Put, State, Why, WouldWait};
use super::support::{
    Faulty, LONG, body, killed, open, open_on, open_with, options, record, stored, wait_for, write,
};

fn set(fault: &std::sync::atomic::AtomicI32, error: Errno) {
    fault.store(error as i32, Ordering::SeqCst);
}

fn heal(fault: &std::sync::atomic::AtomicI32) {
    fault.store(0, Ordering::SeqCst);
}

fn outcome(put: Put) -> Result<(), Why> {
    match put {
        Put::Queued(receipt) => receipt.wait(),
        Put::Dropped(why) => Err(why),
    }
}

#[test]
fn a_full_disk_is_read_only_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let log = open_on(&device, directory.path(), options());
    set(&device.faults.create, Errno::ENOSPC);
    assert_eq!(outcome(log.put(record("a", 1, 10))), Err(Why::Unwritable));
    assert!(matches!(log.state(), State::ReadOnly(_)), "{}", log.state());
    assert_eq!(outcome(log.put(record("a", 2, 10))), Err(Why::Unwritable));
    assert_eq!(log.statistics().dropped[2], 2);
    heal(&device.faults.create);
    wait_for("health", || log.state() == State::Healthy);
    write(&log, record("a", 3, 10));
    assert_eq!(stored(&log, "a"), Some(3));
}

#[test]
fn a_failing_write_keeps_what_was_there_and_heals() {
    for error in [Errno::EIO, Errno::ENOSPC, Errno::EROFS] {
        let directory = tempfile::tempdir().unwrap();
        let device = Arc::new(Faulty::default());
        let log = open_on(&device, directory.path(), options());
        write(&log, record("a", 1, 1000));
        write(&log, record("b", 1, 1000));
        set(&device.faults.write, error);
        assert_eq!(outcome(log.put(record("a", 2, 10))), Err(Why::Unwritable));
        let failed = matches!(log.state(), State::Failed(_));
        assert_eq!(failed, error == Errno::EIO, "{}", log.state());
        assert_eq!(log.find(b"a"), []);
        assert_eq!(stored(&log, "b"), Some(1), "reads go on");
        assert!(log.statistics().write_errors > 0);
        let copy = killed(directory.path());
        heal(&device.faults.write);
        wait_for("health", || log.state() == State::Healthy);
        write(&log, record("a", 3, 10));
        log.close();
        let log = open(directory.path());
        assert_eq!(stored(&log, "a"), Some(3));
        assert_eq!(stored(&log, "b"), Some(1));
        let log = open(copy.path());
        assert_eq!(stored(&log, "a"), None);
        assert_eq!(stored(&log, "b"), Some(1));
    }
}

#[test]
fn a_read_that_fails_is_counted_and_the_record_stays() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let log = open_on(&device, directory.path(), options());
    write(&log, record("a", 1, 1000));
    let entry = log.find(b"a")[0];
    set(&device.faults.read, Errno::EIO);
    assert!(log.read_head(b"a", &entry).is_err());
    assert!(log.read_body(b"a", &entry, 0..10).is_err());
    assert_eq!(log.statistics().read_errors, 2);
    heal(&device.faults.read);
    assert_eq!(stored(&log, "a"), Some(1));
}

#[test]
fn a_read_that_must_not_wait_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let log = open_on(&device, directory.path(), options());
    write(&log, record("a", 1, 70_000));
    let entry = log.find(b"a")[0];
    device.faults.stall_reads.store(true, Ordering::SeqCst);
    assert_eq!(log.read_now(b"a", &entry), Err(WouldWait));
    device.faults.stall_reads.store(false, Ordering::SeqCst);
    set(&device.faults.read, Errno::EIO);
    assert_eq!(log.read_now(b"a", &entry), Err(WouldWait));
    assert_eq!(log.statistics().read_errors, 0, "nothing was read");
    heal(&device.faults.read);
    // Not every file system can tell what it has in memory.
    if let Ok(found) = log.read_now(b"a", &entry) {
        let (_, found) = found.unwrap();
        assert!(found == body("a", 1, 70_000));
    }
    log.retract(b"a", 0);
    assert_eq!(log.read_now(b"a", &entry), Ok(None));
}

#[test]
fn where_a_mark_cannot_be_written_the_segment_goes() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let log = open_on(&device, directory.path(), options());
    write(&log, record("a", 1, 1000));
    write(&log, record("b", 1, 1000));
    set(&device.faults.mark, Errno::EIO);
    assert!(log.retract(b"a", 0), "no restart finds it");
    assert_eq!(log.find(b"a"), []);
    assert_eq!(
        open(killed(directory.path()).path()).statistics().entries,
        0
    );
    assert_eq!(log.find(b"b"), []);
    heal(&device.faults.mark);
    wait_for("a new segment", || {
        matches!(outcome(log.put(record("a", 2, 1000))), Ok(()))
    });
    log.close();
    assert_eq!(stored(&open(directory.path()), "a"), Some(2));
}

#[test]
fn where_nothing_can_be_changed_it_says_so_and_tries_again() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let log = open_on(&device, directory.path(), options());
    write(&log, record("a", 1, 1000));
    write(&log, record("b", 1, 1000));
    set(&device.faults.mark, Errno::EROFS);
    set(&device.faults.write, Errno::EROFS);
    set(&device.faults.remove, Errno::EROFS);
    assert!(!log.retract(b"a", 0), "a restart could find it");
    assert_eq!(log.find(b"a"), [], "this process does not");
    assert!(matches!(log.state(), State::ReadOnly(_)));
    assert_eq!(stored(&log, "b"), Some(1));
    heal(&device.faults.mark);
    heal(&device.faults.write);
    heal(&device.faults.remove);
    wait_for("health", || log.state() == State::Healthy);
    assert_eq!(
        open(killed(directory.path()).path()).statistics().entries,
        0
    );
}

#[test]
fn of_a_moved_record_no_copy_is_left_where_its_segment_cannot_be_removed() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let log = open_on(&device, directory.path(), options());
    assert!(log.wait_recovered(LONG));
    write(&log, record("key", 1, 1000));
    assert_eq!(stored(&log, "key"), Some(1));
    let place = log.find(b"key")[0].location;
    set(&device.faults.remove, Errno::EIO);
    let mut number = 0;
    while outcome(log.put(record(&format!("other {number}"), 1, 100_000))).is_ok() {
        number += 1;
    }
    assert!(matches!(log.state(), State::Failed(_)), "{}", log.state());
    assert_ne!(log.find(b"key")[0].location, place, "it was moved");
    let copy = killed(directory.path());
    assert_eq!(stored(&open(copy.path()), "key"), Some(1));
    assert!(log.retract(b"key", 0));
    let copy = killed(directory.path());
    assert_eq!(open(copy.path()).find(b"key"), []);
}

#[test]
fn a_segment_that_cannot_be_opened_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    write(&log, record("a", 1, 1000));
    log.close();
    let device = Arc::new(Faulty::default());
    set(&device.faults.open, Errno::EIO);
    let log = open_on(&device, directory.path(), options());
    wait_for("the state", || matches!(log.state(), State::Failed(_)));
    assert_eq!(outcome(log.put(record("b", 1, 10))), Err(Why::Unwritable));
    heal(&device.faults.open);
    assert!(log.wait_recovered(LONG));
    assert_eq!(stored(&log, "a"), Some(1));
    wait_for("health", || log.state() == State::Healthy);
}

#[test]
fn a_segment_that_cannot_be_read_is_not_kept_for_later() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    write(&log, record("a", 1, 1000));
    log.close();
    let path = super::support::only_segment(directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let log = open(directory.path());
    assert_eq!(log.statistics().entries, 0);
    assert_eq!(log.recovery().bytes_skipped, bytes.len() as u64);
    assert!(!path.exists());
}

#[test]
fn a_directory_that_is_none_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Log::open(&file, options(), |_| false).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }));
    assert!(
        error.to_string().contains("file as the directory"),
        "{error}"
    );
}

#[test]
fn a_small_disk_that_is_really_full_stops_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(directory.path(), "8m") else {
        println!("skipped: a tmpfs can be mounted by root only");
        return;
    };
    let options = Options {
        capacity: 64 << 20,
        retry: LONG,
        ..options()
    };
    let log = open_with(&mount.0, options.clone());
    let mut first_dropped = None;
    for version in 0..200 {
        let key = format!("key {}", version % 50);
        if outcome(log.put(record(&key, version, 100_000))).is_err() {
            first_dropped.get_or_insert(version);
        }
    }
    assert!(first_dropped.is_some(), "8 MiB hold less than that");
    assert!(matches!(log.state(), State::ReadOnly(_)), "{}", log.state());
    assert!(log.retract(b"key 1", 0), "a mark takes no room");
    let newest = |log: &Log, key: u64| {
        let found = stored(log, &format!("key {key}"));
        let newest = 150 + key;
        assert!(found.is_none() || found == Some(newest), "{key}: {found:?}");
        found.is_some()
    };
    for key in 0..50 {
        newest(&log, key);
    }
    // Room again, of the files that were its own.
    log.set_capacity(4 << 20);
    wait_for("health", || log.state() == State::Healthy);
    write(&log, record("key 1", 151, 100_000));
    log.close();
    let log = open_with(&mount.0, options);
    assert_eq!(stored(&log, "key 1"), Some(151));
    for key in 0..50 {
        newest(&log, key);
    }
}

struct Mount(std::path::PathBuf);

impl Mount {
    fn tmpfs(parent: &Path, size: &str) -> Option<Self> {
        let path = parent.join("mount");
        std::fs::create_dir(&path).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&path)
            .stderr(std::process::Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(path))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
