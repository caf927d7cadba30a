//! Room is made by whole segments, and what is wanted is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::{Log, Options, Record, Why};
use super::support::{LONG, open, open_with, options, record, stored, wait_for, write};

fn fill(log: &Log, keys: std::ops::Range<u64>) {
    for number in keys {
        write(log, record(&format!("key {number}"), number, 100_000));
    }
}

fn there(log: &Log, keys: std::ops::Range<u64>) -> usize {
    keys.filter(|number| {
        let found = stored(log, &format!("key {number}"));
        assert!(found.is_none() || found == Some(*number));
        found.is_some()
    })
    .count()
}

#[test]
fn the_oldest_go_when_the_capacity_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for round in 0..40 {
        fill(&log, round * 10..round * 10 + 10);
        let statistics = log.statistics();
        assert!(statistics.disk_bytes <= 16 << 20, "{statistics:?}");
    }
    let statistics = log.statistics();
    assert_eq!(there(&log, 0..250), 0);
    assert_eq!(there(&log, 300..400), 100);
    assert!(statistics.reclaimed_segments >= 24, "{statistics:?}");
    assert_eq!(statistics.entries + statistics.reclaimed, 400);
    log.close();
    let log = open(directory.path());
    assert_eq!(there(&log, 0..250), 0);
    assert_eq!(there(&log, 300..400), 100);
}

#[test]
fn what_was_read_or_is_hot_gets_a_second_chance() {
    let directory = tempfile::tempdir().unwrap();
    let hot = |primary: &[u8]| primary == b"key 8";
    let log = Log::open(directory.path(), options(), hot).unwrap();
    fill(&log, 0..20);
    for round in 2..60 {
        assert_eq!(stored(&log, "key 3"), Some(3), "{round}");
        fill(&log, round * 10..round * 10 + 10);
    }
    assert_eq!(stored(&log, "key 3"), Some(3));
    assert_eq!(stored(&log, "key 8"), Some(8));
    assert_eq!(log.find(b"key 4"), []);
    assert!(log.statistics().moved >= 4, "{:?}", log.statistics());
    log.retract(b"key 3", 0);
    log.close();
    let log = open(directory.path());
    assert_eq!(stored(&log, "key 8"), Some(8));
    assert_eq!(log.find(b"key 3"), [], "no copy of it is left");
}

#[test]
fn when_everything_is_wanted_half_a_segment_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path(), options(), |_| true).unwrap();
    fill(&log, 0..400);
    let statistics = log.statistics();
    assert!(statistics.disk_bytes <= 16 << 20);
    assert!(statistics.moved > 100, "{statistics:?}");
    assert!(statistics.reclaimed > 100, "{statistics:?}");
    assert!(there(&log, 390..400) == 10);
}

#[test]
fn a_segment_of_what_nobody_needs_goes_before_older_ones() {
    let directory = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicU64::new(1000));
    let clock = Arc::clone(&time);
    let log = open_with(
        directory.path(),
        Options {
            now: Arc::new(move || Duration::from_secs(clock.load(Ordering::SeqCst))),
            ..options()
        },
    );
    fill(&log, 0..20);
    for number in 20..60 {
        let record = Record {
            useful_until: 2000,
            ..record(&format!("key {number}"), number, 100_000)
        };
        write(&log, record);
    }
    fill(&log, 60..100);
    assert_eq!(there(&log, 0..100), 100);
    time.store(2000, Ordering::SeqCst);
    wait_for("the useless to go", || there(&log, 20..60) <= 20);
    assert_eq!(there(&log, 0..10), 10);
    assert_eq!(there(&log, 60..100), 40);
}

#[test]
fn a_segment_without_a_live_record_goes() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    fill(&log, 0..30);
    for number in 0..30 {
        log.retract(format!("key {number}").as_bytes(), 0);
    }
    wait_for("the room", || log.statistics().segments <= 1);
    assert_eq!(log.statistics().entries, 0);
    assert_eq!(log.statistics().live_bytes, 0);
}

