//! The head of an answer (RFC 9112 §4, §5, §6): where it ends, what it says, where its body ends.
//!
//! What parsers read differently is refused: an answer that another hop frames differently can be made to
//! carry a second one, for somebody else.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use httparse::{ParserConfig, Status};
use pingora_http::ResponseHeader;
use std::mem::MaybeUninit;

/// Most bytes of a head.
const LONGEST: usize = 1 << 20;
/// Most fields of it.
const MOST_FIELDS: usize = 256;

/// A head that was read.
#[derive(Debug)]
pub struct Head {
    /// What it says, the names of fields as they were written.
    pub response: ResponseHeader,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the connection may be used again after that (RFC 9112 §9.3).
    pub persistent: bool,
}

/// How long a body is (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// As many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// What comes until the connection is closed.
    UntilClose,
}

/// No head, or one that may be understood differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed head")]
pub struct Malformed;

/// Takes the head of the answer to a request with this method from the beginning of `bytes`; `None` while
/// it is not complete.
///
/// # Errors
/// When it is refused.
pub fn take(bytes: &mut BytesMut, method: &Method) -> Result<Option<Head>, Malformed> {
    let Some((len, status, version, reason, fields)) = parse(bytes)? else {
        return Ok(None);
    };
    let mut response = ResponseHeader::build(status, Some(fields.len())).map_err(|_| Malformed)?;
    response.set_version(version);
    let reason = reason.as_deref();
    response.set_reason_phrase(reason).map_err(|_| Malformed)?;
    // Names and values are parts of these bytes, and no copies.
    let head = bytes.split_to(len).freeze();
    for field in fields {
        let value = HeaderValue::from_maybe_shared(head.slice(field.value));
        let value = value.map_err(|_| Malformed)?;
        let added = response.append_header(head.slice(field.name), value);
        added.map_err(|_| Malformed)?;
    }
    let framing = framing(&mut response, method)?;
    let persistent = framing != Framing::UntilClose && persists(version, &response.headers);
    Ok(Some(Head {
        response,
        framing,
        persistent,
    }))
}

/// Where a field stands.
struct Field {
    name: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

type Parsed = (usize, StatusCode, Version, Option<String>, Vec<Field>);

fn parse(bytes: &[u8]) -> Result<Option<Parsed>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut head, bytes, &mut fields);
    let len = match parsed {
        Ok(Status::Complete(len)) if len <= LONGEST => len,
        Ok(Status::Partial) if bytes.len() <= LONGEST => return Ok(None),
        _ => return Err(Malformed),
    };
    let code = head.code.ok_or(Malformed)?;
    let status = StatusCode::from_u16(code).map_err(|_| Malformed)?;
    let version = match head.version {
        Some(1) => Version::HTTP_11,
        Some(0) => Version::HTTP_10,
        _ => return Err(Malformed),
    };
    let usual = status.canonical_reason();
    let reason = head.reason.filter(|reason| Some(*reason) != usual);
    let fields = head.headers.iter().map(|field| Field {
        name: place(bytes, field.name.as_bytes()),
        value: place(bytes, field.value),
    });
    let fields = fields.collect();
    Ok(Some((
        len,
        status,
        version,
        reason.map(str::to_owned),
        fields,
    )))
}

/// Where `part` stands in `bytes`, of which it is a part.
fn place(bytes: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let first = part.as_ptr().addr().saturating_sub(bytes.as_ptr().addr());
    // An empty value may be of no place at all.
    let first = first.min(bytes.len());
    first..(first + part.len()).min(bytes.len())
}

/// RFC 9112 §6.3, in the order of its rules.
fn framing(head: &mut ResponseHeader, method: &Method) -> Result<Framing, Malformed> {
    let length = length(&head.headers)?;
    let coding = coding(&head.headers)?;
    if length.is_some() && coding.is_some() {
        // Rule 3: this "ought to be handled as an error".
        return Err(Malformed);
    }
    if let Some(length) = length
        && says_twice(&head.headers)
    {
        let inserted = head.insert_header(CONTENT_LENGTH, HeaderValue::from(length));
        inserted.map_err(|_| Malformed)?;
    }
    let status = head.status;
    let bodiless = method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        return Ok(Framing::Length(0));
    }
    let by_length = length.map_or(Framing::UntilClose, Framing::Length);
    Ok(coding.unwrap_or(by_length))
}

/// The length that all say who say one (RFC 9110 §8.6).
fn length(fields: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut said = None;
    for field in fields.get_all(CONTENT_LENGTH) {
        for text in field.as_bytes().split(|byte| *byte == b',') {
            let text = str::from_utf8(text.trim_ascii()).map_err(|_| Malformed)?;
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Malformed);
            }
            let length: u64 = text.parse().map_err(|_| Malformed)?;
            if said.is_some_and(|said| said != length) {
                return Err(Malformed);
            }
            said = Some(length);
        }
    }
    Ok(said)
}

/// Whether the length is there more than once.
fn says_twice(fields: &HeaderMap) -> bool {
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let listed = lengths
        .next()
        .is_some_and(|first| first.as_bytes().contains(&b','));
    listed || lengths.next().is_some()
}

/// What the transfer coding makes of the body. Only "chunked" was asked for (RFC 9112 §7.4); "identity" was
/// one until RFC 7230, and says nothing of the end.
fn coding(fields: &HeaderMap) -> Result<Option<Framing>, Malformed> {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(None);
    };
    let coding = coding.as_bytes().trim_ascii();
    if codings.next().is_some() {
        Err(Malformed)
    } else if coding.eq_ignore_ascii_case(b"chunked") {
        Ok(Some(Framing::Chunked))
    } else if coding.eq_ignore_ascii_case(b"identity") {
        Ok(Some(Framing::UntilClose))
    } else {
        Err(Malformed)
    }
}

