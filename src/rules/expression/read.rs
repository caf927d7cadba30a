//! Reading fields from a request and its response.

use std::net::IpAddr;

use http::header::{CONTENT_TYPE, COOKIE, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::country;
use super::eval::Context;
use super::field::{BoolField, IntField, IpField, StringField};
use super::text::Text;
use crate::cache::device::device;
use crate::request::{RequestView, Scheme};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl BoolField {
    /// The field's value for `request`.
    pub(super) fn read(self, request: &RequestView<'_>) -> bool {
        match self {
            Self::Ssl => request.scheme == Scheme::Https,
            Self::SessionCookie => request.session_cookie,
            Self::HasBody => request.has_body,
            Self::VerifiedBot => request.facts.verified_bot,
            Self::InEuropeanUnion => request
                .facts
                .country
                .is_some_and(country::in_european_union),
        }
    }
}

impl IntField {
    /// The field's value, where it has one.
    pub(super) fn read(self, context: Context<'_>) -> Option<i64> {
        let facts = &context.request.facts;
        match self {
            Self::BodySize => facts
                .body_size
                .map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
            Self::Timestamp => Some(facts.unix_seconds),
            Self::Asn => Some(facts.asn.unwrap_or(0).into()),
            Self::ResponseCode => context
                .response
                .map(|response| response.status.as_u16().into()),
        }
    }
}

impl IpField {
    /// The field's value for `request`.
    pub(super) fn read(self, request: &RequestView<'_>) -> IpAddr {
        match self {
            Self::Client => request.client.to_canonical(),
        }
    }
}

impl StringField {
    /// The field's value; those of the response have none without it.
    pub(super) fn read(self, context: Context<'_>) -> Option<Text<'_>> {
        let request = context.request;
        let raw = request.facts.raw_target;
        let target = Target {
            path: request.path,
            query: request.query,
        };
        let raw_target = || raw.map_or(target, Target::parse);
        Some(match self {
            Self::Host => Text::Borrowed(request.host.as_bytes()),
            Self::Method => Text::Borrowed(request.method.as_str().as_bytes()),
            Self::Version => Text::Borrowed(version(request.version).as_bytes()),
            Self::FullUri => target.full(request),
            Self::Uri => target.uri(),
            Self::Path => Text::Borrowed(request.path.as_bytes()),
            Self::PathExtension => Text::Borrowed(extension(request.path).as_bytes()).lower(),
            Self::Query => target.query(),
            Self::RawFullUri => raw_target().full(request),
            Self::RawUri => raw_target().uri(),
            Self::RawPath => Text::Borrowed(raw_target().path.as_bytes()),
            Self::RawQuery => raw_target().query(),
            Self::Cookie => Text::join(lines(request.headers, &COOKIE), b"; "),
            Self::Referer => first_line(request.headers, &REFERER),
            Self::UserAgent => first_line(request.headers, &USER_AGENT),
            Self::XForwardedFor => Text::join(lines(request.headers, &X_FORWARDED_FOR), b", "),
            Self::Country => match &request.facts.country {
                Some(country) => Text::Borrowed(country),
                None => Text::Borrowed(b""),
            },
            Self::Continent => {
                let continent = request.facts.country.and_then(country::continent);
                Text::Borrowed(continent.unwrap_or_default().as_bytes())
            }
            Self::DeviceClass => Text::Borrowed(device(request.headers).as_str().as_bytes()),
            Self::MediaType => {
                let line = context.response?.headers.get(CONTENT_TYPE);
                let line = line.map(HeaderValue::as_bytes).unwrap_or_default();
                let media_type = line.split(|byte| *byte == b';').next();
                Text::Borrowed(media_type.unwrap_or_default().trim_ascii()).lower()
            }
        })
    }
}

fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

fn first_line<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Text<'h> {
    let line = headers.get(name);
    Text::Borrowed(line.map(HeaderValue::as_bytes).unwrap_or_default())
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Path and query.
#[derive(Clone, Copy)]
struct Target<'r> {
    path: &'r str,
    query: Option<&'r str>,
}

impl<'r> Target<'r> {
    fn parse(target: &'r str) -> Self {
        match target.split_once('?') {
            Some((path, query)) => Self {
                path,
                query: Some(query),
            },
            None => Self {
                path: target,
                query: None,
            },
        }
    }

    fn full(self, request: &RequestView<'r>) -> Text<'r> {
        let (mark, query): (&[u8], &[u8]) = match self.query {
            Some(query) => (b"?", query.as_bytes()),
            None => (b"", b""),
        };
        Text::concat(&[
            request.scheme.as_str().as_bytes(),
            b"://",
            request.host.as_bytes(),
            self.path.as_bytes(),
            mark,
            query,
        ])
    }

    fn uri(self) -> Text<'r> {
        match self.query {
            None => Text::Borrowed(self.path.as_bytes()),
            Some(query) => Text::concat(&[self.path.as_bytes(), b"?", query.as_bytes()]),
        }
    }

    fn query(self) -> Text<'r> {
        Text::Borrowed(self.query.unwrap_or_default().as_bytes())
    }
}

/// What follows the last dot of the last path segment; empty where that dot begins or ends it.
pub(in crate::rules) fn extension(path: &str) -> &str {
    let segment = path.rsplit('/').next().unwrap_or_default();
    match segment.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_follows_the_last_dot_of_the_last_segment() {
        for (path, expected) in [
            ("/foo", ""),
            ("/foo.mp3", "mp3"),
            ("/.mp3", ""),
            ("/.foo.mp3", "mp3"),
            ("/foo.tar.bz2", "bz2"),
            ("/foo.", ""),
            ("/foo.MP3", "MP3"),
            ("/a.b/c", ""),
            ("/a.b/", ""),
            ("/", ""),
            ("*", ""),
        ] {
            assert_eq!(extension(path), expected, "{path}");
        }
    }
}