#[test]
fn the_capacity_changes_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    fill(&log, 0..130);
    assert_eq!(there(&log, 0..130), 130);
    log.set_capacity(8 << 20);
    wait_for("less", || log.statistics().disk_bytes <= 8 << 20);
    let left = there(&log, 0..130);
    assert!((50..=80).contains(&left), "{left}");
    assert_eq!(stored(&log, "key 129"), Some(129));
    fill(&log, 130..260);
    assert!(log.statistics().disk_bytes <= 8 << 20);
    log.set_capacity(32 << 20);
    fill(&log, 260..460);
    assert_eq!(there(&log, 260..460), 200);
    log.set_capacity(1 << 20);
    wait_for("little", || log.statistics().disk_bytes <= 1 << 20);
    write(&log, record("key 0", 0, 100_000));
    assert!(log.statistics().disk_bytes <= 1 << 20);
    log.set_capacity(0);
    wait_for("nothing", || log.statistics().disk_bytes == 0);
    assert_eq!(log.statistics().entries, 0);
    let put = log.put(record("key 0", 0, 10));
    assert!(matches!(put, super::super::Put::Dropped(Why::TooLarge)));
    log.set_capacity(16 << 20);
    write(&log, record("key 0", 0, 100_000));
    assert_eq!(stored(&log, "key 0"), Some(0));
}

#[test]
fn reclaim_under_load_never_yields_wrong_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path(), options(), |key| key.ends_with(b"7")).unwrap();
    let log = Arc::new(log);
    let newest: Arc<Vec<AtomicU64>> = Arc::new((0..200).map(|_| AtomicU64::new(0)).collect());
    let done = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..2_u64)
        .map(|thread| {
            let (log, newest, done) = (Arc::clone(&log), Arc::clone(&newest), Arc::clone(&done));
            std::thread::spawn(move || {
                for version in 1..2000 {
                    // Each key has one writer.
                    let key = (version * 7919 % 100) * 2 + thread;
                    log.wait_for_room(60_000, LONG);
                    log.put(record(&format!("key {key}"), version, 50_000));
                    newest[usize::try_from(key).unwrap()].store(version, Ordering::SeqCst);
                }
                done.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    let mut hits = 0;
    while done.load(Ordering::SeqCst) < 2 {
        for key in 0..200 {
            let least = newest[key].load(Ordering::SeqCst);
            if let Some(version) = stored(&log, &format!("key {key}")) {
                assert!(version >= least, "key {key}: {version} after {least}");
                hits += 1;
            }
        }
    }
    for writer in writers {
        writer.join().unwrap();
    }
    assert!(hits > 0);
    let statistics = log.statistics();
    assert!(statistics.reclaimed_segments > 20, "{statistics:?}");
    assert_eq!(statistics.corrupt, 0);
    assert!(statistics.disk_bytes <= 16 << 20);
}

#[test]
fn a_record_being_read_is_not_pulled_away() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    write(&log, record("key", 1, 500_000));
    let entry = log.find(b"key")[0];
    let segment = log.shared.segment(entry.location.segment).unwrap();
    fill(&log, 0..400);
    assert_eq!(log.find(b"key"), []);
    assert!(!segment.path.exists());
    let bytes = super::super::device::read_at(&*segment.blob, 128, 72).unwrap();
    assert_eq!(&bytes[..4], b"SWRC");
}

#[test]
fn writing_keeps_to_its_rate() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(
        directory.path(),
        Options {
            write_rate: Some(2_000_000),
            ..options()
        },
    );
    let start = super::support::now();
    fill(&log, 0..6);
    let took = super::support::now().saturating_sub(start);
    assert!(took >= Duration::from_millis(240), "{took:?}");
    assert_eq!(there(&log, 0..6), 6);
}
