//! HTTP/1.1 as a client, for requests without body: one connection at a time, and those that wait for their
//! next request.
//!
//! It does what Pingora's client does, for less: heads are parts of what was read, a connection at rest has
//! no task, and no timer is set for what is there already.

pub mod head;
mod idle;

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use pingora_core::protocols::Stream;
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use self::head::{Framing, Head};
pub(super) use self::idle::IdleConnections;
use super::failure::FetchFailure;
use crate::edge::chunked::ChunkedBody;
use crate::edge::timer::Timer;

/// Room for a head and a small body.
const AT_FIRST: usize = 4 << 10;
/// Most that is read of a body at once.
const AT_ONCE: usize = 64 << 10;
/// Most interim responses before the final one.
pub(super) const MOST_INTERIM: usize = 16;

/// A connection to a replica.
pub(super) struct Connection {
    stream: Stream,
    /// What came and was not taken yet.
    buffer: BytesMut,
    body: Body,
    /// Whether it may have another request after this one.
    persistent: bool,
    timer: Timer,
    /// Among which it may rest, and how long.
    key: u64,
    rest: Duration,
}

/// What is still to come of an answer's body.
enum Body {
    Length(u64),
    Chunked(ChunkedBody),
    UntilClose,
}

impl Connection {
    /// A new one. `key` is the same for all that are as good as this one, and they are closed after a `rest`
    /// of that length.
    pub(super) fn new(stream: Stream, key: u64, rest: Duration) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            body: Body::Length(0),
            persistent: true,
            timer: Timer::default(),
            key,
            rest,
        }
    }

    /// Sends `request` and waits for the final head, until `deadline`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn ask(
        &mut self,
        request: &RequestHeader,
        deadline: Instant,
        mut interim: impl FnMut(&ResponseHeader),
    ) -> Result<ResponseHeader, FetchFailure> {
        let mut out = Vec::with_capacity(AT_FIRST);
        head::write(request, &mut out).map_err(|_| FetchFailure::Protocol)?;
        let stream = &mut self.stream;
        let sent = in_time(&mut self.timer, deadline, async {
            stream.write_all(&out).await?;
            stream.flush().await
        });
        sent.await?;
        for _ in 0..=MOST_INTERIM {
            let head = self.head(&request.method, deadline).await?;
            let status = head.response.status;
            if status == StatusCode::SWITCHING_PROTOCOLS {
                // RFC 9110 §15.2.2: nobody asked for another protocol.
                return Err(FetchFailure::Protocol);
            }
            if status.is_informational() {
                interim(&head.response);
                continue;
            }
            self.persistent = head.persistent && !head::says(&request.headers, b"close");
            self.body = match head.framing {
                Framing::Length(length) => Body::Length(length),
                Framing::Chunked => Body::Chunked(ChunkedBody::default()),
                Framing::UntilClose => Body::UntilClose,
            };
            return Ok(head.response);
        }
        Err(FetchFailure::Protocol)
    }

    async fn head(&mut self, method: &Method, deadline: Instant) -> Result<Head, FetchFailure> {
        loop {
            if !self.buffer.is_empty() {
                let taken = head::take(&mut self.buffer, method);
                if let Some(head) = taken.map_err(|_| FetchFailure::Protocol)? {
                    return Ok(head);
                }
            }
            if self.fill(AT_FIRST, deadline).await? == 0 {
                return Err(FetchFailure::Closed);
            }
        }
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// When it is cut short, or does not come in time.
    pub(super) async fn read(&mut self, deadline: Instant) -> Result<Option<Bytes>, FetchFailure> {
        loop {
            let wanted = match &mut self.body {
                Body::Length(0) => return Ok(None),
                Body::Length(left) => {
                    let bytes = head::split(&mut self.buffer, *left);
                    if !bytes.is_empty() {
                        *left -= u64::try_from(bytes.len()).unwrap_or(*left);
                        return Ok(Some(bytes));
                    }
                    usize::try_from(*left).unwrap_or(AT_ONCE)
                }
                Body::Chunked(chunks) => {
                    if let Some(bytes) = next_data(chunks, &mut self.buffer)? {
                        return Ok(Some(bytes));
                    }
                    if chunks.is_complete() {
                        return Ok(None);
                    }
                    AT_ONCE
                }
                Body::UntilClose if !self.buffer.is_empty() => {
                    return Ok(Some(self.buffer.split().freeze()));
                }
                Body::UntilClose => AT_ONCE,
            };
            if self.fill(wanted.min(AT_ONCE), deadline).await? == 0 {
                return match self.body {
                    Body::UntilClose => Ok(None),
                    _ => Err(FetchFailure::Closed),
                };
            }
        }
    }

    /// Reads what there is, at least one byte unless the other side is done.
    async fn fill(&mut self, room: usize, deadline: Instant) -> Result<usize, FetchFailure> {
        self.buffer.reserve(room);
        let read = self.stream.read_buf(&mut self.buffer);
        in_time(&mut self.timer, deadline, read).await
    }

    /// Whether it can have another request: the answer was read to its end, neither side wants to close, and
    /// nothing came that belongs to no answer.
    fn is_reusable(&mut self) -> bool {
        let read = match &self.body {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunks) => chunks.is_complete(),
            Body::UntilClose => false,
        };
        read && self.persistent && self.buffer.is_empty() && self.is_quiet()
    }

    /// Whether it is open, as far as is known, and has nothing to say.
    fn is_quiet(&mut self) -> bool {
        let stream = &mut self.stream;
        // Without regard for the task's share, for which a busy task would be told that nothing is there.
        let look = tokio::task::unconstrained(std::future::poll_fn(|context| {
            let mut byte = [0];
            let mut read = ReadBuf::new(&mut byte);
            tokio::io::AsyncRead::poll_read(std::pin::Pin::new(stream), context, &mut read)
        }));
        let mut context = Context::from_waker(Waker::noop());
        pin!(look).poll(&mut context).is_pending()
    }
}

/// What `io` comes to before `deadline`. What can be done at once needs no timer.
async fn in_time<T>(
    timer: &mut Timer,
    deadline: Instant,
    io: impl Future<Output = io::Result<T>>,
) -> Result<T, FetchFailure> {
    let mut io = pin!(io);
    let at_once = std::future::poll_fn(|context| Poll::Ready(io.as_mut().poll(context))).await;
    let done = match at_once {
        Poll::Ready(done) => done,
        Poll::Pending => tokio::select! {
            biased;
            done = io => done,
            () = timer.until(deadline) => return Err(FetchFailure::Timeout),
        },
    };
    done.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => FetchFailure::Timeout,
        _ => FetchFailure::Closed,
    })
}

/// The next of the data in `buffer`, which loses what stands around it.
fn next_data(
    chunks: &mut ChunkedBody,
    buffer: &mut BytesMut,
) -> Result<Option<Bytes>, FetchFailure> {
    let found = chunks.advance_to_data(buffer);
    let (before, data) = found.map_err(|_| FetchFailure::Protocol)?;
    drop(buffer.split_to(before));
    Ok((data > 0).then(|| buffer.split_to(data).freeze()))
}
