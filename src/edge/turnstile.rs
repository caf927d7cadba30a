//! A client connection that lets one request's bytes through and keeps the next request's back.
//!
//! While Pingora answers a request it also reads, to notice a client that goes away; a request that
//! arrives meanwhile would be taken for stray data and end the exchange. Behind the turnstile it
//! waits: [`Turnstile::into_parts`] gives it to [`super::front`], which checks it as any other.
//!
//! On the way out it keeps a response's Date: Pingora writes the current time into every head, but
//! a stored response was generated earlier (RFC 9110 §6.6.1).

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chunked::{ChunkedBody, Malformed};
use super::guest::Guest;
use super::pace::{Paced, is_too_slow};
use crate::config::Client;
use crate::guard::connections::Refused;
use crate::guard::pace::MinRate;

/// Most bytes kept back; a client that sends more before it has its answer has to wait.
const MOST_KEPT: usize = 64 << 10;

/// How many bytes the current request may still read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// This many: the rest of a body with a length.
    Bytes(u64),
    /// The rest of a chunked body.
    Chunked(ChunkedBody),
    /// As many as come: the connection has left HTTP.
    All,
}

impl Allowance {
    /// Whether the request has been read to its end.
    fn is_used_up(&self) -> bool {
        match self {
            Self::Bytes(missing) => *missing == 0,
            Self::Chunked(body) => body.is_complete(),
            Self::All => false,
        }
    }
}

/// A connection with a turnstile.
#[derive(Debug)]
pub(super) struct Turnstile {
    stream: Stream,
    allowance: Allowance,
    kept: BytesMut,
    /// Whether the client asks to leave HTTP, and has no answer to that yet.
    upgrade: bool,
    /// Who waits for bytes that are kept back.
    waiting: Option<Waker>,
    /// The Date that the next head is to have.
    date: Mutex<Option<Date>>,
    /// Where in the bytes to be written next it goes.
    patch: Option<Patch>,
    timing: Option<Timing>,
}

/// How fast the client must be, and is.
#[derive(Debug)]
struct Timing {
    guest: Arc<Guest>,
    min_body_rate: MinRate,
    body: Paced,
    min_read_rate: MinRate,
    answer: Paced,
}

impl Timing {
    fn tell(&self, error: &io::Error, why: Refused) {
        if is_too_slow(error) {
            self.guest.refused(why);
        }
    }
}

/// An IMF-fixdate; all are of this length (RFC 9110 §5.6.7).
type Date = [u8; 29];

/// Bytes to be written in place of others.
#[derive(Clone, Copy, Debug)]
struct Patch {
    date: Date,
    /// How many bytes come before it.
    ahead: usize,
    /// How many bytes of it have been written.
    done: usize,
}

impl Turnstile {
    /// Puts `stream` behind a turnstile, which keeps back `kept`, what has come of the next request. A 101
    /// opens it, if the client asked for that with `upgrade`.
    pub(super) fn new(stream: Stream, allowance: Allowance, upgrade: bool, kept: BytesMut) -> Self {
        Self {
            stream,
            allowance,
            kept,
            upgrade,
            waiting: None,
            date: Mutex::default(),
            patch: None,
            timing: None,
        }
    }

    /// Ends the connection when the client is slower than it may be.
    pub(super) fn timing(mut self, guest: Arc<Guest>, client: &Client) -> Self {
        self.timing = Some(Timing {
            guest,
            min_body_rate: client.min_body_rate,
            body: Paced::default(),
            min_read_rate: client.min_read_rate,
            answer: Paced::default(),
        });
        self
    }

    /// Looks at how fast the body comes; not when the connection has left HTTP, or the body has come.
    fn look_at_body(&mut self, moved: Poll<usize>, context: &mut Context<'_>) -> io::Result<()> {
        let done = self.allowance == Allowance::All || self.allowance.is_used_up();
        let Some(timing) = self.timing.as_mut().filter(|_| !done) else {
            return Ok(());
        };
        let looked = timing.body.look(timing.min_body_rate, moved, context);
        looked.inspect_err(|error| timing.tell(error, Refused::SlowBody))
    }

