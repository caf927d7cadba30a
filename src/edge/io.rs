//! Reading and writing on a client's connection: within its deadlines, and with no more memory or timers
//! than it takes.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::LINGER;
use super::guest::Guest;
use super::pace::{Paced, is_too_slow};
use crate::config::Client;
use crate::guard::connections::Refused;

/// Most bytes that are read at once.
const AT_ONCE: usize = 8 << 10;

/// Most bytes that are read of a client which is not listened to any more.
const MOST_UNREAD: usize = 64 << 10;

/// Appends to `buffer` what comes, so that it takes no more memory than that.
pub(super) async fn read(stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<usize> {
    std::future::poll_fn(|context| {
        let mut bytes = [const { MaybeUninit::uninit() }; AT_ONCE];
        let mut read = ReadBuf::uninit(&mut bytes);
        let polled = Pin::new(&mut *stream).poll_read(context, &mut read);
        buffer.extend_from_slice(read.filled());
        polled.map_ok(|()| read.filled().len())
    })
    .await
}

/// For whom an answer is written, and how fast it was taken so far.
pub(super) struct Reader<'a> {
    pub(super) client: &'a Client,
    pub(super) guest: &'a Guest,
    pace: Paced,
}

impl<'a> Reader<'a> {
    pub(super) fn new(client: &'a Client, guest: &'a Guest) -> Self {
        Self {
            client,
            guest,
            pace: Paced::default(),
        }
    }

    /// Writes as much as is taken at once.
    async fn write(&mut self, stream: &mut Stream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let least = self.client.min_read_rate;
        let pace = &mut self.pace;
        let write = std::future::poll_fn(|context| {
            let written = Pin::new(&mut *stream).poll_write_vectored(context, pieces);
            let moved = match &written {
                Poll::Ready(Ok(count)) => Poll::Ready(*count),
                Poll::Ready(Err(_)) => return written,
                Poll::Pending => Poll::Pending,
            };
            pace.look(least, moved, context)?;
            written
        });
        let written = in_time(self.client.write_timeout, write).await;
        if written.as_ref().is_err_and(is_too_slow) {
            self.guest.refused(Refused::SlowRead);
        }
        written
    }
}

/// Writes all of it, together where the stream can do that, counting.
pub(super) async fn write<'b>(
    stream: &mut Stream,
    pieces: impl Iterator<Item = &'b [u8]>,
    reader: &mut Reader<'_>,
    written: &mut usize,
) -> io::Result<()> {
    let pieces = pieces.filter(|piece| !piece.is_empty()).map(IoSlice::new);
    let mut pieces: SmallVec<[IoSlice<'_>; 4]> = pieces.collect();
    let mut rest = pieces.as_mut_slice();
    while !rest.is_empty() {
        let count = reader.write(stream, rest).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *written += count;
        IoSlice::advance_slices(&mut rest, count);
    }
    in_time(reader.client.write_timeout, stream.flush()).await
}

/// What `io` comes to within `time`. Most is done at once, and needs no timer.
pub(super) async fn in_time<T>(
    time: Duration,
    io: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut io = std::pin::pin!(io);
    let at_once = std::future::poll_fn(|context| Poll::Ready(io.as_mut().poll(context))).await;
    match at_once {
        Poll::Ready(result) => result,
        Poll::Pending => match tokio::time::timeout(time, io).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        },
    }
}

/// Closes a connection so that what was written last is read: closing with unread bytes would reset it
/// (RFC 9112 §9.6).
pub(super) async fn close(stream: &mut Stream, client: &Client) {
    let close = async {
        stream.flush().await?;
        stream.shutdown().await?;
        let (mut unread, mut rest) = (0, BytesMut::new());
        // Of what nobody reads nothing is kept: many may be refused at once.
        while unread < MOST_UNREAD {
            match read(stream, &mut rest).await? {
                0 => break,
                more => unread += more,
            }
            rest.clear();
        }
        Ok::<(), io::Error>(())
    };
    let _ = tokio::time::timeout(client.write_timeout.min(LINGER), close).await;
}
