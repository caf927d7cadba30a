//! Whether the bytes of an HTTP/1 request head mean one thing only (RFC 9112).
//!
//! Whatever two parsers could read differently is refused here, before any other parser sees it:
//! ambiguous framing is how requests are smuggled. What passes is framed by exactly one of no body,
//! one Content-Length, or `chunked`.

use std::mem::MaybeUninit;

use http::StatusCode;

/// Bounds on a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, request line included.
    pub size: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

/// A complete, acceptable head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes up to and including the empty line.
    pub len: usize,
    /// What follows it.
    pub body: BodyFraming,
    /// Whether it asks to leave HTTP for another protocol (RFC 9110 §7.8).
    pub upgrade: bool,
}

/// How the end of a request's body is found (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// This many bytes; none without a body.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct HeadError {
    /// Status of the answer.
    pub status: StatusCode,
    /// The reason, for the log.
    pub reason: &'static str,
}

const fn bad(reason: &'static str) -> HeadError {
    HeadError {
        status: StatusCode::BAD_REQUEST,
        reason,
    }
}

/// More fields than any limit allows; a constant because they are parsed on the stack.
const MOST_FIELDS: usize = 256;

/// Room for the fields of a head while it is read.
pub type Fields<'b> = [MaybeUninit<httparse::Header<'b>>; MOST_FIELDS];

/// Room for fields, empty.
pub const fn no_fields<'b>() -> Fields<'b> {
    [const { MaybeUninit::uninit() }; MOST_FIELDS]
}

/// A head, read and found acceptable.
#[derive(Debug)]
pub struct Parsed<'h, 'b> {
    /// Its framing.
    pub head: Head,
    /// Its method.
    pub method: &'b str,
    /// Its target as it was sent.
    pub target: &'b str,
    /// Whether it is of HTTP/1.1; else it is of HTTP/1.0.
    pub http_11: bool,
    /// Its fields.
    pub fields: &'h [httparse::Header<'b>],
}

/// Looks at what has arrived of a head; `None` while it is incomplete.
///
/// # Errors
/// The first thing that makes the head unacceptable.
pub fn check(bytes: &[u8], limits: HeadLimits) -> Result<Option<Head>, HeadError> {
    let Some(len) = complete(bytes, limits)? else {
        return Ok(None);
    };
    let mut fields = no_fields();
    parse(bytes.get(..len).unwrap_or(bytes), limits, &mut fields).map(|parsed| Some(parsed.head))
}

/// The length of the head that `bytes` begin with, its empty line included; `None` while it is
/// incomplete.
///
/// # Errors
/// When it is too large, or has a line feed alone.
pub fn complete(bytes: &[u8], limits: HeadLimits) -> Result<Option<usize>, HeadError> {
    match find_end(bytes)? {
        Some(len) if len <= limits.size => Ok(Some(len)),
        // A request line alone can tell that its target is too long, before the whole head is.
        None if bytes.len() <= limits.size => Ok(None),
        _ => Err(too_large(bytes, limits)),
    }
}

/// Reads a complete head.
///
/// # Errors
/// The first thing that makes it unacceptable.
pub fn parse<'h, 'b>(
    bytes: &'b [u8],
    limits: HeadLimits,
    fields: &'h mut Fields<'b>,
) -> Result<Parsed<'h, 'b>, HeadError> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, fields) {
        Ok(httparse::Status::Complete(parsed)) if parsed == bytes.len() => {}
        Ok(_) => return Err(bad("the head ends before its empty line")),
        Err(httparse::Error::TooManyHeaders) => return Err(too_many_fields()),
        Err(httparse::Error::Version) => {
            let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
            return Err(HeadError {
                status,
                reason: "not HTTP/1.0 or HTTP/1.1",
            });
        }
        Err(_) => return Err(bad("malformed request line or field")),
    }
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    let http_11 = request.version == Some(1);
    let fields: &'h [httparse::Header<'b>] = request.headers;
    if fields.len() > limits.fields {
        return Err(too_many_fields());
    }
    check_method(method)?;
    if target.len() > limits.target {
        return Err(HeadError {
            status: StatusCode::URI_TOO_LONG,
            reason: "the target is too long",
        });
    }
    check_target(target)?;
    check_host(target, http_11, fields)?;
    check_expect(fields)?;
    let head = Head {
        len: bytes.len(),
        body: check_framing(http_11, fields)?,
        upgrade: named(fields, "upgrade").next().is_some(),
    };
    Ok(Parsed {
        head,
        method,
        target,
        http_11,
        fields,
    })
}

