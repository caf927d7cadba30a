//! A connection at the door: counted, told whose it is, and let in or not, before TLS where there is TLS.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use nix::sys::socket::{Shutdown, shutdown};
use pingora_core::listeners::PreTlsProcess;
use pingora_core::protocols::l4::stream::Stream as TcpStream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{GetProxyDigest, GetSocketDigest};
use pingora_error::{Error, ErrorType};
use pingora_http::ResponseHeader;
use tokio::io::AsyncReadExt;
use tokio::task::AbortHandle;

use crate::clock;
use crate::config::{Client, Config, Listener};
use crate::guard::connections::{ClientLimits, Place, Refused};
use crate::guard::proxy_header::{self, NotOne, ProxyHeader};
use crate::server::{Admitted, Counted, Shared};

/// A client's connection that was let in.
pub struct Guest {
    /// Who it comes from: a client, or a proxy.
    pub peer: IpAddr,
    /// Whose it is, as a proxy's header says; else the peer's.
    pub client: IpAddr,
    shared: Arc<Shared>,
    /// Whether it speaks for many clients: a trusted proxy.
    is_proxy: bool,
    /// None for proxies, which speak for many, and where clients are too many to be remembered.
    place: Option<Place>,
    handshake: Mutex<Option<Handshake>>,
    _admitted: Admitted,
}

/// A TLS handshake in progress.
struct Handshake {
    _counted: Counted,
    timer: AbortHandle,
}