/// RFC 9112 §9.3. A transfer coding is no part of HTTP/1.0 (§6.1).
fn persists(version: Version, fields: &HeaderMap) -> bool {
    if version == Version::HTTP_11 {
        !says(fields, b"close")
    } else {
        says(fields, b"keep-alive")
            && !says(fields, b"close")
            && !fields.contains_key(TRANSFER_ENCODING)
    }
}

/// Whether Connection has this option.
pub(super) fn says(fields: &HeaderMap, option: &[u8]) -> bool {
    fields.get_all(CONNECTION).iter().any(|value| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|said| said.trim_ascii().eq_ignore_ascii_case(option))
    })
}

/// Appends the head of a request for `target`, whose body has no bytes.
///
/// # Errors
/// When the target would end its line.
pub(super) fn write(
    request: &pingora_http::RequestHeader,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let target = request.raw_path();
    // RFC 9112 §3.2: it has no white space.
    if target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return Err(Malformed);
    }
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    request.header_to_h1_wire(out);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Bytes of a body, of which `bytes` may have more than its end.
pub(super) fn split(bytes: &mut BytesMut, most: u64) -> Bytes {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    bytes.split_to(most.min(bytes.len())).freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(text: &str, method: &Method) -> Result<Option<Head>, Malformed> {
        take(&mut BytesMut::from(text.as_bytes()), method)
    }

    fn framed(fields: &str) -> Result<Framing, Malformed> {
        let head = taken(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), &Method::GET)?;
        Ok(head.unwrap().framing)
    }

    #[test]
    fn a_head_is_taken_as_it_was_written_and_the_rest_is_left() {
        let mut bytes = BytesMut::from("HTTP/1.1 299 So so\r\nX-a:  b \r\nEmpty:\r\n\r\nbody");
        let head = take(&mut bytes, &Method::GET).unwrap().unwrap().response;
        assert_eq!(bytes, "body");
        assert_eq!(head.get_reason_phrase(), Some("So so"));
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        assert_eq!(wire, b"X-a: b\r\nEmpty: \r\n");
    }

    #[test]
    fn rfc9112_6_3_the_end_of_a_body_is_where_the_fields_say() {
        for (fields, framing) in [
            ("", Framing::UntilClose),
            ("Content-Length: 5\r\n", Framing::Length(5)),
            ("Content-Length: 5, 5\r\n", Framing::Length(5)),
            (
                "Content-Length: 5\r\nContent-Length: 05\r\n",
                Framing::Length(5),
            ),
            ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
            ("Transfer-Encoding: identity\r\n", Framing::UntilClose),
        ] {
            assert_eq!(framed(fields), Ok(framing), "{fields:?}");
        }
        let long = "\r\nContent-Length: 5\r\n\r\n";
        for (text, method) in [
            ("HTTP/1.1 200 OK", Method::HEAD),
            ("HTTP/1.1 204 No Content", Method::GET),
            ("HTTP/1.1 304 Not Modified", Method::GET),
            ("HTTP/1.1 103 Early Hints", Method::GET),
        ] {
            let head = taken(&format!("{text}{long}"), &method).unwrap().unwrap();
            assert_eq!(head.framing, Framing::Length(0), "{text}");
        }
    }

    #[test]
    fn rfc9110_8_6_a_length_said_twice_is_passed_on_once() {
        for fields in [
            "Content-Length: 5, 5",
            "Content-Length: 5\r\nContent-Length: 5",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            let head = taken(&text, &Method::GET).unwrap().unwrap().response;
            let lengths: Vec<_> = head.headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(lengths, ["5"], "{fields}");
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 6\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 5,\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length : 5\r\n",
            "X: a\r\n folded: b\r\n",
            "X: a\u{0}b\r\n",
            "X: a\rb\r\n",
            "no colon\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
        ] {
            assert_eq!(framed(fields), Err(Malformed), "{fields:?}");
        }
        for line in [
            "HTTP/2 200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 099 OK",
            "ICY 200 OK",
        ] {
            let text = format!("{line}\r\n\r\n");
            assert!(taken(&text, &Method::GET).is_err(), "{line}");
        }
    }

    #[test]
    fn rfc9112_9_3_a_connection_persists_unless_somebody_says_otherwise() {
        for (version, fields, persistent) in [
            ("1.1", "Content-Length: 0", true),
            ("1.1", "Content-Length: 0\r\nConnection: x, Close", false),
            ("1.1", "X: no end", false),
            ("1.0", "Content-Length: 0", false),
            ("1.0", "Content-Length: 0\r\nConnection: Keep-Alive", true),
            (
                "1.0",
                "Transfer-Encoding: chunked\r\nConnection: keep-alive",
                false,
            ),
        ] {
            let text = format!("HTTP/{version} 200 OK\r\n{fields}\r\n\r\n");
            let head = taken(&text, &Method::GET).unwrap().unwrap();
            assert_eq!(head.persistent, persistent, "{text:?}");
        }
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(LONGEST));
        assert_eq!(taken(&endless, &Method::GET).err(), Some(Malformed));
        let many = "X: y\r\n".repeat(MOST_FIELDS + 1);
        assert_eq!(framed(&many), Err(Malformed));
    }

    proptest! {
        #[test]
        fn a_head_is_not_complete_before_its_end(cut in 0_usize..60) {
            let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\nhello";
            let end = text.find("hello").unwrap();
            let taken = taken(&text[..cut.min(text.len())], &Method::GET).unwrap();
            prop_assert_eq!(taken.is_some(), cut >= end);
        }
    }
}
