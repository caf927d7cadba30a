//! What becomes of a request's head before the rules see it: one canonical form, or a refusal.
//!
//! What is matched, keyed and forwarded is what is left after this.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::Scheme;
use crate::config::Client;
use crate::fields::cookies::cookies;
use crate::fields::hop_by_hop::{connection_options, nominated};
use crate::zone::{Authority, SessionCookies, Slashes, canonical_path_with};

/// A request that is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status it gets.
    pub status: u16,
    /// Why, in a few words.
    pub why: Cow<'static, str>,
}

/// What is refused here.
///
/// # Errors
/// The refusal.
pub type Arrival<T> = Result<T, Refusal>;

fn refuse<T>(status: u16, why: impl Into<Cow<'static, str>>) -> Arrival<T> {
    let why = why.into();
    Err(Refusal { status, why })
}

/// Refuses methods and expectations that are not for this server.
pub fn check_form(method: &Method, fields: &HeaderMap) -> Arrival<()> {
    if matches!(method.as_str(), "TRACE" | "TRACK") {
        return refuse(405, "the method is not for this server");
    }
    let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !fields.get_all(EXPECT).iter().all(expects) {
        return refuse(417, "an expectation other than 100-continue");
    }
    Ok(())
}

/// Refuses what is larger than the configuration allows; `target` is path and query.
pub fn check_size(target: &str, fields: &HeaderMap, most: &Client) -> Arrival<()> {
    if target.len() > most.max_uri_length {
        return refuse(414, "the target is too long");
    }
    // Host was added to what HTTP/2 carries in `:authority`.
    if fields.len() > most.max_headers.saturating_add(1) {
        return refuse(431, "too many fields");
    }
    Ok(())
}

/// Refuses an announced body of more than `most` bytes.
pub fn check_body(fields: &HeaderMap, most: u64) -> Arrival<()> {
    if announced_length(fields).is_some_and(|length| length > most) {
        return refuse(413, "the body is larger than allowed");
    }
    Ok(())
}

/// Names of the fields that the origin would read but neither rules, key nor Vary would see: those that
/// Connection nominates, and those with an underscore, which CGI and WSGI make one with their
/// hyphenated or server-set namesakes (`SCRIPT_NAME`, `X_Forwarded_Host`). They are to be removed.
pub fn unkeyed(fields: &HeaderMap) -> Vec<HeaderName> {
    let mut names = nominated(fields);
    names.retain(|name| *name != UPGRADE && fields.contains_key(name));
    let underscored = fields.keys().filter(|name| name.as_str().contains('_'));
    names.extend(underscored.cloned());
    names
}

/// What is left of Connection without the fields that it nominates.
pub fn connection(fields: &HeaderMap) -> Option<HeaderValue> {
    let options = connection_options(fields).join(", ");
    HeaderValue::try_from(options)
        .ok()
        .filter(|options| !options.is_empty())
}

/// RFC 9113 §8.2.3: HTTP/2 clients split Cookie; HTTP/1 origins and Vary want it whole. `None` when it
/// is.
pub fn joined_cookies(fields: &HeaderMap) -> Option<HeaderValue> {
    let lines = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let lines: Vec<&[u8]> = lines.collect();
    let joined = (lines.len() > 1).then(|| lines.join(&b"; "[..]))?;
    // Valid values joined by valid bytes are one.
    HeaderValue::from_bytes(&joined).ok()
}

/// The one host the request names. HTTP/2 has it in `:authority` (RFC 9113 §8.3.1), an absolute
/// target in the target (RFC 9112 §3.2.2), everything else in Host; two that differ are refused.
pub fn authority(fields: &HeaderMap, target: Option<&str>, scheme: Scheme) -> Arrival<Authority> {
    let mut hosts = fields.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return refuse(400, "more than one Host");
    }
    let read = |text: Option<&str>| text.and_then(|text| Authority::parse(text, scheme));
    let from_host = match host.map(|host| read(host.to_str().ok())) {
        Some(None) => return refuse(400, "a malformed Host"),
        Some(host) => host,
        None => None,
    };
    let from_target = match target.map(|target| read(Some(target))) {
        Some(None) => return refuse(400, "a malformed authority"),
        Some(target) => target,
        None => None,
    };
    match (from_target, from_host) {
        (Some(target), Some(host)) if target != host => {
            refuse(400, "Host and target name different hosts")
        }
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => refuse(400, "no Host"),
    }
}

