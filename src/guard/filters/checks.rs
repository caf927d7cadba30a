//! What each filter looks at.

use http::header::{
    AUTHORIZATION, CONTENT_TYPE, COOKIE, IF_MODIFIED_SINCE, IF_RANGE, ORIGIN, RANGE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::super::spelling::{climbs, climbs_in_value};
use super::{Limit, Switch};
use crate::fields::untrusted::overrides_request;
use crate::request::RequestView;

/// Fields with one value (RFC 9110 §5.3), of which two would be read differently by two parsers. Of others
/// that decide about the request, such as Host and Content-Length, no second one gets here.
const SINGLE: &[HeaderName] = &[
    CONTENT_TYPE,
    AUTHORIZATION,
    ORIGIN,
    RANGE,
    IF_RANGE,
    IF_MODIFIED_SINCE,
];

/// Whether `request` has what `switch` is about.
pub(super) fn holds(switch: Switch, request: &RequestView<'_>) -> bool {
    let query = request.query.unwrap_or_default();
    match switch {
        Switch::PathTraversal => climbs(request.path),
        Switch::ControlCharacters => has_control(request.path),
        Switch::NullInQuery => query.contains("%00"),
        Switch::QueryTraversal => arguments(query).any(climbs_in_argument),
        Switch::QueryEscapes => has_bad_escape(query),
        Switch::RepeatedFields => {
            let fields = request.headers;
            // Nothing is there twice: the common case.
            fields.len() != fields.keys_len()
                && SINGLE
                    .iter()
                    .any(|name| fields.get_all(name).iter().nth(1).is_some())
        }
        Switch::OverrideFields => {
            let mut names = request.headers.keys();
            names.any(|name| overrides_request(name, request.method))
        }
        Switch::BodyOfGet => {
            request.has_body && matches!(*request.method, Method::GET | Method::HEAD)
        }
        Switch::NoUserAgent => {
            let sent = request.headers.get(USER_AGENT);
            sent.is_none_or(|sent| sent.as_bytes().trim_ascii().is_empty())
        }
    }
}

/// The size in `request` that `limit` is about.
pub(super) fn size(limit: Limit, request: &RequestView<'_>) -> usize {
    let query = request.query.unwrap_or_default();
    let segments = || request.path.split('/').skip(1);
    match limit {
        Limit::PathLength => request.path.len(),
        Limit::PathSegments => segments().count(),
        Limit::SegmentLength => segments().map(str::len).max().unwrap_or_default(),
        Limit::QueryLength => query.len(),
        Limit::Arguments if query.is_empty() => 0,
        Limit::Arguments => memchr::memchr_iter(b'&', query.as_bytes()).count() + 1,
        Limit::ArgumentLength => arguments(query).map(str::len).max().unwrap_or_default(),
        Limit::FieldLength => {
            let values = request.headers.values();
            values.map(HeaderValue::len).max().unwrap_or_default()
        }
        Limit::Cookies => request
            .headers
            .get_all(COOKIE)
            .iter()
            .map(|line| memchr::memchr_iter(b';', line.as_bytes()).count() + 1)
            .sum(),
    }
}

/// Whether Content-Type is one of `types`.
pub(super) fn has_type(fields: &HeaderMap, types: &[String]) -> bool {
    let Some(sent) = fields.get(CONTENT_TYPE).and_then(|sent| sent.to_str().ok()) else {
        return false;
    };
    let essence = sent.split(';').next().unwrap_or_default().trim();
    types.iter().any(|wanted| match wanted.strip_suffix('*') {
        Some(kind) => essence
            .get(..kind.len())
            .is_some_and(|beginning| beginning.eq_ignore_ascii_case(kind)),
        None => essence.eq_ignore_ascii_case(wanted),
    })
}

fn arguments(query: &str) -> impl Iterator<Item = &str> {
    query.split('&')
}

fn climbs_in_argument(argument: &str) -> bool {
    match argument.split_once('=') {
        Some((name, value)) => climbs_in_value(name) || climbs_in_value(value),
        None => climbs_in_value(argument),
    }
}

/// Escapes are in upper case, as the path is in canonical form.
fn has_control(path: &str) -> bool {
    let bytes = path.as_bytes();
    memchr::memchr_iter(b'%', bytes).any(|at| {
        matches!(
            bytes.get(at + 1..at + 3),
            Some([b'0' | b'1', _] | [b'7', b'F'])
        )
    })
}

fn has_bad_escape(query: &str) -> bool {
    let bytes = query.as_bytes();
    memchr::memchr_iter(b'%', bytes).any(|at| {
        let digits = bytes.get(at + 1..at + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}
