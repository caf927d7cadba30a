//! A client's connection of HTTP/2, whose frames are counted as they pass. One that costs more than it carries is
//! ended with a GOAWAY.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::guest::Guest;
use super::pace::{Paced, is_too_slow};
use crate::clock;
use crate::config::Client;
use crate::guard::connections::Refused;
use crate::guard::http2::{Abuse, Http2Watch, Passed};
use crate::guard::pace::MinRate;

/// A watched connection.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    /// What has been read of it already.
    first: Bytes,
    guest: Arc<Guest>,
    /// Takes the guest to those who answer requests.
    digest: Option<Arc<ProxyDigest>>,
    watch: Http2Watch,
    /// Until when the client must have begun; `None` once it has.
    opening: Option<Pin<Box<Sleep>>>,
    most_resets: u32,
    written: Paced,
    least: MinRate,
    ended: bool,
}

impl Watched {
    /// Watches `stream`, of which `first` has been read.
    pub(super) fn new(stream: Stream, first: Bytes, guest: Arc<Guest>, client: &Client) -> Self {
        Self {
            stream,
            digest: guest.clone().digest().map(Arc::new),
            watch: Http2Watch::new(guest.most_resets(client)),
            most_resets: guest.most_resets(client),
            guest,
            opening: first
                .is_empty()
                .then(|| Box::pin(sleep(client.header_timeout))),
            written: Paced::default(),
            least: client.min_read_rate,
            ended: false,
            first,
        }
    }

    /// Ends the connection if what passed was too much.
    fn judge(&mut self, passed: Passed, context: &mut Context<'_>) -> io::Result<()> {
        let may_reset = |_: u32| self.guest.may_reset(self.most_resets);
        let of_all = !(0..passed.resets).all(may_reset);
        let why = match passed.abuse {
            Some(Abuse::Resets) => Refused::Resets,
            Some(Abuse::EmptyFrames) => Refused::EmptyFrames,
            None if of_all => Refused::Resets,
            None => return Ok(()),
        };
        self.guest.refused(why);
        self.ended = true;
        if let Some(goodbye) = self.watch.goodbye() {
            // As much as goes out at once: nobody waits for such a client.
            let _ = Pin::new(&mut self.stream).poll_write(context, &goodbye);
            let _ = Pin::new(&mut self.stream).poll_flush(context);
        }
        Err(ended())
    }

    /// `pieces` were to be written, and `written` says how much of them was.
    fn sent(
        &mut self,
        pieces: &[io::IoSlice<'_>],
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let count = match &written {
            Poll::Ready(Ok(count)) => Poll::Ready(*count),
            Poll::Ready(Err(_)) => return written,
            Poll::Pending => Poll::Pending,
        };
        if let Err(error) = self.written.look(self.least, count, context) {
            if is_too_slow(&error) {
                self.guest.refused(Refused::SlowRead);
            }
            self.ended = true;
            return Poll::Ready(Err(error));
        }
        let Poll::Ready(mut rest) = count else {
            return written;
        };
        let now = clock::uptime();
        for piece in pieces {
            let part = piece.get(..rest.min(piece.len())).unwrap_or_default();
            rest -= part.len();
            let passed = self.watch.sent(part, now);
            self.judge(passed, context)?;
        }
        written
    }
}

fn ended() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(Err(ended()));
        }
        let before = buffer.filled().len();
        let polled = if this.first.is_empty() {
            Pin::new(&mut this.stream).poll_read(context, buffer)
        } else {
            let length = this.first.len().min(buffer.remaining());
            buffer.put_slice(this.first.get(..length).unwrap_or_default());
            this.first.advance(length);
            Poll::Ready(Ok(()))
        };
        let read = buffer.filled().get(before..).unwrap_or_default();
        if read.is_empty()
            && let Some(opening) = &mut this.opening
            && opening.as_mut().poll(context).is_ready()
        {
            // Pingora waits for ever for who asks for HTTP/2 and then says nothing.
            this.ended = true;
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !read.is_empty() {
            if this.watch.has_begun() {
                this.opening = None;
            }
            let passed = this.watch.received(read, clock::uptime());
            this.judge(passed, context)?;
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(ended()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(&[io::IoSlice::new(bytes)], written, context)
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
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(ended()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.sent(pieces, written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.stream).await;
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Watched {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    /// In cleartext as well: the client has begun with the preface.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(ALPN::H2)
    }
}

impl GetTimingDigest for Watched {
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

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.digest.clone()
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

impl Peek for Watched {}
