//! One exchange with a replica: over HTTP/1.1 on a connection of our own, or on one of Pingora's, which speaks
//! HTTP/2 as well.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_error::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use std::sync::Arc;
use tokio::time::{Instant as Deadline, timeout_at};

use super::failure::FetchFailure;
use super::h1::{Connection, IdleConnections, MOST_INTERIM};
use super::wire;
use crate::clock;

/// Most that is read of a body that nobody wants, before the connection is given up.
const MOST_UNWANTED: usize = 64 << 10;
/// Most that is kept of it.
const MOST_KEPT: usize = 1 << 10;

/// What opens connections and keeps those that can be used again.
pub(super) struct Sessions {
    transport: TransportConnector,
    idle: Arc<IdleConnections>,
    /// For peers that may speak HTTP/2.
    pingora: Connector,
}

/// A connection with at most one request on its way.
pub(super) enum Session {
    H1(Box<Connection>),
    Pingora {
        session: Box<HttpSession>,
        peer: Box<HttpPeer>,
    },
}

impl Sessions {
    pub(super) fn new(conf: &ServerConf) -> Self {
        let options = ConnectorOptions::from_server_conf(conf);
        let most = conf.upstream_keepalive_pool_size;
        Self {
            transport: TransportConnector::new(Some(options.clone())),
            idle: IdleConnections::new(conf.threads, most),
            pingora: Connector::new(Some(options)),
        }
    }

    /// A connection, and whether it was used before.
    pub(super) async fn open(&self, peer: HttpPeer) -> Result<(Session, bool), FetchFailure> {
        if peer.options.alpn.get_max_http_version() > 1 {
            let opened = self.pingora.get_http_session(&peer).await;
            let (session, reused) = opened.map_err(|error| FetchFailure::of(&error))?;
            let (session, peer) = (Box::new(session), Box::new(peer));
            return Ok((Session::Pingora { session, peer }, reused));
        }
        let key = peer.reuse_hash();
        if let Some(connection) = self.idle.take(key) {
            return Ok((Session::H1(connection), true));
        }
        let stream = self.transport.new_stream(&peer).await;
        let stream = stream.map_err(|error| FetchFailure::of(&error))?;
        let rest = peer.options.idle_timeout.unwrap_or_default();
        let connection = Box::new(Connection::new(stream, key, rest));
        Ok((Session::H1(connection), false))
    }

    /// Takes back a connection whose answer was read to its end.
    pub(super) async fn release(&self, session: Session) {
        match session {
            Session::H1(connection) => self.idle.put(connection),
            Session::Pingora { mut session, peer } => {
                if let HttpSession::H1(h1) = &mut *session {
                    h1.respect_keepalive();
                }
                let idle = peer.options.idle_timeout;
                let release = self.pingora.release_http_session(*session, &*peer, idle);
                release.await;
            }
        }
    }
}

impl Session {
    /// Sends `request` and reads up to the final head.
    pub(super) async fn ask(
        &mut self,
        request: &RequestHeader,
        deadline: Instant,
        pause: Duration,
        interim: impl FnMut(&ResponseHeader) + Send,
    ) -> Result<ResponseHeader, FetchFailure> {
        match self {
            Self::H1(connection) => connection.ask(request, deadline, interim).await,
            Self::Pingora { session, peer } => {
                session.set_write_timeout(Some(pause));
                // The deadline is there already.
                session.set_read_timeout(None);
                let asked = ask_pingora(session, request, peer.is_tls(), interim);
                let asked = timeout_at(Deadline::from_std(deadline), asked).await;
                session.set_read_timeout(Some(pause));
                match asked {
                    Ok(Ok(head)) => Ok(head),
                    Ok(Err(error)) => Err(FetchFailure::of(&error)),
                    Err(_) => Err(FetchFailure::Timeout),
                }
            }
        }
    }

    /// The next bytes of the body, which come by `deadline` and after no more than a `pause`; `None` at its
    /// end.
    pub(super) async fn read(
        &mut self,
        deadline: Instant,
        pause: Duration,
    ) -> Result<Option<Bytes>, FetchFailure> {
        let now = clock::instant();
        if now >= deadline {
            return Err(FetchFailure::Timeout);
        }
        match self {
            Self::H1(connection) => connection.read(deadline.min(now + pause)).await,
            Self::Pingora { session, .. } => {
                let read = session.read_response_body();
                match timeout_at(Deadline::from_std(deadline), read).await {
                    Ok(Ok(bytes)) => Ok(bytes),
                    Ok(Err(error)) => Err(FetchFailure::of(&error)),
                    Err(_) => Err(FetchFailure::Timeout),
                }
            }
        }
    }

    /// Reads the body to its end, if that is near. Gives its beginning, and whether that end was reached.
    pub(super) async fn drain(&mut self, deadline: Instant, pause: Duration) -> (Vec<u8>, bool) {
        let (mut beginning, mut read) = (Vec::new(), 0);
        while read <= MOST_UNWANTED {
            match self.read(deadline, pause).await {
                Ok(Some(bytes)) => {
                    read += bytes.len();
                    let room = MOST_KEPT - beginning.len();
                    beginning.extend(bytes.iter().take(room));
                }
                Ok(None) => return (beginning, true),
                Err(_) => break,
            }
        }
        (beginning, false)
    }
}

async fn ask_pingora(
    session: &mut HttpSession,
    request: &RequestHeader,
    tls: bool,
    mut interim: impl FnMut(&ResponseHeader) + Send,
) -> pingora_error::Result<ResponseHeader> {
    wire::send(session, request.clone(), tls).await?;
    for _ in 0..=MOST_INTERIM {
        session.read_response_header().await?;
        let head = session
            .response_header()
            .cloned()
            .ok_or_else(|| Error::explain(ErrorType::InvalidHTTPHeader, "no response head"))?;
        if !head.status.is_informational() {
            return Ok(head);
        }
        if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            // RFC 9110 §15.2.2: nobody asked for another protocol.
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "an unsolicited 101");
        }
        interim(&head);
    }
    Error::e_explain(ErrorType::InvalidHTTPHeader, "too many interim responses")
}
