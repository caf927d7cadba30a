//! Versions never go backwards, whatever is queued, dropped, interrupted or not recovered yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::{Options, Put, State, Why};
use super::support::{
    Faulty, LONG, body, killed, open, open_on, open_with, options, record, stored, wait_for, write,
};

#[test]
fn what_a_waiting_record_replaces_is_gone_at_once_and_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let log = open_on(&device, directory.path(), options());
    write(&log, record("key", 1, 1000));
    device.faults.stall.store(true, Ordering::SeqCst);
    let Put::Queued(receipt) = log.put(record("key", 2, 1000)) else {
        panic!("not queued");
    };
    assert_eq!(log.find(b"key"), []);
    assert_eq!(stored(&open(killed(directory.path()).path()), "key"), None);
    device.faults.stall.store(false, Ordering::SeqCst);
    receipt.wait().unwrap();
    assert_eq!(stored(&log, "key"), Some(2));
    assert_eq!(
        stored(&open(killed(directory.path()).path()), "key"),
        Some(2)
    );
}

#[test]
fn of_many_waiting_records_the_last_put_is_the_one_found() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let log = open_on(&device, directory.path(), options());
    write(&log, record("other", 1, 10));
    device.faults.stall.store(true, Ordering::SeqCst);
    let receipts: Vec<_> = (1..=20)
        .filter_map(|version| match log.put(record("key", version, 100)) {
            Put::Queued(receipt) => Some(receipt),
            Put::Dropped(_) => None,
        })
        .collect();
    assert!(log.retract(b"other", 0));
    device.faults.stall.store(false, Ordering::SeqCst);
    let outcomes: Vec<_> = receipts.iter().map(super::super::Receipt::wait).collect();
    assert_eq!(outcomes.len(), 20);
    assert_eq!(outcomes[19], Ok(()));
    assert!(outcomes[..19].iter().all(|o| *o == Err(Why::Superseded)));
    assert_eq!(stored(&log, "key"), Some(20));
    log.close();
    assert_eq!(stored(&open(directory.path()), "key"), Some(20));
}

#[test]
fn a_record_retracted_while_it_waits_is_never_found() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let log = open_on(&device, directory.path(), options());
    write(&log, record("other", 1, 10));
    device.faults.stall.store(true, Ordering::SeqCst);
    let before = log.statistics().written_bytes;
    let Put::Queued(receipt) = log.put(record("key", 1, 100)) else {
        panic!("not queued");
    };
    wait_for("the writing", || log.statistics().written_bytes > before);
    assert!(log.wait_recovered(LONG));
    assert_eq!(log.oldest_generation(), 1);
    assert!(log.retract_all(b"key"));
    device.faults.stall.store(false, Ordering::SeqCst);
    assert_eq!(receipt.wait(), Err(Why::Superseded));
    assert_eq!(log.find(b"key"), []);
    let copy = killed(directory.path());
    assert_eq!(stored(&open(copy.path()), "key"), None);
    log.close();
    assert_eq!(stored(&open(directory.path()), "key"), None);
}

#[test]
fn overload_drops_and_counts_and_never_leaves_the_older_version() {
    let directory = tempfile::tempdir().unwrap();
    let device = Arc::new(Faulty::default());
    let options = Options {
        queue: 200_000,
        ..options()
    };
    let log = open_on(&device, directory.path(), options);
    for number in 0..64 {
        write(&log, record(&format!("key {number}"), 1, 10_000));
    }
    device.faults.stall.store(true, Ordering::SeqCst);
    let mut dropped = 0;
    for number in 0..64 {
        match log.put(record(&format!("key {number}"), 2, 10_000)) {
            Put::Dropped(why) => {
                assert_eq!(why, Why::QueueFull);
                dropped += 1;
            }
            Put::Queued(_) => {}
        }
    }
    assert!((40..64).contains(&dropped), "{dropped}");
    assert_eq!(log.statistics().dropped[1], dropped);
    assert_eq!(log.statistics().entries, 0);
    assert!(!log.has_room(10_000));
    assert_eq!(
        open(killed(directory.path()).path()).statistics().entries,
        0
    );
    device.faults.stall.store(false, Ordering::SeqCst);
    assert!(log.wait_for_room(10_000, LONG));
    wait_for("the end of the queue", || {
        log.statistics().queued_bytes == 0
    });
    for number in 0..64 {
        let found = stored(&log, &format!("key {number}"));
        assert!(found.is_none() || found == Some(2), "{found:?}");
    }
    assert_eq!(log.statistics().entries, 64 - dropped);
}

