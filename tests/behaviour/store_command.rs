//! `seawall store inspect|verify DIR`.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seawall::store::log::{Log, Options, Put, Record};
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);

/// Three records in one segment, one of them replaced.
fn stored(directory: &Path) {
    let options = Options::new(16 << 20, Arc::new(|| Duration::from_secs(1_700_000_000)));
    let log = Log::open(directory, options, |_| false).unwrap();
    assert!(log.wait_recovered(MINUTE));
    for (key, fill) in [("a", 1), ("b", 2), ("a", 3)] {
        let put = log.put(Record {
            primary: key.as_bytes().into(),
            slot: 0,
            fill,
            generation: 0,
            useful_until: if key == "b" { 5 } else { u64::MAX },
            head: Bytes::from_static(b"head"),
            body: vec![Bytes::from(vec![b'x'; 3000])],
        });
        match put {
            Put::Queued(receipt) => receipt.wait().unwrap(),
            Put::Dropped(why) => panic!("{why:?}"),
        }
    }
}

fn seawall(verb: &str, directory: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["store", verb])
        .arg(directory)
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn inspect_counts_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    stored(directory.path());
    let output = seawall("inspect", directory.path(), &[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 segments"), "{text}");
    assert!(
        text.contains("records: 2 live (5.8 KiB), 1 of them expired; 1 dead"),
        "{text}"
    );
    let output = seawall("inspect", directory.path(), &["--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["live"], 2);
    assert_eq!(json["segments"][0]["state"], "sealed");
}

#[test]
fn verify_tells_a_damaged_record_by_its_exit_status() {
    let directory = tempfile::tempdir().unwrap();
    stored(directory.path());
    let output = seawall("verify", directory.path(), &[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("every live record is as it was written"));
    let segment = directory.path().join("00000001.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    let place = bytes.len() - 1000;
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert!(seawall("inspect", directory.path(), &[]).status.success());
    let output = seawall("verify", directory.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("damaged: a record's body at "), "{text}");
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let output = seawall("verify", &directory.path().join("none"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("cannot read "), "{text}");
}