/// Path and query in canonical form; `None` when they are in it already.
pub fn canonical_target(
    path: &str,
    query: Option<&str>,
    slashes: Slashes,
) -> Arrival<Option<String>> {
    let canonical = match path {
        // `OPTIONS *` asks about the server, which is this one.
        "*" | "" => Cow::Borrowed("/"),
        path => match canonical_path_with(path, slashes) {
            Ok(path) => path,
            Err(error) => return refuse(400, error.to_string()),
        },
    };
    Ok((canonical != path).then(|| crate::rules::target_text(&canonical, query)))
}

/// Reads path and query.
pub fn parse_target(target: &str) -> Arrival<Uri> {
    target
        .parse()
        .or_else(|_| refuse(400, "a malformed target"))
}

/// Whether the fields announce a body (RFC 9112 §6).
pub fn has_body(fields: &HeaderMap) -> bool {
    let length = fields.get(CONTENT_LENGTH);
    fields.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length.as_bytes() != b"0")
}

/// The length of the body that the fields announce, in bytes.
pub fn announced_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The name of the first cookie that marks a session.
pub fn session_cookie<'h>(fields: &'h HeaderMap, names: &SessionCookies) -> Option<&'h [u8]> {
    cookies(fields)
        .map(|(name, _)| name)
        .find(|name| names.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::map;

    fn refused<T>(arrival: Arrival<T>) -> Option<u16> {
        arrival.err().map(|refusal| refusal.status)
    }

    #[test]
    fn what_neither_rules_nor_key_would_see_is_named() {
        let fields = map(&[
            ("connection", "x-user, upgrade, x-absent"),
            ("upgrade", "websocket"),
            ("x-user", "a"),
            ("x_forwarded_host", "evil.test"),
            ("cookie", "a=1"),
        ]);
        assert_eq!(unkeyed(&fields), ["x-user", "x_forwarded_host"]);
        assert_eq!(connection(&fields).unwrap(), "upgrade");
        assert_eq!(connection(&map(&[("connection", "x-user")])), None);
    }

    #[test]
    fn one_host_is_named_and_two_that_differ_are_refused() {
        let host = |fields: &HeaderMap, target| authority(fields, target, Scheme::Http);
        let one = map(&[("host", "A.test:80")]);
        assert_eq!(host(&one, None).unwrap().as_str(), "a.test");
        assert_eq!(host(&one, Some("a.test")).unwrap().as_str(), "a.test");
        assert_eq!(refused(host(&one, Some("b.test"))), Some(400));
        assert_eq!(refused(host(&map(&[]), None)), Some(400));
        let two = map(&[("host", "a.test"), ("host", "a.test")]);
        assert_eq!(refused(host(&two, None)), Some(400));
    }

    #[test]
    fn targets_have_one_form_or_are_refused() {
        let canonical = |path, query| canonical_target(path, query, Slashes::Merge);
        assert_eq!(
            canonical("/a/../b//%7ec", Some("x=1")),
            Ok(Some("/b/~c?x=1".to_owned()))
        );
        assert_eq!(canonical("*", None), Ok(Some("/".to_owned())));
        assert_eq!(canonical("/a.b/c", Some("")), Ok(None));
        assert_eq!(refused(canonical("/%zz", None)), Some(400));
        assert_eq!(refused(canonical("/a\\b", None)), Some(400));
    }

    #[test]
    fn cookie_lines_become_one_and_a_session_is_told_by_name() {
        let fields = map(&[("cookie", "a=1"), ("cookie", "sessionid=x")]);
        assert_eq!(joined_cookies(&fields).unwrap(), "a=1; sessionid=x");
        assert_eq!(joined_cookies(&map(&[("cookie", "a=1")])), None);
        let names = SessionCookies::frameworks();
        assert_eq!(session_cookie(&fields, &names), Some(&b"sessionid"[..]));
        assert_eq!(session_cookie(&map(&[("cookie", "a=1")]), &names), None);
    }

    #[test]
    fn what_is_too_large_or_not_for_us_is_refused() {
        let client = Client {
            max_uri_length: 300,
            ..Client::default()
        };
        let none = map(&[]);
        let size = |target: &str, fields| refused(check_size(target, fields, &client));
        assert_eq!(size(&"/".repeat(300), &none), None);
        assert_eq!(size(&"/".repeat(301), &none), Some(414));
        let body = |length| refused(check_body(&map(&[("content-length", length)]), 10));
        assert_eq!((body("10"), body("11")), (None, Some(413)));
        assert_eq!(refused(check_form(&Method::TRACE, &none)), Some(405));
        let expecting = map(&[("expect", "magic")]);
        assert_eq!(refused(check_form(&Method::GET, &expecting)), Some(417));
    }
}
