//! kill -9 at any moment. This test runs itself as another process, which writes versions from two
//! threads and says on its output what is written and what must not come back; it is killed, and
//! the directory is opened and checked. `KILLS` says how often.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::super::{Log, Options, Put};
use super::support::{LONG, open_with, options, record, stored};

const CHILD: &str = "LOG_KILL_CHILD";
const KEYS: u64 = 40;

fn settings() -> Options {
    Options {
        capacity: 24 << 20,
        ..options()
    }
}

/// The key that a writer puts in a round of its own.
fn key_of(round: u64, thread: u64) -> u64 {
    (round * 7 % (KEYS / 2)) * 2 + thread
}

#[test]
fn after_a_kill_nothing_is_wrong_older_or_missing() {
    let kills: u64 = std::env::var("KILLS").map_or(25, |kills| kills.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    // Of each key, the newest version whose put returned, and the one that must be there.
    let mut newest = HashMap::new();
    let mut durable: HashMap<u64, u64> = HashMap::new();
    let mut random = super::super::directory::random();
    let mut totals = [0_u64; 4];
    for kill in 0..kills {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let base = (kill + 1) * 1_000_000;
        let after = Duration::from_micros(random >> 46);
        let heard = run_and_kill(directory.path(), base, after, &mut newest, &mut durable);
        totals[0] += heard.puts;
        totals[1] += heard.written;
        let log = open_with(directory.path(), settings());
        assert_eq!(log.statistics().corrupt, 0);
        for key in 0..KEYS {
            let least = newest.get(&key).copied().unwrap_or(0);
            let found = stored(&log, &format!("key {key}"));
            let written = durable.get(&key).copied();
            if let Some(version) = found {
                totals[2] += 1;
                assert!(
                    version >= least,
                    "kill {kill}, key {key}: {version} < {least}"
                );
            } else if let Some(written) = written {
                // A put that nobody heard of, because it was then that the kill came, replaced it.
                totals[3] += 1;
                let next = heard.next[usize::try_from(key % 2).unwrap()];
                assert_eq!(
                    key_of(next, key % 2),
                    key,
                    "kill {kill}, key {key}: {written} was written and is missing"
                );
                durable.remove(&key);
            }
        }
        log.close();
    }
    let [puts, written, found, replaced] = totals;
    println!(
        "{kills} kills: {puts} puts, {written} acknowledged as written; \
         afterwards {found} found, {replaced} replaced at the moment of the kill, \
         0 older, 0 wrong, 0 missing"
    );
    assert!(kills < 5 || found > 0);
}

#[derive(Default)]
struct Heard {
    puts: u64,
    written: u64,
    /// The round that each writer was in when it was killed.
    next: [u64; 2],
}

fn run_and_kill(
    directory: &Path,
    base: u64,
    after: Duration,
    newest: &mut HashMap<u64, u64>,
    durable: &mut HashMap<u64, u64>,
) -> Heard {
    let test = format!("{}::child", module_path!().split_once("::").unwrap().1);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([&test, "--exact", "--nocapture", "--include-ignored"])
        .env(CHILD, format!("{base} {}", directory.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30) + after);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut heard = Heard::default();
    // A line that the kill cut short does not end.
    for line in output.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split(' ');
        let (Some(word), Some(key), Some(version), Some(".")) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (Ok(key), Ok(version)) = (key.parse::<u64>(), version.parse::<u64>()) else {
            continue;
        };
        match word {
            "put" => {
                heard.puts += 1;
                heard.next[usize::try_from(key % 2).unwrap()] = version - base + 1;
                newest.insert(key, version);
                durable.remove(&key);
            }
            "written" => {
                heard.written += 1;
                if newest.get(&key) == Some(&version) {
                    durable.insert(key, version);
                }
            }
            _ => {}
        }
    }
    killer.join().unwrap();
    heard
}

/// The process that is killed; by itself it does nothing.
#[test]
#[ignore = "runs as a part of another test"]
fn child() {
    let Ok(setting) = std::env::var(CHILD) else {
        return;
    };
    let (base, directory) = setting.split_once(' ').unwrap();
    let base: u64 = base.parse().unwrap();
    let log = Arc::new(Log::open(Path::new(directory), settings(), |_| false).unwrap());
    let writers: Vec<_> = (0..2)
        .map(|thread| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || write_for_ever(&log, base, thread))
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(line.as_bytes()).unwrap();
    output.flush().unwrap();
}

fn write_for_ever(log: &Log, base: u64, thread: u64) {
    let mut waiting: Vec<(u64, u64, super::super::Receipt)> = Vec::new();
    for round in 0_u64.. {
        let version = base + round;
        let key = key_of(round, thread);
        let length = usize::try_from(round * 7919 % 150_000).unwrap();
        log.wait_for_room(200_000, LONG);
        let put = log.put(record(&format!("key {key}"), version, length));
        say(&format!("put {key} {version} .\n"));
        if let Put::Queued(receipt) = put {
            waiting.push((key, version, receipt));
        }
        waiting.retain(|(key, version, receipt)| {
            let outcome = receipt.outcome();
            if outcome == Some(Ok(())) {
                say(&format!("written {key} {version} .\n"));
            }
            outcome.is_none()
        });
    }
}
