//! An HTTP/1 connection between its requests: waits, reads a whole head under one deadline, checks
//! it, and has it evaluated. A hit in memory is written here, what simply goes past the cache is relayed,
//! and every other request goes to Pingora with its evaluation. A head that never completes or means two
//! things ends here.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use pingora_core::apps::ServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream as TcpStream;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;

use super::answers::{self, Answers};
use super::chunked::{ChunkedBody, Malformed};
use super::guest::Guest;
use super::head::{BodyFraming, Head, HeadError, HeadLimits, Parsed, complete, no_fields, parse};
use super::io::{close, read};
use super::lane::{Arriving, Evaluation, Hit, Lane};
use super::refusal::{TOO_FAST, refuse};
use super::relay::{Relayed, relay};
use super::timer::Timer;
use super::turnstile::{Allowance, Turnstile};
use super::watched::Watched;
use crate::clock;
use crate::config::Client;
use crate::server::Shared;

/// How long a kept connection may still send a request after the process was told to end. Its answer
/// closes the connection; closing at once would meet requests that are on their way.
pub const LINGER: Duration = Duration::from_secs(2);

/// RFC 9113 §3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts connections for `requests`, which evaluates requests and handles them one at a time.
pub struct Front<R> {
    requests: Arc<R>,
    shared: Arc<Shared>,
}

/// A connection and what it keeps from one request to the next.
struct Connection {
    stream: Stream,
    guest: Arc<Guest>,
    tls: bool,
    /// What has come and was not read yet.
    buffer: BytesMut,
    served: u32,
    timer: Timer,
}

/// What came of waiting for the next request.
#[allow(
    clippy::large_enum_variant,
    reason = "it is a request nearly always, and a box for each would cost more"
)]
enum Next {
    Request(Request),
    Http2,
    Refused(HeadError),
    Closed,
}

/// A request whose head is complete and acceptable.
struct Request {
    raw: Bytes,
    head: Head,
    parts: Parts,
    /// How much has come of its body.
    arrived: usize,
    /// How much is still to come.
    allowance: Allowance,
    /// Whether the client lets the connection be used again.
    persists: bool,
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
    R: Lane + Send + Sync + 'static,
{
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let (front, shutdown) = (self.clone(), shutdown.clone());
        // A task of its own: that of Pingora has the size of a TLS handshake for as long as it lives, and
        // most connections are idle.
        tokio::spawn(async move { front.serve(stream, &shutdown).await });
        None
    }

    async fn cleanup(&self) {
        tokio::time::sleep(LINGER).await;
        self.requests.http_cleanup().await;
    }
}

