//! A client connection that lets one request's bytes through and keeps the next request's back.
//!
//! While Pingora answers a request it also reads, to notice a client that goes away; a request that
//! arrives meanwhile would be taken for stray data and end the exchange. Behind the turnstile it
//! waits: [`Turnstile::into_parts`] gives it to [`super::front`], which checks it as any other.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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

/// Most bytes kept back; a client that sends more before it has its answer has to wait.
const MOST_KEPT: usize = 64 << 10;

/// How many bytes the current request may still read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// This many: the rest of a body with a length.
    Bytes(u64),
    /// As many as come: a chunked body, or a connection that leaves HTTP.
    All,
}

/// A connection with a turnstile.
#[derive(Debug)]
pub(super) struct Turnstile {
    stream: Stream,
    allowance: Allowance,
    kept: BytesMut,
}

impl Turnstile {
    /// Puts `stream` behind a turnstile.
    pub(super) fn new(stream: Stream, allowance: Allowance) -> Self {
        Self {
            stream,
            allowance,
            kept: BytesMut::new(),
        }
    }

    /// The connection, and what was kept back of the next request.
    pub(super) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.kept)
    }

    /// Reads what does not belong to the current request; ready only when the client is gone.
    fn keep_back(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        let allowed = match this.allowance {
            Allowance::All => return Pin::new(&mut this.stream).poll_read(context, buffer),
            Allowance::Bytes(0) => return this.keep_back(context),
            Allowance::Bytes(allowed) => allowed,
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
        Pin::new(&mut self.stream).poll_write(context, bytes)
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
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
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