#[test]
fn a_put_before_recovery_comes_to_the_older_version_wins() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for key in ["put", "retracted", "all", "kept"] {
        write(&log, record(key, 1, 1000));
    }
    log.close();
    let device = Arc::new(Faulty::default());
    device.faults.stall_reads.store(true, Ordering::SeqCst);
    let log = open_on(&device, directory.path(), options());
    assert_eq!(log.find(b"put"), []);
    assert_eq!(log.oldest_generation(), 0);
    log.put(record("put", 2, 1000));
    log.retract(b"retracted", 0);
    log.retract_all(b"all");
    for copy in [killed(directory.path()), killed(directory.path())] {
        // Also when it is killed twice before recovery is done.
        let log = open(copy.path());
        assert_eq!(log.find(b"retracted"), []);
        assert_eq!(log.find(b"all"), []);
        assert_eq!(log.find(b"put"), []);
        assert_eq!(stored(&log, "kept"), Some(1));
    }
    device.faults.stall_reads.store(false, Ordering::SeqCst);
    assert!(log.wait_recovered(LONG));
    wait_for("the record", || stored(&log, "put") == Some(2));
    assert_eq!(log.find(b"retracted"), []);
    assert_eq!(log.find(b"all"), []);
    assert_eq!(stored(&log, "kept"), Some(1));
    log.close();
    let files = std::fs::read_dir(directory.path()).unwrap();
    let journals = files.filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_str().unwrap().contains("retracted")
    });
    assert_eq!(journals.count(), 0, "what is marked need not be noted");
    let log = open(directory.path());
    assert_eq!(stored(&log, "put"), Some(2));
    assert_eq!(log.statistics().entries, 2);
}

#[test]
fn what_was_put_again_is_not_lost_with_what_was_retracted_before() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    write(&log, record("old", 1, 1000));
    log.close();
    // The journal of a process that was killed before its recovery was done.
    let seed = super::super::directory::seed(directory.path()).unwrap();
    let journal = super::super::journal::Journal::new(directory.path(), seed);
    for key in ["old", "new"] {
        let digest = super::super::format::checksum(seed, key.as_bytes());
        let id = super::super::index::Id { digest, slot: 0 };
        let retraction = super::super::journal::Retraction {
            id,
            all: false,
            below: 2,
        };
        journal.note(retraction).unwrap();
    }
    drop(journal);
    // Its own segment.
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(directory.path().join("seed"), other.path().join("seed")).unwrap();
    for version in 1..=2 {
        let log = open(other.path());
        write(&log, record("new", version, 1000));
        log.close();
    }
    let second = "00000002.segment";
    std::fs::copy(other.path().join(second), directory.path().join(second)).unwrap();
    let log = open(directory.path());
    assert_eq!(stored(&log, "new"), Some(2));
    assert_eq!(log.find(b"old"), []);
}

#[test]
fn of_copies_that_a_power_failure_left_the_newest_is_found_and_replaced_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    write(&log, record("key", 1, 1000));
    log.close();
    let first = std::fs::read(directory.path().join("00000001.segment")).unwrap();
    let log = open(directory.path());
    write(&log, record("key", 2, 1000));
    log.close();
    // The mark got lost.
    std::fs::write(directory.path().join("00000001.segment"), first).unwrap();
    let log = open(directory.path());
    assert_eq!(stored(&log, "key"), Some(2));
    log.retract(b"key", 0);
    assert_eq!(open(killed(directory.path()).path()).find(b"key"), []);
}