impl Handshake {
    /// Ends the connection on `socket` when its handshake takes longer than `most`. Pingora's own timer is longer,
    /// and fixed.
    fn begin(
        counted: Counted,
        socket: RawFd,
        most: Duration,
        told: impl FnOnce() + Send + 'static,
    ) -> Self {
        // Connections stay on their thread, and so does this. The stream is dropped together with what holds this,
        // in one go: the socket cannot have become another's when the timer runs.
        let timer = tokio::spawn(async move {
            tokio::time::sleep(most).await;
            told();
            let _ = shutdown(socket, Shutdown::Both);
        });
        Self {
            _counted: counted,
            timer: timer.abort_handle(),
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

impl Guest {
    /// Lets a connection in; `None` when it is to be closed.
    pub(super) async fn welcome(
        shared: &Arc<Shared>,
        stream: &mut TcpStream,
        tls: bool,
    ) -> Option<Arc<Self>> {
        let digest = stream.get_socket_digest();
        let peer = super::client(digest.as_ref().and_then(|digest| digest.peer_addr()));
        let runtime = shared.runtime();
        let config = &runtime.config;
        let limits = &config.client;
        let refuse = |client, why| {
            shared.refused_connection(client, why);
            None
        };
        let connections = &shared.connections;
        let Some(admitted) = connections.admit(limits.max_connections, &shared.metrics) else {
            return refuse(peer, Refused::TooMany);
        };
        let mut handshake = None;
        if tls {
            handshake = connections.handshake(limits.max_tls_handshakes, limits.max_connections);
            if handshake.is_none() {
                return refuse(peer, Refused::Handshakes);
            }
        }
        let (client, is_proxy) = match whose(config, stream, peer).await {
            Ok(known) => known,
            Err(why) => return refuse(peer, why),
        };
        let place = if is_proxy {
            None
        } else {
            match shared
                .clients
                .connect(client, &limits.limits, clock::uptime())
            {
                Ok(place) => {
                    if place.is_none() {
                        shared.metrics.guard.uncounted();
                    }
                    place
                }
                Err(why) => return refuse(client, why),
            }
        };
        let handshake = handshake.map(|counted| {
            let shared = shared.clone();
            let told = move || shared.refused_connection(client, Refused::SlowHandshake);
            Handshake::begin(counted, stream.as_raw_fd(), limits.header_timeout, told)
        });
        Some(Arc::new(Self {
            peer,
            client,
            shared: shared.clone(),
            is_proxy,
            place,
            handshake: Mutex::new(handshake),
            _admitted: admitted,
        }))
    }

    /// The one whose connection this is, where it has been let in already.
    pub(super) fn of(digest: Option<&ProxyDigest>) -> Option<&Arc<Self>> {
        digest?.user_data.as_ref()?.downcast_ref()
    }

    /// What the layers between it and those who ask carry.
    pub(super) fn digest(self: Arc<Self>) -> Option<ProxyDigest> {
        let unused = ResponseHeader::build(200, Some(0)).ok()?;
        Some(ProxyDigest::new(Box::new(unused), Some(Box::new(self))))
    }

    /// The TLS handshake is over.
    pub(super) fn is_through(&self) {
        let mut handshake = self
            .handshake
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *handshake = None;
    }

    /// Whether the client may send one more request now; it is told of when not.
    pub fn may_ask(&self, limits: &ClientLimits) -> bool {
        let Some(place) = self
            .place
            .as_ref()
            .filter(|_| limits.request_rate.is_some())
        else {
            return true;
        };
        let may = place.request(limits, clock::uptime());
        if !may {
            self.refused(Refused::Requests);
        }
        may
    }

    /// Streams that may be reset at once; those of a proxy are of many clients.
    pub(super) fn most_resets(&self, client: &Client) -> u32 {
        if self.is_proxy {
            return u32::MAX;
        }
        client.http2_max_resets
    }

    /// Whether one more stream of the client may be reset.
    pub(super) fn may_reset(&self, most: u32) -> bool {
        let place = self.place.as_ref();
        place.is_none_or(|place| place.reset(most, clock::uptime()))
    }

    /// Tells that the connection, or a request on it, was refused.
    pub fn refused(&self, why: Refused) {
        self.shared.refused_connection(self.client, why);
    }
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Guest");
        shown.field("client", &self.client).finish_non_exhaustive()
    }
}

/// Whose a connection from `peer` is, and whether that is one who speaks for many.
///
/// # Errors
/// When a proxy does not say.
async fn whose(
    config: &Config,
    stream: &mut TcpStream,
    peer: IpAddr,
) -> Result<(IpAddr, bool), Refused> {
    let (trusted, most) = (&config.client.trust.proxies, config.client.header_timeout);
    let digest = stream.get_socket_digest();
    let local = || digest?.local_addr()?.as_inet().copied();
    let proxies = listener(config, local).and_then(|listener| listener.proxy_protocol.as_ref());
    if !proxies.is_some_and(|proxies| proxies.contains(peer)) {
        return Ok((peer, trusted.contains(peer)));
    }
    match tokio::time::timeout(most, header(stream)).await {
        Ok(Some(ProxyHeader { source, .. })) => {
            Ok(source.map_or((peer, true), |source| (source, trusted.contains(source))))
        }
        Ok(None) | Err(_) => Err(Refused::ProxyProtocol),
    }
}

/// The listener that a connection came in by, where any of them wants a header.
fn listener(config: &Config, local: impl FnOnce() -> Option<SocketAddr>) -> Option<&Listener> {
    let listeners = &config.listeners;
    if listeners.iter().all(|it| it.proxy_protocol.is_none()) {
        return None;
    }
    let local = local()?;
    let same_port = |it: &&Listener| it.address.port() == local.port();
    let exact = |it: &&Listener| it.address.ip().to_canonical() == local.ip().to_canonical();
    let mut here = listeners.iter().filter(same_port);
    let any = |it: &&Listener| it.address.ip().is_unspecified();
    here.clone().find(exact).or_else(|| here.find(any))
}

/// Reads a proxy's header; `None` when there is none.
async fn header(stream: &mut TcpStream) -> Option<ProxyHeader> {
    let mut bytes = BytesMut::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        match proxy_header::read(&bytes) {
            Ok(None) => {}
            Ok(Some(header)) => {
                stream.rewind(bytes.get(header.length..)?);
                return Some(header);
            }
            Err(NotOne) => return None,
        }
    }
}

/// Lets in connections whose TLS handshake is still to come.
pub struct BeforeTls {
    shared: Arc<Shared>,
}

impl BeforeTls {
    /// For all TLS listeners.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl PreTlsProcess for BeforeTls {
    async fn process(&self, stream: &mut TcpStream) -> pingora_error::Result<()> {
        let guest = Guest::welcome(&self.shared, stream, true).await;
        let Some(digest) = guest.and_then(Guest::digest) else {
            return Error::e_explain(ErrorType::ConnectionClosed, "the connection is refused");
        };
        stream.set_proxy_digest(digest);
        Ok(())
    }
}
