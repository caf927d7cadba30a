//! What is in an object: a checked head with the full key, and behind it a body of at most a slice.
//!
//! Larger bodies are objects of their own, of which the head has a checksum for every slice. For what
//! varies there is one more object, which tells by which fields. Reading is total: what is not exactly
//! what was written for this key is nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderName;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::fields::vary::Vary;
use crate::store::record::{self, Head};
use crate::store::slices::SLICE;
use crate::store::stored::StoreKey;

/// To be changed with every change of what is written; older objects are misses then.
const MAGIC: &[u8; 8] = b"seawall1";
/// Magic, length and checksum of the head.
const PRELUDE: usize = 20;
/// Longest head: with a checksum for every slice, enough for bodies of 7 GiB.
const LONGEST_HEAD: usize = 64 << 10;
/// Bytes to ask for: all of an object that has its body with it.
pub(super) const FIRST_READ: u64 = (LONGEST_HEAD as u64) + SLICE;

/// Of which requests an object is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: StoreKey,
    /// What rules add to the key.
    pub(super) extras: Arc<[u8]>,
}

/// When an object was written, and until when it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) written: SystemTime,
    pub(super) retention: Duration,
}

impl Term {
    /// Whether it may be used at `now` by one who keeps objects for `retention`. What comes from the
    /// future, beyond a small difference of clocks, may not.
    pub(super) fn holds(&self, now: SystemTime, retention: Duration) -> bool {
        let retention = self.retention.min(retention);
        match now.duration_since(self.written) {
            Ok(age) => age < retention,
            Err(ahead) => ahead.duration() < Duration::from_mins(5).min(retention),
        }
    }

    /// Whether less than half of the time is left.
    pub(super) fn is_half_over(&self, now: SystemTime, retention: Duration) -> bool {
        let age = now.duration_since(self.written).unwrap_or_default();
        age >= self.retention.min(retention) / 2
    }
}

/// An object as it was read.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) term: Term,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// The responses are elsewhere, told apart by these fields.
    Varies(Vary),
    Response {
        head: Box<Head>,
        body: ReadBody,
    },
}

#[derive(Debug)]
pub(super) enum ReadBody {
    /// All of it.
    Here(Bytes),
    /// In an object with this stamp, with the checksums of its slices.
    Apart(u64, Arc<[u64]>),
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    key: &'a [u8],
    extras: &'a [u8],
    /// Microseconds since the epoch.
    since_epoch: u64,
    retention: Duration,
    #[serde(borrow)]
    what: WrittenWhat<'a>,
}

#[derive(Serialize, Deserialize)]
enum WrittenWhat<'a> {
    Varies(#[serde(borrow)] Vec<&'a str>),
    Response {
        head: &'a [u8],
        sums: Vec<u64>,
        /// The stamp of the body's own object.
        apart: Option<u64>,
    },
}

/// The checksum of a slice.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// The object that tells by which fields responses vary; `None` when that needs no telling.
pub(super) fn varies(place: &Place, term: Term, vary: &Vary) -> Option<Bytes> {
    let Vary::Fields(names) = vary else {
        return None;
    };
    let names = names.iter().map(HeaderName::as_str).collect();
    write(place, term, WrittenWhat::Varies(names), &[])
}

/// The object of a response whose encoded head this is, with its body.
pub(super) fn whole(place: &Place, term: Term, head: &[u8], body: &[Bytes]) -> Option<Bytes> {
    let body = body.concat();
    let what = WrittenWhat::Response {
        head,
        sums: vec![sum(&body)],
        apart: None,
    };
    write(place, term, what, &body)
}

/// The object of a response whose body has its own.
pub(super) fn without_body(
    place: &Place,
    term: Term,
    head: &[u8],
    (stamp, sums): (u64, &[u64]),
) -> Option<Bytes> {
    let what = WrittenWhat::Response {
        head,
        sums: sums.to_vec(),
        apart: Some(stamp),
    };
    write(place, term, what, &[])
}

fn write(place: &Place, term: Term, what: WrittenWhat<'_>, body: &[u8]) -> Option<Bytes> {
    let since = term.written.duration_since(UNIX_EPOCH).ok()?;
    let written = Written {
        key: &place.key.0,
        extras: &place.extras,
        since_epoch: u64::try_from(since.as_micros()).ok()?,
        retention: term.retention,
        what,
    };
    let head = postcard::to_stdvec(&written).ok()?;
    if head.len() > LONGEST_HEAD - PRELUDE {
        return None;
    }
    let mut object = BytesMut::with_capacity(PRELUDE + head.len() + body.len());
    object.put_slice(MAGIC);
    object.put_u32_le(u32::try_from(head.len()).ok()?);
    object.put_u64_le(sum(&head));
    object.put_slice(&head);
    object.put_slice(body);
    Some(object.freeze())
}

/// What `bytes` are for `place`.
pub(super) fn read(bytes: &Bytes, place: &Place) -> Option<Object> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (head, _) = rest.split_at_checked(length)?;
    if sum(head) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let (written, left) = postcard::take_from_bytes::<Written<'_>>(head).ok()?;
    if !left.is_empty() || written.key != &*place.key.0 || written.extras != &*place.extras {
        return None;
    }
    let body = bytes.slice(PRELUDE.checked_add(length)?..);
    let what = match written.what {
        WrittenWhat::Varies(names) => {
            let names = names.into_iter();
            let names = names.map(|name| HeaderName::from_bytes(name.as_bytes()));
            What::Varies(Vary::Fields(names.collect::<Result<_, _>>().ok()?))
        }
        WrittenWhat::Response { head, sums, apart } => {
            let head = record::decode(head)?;
            let body = read_body(&head, &body, sums, apart)?;
            let head = Box::new(head);
            What::Response { head, body }
        }
    };
    Some(Object {
        term: Term {
            written: UNIX_EPOCH.checked_add(Duration::from_micros(written.since_epoch))?,
            retention: written.retention,
        },
        what,
    })
}

fn read_body(head: &Head, body: &Bytes, sums: Vec<u64>, apart: Option<u64>) -> Option<ReadBody> {
    if let Some(stamp) = apart {
        let slices = u64::try_from(sums.len()).ok()?;
        let whole = body.is_empty() && slices == head.length.div_ceil(SLICE);
        return whole.then(|| ReadBody::Apart(stamp, sums.into()));
    }
    let whole = u64::try_from(body.len()) == Ok(head.length) && sums == [sum(body)];
    // A copy, so that the head's bytes are not kept.
    whole.then(|| ReadBody::Here(Bytes::copy_from_slice(body)))
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
