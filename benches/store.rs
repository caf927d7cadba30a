//! What the segment log costs: finding, reading, writing, and recovering.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark, not a library"
)]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use seawall::store::log::{Log, Options, Put, Receipt, Record};
use twox_hash::XxHash3_64;

const LONG: Duration = Duration::from_mins(1);
const KIB: usize = 1024;

#[allow(clippy::disallowed_methods, reason = "a benchmark has its own clock")]
fn options(capacity: u64) -> Options {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Options::new(capacity, Arc::new(move || now().unwrap_or_default()))
}

fn open(directory: &Path) -> Log {
    let log = Log::open(directory, options(8 << 30), |_| false).unwrap();
    assert!(log.wait_recovered(LONG));
    log
}

fn key(number: u64) -> Arc<[u8]> {
    format!("shop\0https\0www.shop.example\0/catalog/products/{number}/\0")
        .as_bytes()
        .into()
}

fn record(number: u64, body: &Bytes) -> Record {
    Record {
        primary: key(number),
        slot: 0,
        fill: number,
        generation: 1,
        useful_until: u64::MAX,
        head: Bytes::from_static(&[b'h'; 300]),
        body: vec![body.clone()],
    }
}

fn put(log: &Log, record: Record) -> Receipt {
    assert!(log.wait_for_room(1 << 21, LONG));
    match log.put(record) {
        Put::Queued(receipt) => receipt,
        Put::Dropped(why) => panic!("{why:?}"),
    }
}

fn fill(log: &Log, count: u64, length: usize) {
    let body = Bytes::from(vec![7; length]);
    let receipts = (0..count).map(|number| put(log, record(number, &body)));
    receipts.last().unwrap().wait().unwrap();
}

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/find");
    for (name, count) in [("1k", 1_000), ("100k", 100_000), ("1M", 1_000_000)] {
        let directory = tempfile::tempdir().unwrap();
        let log = open(directory.path());
        fill(&log, count, 0);
        let keys: Vec<_> = (0..8192).map(|n| key(n * 7919 % count)).collect();
        let mut next = keys.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(log.find(next.next().unwrap())).len());
        });
        let bytes = log.statistics().index_bytes;
        println!("index: {} bytes an entry at {name}", bytes / count);
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/read 64 KiB");
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let count = 1000;
    fill(&log, count, 64 * KIB);
    log.close();
    let log = open(directory.path());
    let files: Vec<File> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "segment"))
        .map(|path| File::open(path).unwrap())
        .collect();
    group.throughput(Throughput::Bytes(64 * 1024));
    let mut number = 0;
    group.bench_function("raw pread and xxh3", |bencher| {
        bencher.iter(|| {
            number = (number + 7919) % 900;
            let mut bytes = vec![0; 64 * KIB];
            files[0].read_exact_at(&mut bytes, number * 66_000).unwrap();
            (XxHash3_64::oneshot(&bytes), bytes)
        });
    });
    let keys: Vec<_> = (0..count).map(key).collect();
    let mut next = keys.iter().cycle().step_by(7919);
    group.bench_function("find and read all", |bencher| {
        bencher.iter(|| {
            let key = next.next().unwrap();
            let entry = log.find(key)[0];
            log.read(key, &entry).unwrap().unwrap()
        });
    });
    group.bench_function("find, read_head and read_body", |bencher| {
        bencher.iter(|| {
            let key = next.next().unwrap();
            let entry = log.find(key)[0];
            let head = log.read_head(key, &entry).unwrap().unwrap();
            (
                head,
                log.read_body(key, &entry, 0..u64::MAX).unwrap().unwrap(),
            )
        });
    });
    group.finish();
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/put");
    group.sample_size(10);
    for (name, count, length) in [("1 KiB", 20_000, KIB), ("64 KiB", 2_000, 64 * KIB)] {
        let directory = tempfile::tempdir().unwrap();
        let log = open(directory.path());
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("{name} new or replaced"), |bencher| {
            bencher.iter(|| fill(&log, count, length));
        });
    }
    group.finish();
}

fn recover(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/recovery");
    group.sample_size(10);
    let directory = tempfile::tempdir().unwrap();
    fill(&open(directory.path()), 1_000_000, 1000);
    group.bench_function("1M entries", |bencher| {
        bencher.iter(|| {
            let log = open(directory.path());
            assert_eq!(log.recovery().entries, 1_000_000);
            log.close();
        });
    });
    group.finish();
}

criterion_group!(benches, find, read, write, recover);
criterion_main!(benches);