fn too_large(bytes: &[u8], limits: HeadLimits) -> HeadError {
    let line = bytes
        .iter()
        .position(|b| *b == b'\n')
        .unwrap_or(bytes.len());
    if line > limits.target {
        return HeadError {
            status: StatusCode::URI_TOO_LONG,
            reason: "the target is too long",
        };
    }
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    HeadError {
        status,
        reason: "the head is too large",
    }
}

fn too_many_fields() -> HeadError {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    HeadError {
        status,
        reason: "too many fields",
    }
}

/// The end of the empty line. A line feed without its carriage return is refused, although RFC
/// 9112 §2.2 would allow to take it for a line's end: parsers disagree on it.
fn find_end(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut line_start = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        if at == 0 || bytes.get(at - 1) != Some(&b'\r') {
            return Err(bad("a line feed without its carriage return"));
        }
        if at - 1 == line_start {
            return Ok(Some(at + 1));
        }
        line_start = at + 1;
    }
    Ok(None)
}

fn check_method(method: &str) -> Result<(), HeadError> {
    // CONNECT would make this an open proxy; TRACE returns credentials to scripts.
    if matches!(method, "CONNECT" | "TRACE" | "TRACK") {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(HeadError {
            status,
            reason: "the method is not for this server",
        });
    }
    Ok(())
}

/// Only bytes that every URI parser keeps as they are (RFC 3986 §2, and what browsers send raw).
fn check_target(target: &str) -> Result<(), HeadError> {
    if target.is_empty() || !(target.starts_with('/') || target == "*" || target.contains("://")) {
        return Err(bad("the target is neither a path nor an absolute URI"));
    }
    let legal = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{}#".contains(&b);
    // These browsers do leave unescaped in a query.
    let tolerated = |b: u8| b"{}^`\\".contains(&b);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !path.bytes().all(legal) || !query.bytes().all(|b| legal(b) || tolerated(b)) {
        return Err(bad("the target has bytes that no URI has"));
    }
    if has_control(path) {
        return Err(bad("the path has an encoded control character"));
    }
    Ok(())
}

/// RFC 3986 §7.3: an encoded NUL is never data, and CR and LF end up in headers.
fn has_control(path: &str) -> bool {
    let escapes = path
        .as_bytes()
        .windows(3)
        .filter(|window| window.first() == Some(&b'%'));
    escapes.into_iter().any(|escape| {
        [&b"%00"[..], b"%0a", b"%0d"]
            .iter()
            .any(|c| escape.eq_ignore_ascii_case(c))
    })
}

/// RFC 9112 §3.2: exactly one Host in HTTP/1.1, and no second opinion in the target.
fn check_host(
    target: &str,
    http_11: bool,
    fields: &[httparse::Header<'_>],
) -> Result<(), HeadError> {
    let mut hosts = named(fields, "host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("more than one Host"));
    }
    let authority = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))
        .map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    match (host, authority) {
        (None, _) if http_11 => Err(bad("no Host")),
        (None, None) => Err(bad("no Host")),
        // Pingora takes another spelling for another host; a hit must not be answered otherwise.
        (Some(host), Some(authority)) if host != authority.as_bytes() => {
            Err(bad("Host and target name different hosts"))
        }
        _ => Ok(()),
    }
}

