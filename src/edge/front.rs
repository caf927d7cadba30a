//! An HTTP/1 connection between its requests: waits, reads a whole head under one deadline, checks
//! it, and hands the request on. A head that never completes or means two things ends here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use http::StatusCode;
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream as TcpStream;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::head::{BodyFraming, Head, HeadError, HeadLimits, check};
use super::turnstile::{Allowance, Turnstile};
use crate::clock;
use crate::config::Client;
use crate::observe::Metrics;
use crate::server::Shared;

/// How long a kept connection may still send a request after the process was told to end. Its answer
/// closes the connection; closing at once would meet requests that are on their way.
pub const LINGER: Duration = Duration::from_secs(2);

/// RFC 9113 §3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts connections for `requests`, which handles one request at a time.
pub struct Front<R> {
    requests: Arc<R>,
    shared: Arc<Shared>,
}

/// What came of waiting for the next request.
enum Next {
    Request(Head),
    Http2,
    Refused(HeadError),
    Closed,
}

impl<R> Front<R> {
    /// A front for `requests`; limits follow the configuration as it is reloaded.
    pub fn new(requests: R, shared: Arc<Shared>) -> Self {
        Self {
            requests: Arc::new(requests),
            shared,
        }
    }
}

#[async_trait]
impl<R> ServerApp for Front<R>
where
    R: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let _connection = self.shared.metrics.connection();
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return self.requests.process_new(stream, shutdown).await;
        }
        self.serve_http1(stream, shutdown).await
    }

    async fn cleanup(&self) {
        tokio::time::sleep(LINGER).await;
        self.requests.http_cleanup().await;
    }
}

impl<R> Front<R>
where
    R: HttpServerApp + Send + Sync + 'static,
{
    async fn serve_http1(&self, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut buffer = BytesMut::new();
        let mut served = 0;
        loop {
            let client = self.shared.runtime().config.client.clone();
            let head =
                match next_request(&mut stream, &mut buffer, &client, served, shutdown.clone())
                    .await
                {
                    Next::Request(head) => head,
                    Next::Http2 => {
                        return self
                            .requests
                            .process_new(rewind(stream, &buffer)?, shutdown)
                            .await;
                    }
                    Next::Refused(error) => {
                        refuse(&mut stream, error, &client, &self.shared.metrics).await;
                        return None;
                    }
                    Next::Closed => return None,
                };
            // The head and what has come of its body is Pingora's; what follows is the next request.
            let (own, allowance) = share(&head, buffer.len());
            let prefix = buffer.split_to(own);
            served += 1;
            let last = served >= client.max_requests_per_connection || *shutdown.borrow();
            let turnstile = Turnstile::new(stream, allowance);
            let session = session(Box::new(turnstile), prefix, &client, last);
            let reused = self.requests.process_new_http(session, shutdown).await?;
            let turnstile = reused.consume().0.into_any().downcast::<Turnstile>().ok()?;
            let (connection, kept) = turnstile.into_parts();
            stream = connection;
            buffer.unsplit(kept);
        }
    }
}

/// How many of the bytes that have come are this request's, and how many more may be.
fn share(head: &Head, arrived: usize) -> (usize, Allowance) {
    match head.body {
        BodyFraming::Length(length) if !head.upgrade => {
            let body = usize::try_from(length).unwrap_or(usize::MAX);
            let own = head.len.saturating_add(body).min(arrived);
            let missing = head.len.saturating_add(body).saturating_sub(own);
            (
                own,
                Allowance::Bytes(u64::try_from(missing).unwrap_or(u64::MAX)),
            )
        }
        _ => (arrived, Allowance::All),
    }
}

fn session(stream: Stream, prefix: BytesMut, client: &Client, last: bool) -> ServerSession {
    let mut session = ServerSession::new_http1(stream);
    session.set_pipelined_prefix(prefix);
    session.set_keepalive(Some(client.idle_timeout.as_secs().max(1)));
    // Pingora takes the client's word for the keep-alive, but not beyond this count.
    session.set_keepalive_reuses_remaining(Some(u32::from(!last)));
    session.set_read_timeout(Some(client.body_timeout));
    session.set_write_timeout(Some(client.write_timeout));
    session.set_total_drain_timeout(Some(client.body_timeout));
    // A slow first reader must not slow down the fill that others wait for.
    session.set_proxy_tasks_enabled(true);
    session
}

