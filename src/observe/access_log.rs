//! The access log: one JSON line a request on standard output, written by a thread of its own.
//!
//! Lines are gathered in buffers, one for some threads each, and written together a moment later: a
//! wake-up for each line would cost more than a hit. Lines of different threads may change places
//! within that moment. A full buffer drops lines and counts them: a slow log reader must not slow down
//! clients.

use std::fmt::Display;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::cache::status::CacheStatus;

/// Buffers; more than most machines have worker threads.
const BUFFERS: usize = 32;
/// Bytes that may wait in one of them.
const MOST_WAITING: usize = 1 << 20;
/// How long lines are gathered.
const GATHER: Duration = Duration::from_millis(10);

/// What stands in the log as a line of JSON.
pub trait Line {
    /// Appends it, with the line feed.
    ///
    /// # Errors
    /// When it is nothing that JSON could tell.
    fn append(&self, out: &mut Vec<u8>) -> std::io::Result<()>;
}

/// One request, as logged.
#[allow(
    missing_docs,
    reason = "the names are the log's documentation; README lists them"
)]
pub struct AccessRecord<'a> {
    pub time: Time,
    pub request_id: &'a str,
    pub client: OrEmpty<IpAddr>,
    pub zone: &'a str,
    pub method: &'a str,
    pub scheme: &'a str,
    pub host: &'a str,
    /// As the client sent it, in canonical form.
    pub target: &'a str,
    /// What rules rewrote it to.
    pub rewritten: Option<&'a str>,
    pub protocol: &'static str,
    pub status: u16,
    pub response_bytes: u64,
    pub request_bytes: u64,
    /// The `X-Cache` word.
    pub cache: &'static str,
    /// Where a hit was found: `memory` or `disk`.
    pub tier: Option<&'static str>,
    /// The `Cache-Status` value, which holds the reason.
    pub cache_status: OrEmpty<&'a CacheStatus>,
    pub rule: Option<&'a str>,
    pub rule_at: Option<Shown<&'a dyn Display>>,
    pub key: Option<KeyHash>,
    /// The node of a lower tier that the request is from.
    pub lower_tier: Option<&'a str>,
    /// The upper tier that answered.
    pub upper_tier: Option<&'a str>,
    pub upstream: Option<SocketAddr>,
    pub attempts: u32,
    pub duration_ms: f64,
    pub connect_ms: Option<f64>,
    pub first_byte_ms: Option<f64>,
    pub collapsed_wait_ms: Option<f64>,
    pub user_agent: Option<&'a str>,
    pub error: Option<Shown<&'a dyn Display>>,
}

/// Written as it is shown to people.
pub struct Shown<T>(pub T);

/// Written in RFC 3339, in UTC with milliseconds.
pub struct Time(pub SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0))
    }
}

/// The short hash of a key, written in 16 hexadecimal digits.
pub struct KeyHash(pub u64);

/// Written as it is shown to people, or as an empty text.
pub struct OrEmpty<T>(pub Option<T>);

/// Where access records go.
pub struct AccessLog {
    waiting: Arc<Waiting>,
    writer: Thread,
}

/// Lines on their way to the writer.
struct Waiting {
    buffers: [Mutex<Vec<u8>>; BUFFERS],
    /// Whether the writer was told that there is something.
    told: AtomicBool,
    /// Who wants to know when everything is written.
    flushes: Mutex<Vec<SyncSender<()>>>,
}

thread_local! {
    /// Which buffer this thread uses.
    static BUFFER: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % BUFFERS
    };
}

impl AccessLog {
    /// A log on standard output.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn to_stdout() -> std::io::Result<Self> {
        Self::to(std::io::stdout())
    }

    fn to(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let waiting = Arc::new(Waiting {
            buffers: std::array::from_fn(|_| Mutex::default()),
            told: AtomicBool::new(false),
            flushes: Mutex::default(),
        });
        let lines = waiting.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || lines.write(out))?;
        Ok(Self {
            waiting,
            writer: thread.thread().clone(),
        })
    }

    /// Queues a record; `false` when it had to be dropped.
    pub fn write(&self, record: &impl Line) -> bool {
        let buffer = self.waiting.buffers.get(BUFFER.with(|index| *index));
        let Some(mut buffer) = buffer.map(lock) else {
            return false;
        };
        let before = buffer.len();
        if before > MOST_WAITING || record.append(&mut buffer).is_err() {
            buffer.truncate(before);
            return false;
        }
        drop(buffer);
        if !self.waiting.told.load(Ordering::Acquire)
            && !self.waiting.told.swap(true, Ordering::AcqRel)
        {
            self.writer.unpark();
        }
        true
    }

    /// Waits until everything queued is written, or `longest`: whoever reads the log may have stopped to, and
    /// must not keep the process from ending. Whether it is written.
    pub fn flush(&self, longest: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        lock(&self.waiting.flushes).push(done);
        self.writer.unpark();
        wait.recv_timeout(longest).is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    fn write(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let told = self.told.load(Ordering::Acquire);
            let flushes = std::mem::take(&mut *lock(&self.flushes));
            if !told && flushes.is_empty() {
                std::thread::park();
                continue;
            }
            if flushes.is_empty() {
                std::thread::park_timeout(GATHER);
            }
            self.told.store(false, Ordering::Release);
            for buffer in &self.buffers {
                std::mem::swap(&mut lines, &mut *lock(buffer));
                // Nothing is left to report a closed standard output to.
                let _ = out.write_all(&lines);
                lines.clear();
            }
            let _ = out.flush();
            for done in flushes {
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes a write whenever the test gives leave, and says what it took.
    struct Slow(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if !bytes.is_empty() && self.0.recv().is_ok() {
                let _ = self.1.send(bytes.to_vec());
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    pub(in crate::observe) fn record(target: &str) -> AccessRecord<'_> {
        AccessRecord {
            time: Time(SystemTime::UNIX_EPOCH),
            request_id: "",
            client: OrEmpty(None),
            zone: "",
            method: "GET",
            scheme: "",
            host: "",
            target,
            rewritten: None,
            protocol: "",
            status: 200,
            response_bytes: 0,
            request_bytes: 0,
            cache: "",
            tier: None,
            cache_status: OrEmpty(None),
            rule: None,
            rule_at: None,
            key: None,
            lower_tier: None,
            upper_tier: None,
            upstream: None,
            attempts: 0,
            duration_ms: 0.0,
            connect_ms: None,
            first_byte_ms: None,
            collapsed_wait_ms: None,
            user_agent: None,
            error: None,
        }
    }

    #[test]
    fn who_does_not_read_the_log_does_not_keep_the_process_from_ending() {
        let ((leave, wait), (say, said)) = (channel(), channel());
        let log = AccessLog::to(Slow(wait, say)).unwrap();
        assert!(log.write(&record("/first")));
        assert!(!log.flush(Duration::from_millis(20)));
        // What waits is bounded; the rest is told to be dropped.
        let target = "x".repeat(100 << 10);
        let queued = (0..100).filter(|_| log.write(&record(&target))).count();
        assert!((5..20).contains(&queued), "{queued}");
        for _ in 0..2 {
            leave.send(()).unwrap();
        }
        assert!(log.flush(Duration::from_mins(1)));
        let written: Vec<u8> = said.try_iter().flatten().collect();
        let lines = String::from_utf8(written).unwrap().lines().count();
        assert_eq!(lines, queued + 1);
    }
}
