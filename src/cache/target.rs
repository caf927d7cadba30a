//! URI references in a response, resolved against the request's target (RFC 3986 §5) and brought
//! into the form in which keys hold them.

use http::HeaderMap;
use http::header::{CONTENT_LOCATION, HOST};

use crate::request::{RequestView, Scheme};
use crate::zone::{Authority, canonical_path};

/// A URI of the request's own origin (scheme, host and port; RFC 9110 §4.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The request's scheme.
    pub scheme: Scheme,
    /// Canonical host, with its port unless that is the scheme's default.
    pub host: String,
    /// Canonical path.
    pub path: String,
    /// Query without its `?`.
    pub query: Option<String>,
}

impl Target {
    /// The request's own target.
    pub fn of(request: &RequestView<'_>) -> Self {
        Self {
            scheme: request.scheme,
            host: authority(request),
            path: request.path.to_owned(),
            query: request.query.map(str::to_owned),
        }
    }

    /// What `reference` names, seen from the request's target; `None` when that is of another
    /// origin or cannot be read.
    pub fn resolve(request: &RequestView<'_>, reference: &[u8]) -> Option<Self> {
        let base = Self::of(request);
        let reference = std::str::from_utf8(reference.trim_ascii()).ok()?;
        let reference = reference.split('#').next()?;
        let after_scheme = match scheme(reference) {
            Some((scheme, rest)) => {
                let same = scheme.eq_ignore_ascii_case(base.scheme.as_str());
                (same && rest.starts_with("//")).then_some(rest)?
            }
            None => reference,
        };
        let local = match after_scheme.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (host, local) = rest.split_at_checked(end)?;
                let host = Authority::parse(host, base.scheme)?;
                (host.as_str() == base.host).then_some(())?;
                if local.starts_with('/') {
                    local.to_owned()
                } else {
                    format!("/{local}")
                }
            }
            None => after_scheme.to_owned(),
        };
        base.joined(&local)
    }

    /// RFC 3986 §5.2.2, for a reference without scheme and authority.
    fn joined(self, reference: &str) -> Option<Self> {
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (reference, None),
        };
        let path = match path {
            "" if query.is_none() => return Some(self),
            "" => self.path,
            path if path.starts_with('/') => canonical_path(path).ok()?.into_owned(),
            path => {
                let (folder, _) = self.path.rsplit_once('/')?;
                let path = format!("{folder}/{path}");
                canonical_path(&path).ok()?.into_owned()
            }
        };
        Some(Self {
            path,
            query,
            ..self
        })
    }
}

/// Whether the response's one Content-Location names the request's own target (RFC 9110 §8.7).
pub fn content_location_is_target(request: &RequestView<'_>, response: &HeaderMap) -> bool {
    let mut lines = response.get_all(CONTENT_LOCATION).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            Target::resolve(request, line.as_bytes()) == Some(Target::of(request))
        }
        _ => false,
    }
}

/// Host and port. A view's host may lack the port, which the Host field then has.
fn authority(request: &RequestView<'_>) -> String {
    request
        .headers
        .get(HOST)
        .and_then(|host| Authority::parse(host.to_str().ok()?, request.scheme))
        .filter(|authority| authority.host() == request.host)
        .map_or_else(|| request.host.to_owned(), |host| host.as_str().to_owned())
}

/// RFC 3986 §3.1: the scheme of a reference that has one, and what follows its colon.
fn scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let mut bytes = scheme.bytes();
    let valid = bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    valid.then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{get, map};
    use super::*;
    use proptest::prelude::*;

    fn resolve(reference: &str) -> Option<String> {
        let headers = map(&[("host", "example.org:8443")]);
        let request = RequestView {
            query: Some("q=1"),
            ..get("/a/b", &headers)
        };
        let target = Target::resolve(&request, reference.as_bytes())?;
        let query = target
            .query
            .map_or_else(String::new, |query| format!("?{query}"));
        Some(format!("{}{}{query}", target.host, target.path))
    }

    #[test]
    fn rfc3986_5_references_of_the_same_origin() {
        for (reference, expected) in [
            ("", "/a/b?q=1"),
            ("#x", "/a/b?q=1"),
            ("?p=2", "/a/b?p=2"),
            ("c", "/a/c"),
            ("c?x#y", "/a/c?x"),
            ("../c", "/c"),
            ("./", "/a/"),
            ("/c/%7Ed", "/c/~d"),
            (" /c ", "/c"),
            ("//Example.org:8443/c", "/c"),
            ("https://example.org:8443", "/"),
            ("https://example.org:8443?x", "/?x"),
            ("HTTPS://example.org.:8443/c?d", "/c?d"),
        ] {
            let expected = format!("example.org:8443{expected}");
            assert_eq!(resolve(reference), Some(expected), "{reference}");
        }
    }

    #[test]
    fn rfc9111_4_4_other_origins_are_none_of_ours() {
        for reference in [
            "http://example.org:8443/c",
            "https://example.org/c",
            "https://example.com:8443/c",
            "//evil.example/c",
            "https://a@example.org:8443/c",
            "https:/c",
            "mailto:a",
            "/%zz",
            "/\\c",
        ] {
            assert_eq!(resolve(reference), None, "{reference}");
        }
    }

    #[test]
    fn rfc9110_8_7_content_location_of_the_target() {
        let none = map(&[]);
        let request = get("/form", &none);
        for (lines, expected) in [
            (&[("content-location", "/form")][..], true),
            (&[("content-location", "form")], true),
            (&[("content-location", "")], true),
            (&[("content-location", "https://example.org/form")], true),
            (&[("content-location", "/other")], false),
            (&[("content-location", "/form?x")], false),
            (
                &[("content-location", "/form"), ("content-location", "/form")],
                false,
            ),
            (&[], false),
        ] {
            let response = map(lines);
            assert_eq!(
                content_location_is_target(&request, &response),
                expected,
                "{lines:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn resolving_is_total_and_stays_at_the_origin(
            reference in "(https?:)?(//)?[a-z.@:/?#%\\\\0-9]{0,24}",
        ) {
            let headers = map(&[]);
            let request = get("/a/b", &headers);
            if let Some(target) = Target::resolve(&request, reference.as_bytes()) {
                prop_assert_eq!((&*target.host, target.scheme), ("example.org", Scheme::Https));
                prop_assert!(target.path.starts_with('/'));
            }
        }
    }
}
