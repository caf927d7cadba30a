//! Connections on which an upgrade to another protocol is asked for.
//!
//! When the origin's 101 is already there at the first look, Pingora 0.9 may read it before it has
//! seen the end of the request's (empty) body, and then takes that end for the end of the upgraded
//! connection. These connections look away once after each write, so that the body comes first. They
//! also watch the time to the first byte, which the descriptor-based deadline of other requests
//! cannot.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_error::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

/// Opens such connections.
#[derive(Debug)]
pub(super) struct UpgradeConnector {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
}

#[async_trait]
impl L4Connect for UpgradeConnector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::SocketError, "not an Internet address");
        };
        let tcp = match timeout(self.connect, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(Error::because(
                    ErrorType::ConnectRefused,
                    "for an upgrade",
                    error,
                ));
            }
            Ok(Err(error)) => {
                return Err(Error::because(
                    ErrorType::ConnectError,
                    "for an upgrade",
                    error,
                ));
            }
            Err(_) => return Error::e_explain(ErrorType::ConnectTimedout, "for an upgrade"),
        };
        tcp.set_nodelay(true)
            .or_err(ErrorType::SocketError, "nodelay")?;
        let socket = UpgradeSocket {
            tcp,
            looks_away: false,
            first_byte: Some(Box::pin(sleep(self.first_byte))),
        };
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

struct UpgradeSocket {
    tcp: TcpStream,
    /// The next read is put off once.
    looks_away: bool,
    /// Runs until the first byte arrives.
    first_byte: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for UpgradeSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpgradeSocket").field(&self.tcp).finish()
    }
}

impl AsyncRead for UpgradeSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.looks_away) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.tcp).poll_read(context, buffer);
        if polled.is_ready() {
            self.first_byte = None;
        } else if let Some(first_byte) = &mut self.first_byte
            && first_byte.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for UpgradeSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.looks_away = true;
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

impl VirtualSocket for UpgradeSocket {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.tcp.set_nodelay(true),
            _ => Ok(()),
        }
    }
}
