//! Reading fields from a request.

use std::net::IpAddr;
use std::ops::ControlFlow;

use http::header::{COOKIE, REFERER, USER_AGENT};
use http::{HeaderName, Version};

use super::field::{Array, BoolField, IpField, MapField, StringField};
use super::text::Text;
use crate::fields::cookies::cookies;
use crate::request::{RequestView, Scheme};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl BoolField {
    /// The field's value for `request`.
    pub(super) fn read(self, request: &RequestView<'_>) -> bool {
        match self {
            Self::Ssl => request.scheme == Scheme::Https,
            Self::SessionCookie => request.session_cookie,
            Self::HasBody => request.has_body,
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
    /// The field's value for `request`.
    pub(super) fn read<'r>(self, request: &RequestView<'r>) -> Text<'r> {
        let lines = |name| {
            request
                .headers
                .get_all(name)
                .iter()
                .map(http::HeaderValue::as_bytes)
        };
        let first_line = |name| {
            let line = request.headers.get(name);
            Text::Borrowed(line.map(http::HeaderValue::as_bytes).unwrap_or_default())
        };
        match self {
            Self::Host => Text::Borrowed(request.host.as_bytes()),
            Self::Method => Text::Borrowed(request.method.as_str().as_bytes()),
            Self::Version => Text::Borrowed(version(request.version).as_bytes()),
            Self::FullUri => full_uri(request),
            Self::Uri => uri(request),
            Self::Path => Text::Borrowed(request.path.as_bytes()),
            Self::PathExtension => Text::Borrowed(extension(request.path).as_bytes()).lower(),
            Self::Query => Text::Borrowed(request.query.unwrap_or_default().as_bytes()),
            Self::Cookie => Text::join(lines(COOKIE), b"; "),
            Self::Referer => first_line(REFERER),
            Self::UserAgent => first_line(USER_AGENT),
            Self::XForwardedFor => Text::join(lines(X_FORWARDED_FOR), b", "),
        }
    }
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

fn full_uri<'r>(request: &RequestView<'r>) -> Text<'r> {
    let (mark, query) = query_parts(request);
    Text::concat(&[
        request.scheme.as_str().as_bytes(),
        b"://",
        request.host.as_bytes(),
        request.path.as_bytes(),
        mark,
        query,
    ])
}

fn uri<'r>(request: &RequestView<'r>) -> Text<'r> {
    match request.query {
        None => Text::Borrowed(request.path.as_bytes()),
        Some(query) => Text::concat(&[request.path.as_bytes(), b"?", query.as_bytes()]),
    }
}

fn query_parts<'r>(request: &RequestView<'r>) -> (&'static [u8], &'r [u8]) {
    request
        .query
        .map_or((b"", b""), |query| (b"?", query.as_bytes()))
}

fn extension(path: &str) -> &str {
    let segment = path.rsplit('/').next().unwrap_or_default();
    match segment.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension,
        _ => "",
    }
}

impl Array {
    /// Shows the elements to `visit` in order until it breaks.
    pub(super) fn visit<'r>(
        &self,
        request: &RequestView<'r>,
        mut visit: impl FnMut(&'r [u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Names(MapField::Headers) => request
                .headers
                .iter()
                .try_for_each(|(name, _)| visit(name.as_str().as_bytes())),
            Self::Names(MapField::Args) => arguments(request).try_for_each(|(name, _)| visit(name)),
            Self::Names(MapField::Cookies) => {
                cookies(request.headers).try_for_each(|(name, _)| visit(name))
            }
            Self::Header(name) => request
                .headers
                .get_all(name)
                .iter()
                .try_for_each(|line| visit(line.as_bytes())),
            Self::Arg(key) => arguments(request)
                .filter(|(name, _)| **name == **key)
                .try_for_each(|(_, value)| visit(value)),
            Self::Cookie(key) => cookies(request.headers)
                .filter(|(name, _)| **name == **key)
                .try_for_each(|(_, value)| visit(value)),
        }
    }

    /// Whether some element satisfies `predicate`.
    pub(super) fn any<'r>(
        &self,
        request: &RequestView<'r>,
        mut predicate: impl FnMut(&'r [u8]) -> bool,
    ) -> bool {
        self.visit(request, |element| {
            if predicate(element) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .is_break()
    }

    /// The element at `position`, if there are so many.
    pub(super) fn nth<'r>(&self, request: &RequestView<'r>, position: usize) -> Option<&'r [u8]> {
        let mut remaining = position;
        let mut found = None;
        self.any(request, |element| {
            let here = remaining == 0;
            if here {
                found = Some(element);
            }
            remaining = remaining.saturating_sub(1);
            here
        });
        found
    }

    /// The number of elements; nothing for a map entry which does not exist.
    pub(super) fn count(&self, request: &RequestView<'_>) -> Option<usize> {
        let mut count = 0;
        self.any(request, |_| {
            count += 1;
            false
        });
        (count > 0 || matches!(self, Self::Names(_))).then_some(count)
    }
}

/// The query's arguments as `(name, value)`, as sent; one without `=` has an empty value.
fn arguments<'r>(request: &RequestView<'r>) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
    request
        .query
        .unwrap_or_default()
        .split('&')
        .filter(|argument| !argument.is_empty())
        .map(|argument| argument.split_once('=').unwrap_or((argument, "")))
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
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