#[test]
fn a_second_process_waits_and_takes_over() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    write(&first, record("a", 1, 1000));
    write(&first, record("b", 1, 1000));
    let second = super::super::Log::open(directory.path(), options(), |_| false).unwrap();
    wait_for("the state", || second.state() == State::Waiting);
    assert_eq!(second.find(b"a"), []);
    let put = second.put(record("a", 2, 1000));
    assert!(matches!(put, Put::Dropped(Why::Waiting)), "{put:?}");
    assert!(second.retract(b"b", 0));
    write(&first, record("c", 1, 1000));
    assert_eq!(stored(&first, "a"), Some(1));
    first.close();
    assert!(second.wait_recovered(LONG));
    assert_eq!(second.state(), State::Healthy);
    assert_eq!(second.find(b"a"), [], "it saw a newer version");
    assert_eq!(second.find(b"b"), []);
    assert_eq!(stored(&second, "c"), Some(1));
    write(&second, record("a", 3, 1000));
    assert_eq!(stored(&second, "a"), Some(3));
}

#[test]
fn concurrent_writers_are_recovered_completely() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        capacity: 64 << 20,
        ..options()
    };
    let log = Arc::new(open_with(directory.path(), options.clone()));
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                let mut receipts = Vec::new();
                for number in 0..500 {
                    let key = format!("{thread} {}", number % 250);
                    let length = usize::try_from(number * 37 % 20_000).unwrap();
                    assert!(log.wait_for_room(30_000, LONG));
                    match log.put(record(&key, number, length)) {
                        Put::Queued(receipt) => receipts.push(receipt),
                        Put::Dropped(why) => panic!("{why:?}"),
                    }
                }
                for receipt in &receipts[250..] {
                    receipt.wait().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let copy = killed(directory.path());
    log.close();
    for directory in [copy.path(), directory.path()] {
        let log = open_with(directory, options.clone());
        assert_eq!(log.statistics().entries, 1000);
        for thread in 0..4 {
            for number in 0..250 {
                let key = format!("{thread} {number}");
                assert_eq!(stored(&log, &key), Some(number + 250), "{key}");
            }
        }
    }
}

#[test]
fn bodies_tell_their_keys_and_versions_apart() {
    assert_ne!(body("a", 1, 100), body("a", 2, 100));
    assert_ne!(body("a", 1, 100), body("b", 1, 100));
}

#[test]
fn what_a_waiting_process_retracted_is_not_what_it_puts_later() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    write(&first, record("a", 1, 1000));
    write(&first, record("b", 1, 1000));
    let second = super::super::Log::open(directory.path(), options(), |_| false).unwrap();
    assert_eq!(second.state(), State::Waiting);
    second.retract(b"a", 0);
    second.retract(b"b", 0);
    first.close();
    assert!(second.wait_recovered(LONG));
    write(&second, record("a", 2, 1000));
    // As if it had been killed before its recovery was done: with its journal.
    let seed = super::super::directory::seed(directory.path()).unwrap();
    let journal = super::super::journal::Journal::new(directory.path(), seed);
    for key in ["a", "b"] {
        let digest = super::super::format::checksum(seed, key.as_bytes());
        let retraction = super::super::journal::Retraction {
            id: super::super::index::Id { digest, slot: 0 },
            all: false,
            below: super::super::journal::NOT_KNOWN,
        };
        journal.note(retraction).unwrap();
    }
    journal.note_below(second.find(b"a")[0].location.segment);
    drop(journal);
    let log = open(killed(directory.path()).path());
    assert_eq!(stored(&log, "a"), Some(2));
    assert_eq!(log.find(b"b"), []);
}