    /// Looks at how fast the answer is taken.
    fn look_at_answer(
        &mut self,
        written: &Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        let open = self.allowance == Allowance::All;
        let moved = match written {
            Poll::Ready(Ok(count)) => Poll::Ready(*count),
            Poll::Ready(Err(_)) => return Ok(()),
            Poll::Pending => Poll::Pending,
        };
        let Some(timing) = self.timing.as_mut().filter(|_| !open) else {
            return Ok(());
        };
        let looked = timing.answer.look(timing.min_read_rate, moved, context);
        looked.inspect_err(|error| timing.tell(error, Refused::SlowRead))
    }

    /// The next response head keeps this Date, where the connection to the client is one of ours.
    pub(crate) fn keep_date(connection: &Stream, date: &[u8]) {
        let turnstile = connection.as_any().downcast_ref::<Self>();
        if let (Some(turnstile), Ok(date)) = (turnstile, date.try_into()) {
            let mut kept = turnstile.date.lock();
            *kept.as_deref_mut().unwrap_or(&mut None) = Some(date);
        }
    }

    /// `bytes` as they are to be written: with the kept Date, if they hold a head's.
    fn patched<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        if self.patch.is_none() {
            let date = self.date.get_mut().ok().and_then(Option::take);
            self.patch = date.and_then(|date| {
                let ahead = date_in_head(bytes)?;
                Some(Patch {
                    date,
                    ahead,
                    done: 0,
                })
            });
        }
        let Some(patch) = self.patch else {
            return Cow::Borrowed(bytes);
        };
        let mut patched = bytes.to_vec();
        let rest = patch.date.get(patch.done..).unwrap_or_default();
        let place = patched.get_mut(patch.ahead..).unwrap_or_default();
        for (place, byte) in place.iter_mut().zip(rest) {
            *place = *byte;
        }
        Cow::Owned(patched)
    }

    /// Takes note that `count` bytes have been written.
    fn written(&mut self, count: usize) {
        self.patch = self.patch.and_then(|patch| {
            let beyond = count.saturating_sub(patch.ahead);
            let done = patch.done + beyond;
            (done < patch.date.len()).then_some(Patch {
                ahead: patch.ahead.saturating_sub(count),
                done,
                ..patch
            })
        });
    }

    /// The connection, and what was kept back of the next request; `None` when the rest of this request is
    /// still to come, which would be taken for the next one.
    pub(super) fn into_parts(self) -> Option<(Stream, BytesMut)> {
        let ended = self.allowance.is_used_up();
        ended.then_some((self.stream, self.kept))
    }

    /// Looks whether the bytes to be written are the answer to an upgrade (RFC 9110 §15.2.2). What the
    /// client sent after its request is of HTTP unless it is a 101.
    fn answers(&mut self, bytes: &[u8]) {
        if !self.upgrade || bytes.is_empty() {
            return;
        }
        let status = bytes.strip_prefix(b"HTTP/1.1 ").unwrap_or_default();
        if status.starts_with(b"101") {
            self.allowance = Allowance::All;
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
        // Another interim head is not the answer yet.
        self.upgrade = status.starts_with(b"1") && !status.starts_with(b"101");
    }

    /// Lets through what comes of a chunked body, and keeps back what follows it.
    fn read_chunked(
        &mut self,
        mut body: ChunkedBody,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        let Ok(own) = body.advance(read) else {
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, Malformed)));
        };
        let next = read.get(own..).unwrap_or_default();
        self.kept.extend_from_slice(next);
        buffer.set_filled(before + own);
        self.allowance = Allowance::Chunked(body);
        polled
    }

    /// Reads what does not belong to the current request; ready only when the client is gone.
    fn keep_back(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.upgrade {
            self.waiting = Some(context.waker().clone());
        }
        while self.kept.len() < MOST_KEPT {
            let mut chunk = [0; 4096];
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => self.kept.extend_from_slice(buffer.filled()),
                other => return other,
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for Turnstile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.allowance.is_used_up() {
            return this.keep_back(context);
        }
        let before = buffer.filled().len();
        let polled = this.read_own(context, buffer);
        let moved = match &polled {
            Poll::Ready(Ok(())) => Poll::Ready(buffer.filled().len() - before),
            Poll::Ready(Err(_)) => return polled,
            Poll::Pending => Poll::Pending,
        };
        this.look_at_body(moved, context)?;
        polled
    }
}