impl<R> Front<R>
where
    R: Lane + Send + Sync + 'static,
{
    async fn serve(&self, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let (stream, guest) = self.welcome(stream).await?;
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return self
                .serve_http2(stream, Bytes::new(), guest, shutdown)
                .await;
        }
        self.serve_http1(stream, guest, shutdown).await
    }

    /// Lets a connection in. One of TLS was before its handshake.
    async fn welcome(&self, stream: Stream) -> Option<(Stream, Arc<Guest>)> {
        if let Some(guest) = Guest::of(stream.get_proxy_digest().as_deref()) {
            guest.is_through();
            return Some((stream, guest.clone()));
        }
        let mut tcp = stream.into_any().downcast::<TcpStream>().ok()?;
        // In a box, so that idle connections need no room for it.
        let guest = Box::pin(Guest::welcome(&self.shared, &mut tcp, false)).await?;
        Some((tcp, guest))
    }

    /// Gives a connection of HTTP/2, of which `first` has been read, to Pingora.
    async fn serve_http2(
        &self,
        stream: Stream,
        first: Bytes,
        guest: Arc<Guest>,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let runtime = self.shared.runtime();
        let watched = Watched::new(stream, first, guest, &runtime.config.client);
        drop(runtime);
        let requests = &self.requests;
        requests.process_new(Box::new(watched), shutdown).await
    }

    async fn serve_http1(
        &self,
        stream: Stream,
        guest: Arc<Guest>,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut connection = Connection::new(stream, guest);
        let mut ending = shutdown.clone();
        let mut lingered = std::pin::pin!(lingered(&mut ending));
        let mut answers = Answers::none();
        loop {
            let runtime = self.shared.runtime();
            let client = &runtime.config.client;
            let request = match connection.next(client, lingered.as_mut()).await {
                Next::Request(request) => request,
                Next::Http2 => {
                    let Connection {
                        stream,
                        buffer,
                        guest,
                        ..
                    } = connection;
                    let first = buffer.freeze();
                    return self.serve_http2(stream, first, guest, shutdown).await;
                }
                Next::Refused(error) => {
                    connection.write(&mut answers, client).await?;
                    refuse(&mut connection.stream, error, client, &self.shared.metrics).await;
                    return None;
                }
                Next::Closed => return None,
            };
            connection.served += 1;
            if !connection.guest.may_ask(&client.limits) {
                connection.write(&mut answers, client).await?;
                refuse(
                    &mut connection.stream,
                    TOO_FAST,
                    client,
                    &self.shared.metrics,
                )
                .await;
                return None;
            }
            let last =
                connection.served >= client.max_requests_per_connection || *shutdown.borrow();
            let simple = runtime.config.server.hit_lane
                && request.head.body == BodyFraming::Length(0)
                && !request.head.upgrade;
            let evaluation = self.requests.evaluate(Arriving {
                runtime: runtime.clone(),
                head: request.parts,
                client: connection.guest.client,
                peer: connection.guest.peer,
                tls: connection.tls,
                simple,
            });
            let evaluation = match evaluation {
                Evaluation::Wait(waiting) => waiting.await,
                ready => ready,
            };
            let keep = request.persists && !last;
            if !matches!(evaluation, Evaluation::Hit(_)) {
                connection.write(&mut answers, client).await?;
            }
            let evaluated = match evaluation {
                // None waits twice.
                Evaluation::Wait(_) => return None,
                Evaluation::Hit(hit) => {
                    let more = answers.add(hit, keep, self.shared.in_flight.enter());
                    if !more || !connection.has_next(client) {
                        connection.write(&mut answers, client).await?;
                    }
                    if !keep {
                        close(&mut connection.stream, client).await;
                        return None;
                    }
                    continue;
                }
                Evaluation::Pass(pass) => {
                    let _in_flight = self.shared.in_flight.enter();
                    let (stream, early) = (&mut connection.stream, &mut connection.buffer);
                    // In a box, so that idle connections need no room for it.
                    let guest = &connection.guest;
                    match Box::pin(relay(stream, early, pass, keep, client, guest)).await {
                        Relayed::Answered => continue,
                        Relayed::Over => return None,
                        Relayed::Unanswered(evaluated) => evaluated,
                    }
                }
                Evaluation::Forward(evaluated) => evaluated,
            };
            // The head and what has come of its body is Pingora's; what follows is the next request.
            let mut prefix = BytesMut::from(&*request.raw);
            prefix.unsplit(connection.buffer.split_to(request.arrived));
            let (allowance, upgrade) = (request.allowance, request.head.upgrade);
            let next = std::mem::take(&mut connection.buffer);
            let turnstile = Turnstile::new(connection.stream, allowance, upgrade, next)
                .timing(connection.guest.clone(), client);
            // Pingora reads one Connection line where there are several.
            let mut session = session(Box::new(turnstile), prefix, client, !keep);
            session.set_connection_user_context(Some(evaluated));
            let reused = self.requests.process_new_http(session, shutdown).await?;
            let turnstile = reused.consume().0.into_any().downcast::<Turnstile>().ok()?;
            (connection.stream, connection.buffer) = turnstile.into_parts()?;
        }
    }
}

impl Connection {
    fn new(stream: Stream, guest: Arc<Guest>) -> Self {
        Self {
            guest,
            tls: stream.get_ssl_digest().is_some(),
            stream,
            buffer: BytesMut::new(),
            served: 0,
            timer: Timer::default(),
        }
    }

    /// Waits for the next request; not after `lingered`, if nothing of it has come until then.
    async fn next(
        &mut self,
        client: &Client,
        mut lingered: Pin<&mut impl Future<Output = ()>>,
    ) -> Next {
        let limits = limits(client);
        let mut first_byte = None;
        let begun = clock::instant();
        loop {
            skip_empty_line(&mut self.buffer);
            if !self.buffer.is_empty() {
                if self.served == 0 && begins_http2(&self.buffer) {
                    if self.buffer.len() >= HTTP2_PREFACE.len() {
                        return Next::Http2;
                    }
                } else {
                    match complete(&self.buffer, limits) {
                        Ok(Some(len)) => {
                            return self
                                .take(len, limits)
                                .map_or_else(Next::Refused, Next::Request);
                        }
                        Ok(None) => {}
                        Err(error) => return Next::Refused(error),
                    }
                }
                first_byte.get_or_insert_with(clock::instant);
            }
            let deadline = match first_byte {
                Some(first_byte) => first_byte + client.header_timeout,
                // A new connection owes its first request as soon as a kept one may idle.
                None if self.served == 0 => begun + client.header_timeout,
                None => begun + client.idle_timeout,
            };
            let read = tokio::select! {
                biased;
                read = read(&mut self.stream, &mut self.buffer) => Some(read),
                () = self.timer.until(deadline) => None,
                () = &mut lingered, if first_byte.is_none() => return Next::Closed,
            };
            match read {
                Some(Ok(1..)) => {}
                None if first_byte.is_some() => {
                    let status = StatusCode::REQUEST_TIMEOUT;
                    return Next::Refused(HeadError {
                        status,
                        reason: "the head took too long",
                    });
                }
                Some(_) | None => return Next::Closed,
            }
        }
    }

