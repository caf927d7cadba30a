//! A request that goes past the cache: the origin's answer is written to the client as it comes.

use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use pingora_core::protocols::Stream;
use pingora_http::ResponseHeader;
use tokio::sync::mpsc::unbounded_channel;

use super::guest::Guest;
use super::io::{Reader, close, read, write};
use super::lane::{Cut, Evaluated, Pass, Sent};
use crate::config::Client;

/// Most bytes that a client may send ahead while it waits for an answer; the rest is left unread.
const MOST_EARLY: usize = 64 << 10;

/// Bytes of the body that go out in one write with what is there already.
const GATHERED: usize = 32 << 10;

/// Room for a head and a small body.
const AT_FIRST: usize = 4 << 10;

/// How it ended.
pub(super) enum Relayed {
    /// The connection may be used again.
    Answered,
    Over,
    /// There is no answer, and nothing final was written.
    Unanswered(Evaluated),
}

/// The client's side of it.
struct Downstream<'a> {
    stream: &'a mut Stream,
    /// What the client sent ahead.
    early: &'a mut BytesMut,
    reader: Reader<'a>,
    /// What is to be written next, of which the first `head` bytes are the head's.
    out: Vec<u8>,
    head: usize,
    sent: Sent,
}

/// Has `pass` answer the client.
pub(super) async fn relay(
    stream: &mut Stream,
    early: &mut BytesMut,
    mut pass: Box<impl Pass>,
    keep: bool,
    client: &Client,
    guest: &Guest,
) -> Relayed {
    let mut downstream = Downstream {
        stream,
        early,
        reader: Reader::new(client, guest),
        out: Vec::with_capacity(AT_FIRST),
        head: 0,
        sent: Sent {
            head: false,
            body: 0,
            error: None,
        },
    };
    match downstream.wait_for_head(&mut *pass).await {
        Ok(true) => {}
        Ok(false) => return Relayed::Unanswered(pass.hand_over()),
        Err(error) => {
            downstream.sent.error = Some(error);
            pass.finish(downstream.sent);
            return Relayed::Over;
        }
    }
    pass.write_head(keep, &mut downstream.out);
    downstream.head = downstream.out.len();
    let complete = match downstream.body(&mut *pass).await {
        Ok(complete) => complete,
        Err(error) => {
            downstream.sent.error = Some(error);
            false
        }
    };
    let Downstream { stream, sent, .. } = downstream;
    pass.finish(sent);
    if complete && keep {
        return Relayed::Answered;
    }
    if complete {
        close(stream, client).await;
    }
    Relayed::Over
}

impl Downstream<'_> {
    /// Whether the origin answered; an error when the client left before.
    async fn wait_for_head(&mut self, pass: &mut impl Pass) -> io::Result<bool> {
        let (sender, mut interim) = unbounded_channel();
        let mut asked = pin!(pass.ask(sender));
        loop {
            let head = tokio::select! {
                biased;
                answered = &mut asked => {
                    while let Ok(head) = interim.try_recv() {
                        self.write_interim(&head).await?;
                    }
                    return Ok(answered);
                }
                Some(head) = interim.recv() => head,
                error = gone(self.stream, self.early) => return Err(error),
            };
            self.write_interim(&head).await?;
        }
    }

    async fn write_interim(&mut self, head: &ResponseHeader) -> io::Result<()> {
        let mut out = Vec::new();
        let reason = head.get_reason_phrase().unwrap_or_default();
        write!(out, "HTTP/1.1 {} {reason}\r\n", head.status.as_u16())?;
        head.header_to_h1_wire(&mut out);
        out.extend_from_slice(b"\r\n");
        let pieces = std::iter::once(out.as_slice());
        write(self.stream, pieces, &mut self.reader, &mut 0).await
    }

    /// Writes the body as it comes; whether all of it was.
    async fn body(&mut self, pass: &mut impl Pass) -> io::Result<bool> {
        let chunked = pass.is_chunked();
        loop {
            match self.piece(pass).await? {
                Ok(Some(bytes)) => self.add(&bytes, chunked).await?,
                Ok(None) => break,
                Err(Cut) => {
                    self.flush(&[]).await?;
                    return Ok(false);
                }
            }
        }
        if chunked {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush(&[]).await?;
        Ok(true)
    }

    /// The next piece. What was gathered goes out before it is waited for.
    async fn piece(&mut self, pass: &mut impl Pass) -> io::Result<Result<Option<Bytes>, Cut>> {
        let mut piece = pin!(pass.read());
        let there = poll_fn(|context| Poll::Ready(piece.as_mut().poll(context))).await;
        if let Poll::Ready(piece) = there {
            return Ok(piece);
        }
        self.flush(&[]).await?;
        tokio::select! {
            biased;
            piece = piece => Ok(piece),
            error = gone(self.stream, self.early) => Err(error),
        }
    }

    async fn add(&mut self, bytes: &Bytes, chunked: bool) -> io::Result<()> {
        if bytes.is_empty() {
            // A chunk without bytes would be the last one.
            return Ok(());
        }
        self.sent.body += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if chunked {
            write!(self.out, "{:X}\r\n", bytes.len())?;
        }
        if self.out.len() + bytes.len() <= GATHERED {
            self.out.extend_from_slice(bytes);
        } else {
            self.flush(bytes).await?;
        }
        if chunked {
            self.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Writes what was gathered, and `more` behind it.
    async fn flush(&mut self, more: &[u8]) -> io::Result<()> {
        let mut written = 0;
        let pieces = [self.out.as_slice(), more].into_iter();
        let result = write(self.stream, pieces, &mut self.reader, &mut written).await;
        self.sent.head |= written >= self.head;
        if result.is_err() {
            let lost = (self.out.len() + more.len()).saturating_sub(written.max(self.head));
            let lost = u64::try_from(lost).unwrap_or(u64::MAX);
            self.sent.body = self.sent.body.saturating_sub(lost);
        }
        self.head = 0;
        self.out.clear();
        result
    }
}

/// Waits for the client to leave, and keeps what it sends ahead.
async fn gone(stream: &mut Stream, early: &mut BytesMut) -> io::Error {
    while early.len() < MOST_EARLY {
        match read(stream, early).await {
            Ok(1..) => {}
            Ok(0) => return io::ErrorKind::ConnectionAborted.into(),
            Err(error) => return error,
        }
    }
    std::future::pending().await
}