impl Turnstile {
    /// Reads what is the current request's.
    fn read_own(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self;
        let allowed = match this.allowance {
            Allowance::Bytes(allowed) => allowed,
            Allowance::Chunked(body) => return this.read_chunked(body, context, buffer),
            Allowance::All if this.kept.is_empty() => {
                return Pin::new(&mut this.stream).poll_read(context, buffer);
            }
            Allowance::All => {
                let length = this.kept.len().min(buffer.remaining());
                buffer.put_slice(&this.kept.split_to(length));
                return Poll::Ready(Ok(()));
            }
        };
        let room = usize::try_from(allowed)
            .unwrap_or(usize::MAX)
            .min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let polled = Pin::new(&mut this.stream).poll_read(context, &mut part);
        let read = part.filled().len();
        buffer.advance(read);
        this.allowance = Allowance::Bytes(allowed.saturating_sub(u64::try_from(read).unwrap_or(0)));
        polled
    }
}

impl AsyncWrite for Turnstile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answers(bytes);
        let bytes = self.patched(bytes);
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes);
        self.look_at_answer(&written, context)?;
        if let Poll::Ready(Ok(count)) = written {
            self.written(count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let date = self.date.get_mut().is_ok_and(|date| date.is_some());
        if date || self.patch.is_some() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.answers(first.map_or(&[], |slice| slice));
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.look_at_answer(&written, context)?;
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Where the value of a final response head's Date begins.
fn date_in_head(bytes: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\r\ndate: ";
    let head = bytes.strip_prefix(b"HTTP/1.").is_some_and(|rest| {
        // Interim heads have no Date.
        !matches!(rest.get(2), Some(b'1'))
    });
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut windows = bytes.get(..end)?.windows(NAME.len());
    let name = windows.position(|window| window.eq_ignore_ascii_case(NAME))?;
    head.then_some(name + NAME.len())
}

#[async_trait]
impl Shutdown for Turnstile {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.stream).await;
    }
}

impl UniqueID for Turnstile {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Turnstile {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Turnstile {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.stream.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.stream.get_write_pending_time()
    }
}

impl GetProxyDigest for Turnstile {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Turnstile {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

impl Peek for Turnstile {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const OLD: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "HTTP/1.1 200 OK\r\nA: 1\r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\n\r\nbody";

    /// What the client gets of `NEW` when it is written in pieces of `size` bytes and the connection
    /// takes `room` bytes at a time.
    async fn written(size: usize, room: usize) -> String {
        let (ours, mut theirs) = tokio::io::duplex(room);
        let stream: Stream = Box::new(ours);
        let turnstile: Stream = Box::new(Turnstile::new(
            stream,
            Allowance::Bytes(0),
            false,
            BytesMut::new(),
        ));
        Turnstile::keep_date(&turnstile, OLD);
        let write = async move {
            let mut turnstile = turnstile;
            for piece in NEW.as_bytes().chunks(size) {
                turnstile.write_all(piece).await.unwrap();
            }
        };
        let mut read = String::new();
        let ((), done) = tokio::join!(write, theirs.read_to_string(&mut read));
        done.unwrap();
        read
    }

    #[tokio::test]
    async fn a_response_keeps_its_date_however_slowly_it_goes_out() {
        let expected = NEW.replace("Mon, 07 Nov", "Sun, 06 Nov");
        for room in [1, 7, 40, 1000] {
            assert_eq!(written(1000, room).await, expected, "{room}");
        }
    }

    #[test]
    fn only_a_final_head_has_a_date() {
        assert_eq!(
            date_in_head(b"HTTP/1.1 200 OK\r\ndate: x\r\n\r\n"),
            Some(23)
        );
        assert_eq!(date_in_head(b"HTTP/1.1 103 Hints\r\nDate: x\r\n\r\n"), None);
        assert_eq!(
            date_in_head(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n\r\nDate: x\r\n\r\n"),
            None
        );
        assert_eq!(date_in_head(b"body"), None);
    }
}
