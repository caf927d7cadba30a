//! Whatever becomes of the bytes: a miss, never wrong ones.

use std::path::Path;

use super::super::inspect;
use super::super::{SegmentState, salvage, verify};
use super::support::{
    body, killed, now, only_segment, open, open_with, options, record, stored, write,
};

/// Three records, sealed or as a kill leaves them; the file and where the second record is.
fn three(directory: &Path, sealed: bool) -> (tempfile::TempDir, Vec<u8>, usize) {
    let log = open(directory);
    for (key, length) in [("one", 300), ("two", 70_000), ("three", 300)] {
        write(&log, record(key, 5, length));
    }
    let at = log.find(b"two")[0].location.offset;
    let copy = if sealed {
        log.close();
        killed(directory)
    } else {
        killed(directory)
    };
    let bytes = std::fs::read(only_segment(copy.path())).unwrap();
    (copy, bytes, usize::try_from(at).unwrap())
}

/// How many of the three are found, each of them checked.
fn found(directory: &Path) -> usize {
    let log = open(directory);
    let found = ["one", "two", "three"].map(|key| stored(&log, key));
    assert!(found.iter().flatten().all(|version| *version == 5));
    found.iter().flatten().count()
}

/// Writes the file anew; recovery may have sealed or removed it.
fn lay(directory: &Path, bytes: &[u8]) {
    std::fs::write(directory.join("00000001.segment"), bytes).unwrap();
}

#[test]
fn every_flipped_byte_of_a_header_costs_that_record_at_most() {
    for sealed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (copy, bytes, at) = three(directory.path(), sealed);
        let preamble = 72 + 3 + "head of two in version 5".len() + 2 * 8;
        for place in at..at + preamble {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x41;
            lay(copy.path(), &flipped);
            let count = found(copy.path());
            // Lengths and magic lead to the next record; where they do not, the rest is lost.
            let least = match (sealed, place - at) {
                (false, 56..72) => 1,
                // An index does not look at marks in records.
                (true, 4) => 3,
                _ => 2,
            };
            assert!(count >= least, "{sealed} {place}: {count}");
            assert!(count < 3 || least == 3, "{sealed} {place}: {count}");
        }
    }
}

#[test]
fn sampled_bytes_of_bodies_and_indexes_never_yield_others() {
    for sealed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (copy, bytes, at) = three(directory.path(), sealed);
        let end = bytes.len().min(at + 75_000);
        let sampled = (0..128).chain((128..end).step_by(997));
        let index = (end - 300..end).filter(|_| sealed);
        for place in sampled.chain(index) {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x10;
            lay(copy.path(), &flipped);
            found(copy.path());
            for salvaged in salvage(&flipped) {
                let key = std::str::from_utf8(&salvaged.primary).unwrap();
                assert!(salvaged.body == body(key, 5, salvaged.body.len()));
            }
        }
    }
}

#[test]
fn the_last_record_cut_at_any_length_is_a_miss_and_the_others_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let (copy, bytes, at) = three(directory.path(), false);
    let third =
        at + usize::try_from(super::super::format::aligned(72 + 3 + 24 + 16 + 70_000)).unwrap();
    let length = 72 + 5 + "head of three in version 5".len() + 8 + 300;
    for cut in third..=third + length {
        // As a shorter file, and as one whose rest was never written.
        let mut torn = bytes[..cut].to_vec();
        lay(copy.path(), &torn);
        let expected = if cut == third + length { 3 } else { 2 };
        assert_eq!(found(copy.path()), expected, "cut at {cut}");
        if cut % 16 == 0 {
            torn.resize(bytes.len(), 0);
            lay(copy.path(), &torn);
            // Its mark was written last; zeros in its place are how a kill leaves it.
            assert!(found(copy.path()) <= 3);
        }
    }
}

#[test]
fn a_damaged_block_spares_the_other_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let (copy, mut bytes, at) = three(directory.path(), true);
    bytes[at + 69_000] ^= 1;
    lay(copy.path(), &bytes);
    let log = open(copy.path());
    let entry = log.find(b"two")[0];
    let first = log.read_body(b"two", &entry, 10..65_536).unwrap().unwrap();
    assert!(first.concat() == body("two", 5, 70_000)[10..65_536]);
    assert_eq!(log.read_body(b"two", &entry, 65_536..65_537).unwrap(), None);
    assert_eq!(log.statistics().corrupt, 1);
    assert_eq!(log.find(b"two"), [], "it is dropped");
    assert_eq!(log.read_body(b"two", &entry, 10..65_536).unwrap(), None);
}

#[test]
fn a_body_that_looks_like_records_is_never_taken_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    write(&log, record("victim", 1, 100));
    log.close();
    let genuine = std::fs::read(only_segment(directory.path())).unwrap();
    // An attacker who has records of another directory puts them into a body.
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let mut attack = record("attack", 1, 0);
    attack.body = vec![genuine.into(); 20];
    write(&log, attack);
    write(&log, record("last", 1, 10));
    let copy = killed(directory.path());
    let path = only_segment(copy.path());
    let bytes = std::fs::read(&path).unwrap();
    for place in 128..128 + 72 {
        let mut flipped = bytes.clone();
        flipped[place] ^= 0x08;
        std::fs::write(&path, &flipped).unwrap();
        let log = open(copy.path());
        assert_eq!(log.find(b"victim"), [], "{place}");
        log.close();
    }
}

