//! Parts of representations: what a stored part answers, what it lacks, and with what it may be
//! combined (RFC 9111 §3.3 and §3.4, RFC 9110 §15.3.7.3).

use std::ops::Range;

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED},
};

use super::freshen;
use super::response::ResponseView;
use crate::fields::{content_range::ContentRange, range::RangeSpec, validators::Validators};

/// The one range that a 206 carries. `None` when it carries several, or does not say which it
/// carries: such a response cannot be stored.
pub fn part_of(response: &ResponseView<'_>) -> Option<ContentRange> {
    let several = response.headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let start = value.as_bytes().split_at_checked(MULTIPART.len());
        start.is_some_and(|(start, _)| start.eq_ignore_ascii_case(MULTIPART))
    });
    let partial = response.status == StatusCode::PARTIAL_CONTENT;
    let range = (partial && !several).then(|| ContentRange::of(response.headers))??;
    // Of a part that says one thing and is another, only the bytes that came are believed: no more
    // than announced, from the first position on, of a whole of unknown length.
    let announced = range.range().end - range.first;
    let lengths = response.headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths
        .map(|length| length.to_str().ok()?.trim().parse::<u64>().ok())
        .reduce(|one, other| one.filter(|_| one == other));
    match length {
        None => Some(range),
        Some(Some(length)) if length == announced => Some(range),
        Some(Some(length @ 1..)) if length < announced => Some(ContentRange {
            first: range.first,
            last: range.first + length - 1,
            complete: None,
        }),
        Some(_) => None,
    }
}

const MULTIPART: &[u8] = b"multipart/byteranges";

/// Whether two responses are parts of one representation: they share a strong validator
/// (RFC 9110 §15.3.7.3), and nothing else in them differs about it. Either may be the whole.
pub fn may_combine(stored: &HeaderMap, new: &HeaderMap) -> bool {
    let complete = |headers| ContentRange::of(headers).and_then(|range| range.complete);
    let lengths_differ = complete(stored)
        .zip(complete(new))
        .is_some_and(|(stored, new)| stored != new);
    let same_coding = stored
        .get_all(CONTENT_ENCODING)
        .iter()
        .eq(new.get_all(CONTENT_ENCODING).iter());
    Validators::of(stored).matches_strongly(&Validators::of(new)) && same_coding && !lengths_differ
}

/// What to send as If-Range when asking for the rest of a stored part: its strong validator, as
/// the origin wrote it (RFC 9110 §13.1.5). Without one, what comes cannot be combined with it.
pub fn if_range(stored: &HeaderMap) -> Option<&HeaderValue> {
    let validators = Validators::of(stored);
    if validators.has_strong_etag() {
        stored.get(ETAG)
    } else if validators.etag.is_none() && validators.strong_last_modified().is_some() {
        stored.get(LAST_MODIFIED)
    } else {
        None
    }
}

/// The bytes to ask for so that stored parts become the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Position of the first.
    pub first: u64,
    /// Position of the last; `None` when they run to the end.
    pub last: Option<u64>,
}

impl Missing {
    /// These bytes.
    pub const fn of(range: &Range<u64>) -> Self {
        Self {
            first: range.start,
            last: range.end.checked_sub(1),
        }
    }

    /// The value of the Range field that asks for them.
    pub fn to_value(self) -> HeaderValue {
        let text = match self.last {
            Some(last) => format!("bytes={}-{last}", self.first),
            None => format!("bytes={}-", self.first),
        };
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("bytes=0-"))
    }
}

/// What is missing, when it is one stretch. `None` when nothing is, or several are, or nothing is
/// stored, or the complete length is not known.
pub fn missing(parts: &[Range<u64>], complete: Option<u64>) -> Option<Missing> {
    let complete = complete?;
    let parts = joined(parts);
    let gap = match parts.as_slice() {
        [one] if one.start == 0 => one.end..complete,
        [one] if one.end >= complete => 0..one.start,
        [one, other] if one.start == 0 && other.end >= complete => one.end..other.start,
        _ => return None,
    };
    (!gap.is_empty()).then(|| Missing {
        first: gap.start,
        last: (gap.end < complete).then(|| gap.end - 1),
    })
}

/// Whether the parts are the whole.
pub fn is_complete(parts: &[Range<u64>], complete: Option<u64>) -> bool {
    matches!((joined(parts).as_slice(), complete), ([one], Some(complete))
        if one.start == 0 && one.end >= complete)
}

/// The bytes that answer a request for one range, when the parts hold all of them. Without a
/// complete length only a range with both ends can be answered.
pub fn answer(
    parts: &[Range<u64>],
    complete: Option<u64>,
    asked: &RangeSpec,
) -> Option<Range<u64>> {
    let asked = match (complete, *asked) {
        (Some(complete), asked) => asked.resolve(complete)?,
        (
            None,
            RangeSpec::From {
                first,
                last: Some(last),
            },
        ) => first..last.checked_add(1)?,
        (None, _) => return None,
    };
    joined(parts)
        .iter()
        .any(|part| part.start <= asked.start && asked.end <= part.end)
        .then_some(asked)
}

/// The fields of parts that were combined: the stored ones updated by the new (RFC 9111 §3.4).
/// Content-Range and Content-Length are still those of the stored part.
pub fn combined(stored: &HeaderMap, new: &HeaderMap) -> HeaderMap {
    let mut fields = stored.clone();
    freshen::update(&mut fields, new);
    fields
}

/// Makes the fields of a part those of the whole, `length` bytes long, which is a 200.
pub fn make_complete(headers: &mut HeaderMap, length: u64) {
    headers.remove(CONTENT_RANGE);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}

/// Sorted, and joined where they overlap or touch.
fn joined(parts: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .cloned()
        .collect();
    sorted.sort_unstable_by_key(|part| part.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for part in sorted {
        match joined.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => joined.push(part),
        }
    }
    joined
}

#[cfg(test)]
#[path = "partial_tests.rs"]
mod tests;
