//! Files of any size, made as they are sent and compared as they arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::Client;
use super::origin::{Gate, Received, Reply};

/// One mebibyte.
pub const MIB: u64 = 1 << 20;

/// A prime, so that no two slices of a file are alike.
const BLOCK: usize = 1_048_573;

/// A file that an origin has.
#[derive(Clone, Debug)]
pub struct Large {
    block: Arc<Vec<u8>>,
    pub len: u64,
    etag: Option<String>,
    /// Bytes sent of it.
    sent: Arc<AtomicU64>,
}

/// Some of a file, as the body of a reply.
#[derive(Clone, Debug)]
pub struct Piece {
    file: Large,
    first: u64,
    end: u64,
    /// From this position on only once the gate is open.
    held: Option<(u64, Gate)>,
}

impl Large {
    /// A file of so many mebibytes and an odd rest; its content depends on the entity tag.
    pub fn new(mebibytes: u64, etag: &str) -> Self {
        let mut state = etag.bytes().fold(0x9e37_79b9_u32, |state, byte| {
            state.rotate_left(5) ^ u32::from(byte)
        });
        let block = (0..BLOCK).map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        });
        Self {
            block: Arc::new(block.collect()),
            len: mebibytes * MIB + 12_345,
            etag: (!etag.is_empty()).then(|| etag.to_owned()),
            sent: Arc::default(),
        }
    }

    /// Bytes that origins have sent of it.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// All of it, fresh for a minute.
    pub fn whole(&self) -> Reply {
        self.reply(200, 0, self.len, None)
    }

    /// All of it, what follows `at` once `gate` is open.
    pub fn whole_held(&self, at: u64, gate: &Gate) -> Reply {
        self.reply(200, 0, self.len, Some((at, gate.clone())))
    }

    /// As a server of static files answers: the range that is asked for, unless If-Range names another
    /// file.
    pub fn file(&self, request: &Received) -> Reply {
        let current = request
            .field("if-range")
            .is_none_or(|tag| Some(tag) == self.etag.as_deref());
        let known = request.field("if-none-match");
        if known.is_some() && known == self.etag.as_deref() {
            return self.with_etag(Reply::status(304, "").field("Cache-Control: max-age=60"));
        }
        let len = usize::try_from(self.len).unwrap();
        match request.range(len).filter(|_| current) {
            Some((first, _)) if first >= len => {
                Reply::status(416, "").field(format!("Content-Range: bytes */{len}"))
            }
            Some((first, last)) => self
                .reply(206, first as u64, last as u64 + 1, None)
                .field(format!("Content-Range: bytes {first}-{last}/{len}")),
            None => self.whole(),
        }
    }

    fn reply(&self, status: u16, first: u64, end: u64, held: Option<(u64, Gate)>) -> Reply {
        let piece = Piece {
            file: self.clone(),
            first,
            end,
            held,
        };
        self.with_etag(Reply::piece(status, piece).field("Cache-Control: max-age=60"))
    }

    fn with_etag(&self, reply: Reply) -> Reply {
        match &self.etag {
            Some(etag) => reply.field(format!("ETag: {etag}")),
            None => reply,
        }
    }

    /// Panics unless `bytes` are those from `first` on.
    pub fn assert_at(&self, first: u64, bytes: &[u8]) {
        let mut at = usize::try_from(first).unwrap() % BLOCK;
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = rest.len().min(BLOCK - at);
            let (here, after) = rest.split_at(length);
            assert!(here == &self.block[at..at + length], "wrong bytes");
            rest = after;
            at = 0;
        }
    }

    /// Reads the body of a response from `first` to `end`, comparing it; where it ended.
    pub async fn read(&self, client: &mut Client, first: u64, end: u64) -> u64 {
        let mut at = first;
        while at < end {
            let length = usize::try_from((end - at).min(1 << 16)).unwrap();
            let Ok(bytes) = client.take(length).await else {
                return at;
            };
            self.assert_at(at, &bytes);
            at += bytes.len() as u64;
        }
        at
    }

    /// Asks for all of it and compares it; the response's `X-Cache`.
    pub async fn get(&self, client: &mut Client, target: &str) -> String {
        client.request("GET", target, &[]).await;
        let head = client.response_head().await.unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(self.read(client, 0, self.len).await, self.len);
        head.cache().to_owned()
    }

    /// Asks for a range of it and compares it; the response's `X-Cache`.
    pub async fn get_range(
        &self,
        client: &mut Client,
        target: &str,
        first: u64,
        end: u64,
    ) -> String {
        let range = format!("Range: bytes={first}-{}", end - 1);
        client.request("GET", target, &[&range]).await;
        let head = client.response_head().await.unwrap();
        assert_eq!(head.status, 206);
        let described = format!("bytes {first}-{}/{}", end - 1, self.len);
        assert_eq!(head.field("content-range"), Some(described.as_str()));
        assert_eq!(self.read(client, first, end).await, end);
        head.cache().to_owned()
    }
}

impl Piece {
    pub fn len(&self) -> u64 {
        self.end - self.first
    }

    pub async fn send(self, stream: &mut TcpStream) -> std::io::Result<()> {
        let mut at = self.first;
        while at < self.end {
            let mut end = self.end;
            if let Some((held, gate)) = &self.held {
                if at >= *held {
                    gate.pass().await;
                } else {
                    end = end.min(*held);
                }
            }
            let from = usize::try_from(at).unwrap() % BLOCK;
            let length = usize::try_from(end - at)
                .unwrap()
                .min(1 << 16)
                .min(BLOCK - from);
            stream
                .write_all(&self.file.block[from..from + length])
                .await?;
            at += length as u64;
            self.file.sent.fetch_add(length as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}
