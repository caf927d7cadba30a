//! Which answer a request gets from a response: the whole, a range of it, a 304, or the zone's page in
//! its place (RFC 9110 §13 and §14). Whoever writes it, on either lane, writes the same.

use std::ops::Range;

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::answer;
use super::exchange::Exchange;
use super::zone_page;
use crate::fields::range::{RangeOutcome, select};
use crate::fields::validators::{Condition, Validators, evaluate};

/// An answer, before it is dressed for the client.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) body: ReplyBody,
}

/// What follows the head.
pub(super) enum ReplyBody {
    None,
    Page(Bytes),
    /// These bytes of the response.
    Range(Range<u64>),
    /// Several ranges, each after a head of its own, and what ends them (RFC 9110 §14.6).
    Parts(Vec<(Bytes, Range<u64>)>, Bytes),
}

impl Reply {
    /// The answer from a response with these fields, whose content is of `length` bytes, if that is
    /// known. `once` tells that its body comes by only once, so that ranges are sent in its order.
    pub(super) fn of(
        asked: &Parts,
        exchange: &Exchange,
        status: StatusCode,
        fields: HeaderMap,
        length: Option<u64>,
        once: bool,
    ) -> Self {
        let mut reply = match zone_page::in_place_of(asked, exchange, status, &fields) {
            Some((status, fields, page)) => Self {
                status,
                fields,
                body: ReplyBody::Page(Bytes::from(page)),
            },
            None if is_plain(&asked.headers) => Self::whole(status, fields),
            None => Self::conditional(asked, exchange, status, fields, length, once),
        };
        if is_bodiless(asked, reply.status) {
            reply.body = ReplyBody::None;
        }
        reply
    }

    /// What follows the head of a response that answers as it is.
    pub(super) fn whole_body(asked: &Parts, status: StatusCode) -> ReplyBody {
        if is_bodiless(asked, status) {
            ReplyBody::None
        } else {
            ReplyBody::Range(0..u64::MAX)
        }
    }

    fn whole(status: StatusCode, fields: HeaderMap) -> Self {
        Self {
            status,
            fields,
            body: ReplyBody::Range(0..u64::MAX),
        }
    }

    fn conditional(
        asked: &Parts,
        exchange: &Exchange,
        status: StatusCode,
        mut fields: HeaderMap,
        length: Option<u64>,
        once: bool,
    ) -> Self {
        let validators = Validators::of(&fields);
        if evaluate(&asked.method, &asked.headers, status, &validators) == Condition::NotModified {
            return Self {
                status: StatusCode::NOT_MODIFIED,
                fields: answer::not_modified(fields),
                body: ReplyBody::None,
            };
        }
        let total = length.unwrap_or_default();
        let outcome = match length.filter(|_| status == StatusCode::OK) {
            Some(length) => select(&asked.method, &asked.headers, &validators, length),
            None => RangeOutcome::Full,
        };
        match outcome {
            RangeOutcome::Full => Self::whole(status, fields),
            RangeOutcome::Unsatisfiable => {
                insert(&mut fields, CONTENT_RANGE, format!("bytes */{total}"));
                fields.insert(CONTENT_LENGTH, 0.into());
                Self {
                    status: StatusCode::RANGE_NOT_SATISFIABLE,
                    fields,
                    body: ReplyBody::None,
                }
            }
            RangeOutcome::Partial(ranges) => {
                if let [range] = ranges.as_slice() {
                    return Self::range(fields, range.clone(), length);
                }
                let boundary = format!("seawall-{}", exchange.request_id.as_str());
                Self::ranges(fields, ranges, length, once, &boundary)
            }
        }
    }

    /// One range of a response.
    pub(super) fn range(mut fields: HeaderMap, range: Range<u64>, total: Option<u64>) -> Self {
        insert(&mut fields, CONTENT_RANGE, content_range(&range, total));
        fields.insert(CONTENT_LENGTH, (range.end - range.start).into());
        Self {
            status: StatusCode::PARTIAL_CONTENT,
            fields,
            body: ReplyBody::Range(range),
        }
    }

    /// RFC 9110 §14.6, `multipart/byteranges`.
    fn ranges(
        mut fields: HeaderMap,
        mut ranges: Vec<Range<u64>>,
        total: Option<u64>,
        once: bool,
        boundary: &str,
    ) -> Self {
        if once {
            ranges.sort_unstable_by_key(|range| range.start);
        }
        let content_type = fields
            .get(CONTENT_TYPE)
            .map(|value| [b"Content-Type: ", value.as_bytes(), b"\r\n"].concat())
            .unwrap_or_default();
        let part = |range: Range<u64>| {
            let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
            head.extend_from_slice(&content_type);
            let described = content_range(&range, total);
            head.extend_from_slice(format!("Content-Range: {described}\r\n\r\n").as_bytes());
            (Bytes::from(head), range)
        };
        let parts: Vec<(Bytes, Range<u64>)> = ranges.into_iter().map(part).collect();
        let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let in_all: u64 = parts
            .iter()
            .map(|(head, range)| size(head) + range.end - range.start)
            .sum();
        fields.insert(CONTENT_LENGTH, (in_all + size(&end)).into());
        let described = format!("multipart/byteranges; boundary={boundary}");
        insert(&mut fields, CONTENT_TYPE, described);
        Self {
            status: StatusCode::PARTIAL_CONTENT,
            fields,
            body: ReplyBody::Parts(parts, end),
        }
    }
}

fn is_bodiless(asked: &Parts, status: StatusCode) -> bool {
    asked.method == Method::HEAD || matches!(status.as_u16(), 204 | 304)
}

/// Whether a response with this status answers the request as it is, without a look at its fields.
pub(super) fn is_whole(asked: &Parts, exchange: &Exchange, status: StatusCode) -> bool {
    is_plain(&asked.headers) && !zone_page::may_replace(exchange, status)
}

/// Whether the request asks for the response as it is.
fn is_plain(fields: &HeaderMap) -> bool {
    let conditions = [IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE];
    !conditions.iter().any(|name| fields.contains_key(name))
}

/// RFC 9110 §14.4.
fn content_range(range: &Range<u64>, total: Option<u64>) -> String {
    let last = range.end.saturating_sub(1);
    match total {
        Some(total) => format!("bytes {}-{last}/{total}", range.start),
        None => format!("bytes {}-{last}/*", range.start),
    }
}

fn size(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn insert(fields: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        fields.insert(name, value);
    }
}