#[test]
fn a_record_of_another_key_with_the_same_digest_is_a_miss() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    write(&log, record("one", 1, 100));
    let shared = &log.shared;
    let mut known = shared.index.find(shared.digest(b"one"))[0];
    known.id.digest = shared.digest(b"two");
    shared.index.insert(&known);
    let entry = log.find(b"two")[0];
    assert_eq!(log.read_head(b"two", &entry).unwrap(), None);
    assert_eq!(log.read(b"two", &entry).unwrap(), None);
    assert_ne!(
        log.read_now(b"two", &entry).map(|found| found.is_some()),
        Ok(true)
    );
    assert_eq!(log.read_body(b"two", &entry, 0..10).unwrap(), None);
    assert_eq!(stored(&log, "one"), Some(1), "it is the other's");
    assert_eq!(log.statistics().corrupt, 0);
}

#[test]
fn a_segment_of_another_directory_is_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let (copy, ..) = three(directory.path(), true);
    let other = tempfile::tempdir().unwrap();
    open(other.path()).close();
    let stray = other.path().join("00000001.segment");
    std::fs::copy(only_segment(copy.path()), &stray).unwrap();
    let log = open(other.path());
    assert_eq!(log.statistics().entries, 0);
    assert!(!stray.exists());
}

#[test]
fn another_version_of_the_format_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (copy, mut bytes, _) = three(directory.path(), true);
    bytes[8] = 2;
    std::fs::write(copy.path().join("00000003.segment"), &bytes).unwrap();
    assert_eq!(found(copy.path()), 3);
    assert!(copy.path().join("00000003.aside").exists());
    let report = inspect::inspect(copy.path(), now().as_secs()).unwrap();
    assert_eq!(report.segments.len(), 1);
}

#[test]
fn verify_names_what_is_damaged_and_inspect_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (copy, bytes, at) = three(directory.path(), true);
    let seconds = now().as_secs();
    let report = verify(copy.path(), seconds).unwrap();
    assert_eq!((report.live, report.dead, report.expired), (3, 0, 0));
    assert_eq!(report.damaged, []);
    assert_eq!(report.segments[0].state, SegmentState::Sealed);
    let log = open(copy.path());
    log.retract(b"one", 0);
    log.close();
    let mut flipped = std::fs::read(only_segment(copy.path())).unwrap();
    assert_eq!(flipped.len(), bytes.len());
    flipped[at + 5000] ^= 1;
    lay(copy.path(), &flipped);
    let report = inspect::inspect(copy.path(), seconds).unwrap();
    assert_eq!((report.live, report.dead), (2, 1));
    assert_eq!(report.damaged, [], "inspect reads indexes only");
    let report = verify(copy.path(), seconds).unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].offset, at as u64);
    assert_eq!(report.damaged[0].what, "a record's body");
}

#[test]
fn verify_reads_a_directory_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    write(&log, record("key", 1, 1000));
    let report = verify(directory.path(), now().as_secs()).unwrap();
    assert_eq!(report.live, 1);
    assert_eq!(report.segments[0].state, SegmentState::Open);
    assert_eq!(report.damaged, []);
    assert_eq!(stored(&log, "key"), Some(1));
}

/// A small segment file, and whether a process sealed it.
fn small(sealed: bool) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let options = super::super::Options {
        capacity: 64 << 10,
        segment: Some(4096),
        ..options()
    };
    let log = open_with(directory.path(), options);
    for version in 0..5 {
        write(
            &log,
            record(["a", "b", "c"][version % 3], version as u64, 90 + version),
        );
    }
    if sealed {
        log.close();
    }
    let copy = killed(directory.path());
    let bytes = std::fs::read(only_segment(copy.path())).unwrap();
    bytes[..bytes.len().min(1800)].to_vec()
}

#[test]
fn whatever_is_made_of_a_segment_yields_its_own_records_or_none() {
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below.max(1)
    };
    let originals = [small(true), small(false)];
    let mut yielded = 0;
    for _ in 0..20_000 {
        let mut bytes = originals[next(2)].clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, next(256).try_into().unwrap()),
                2 => drop(bytes.drain(at..(at + next(40)).min(bytes.len()))),
                3 => {
                    let part = originals[next(2)][next(800)..].to_vec();
                    let end = bytes.len().min(at + next(part.len()));
                    let part = part[..end - at].to_vec();
                    bytes[at..end].copy_from_slice(&part);
                }
                _ => bytes[at] ^= 1 << next(8),
            }
            if bytes.is_empty() {
                break;
            }
        }
        for found in salvage(&bytes) {
            yielded += 1;
            let key = std::str::from_utf8(&found.primary).unwrap();
            assert_eq!(found.head, super::support::head(key, found.fill));
            assert_eq!(found.body, body(key, found.fill, found.body.len()));
            assert_eq!(found.body.len() as u64, 90 + found.fill);
        }
    }
    assert!(yielded > 5_000, "{yielded}");
}

#[test]
#[ignore = "writes the seeds of a fuzz target anew, after a change of the format"]
fn write_the_seeds_of_the_fuzz_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/segment");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sealed"), small(true)).unwrap();
    std::fs::write(folder.join("open"), small(false)).unwrap();
}
