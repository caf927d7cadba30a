//! Hits on their way to a client. Those to requests that came together go out together: a write costs more
//! than what is written.

use std::cell::Cell;
use std::io;

use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::Stream;
use smallvec::SmallVec;

use super::io::write;
use super::lane::{Hit, Sent};
use crate::config::Client;
use crate::server::InFlightGuard;

/// Bodies up to this size are copied behind their head, and so much waits for more to come.
const COPIED: usize = 32 << 10;

// Memory that the connections of a thread share, as most of them are idle.
thread_local! {
    /// Where answers are put together.
    static OUT: Cell<Vec<u8>> = Cell::default();
    /// For the fields of a request.
    static FIELDS: Cell<HeaderMap> = Cell::default();
}

/// An empty map for the fields of a request, with the memory of an earlier one.
pub(super) fn no_fields() -> HeaderMap {
    FIELDS.take()
}

/// Answers that wait to be written.
pub(super) struct Answers<H> {
    out: Vec<u8>,
    waiting: SmallVec<[Waiting<H>; 1]>,
}

struct Waiting<H> {
    hit: Box<H>,
    /// Where its head and its body end in all that is written.
    head: usize,
    end: usize,
    /// Whether its body is written from where it is, behind everything else.
    apart: bool,
    _in_flight: InFlightGuard,
}

impl<H: Hit> Answers<H> {
    pub(super) fn none() -> Self {
        Self {
            out: Vec::new(),
            waiting: SmallVec::new(),
        }
    }

    /// Puts the answer behind those that wait. `keep` tells whether the connection may be used again.
    /// Whether another one may wait with it.
    pub(super) fn add(&mut self, hit: Box<H>, keep: bool, in_flight: InFlightGuard) -> bool {
        if self.waiting.is_empty() {
            self.out = OUT.take();
        }
        hit.write_head(&mut self.out);
        self.out.extend_from_slice(if keep {
            b"Connection: keep-alive\r\n\r\n"
        } else {
            b"Connection: close\r\n\r\n"
        });
        let head = self.out.len();
        let body = hit.body();
        let length: usize = body.iter().map(Bytes::len).sum();
        let apart = length > COPIED;
        if !apart {
            for piece in body {
                self.out.extend_from_slice(piece);
            }
        }
        self.waiting.push(Waiting {
            hit,
            head,
            end: head + length,
            apart,
            _in_flight: in_flight,
        });
        keep && !apart && self.out.len() < COPIED
    }

    /// Writes all that wait; whether that worked.
    pub(super) async fn write(&mut self, stream: &mut Stream, client: &Client) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        let mut written = 0;
        let apart = self.waiting.last().filter(|last| last.apart);
        let apart = apart.map_or(&[][..], |last| last.hit.body());
        let pieces = std::iter::once(self.out.as_slice()).chain(apart.iter().map(Bytes::as_ref));
        let result = write(stream, pieces, client, &mut written).await;
        let complete = result.is_ok();
        self.finish(written, result.err());
        complete
    }

    /// Tells each what became of it.
    fn finish(&mut self, written: usize, mut error: Option<io::Error>) {
        let kind = error.as_ref().map(io::Error::kind);
        for waiting in self.waiting.drain(..) {
            let sent = written.min(waiting.end).saturating_sub(waiting.head);
            let parts = waiting.hit.finish(Sent {
                head: written >= waiting.head,
                body: u64::try_from(sent).unwrap_or(u64::MAX),
                // The first has the error itself.
                error: kind
                    .filter(|_| written < waiting.end)
                    .map(|kind| error.take().unwrap_or_else(|| kind.into())),
            });
            let mut fields = parts.headers;
            fields.clear();
            FIELDS.set(fields);
        }
        self.out.clear();
        OUT.set(std::mem::take(&mut self.out));
    }
}
