//! Where the body of an answer is read from: the store, slice by slice, or the origin as it arrives.

use bytes::Bytes;
use pingora_error::{Error, ErrorType, OrErr, Result};

use super::answer;
use super::fetching::{Ahead, Refetch};
use crate::store::{Content, FillError, FillReader, MissingSlice, SLICE, SliceFailure, cut};

/// Where a body comes from.
pub(super) enum Source {
    /// The store.
    Stored(Stored),
    /// The origin, as it arrives.
    Filling {
        reader: FillReader,
        /// Position of the first byte of `rest`.
        at: u64,
        rest: Bytes,
        refetch: Option<Refetch>,
    },
}

/// A body in the store.
pub(super) struct Stored {
    content: Content,
    /// Where slices come from that are not there any more.
    refetch: Option<Refetch>,
    /// Whether one was missing: then the next will be.
    missed: bool,
    ahead: Option<Ahead>,
}

impl Source {
    /// What is stored.
    pub(super) fn stored(content: Content, refetch: Option<Refetch>) -> Self {
        Self::Stored(Stored {
            content,
            refetch,
            missed: false,
            ahead: None,
        })
    }

    /// A response as it arrives.
    pub(super) fn filling(reader: FillReader, refetch: Option<Refetch>) -> Self {
        Self::Filling {
            reader,
            at: 0,
            rest: Bytes::new(),
            refetch,
        }
    }

    /// The next bytes from `start` on, not beyond `end`; `None` at the end. What lies before `start`
    /// is passed over: a response as it arrives cannot go back.
    pub(super) async fn read(&mut self, start: u64, end: u64) -> Result<Option<Bytes>> {
        let (reader, at, rest, refetch) = match self {
            Self::Stored(stored) => return stored.read(start, end).await,
            Self::Filling {
                reader,
                at,
                rest,
                refetch,
            } => (reader, at, rest, refetch.as_ref()),
        };
        loop {
            if *at < start {
                let skipped = usize::try_from(start - *at)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                drop(rest.split_to(skipped));
                *at += length(skipped);
            }
            if *at >= end {
                return Ok(None);
            }
            if *at >= start && !rest.is_empty() {
                let wanted = usize::try_from(end - *at)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                *at += length(wanted);
                return Ok(Some(rest.split_to(wanted)));
            }
            if *at < start {
                *at = reader.skip(start);
            }
            let read = match reader.read().await {
                Err(FillError::Missing(number)) => {
                    let slice = again(refetch, number).await?;
                    Some(reader.take(number, &slice))
                }
                read => read
                    .or_err(ErrorType::ReadError, "the response under way")
                    .map_err(Error::into_up)?,
            };
            match read {
                Some(chunk) => *rest = chunk,
                None => return Ok(None),
            }
        }
    }

    /// The length of the whole, when it is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Stored(stored) => stored.content.complete_length(),
            Self::Filling { reader, .. } => answer::content_length(&reader.fill().fields),
        }
    }
}

impl Stored {
    /// The next bytes. A slice that is gone comes from the origin, and then the next one is asked for
    /// while this one is written.
    async fn read(&mut self, start: u64, end: u64) -> Result<Option<Bytes>> {
        let number = start / SLICE;
        let fetched = match self.ahead.take() {
            Some(ahead) => ahead.take(number).await,
            None => None,
        };
        let slice = match fetched {
            Some(slice) => had(slice)?,
            None => match self.content.read(start, end).await {
                Ok(bytes) => {
                    if self.missed {
                        self.look_ahead(number.saturating_add(1), end);
                    }
                    return Ok(bytes);
                }
                Err(MissingSlice { number }) => again(self.refetch.as_ref(), number).await?,
            },
        };
        self.missed = true;
        self.look_ahead(number.saturating_add(1), end);
        Ok(Some(cut(&slice, number, start, end)))
    }

    /// No more is fetched than the client wants.
    fn look_ahead(&mut self, number: u64, end: u64) {
        let end = end.min(self.content.complete_length().unwrap_or_default());
        if number.saturating_mul(SLICE) < end
            && let Some(refetch) = &self.refetch
        {
            self.ahead = refetch.ahead(number);
        }
    }
}

/// A slice from the origin.
async fn again(refetch: Option<&Refetch>, number: u64) -> Result<Bytes> {
    match refetch {
        // Boxed: this is rare, and the future of every answer would be as large.
        Some(refetch) => had(Box::pin(refetch.slice(number)).await),
        None => had(Err(SliceFailure::Failed)),
    }
}

fn had(slice: std::result::Result<Bytes, SliceFailure>) -> Result<Bytes> {
    slice
        .or_err(ErrorType::ReadError, "a slice of the response")
        .map_err(Error::into_up)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
