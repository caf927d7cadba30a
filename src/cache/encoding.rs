//! Which stored responses are worth compressing, for which requests a compressed one will do, and what
//! its fields are then.
//!
//! A response that the origin encoded itself is left alone, and so is what it calls `no-transform`
//! (RFC 9110 §7.7, RFC 9111 §5.2.2.6).

use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::control::control_of;
use super::response::ResponseView;
use crate::fields::cache_control::CacheControl;
use crate::fields::content_coding::{Coding, CodingWeights, vary_by_encoding};
use crate::fields::request_control::forbids_transforming;

/// What is smaller fits one packet with its head, compressed or not.
const SMALLEST: u64 = 1 << 10;

/// What is larger would keep a thread busy for long, for few requests.
const LARGEST: u64 = 10 << 20;

/// Whether a response may be kept in other codings beside itself. `length` is that of the whole body, as
/// far as it is known.
pub fn is_compressible(response: &ResponseView<'_>, length: Option<u64>) -> bool {
    let fields = response.headers;
    response.status == StatusCode::OK
        && length.is_none_or(|length| (SMALLEST..=LARGEST).contains(&length))
        && !fields.contains_key(CONTENT_ENCODING)
        && is_of_compressible_type(fields)
        && !CacheControl::of(fields).no_transform
        && !control_of(fields).0.no_transform
}

/// The same of a response on its way into the store. A 206 becomes part of a 200, whose length its own does
/// not tell.
pub fn may_be_compressed(response: &ResponseView<'_>, length: Option<u64>) -> bool {
    if response.status != StatusCode::PARTIAL_CONTENT {
        return is_compressible(response, length);
    }
    let whole = ResponseView {
        status: StatusCode::OK,
        ..*response
    };
    is_compressible(&whole, None)
}

/// How much a client wants which coding; `None` when it is to have none. One that asks for a range
/// counts the bytes of the response as the origin sent it.
pub fn wanted_by(request: &HeaderMap) -> Option<CodingWeights> {
    let wanted = CodingWeights::of(request)?;
    let plain = !request.contains_key(RANGE) && !forbids_transforming(request);
    plain.then_some(wanted)
}

/// Whether so much was saved that the encoded form is worth its room: a twentieth.
pub const fn is_worthwhile(length: u64, encoded: u64) -> bool {
    encoded <= length - length / 20
}

/// The fields of a response once it is encoded.
#[must_use]
pub fn encoded_fields(fields: &HeaderMap, coding: Coding, length: u64) -> HeaderMap {
    let mut encoded = fields.clone();
    for name in OF_IDENTITY {
        encoded.remove(name);
    }
    encoded.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    encoded.insert(CONTENT_LENGTH, HeaderValue::from(length));
    vary_by_encoding(&mut encoded);
    // RFC 9110 §8.8.3: a strong tag names the very bytes.
    if let Some(tag) = encoded.get(ETAG)
        && !tag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        encoded.insert(ETAG, weak);
    }
    encoded
}

/// Fields that speak of the bytes as the origin sent them: digests (RFC 9530 §2 and §3, and what came
/// before them), and ranges, which are those of the response without coding.
const OF_IDENTITY: [HeaderName; 5] = [
    ACCEPT_RANGES,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether the one type of a response is such that compressing helps.
fn is_of_compressible_type(fields: &HeaderMap) -> bool {
    let mut types = fields.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = only.as_bytes().split(|byte| *byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let is = |known: &str| essence.eq_ignore_ascii_case(known.as_bytes());
    let begins = |known: &str| {
        let start = essence.get(..known.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(known.as_bytes()))
    };
    let ends = |known: &str| {
        let from = essence.len().checked_sub(known.len());
        let end = from.and_then(|from| essence.get(from..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(known.as_bytes()))
    };
    if begins("text/") {
        // Events are to arrive one by one.
        return !is("text/event-stream");
    }
    TYPES.iter().any(|known| is(known)) || SUFFIXES.iter().any(|suffix| ends(suffix))
}

/// Structured syntaxes that are text (RFC 6839, RFC 9512).
const SUFFIXES: [&str; 5] = ["+json", "+xml", "+text", "+yaml", "+json-seq"];

/// Types beside `text/*` that are text, or binary and not compressed: never images, films, archives
/// or fonts that are.
const TYPES: [&str; 34] = [
    "application/json",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/xml",
    "application/xml-dtd",
    "application/wasm",
    "application/graphql",
    "application/ndjson",
    "application/x-ndjson",
    "application/jsonl",
    "application/json-seq",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/rtf",
    "application/sql",
    "application/x-sh",
    "application/x-perl",
    "application/x-httpd-cgi",
    "application/postscript",
    "application/vnd.apple.mpegurl",
    "application/x-mpegurl",
    "application/vnd.ms-fontobject",
    "application/x-font-ttf",
    "application/x-font-opentype",
    "application/x-font-truetype",
    "application/font-sfnt",
    "font/ttf",
    "font/otf",
    "font/sfnt",
    "image/bmp",
    "image/x-icon",
    "image/vnd.microsoft.icon",
];

#[cfg(test)]
#[path = "encoding_tests.rs"]
mod tests;
