//! What goes in comes out, in one process and the next.

use bytes::Bytes;

use super::super::{Put, Record, State, Why};
use super::support::{FOREVER, body, open, open_with, options, record, stored, stored_in, write};

#[test]
fn what_was_written_is_found_with_every_byte() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for (key, length) in [
        ("empty", 0),
        ("small", 10),
        ("block", 65536),
        ("large", 300_001),
    ] {
        write(&log, record(key, 7, length));
        assert_eq!(stored(&log, key), Some(7), "{key}");
    }
    assert_eq!(log.find(b"absent"), []);
    assert_eq!(log.statistics().entries, 4);
    assert_eq!(log.statistics().written, 4);
}

#[test]
fn the_next_process_finds_it_too() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for version in 0..200 {
        let mut record = record(&format!("key {version}"), version, 20_000);
        record.generation = 3 + version;
        write(&log, record);
    }
    log.close();
    assert_eq!(log.find(b"key 1"), [], "a closed log finds nothing");
    let log = open(directory.path());
    for version in 0..200 {
        assert_eq!(stored(&log, &format!("key {version}")), Some(version));
    }
    assert_eq!(log.recovery().entries, 200);
    assert_eq!(log.recovery().bytes_skipped, 0);
    assert_eq!(log.newest(), (202, 199));
    assert_eq!(log.oldest_generation(), 3);
    assert_eq!(log.state(), State::Healthy);
}

#[test]
fn ranges_are_cut_from_blocks_and_from_pieces_alike() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(
        directory.path(),
        super::super::Options {
            segment: Some(4 << 20),
            ..options()
        },
    );
    let whole = body("key", 1, 2_500_000);
    let pieces: Vec<Bytes> = whole.chunks(33_333).map(Bytes::copy_from_slice).collect();
    let record = Record {
        body: pieces,
        ..record("key", 1, 0)
    };
    write(&log, record);
    let entry = log.find(b"key")[0];
    assert_eq!(entry.body_len, 2_500_000);
    for (start, end) in [
        (0, 1),
        (0, 65_536),
        (65_535, 65_537),
        (1_000_000, 2_400_000),
        (1_048_575, 1_048_577),
        (2_499_999, 2_500_000),
        (2_499_999, 9_999_999),
        (5, 5),
        (3_000_000, 3_000_001),
    ] {
        let found = log.read_body(b"key", &entry, start..end).unwrap().unwrap();
        let (start, end) = (start.min(2_500_000), end.min(2_500_000));
        let expected = &whole[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
        assert!(found.concat() == expected, "{start}..{end}");
    }
}

#[test]
fn a_record_replaces_the_one_in_its_slot_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = open(directory.path());
    let in_slot = |slot, version| Record {
        slot,
        ..record("key", version, 100)
    };
    write(&log, in_slot(1, 1));
    write(&log, in_slot(2, 2));
    write(&log, in_slot(1, 3));
    for _ in 0..3 {
        assert_eq!(stored_in(&log, "key", 1), Some(3));
        assert_eq!(stored_in(&log, "key", 2), Some(2));
        assert_eq!(log.find(b"key").len(), 2);
        log.close();
        log = open(directory.path());
    }
}

#[test]
fn retractions_hold_at_once_and_later() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for slot in 0..3 {
        write(
            &log,
            Record {
                slot,
                ..record("a", 1, 100)
            },
        );
    }
    write(&log, record("b", 1, 100));
    let entry = log.find(b"b")[0];
    assert!(log.retract(b"b", 0));
    assert!(log.retract(b"c", 0));
    assert_eq!(log.read_head(b"b", &entry).unwrap(), None);
    assert!(log.retract(b"a", 1));
    assert_eq!(log.find(b"a").len(), 2);
    log.close();
    let log = open(directory.path());
    assert_eq!(log.find(b"a").len(), 2);
    assert_eq!(log.find(b"b"), []);
    assert!(log.retract_all(b"a"));
    assert_eq!(log.find(b"a"), []);
    log.close();
    let log = open(directory.path());
    assert_eq!(log.find(b"a"), []);
    assert_eq!(log.statistics().entries, 0);
    assert_eq!(log.oldest_generation(), u64::MAX);
}

#[test]
fn what_is_too_large_is_dropped_with_what_it_replaces() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    write(&log, record("key", 1, 100));
    let put = log.put(record("key", 2, 2 << 20));
    assert!(matches!(put, Put::Dropped(Why::TooLarge)), "{put:?}");
    assert_eq!(log.find(b"key"), []);
    assert_eq!(log.statistics().dropped[0], 1);
    let largest = (1 << 20) - 128 - 57 - 72 - 3 - 26 - 16 * 8 - 8;
    write(&log, record("key", 3, largest));
    assert_eq!(stored(&log, "key"), Some(3));
    log.close();
    assert_eq!(stored(&open(directory.path()), "key"), Some(3));
}

#[test]
fn many_small_restarts_do_not_eat_the_capacity() {
    let directory = tempfile::tempdir().unwrap();
    for version in 0..40 {
        let log = open(directory.path());
        write(&log, record(&format!("key {version}"), version, 1000));
        log.close();
    }
    let log = open(directory.path());
    assert_eq!(log.statistics().entries, 40);
    assert!(log.statistics().disk_bytes < 100_000);
    let on_disk: u64 = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk < 100_000, "{on_disk}");
}

#[test]
fn the_index_takes_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(
        directory.path(),
        super::super::Options {
            capacity: 1 << 30,
            segment: None,
            ..options()
        },
    );
    let mut last = None;
    for number in 0..200_000_u64 {
        let record = Record {
            primary: number.to_le_bytes().to_vec().into(),
            slot: 0,
            fill: 0,
            generation: 0,
            useful_until: FOREVER,
            head: Bytes::new(),
            body: vec![],
        };
        assert!(log.wait_for_room(1000, super::support::LONG));
        if let Put::Queued(receipt) = log.put(record) {
            last = Some(receipt);
        }
    }
    last.unwrap().wait().unwrap();
    let statistics = log.statistics();
    assert_eq!(statistics.entries, 200_000);
    let each = statistics.index_bytes / statistics.entries;
    println!("{each} bytes of memory an entry");
    assert!(each <= 80, "{each} bytes an entry");
}
