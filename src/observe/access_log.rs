//! The access log: one JSON line a request on standard output, written by a thread of its own.
//!
//! A full queue drops lines and counts them: a slow log reader must not slow down clients.

use std::io::{BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::Serialize;

const QUEUE: usize = 16_384;

/// One request, as logged.
#[derive(Debug, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are the log's documentation; README lists them"
)]
pub struct AccessRecord<'a> {
    pub time: String,
    pub request_id: &'a str,
    pub client: String,
    pub zone: &'a str,
    pub method: &'a str,
    pub scheme: &'a str,
    pub host: &'a str,
    /// As the client sent it, in canonical form.
    pub target: &'a str,
    /// What rules rewrote it to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<&'a str>,
    pub protocol: &'static str,
    pub status: u16,
    pub response_bytes: u64,
    pub request_bytes: u64,
    /// The `X-Cache` word.
    pub cache: &'static str,
    /// The `Cache-Status` value, which holds the reason.
    pub cache_status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    pub attempts: u32,
    pub duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collapsed_wait_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where access records go.
pub struct AccessLog {
    lines: SyncSender<Message>,
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// A log on standard output.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn to_stdout() -> std::io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_lines(&queue, std::io::stdout()))?;
        Ok(Self { lines })
    }

    /// Queues a record; `false` when it had to be dropped.
    pub fn write(&self, record: &AccessRecord<'_>) -> bool {
        let Ok(mut line) = serde_json::to_vec(record) else {
            return false;
        };
        line.push(b'\n');
        self.lines.try_send(Message::Line(line)).is_ok()
    }

    /// Waits until everything queued is written.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.lines.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

fn write_lines(queue: &Receiver<Message>, out: impl Write) {
    let mut out = BufWriter::with_capacity(64 << 10, out);
    while let Ok(message) = queue.recv() {
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                // Nothing is left to report a closed standard output to.
                Message::Line(line) => drop(out.write_all(&line)),
                Message::Flush(done) => {
                    let _ = out.flush();
                    let _ = done.try_send(());
                }
            }
            next = queue.try_recv().ok();
        }
        let _ = out.flush();
    }
}