fn check_expect(fields: &[httparse::Header<'_>]) -> Result<(), HeadError> {
    if named(fields, "expect").all(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        return Ok(());
    }
    let status = StatusCode::EXPECTATION_FAILED;
    Err(HeadError {
        status,
        reason: "an expectation other than 100-continue",
    })
}

/// RFC 9112 §6.1 and §6.3: one framing, stated once, in its plainest form.
fn check_framing(http_11: bool, fields: &[httparse::Header<'_>]) -> Result<BodyFraming, HeadError> {
    let mut codings = named(fields, "transfer-encoding");
    let mut lengths = named(fields, "content-length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(BodyFraming::Length(0)),
        (Some(_), Some(_)) => Err(bad("both Transfer-Encoding and Content-Length")),
        (Some(_), None) if !http_11 => Err(bad("Transfer-Encoding in HTTP/1.0")),
        (Some(coding), None) => {
            if codings.next().is_some() {
                return Err(bad("more than one Transfer-Encoding"));
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                return Ok(BodyFraming::Chunked);
            }
            let status = StatusCode::NOT_IMPLEMENTED;
            Err(HeadError {
                status,
                reason: "a transfer coding other than chunked",
            })
        }
        (None, Some(length)) => {
            if lengths.next().is_some() {
                return Err(bad("more than one Content-Length"));
            }
            let plain = (1..=18).contains(&length.len()) && length.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(length).ok().filter(|_| plain);
            match length.and_then(|digits| digits.parse().ok()) {
                Some(length) => Ok(BodyFraming::Length(length)),
                None => Err(bad("a malformed Content-Length")),
            }
        }
    }
}

fn named<'h>(
    fields: &'h [httparse::Header<'_>],
    name: &'static str,
) -> impl Iterator<Item = &'h [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        size: 4096,
        fields: 20,
        target: 200,
    };

    fn status(head: &str) -> Result<bool, u16> {
        match check(head.as_bytes(), LIMITS) {
            Ok(Some(head)) => Ok(head.body != BodyFraming::Length(0)),
            Ok(None) => Err(0),
            Err(error) => Err(error.status.as_u16()),
        }
    }

    fn with(fields: &str) -> Result<bool, u16> {
        status(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    #[test]
    fn plain_requests_pass_with_their_framing() {
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(false));
        assert_eq!(
            status("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n"),
            Ok(false)
        );
        assert_eq!(status("GET / HTTP/1.0\r\nHost: a\r\n\r\n"), Ok(false));
        assert_eq!(
            status("GET /a?q={x}&r=a|b HTTP/1.1\r\nHost: a\r\n\r\n"),
            Ok(false)
        );
        assert_eq!(with("Content-Length: 5\r\n"), Ok(true));
        assert_eq!(with("Content-Length: 0\r\n"), Ok(false));
        assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(true));
        assert_eq!(
            with("Expect: 100-continue\r\nContent-Length: 1\r\n"),
            Ok(true)
        );
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for (fields, expected) in [
            ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                400,
            ),
            ("Transfer-Encoding: x, chunked\r\n", 501),
            ("Transfer-Encoding : chunked\r\n", 400),
            ("Transfer-Encoding:\u{b}chunked\r\n", 400),
            ("Content-Length: 4\r\nContent-Length: 4\r\n", 400),
            ("Content-Length: 4, 4\r\n", 400),
            ("Content-Length: +4\r\n", 400),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length: 0x4\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length: 9999999999999999999\r\n", 400),
            ("X: a\r\n folded\r\n", 400),
            ("X: a\nTransfer-Encoding: chunked\r\n", 400),
            ("Expect: something\r\n", 417),
        ] {
            assert_eq!(with(fields), Err(expected), "{fields:?}");
        }
        assert_eq!(
            status("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(400)
        );
    }

    #[test]
    fn host_must_be_one_and_agree_with_the_target() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n",
        ] {
            assert_eq!(status(head), Err(400), "{head:?}");
        }
    }

    #[test]
    fn odd_targets_methods_and_versions_are_refused() {
        for (head, expected) in [
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /\\evil HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a%0d%0ab HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\nHost: a\r\nX\u{0}: b\r\n\r\n", 400),
        ] {
            assert_eq!(status(head), Err(expected), "{head:?}");
        }
    }

    #[test]
    fn limits_hold_before_the_head_is_complete() {
        assert_eq!(status("GET / HTTP/1.1\r\nHost"), Err(0));
        assert_eq!(
            status(&format!(
                "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
                "a".repeat(300)
            )),
            Err(414)
        );
        assert_eq!(status(&format!("GET /{}", "a".repeat(5000))), Err(414));
        assert_eq!(with(&format!("X: {}\r\n", "a".repeat(5000))), Err(431));
        assert_eq!(
            status(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX: {}",
                "a".repeat(5000)
            )),
            Err(431)
        );
        assert_eq!(with(&"X: a\r\n".repeat(25)), Err(431));
        assert_eq!(with(&"X: a\r\n".repeat(300)), Err(431));
    }
}