    /// Whether [`Self::next`] would not wait.
    fn has_next(&self, client: &Client) -> bool {
        let buffer = self.buffer.strip_prefix(b"\r\n").unwrap_or(&self.buffer);
        matches!(complete(buffer, limits(client)), Ok(Some(_)))
    }

    /// Writes what waits; nothing when the connection is broken.
    async fn write<H: Hit>(&mut self, answers: &mut Answers<H>, client: &Client) -> Option<()> {
        let written = answers.write(&mut self.stream, client, &self.guest).await;
        written.then_some(())
    }

    /// Takes the complete head of `len` bytes out of the buffer.
    fn take(&mut self, len: usize, limits: HeadLimits) -> Result<Request, HeadError> {
        let raw = self.buffer.split_to(len).freeze();
        let mut fields = no_fields();
        let parsed = parse(&raw, limits, &mut fields)?;
        let (arrived, allowance) = share(&parsed.head, &self.buffer)?;
        let parts = parts(&raw, &parsed, answers::no_fields()).ok_or(HeadError {
            status: StatusCode::BAD_REQUEST,
            reason: "malformed request line or field",
        })?;
        let (head, persists) = (parsed.head, persists(&parsed));
        Ok(Request {
            raw,
            head,
            parts,
            arrived,
            allowance,
            persists,
        })
    }
}

fn limits(client: &Client) -> HeadLimits {
    HeadLimits {
        size: client.max_header_size,
        fields: client.max_headers,
        target: client.max_uri_length,
    }
}

/// The head as plain values that share the memory of `raw`.
fn parts(raw: &Bytes, parsed: &Parsed<'_, '_>, mut fields: HeaderMap) -> Option<Parts> {
    for field in parsed.fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(raw.slice_ref(field.value)).ok()?;
        fields.try_append(name, value).ok()?;
    }
    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = Method::from_bytes(parsed.method.as_bytes()).ok()?;
    parts.uri = Uri::from_maybe_shared(raw.slice_ref(parsed.target.as_bytes())).ok()?;
    parts.version = if parsed.http_11 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    parts.headers = fields;
    Some(parts)
}

/// Whether the client lets the connection be used for another request (RFC 9112 §9.3).
fn persists(parsed: &Parsed<'_, '_>) -> bool {
    let fields = parsed.fields.iter();
    let mut lines = fields
        .filter(|field| field.name.eq_ignore_ascii_case("connection"))
        .map(|field| field.value);
    let closes = |line: &[u8]| {
        let mut options = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        options.any(|option| option.eq_ignore_ascii_case(b"close"))
    };
    if lines.clone().any(closes) {
        return false;
    }
    // Of an HTTP/1.0 client Pingora wants to hear the option alone; both lanes do the same.
    let alone = |line: &[u8]| line.eq_ignore_ascii_case(b"keep-alive");
    parsed.http_11 || lines.next().is_some_and(alone)
}

fn begins_http2(buffer: &[u8]) -> bool {
    let length = buffer.len().min(HTTP2_PREFACE.len());
    buffer.get(..length) == HTTP2_PREFACE.get(..length)
}

/// How many of the bytes that have come after a head are its request's, and how many more may be.
fn share(head: &Head, arrived: &[u8]) -> Result<(usize, Allowance), HeadError> {
    match head.body {
        BodyFraming::Length(length) => {
            let own = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(arrived.len());
            let missing = length.saturating_sub(u64::try_from(own).unwrap_or(u64::MAX));
            Ok((own, Allowance::Bytes(missing)))
        }
        BodyFraming::Chunked => {
            let mut body = ChunkedBody::default();
            let own = body.advance(arrived).map_err(|Malformed| HeadError {
                status: StatusCode::BAD_REQUEST,
                reason: "a malformed chunk",
            })?;
            Ok((own, Allowance::Chunked(body)))
        }
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