async fn next_request(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    client: &Client,
    served: u32,
    mut shutdown: ShutdownWatch,
) -> Next {
    let limits = HeadLimits {
        size: client.max_header_size,
        fields: client.max_headers,
        target: client.max_uri_length,
    };
    let mut first_byte = None;
    loop {
        skip_empty_line(buffer);
        if !buffer.is_empty() {
            first_byte.get_or_insert_with(clock::instant);
            if served == 0
                && HTTP2_PREFACE.starts_with(
                    buffer
                        .get(..buffer.len().min(HTTP2_PREFACE.len()))
                        .unwrap_or(buffer),
                )
            {
                if buffer.len() >= HTTP2_PREFACE.len() {
                    return Next::Http2;
                }
            } else {
                match check(buffer, limits) {
                    Ok(Some(head)) => return Next::Request(head),
                    Ok(None) => {}
                    Err(error) => return Next::Refused(error),
                }
            }
        }
        let deadline = match first_byte {
            Some(first_byte) => first_byte + client.header_timeout,
            // A new connection owes its first request as soon as a kept one may idle.
            None if served == 0 => clock::instant() + client.header_timeout,
            None => clock::instant() + client.idle_timeout,
        };
        buffer.reserve(4096);
        let read = tokio::select! {
            biased;
            read = timeout_at(Instant::from_std(deadline), stream.read_buf(buffer)) => read,
            () = lingered(&mut shutdown), if first_byte.is_none() => return Next::Closed,
        };
        match read {
            Ok(Ok(1..)) => {}
            Err(_) if first_byte.is_some() => {
                let status = StatusCode::REQUEST_TIMEOUT;
                return Next::Refused(HeadError {
                    status,
                    reason: "the head took too long",
                });
            }
            Ok(_) | Err(_) => return Next::Closed,
        }
    }
}

/// RFC 9112 §2.2: an empty line before a request line is ignored.
fn skip_empty_line(buffer: &mut BytesMut) {
    if buffer.starts_with(b"\r\n") {
        let _ = buffer.split_to(2);
    }
}

/// Waits for the end of the time that kept connections have after a shutdown signal.
async fn lingered(shutdown: &mut ShutdownWatch) {
    while !*shutdown.borrow_and_update() {
        if shutdown.changed().await.is_err() {
            break;
        }
    }
    tokio::time::sleep(LINGER).await;
}

/// Puts what was read back in front, for Pingora to look at the preface itself.
fn rewind(stream: Stream, read: &[u8]) -> Option<Stream> {
    let mut tcp = stream.into_any().downcast::<TcpStream>().ok()?;
    tcp.rewind(read);
    Some(tcp)
}

async fn refuse(stream: &mut Stream, error: HeadError, client: &Client, metrics: &Metrics) {
    metrics.refused(error.reason);
    tracing::debug!(
        status = error.status.as_u16(),
        reason = error.reason,
        "request refused"
    );
    let body = format!("{} {}\n", error.status.as_u16(), error.reason);
    let response = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nCache-Status: Seawall; detail=refused\r\nConnection: close\r\n\r\n{body}",
        error.status.as_u16(),
        error.status.canonical_reason().unwrap_or_default(),
        body.len(),
    );
    let send = async {
        stream.write_all(response.as_bytes()).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        // Closing with unread bytes would reset the connection before the answer is read.
        let mut rest = BytesMut::new();
        while stream.read_buf(&mut rest).await? > 0 && rest.len() < 65_536 {}
        Ok::<(), std::io::Error>(())
    };
    let bound = client.write_timeout.min(Duration::from_secs(2));
    let _ = tokio::time::timeout(bound, send).await;
}
