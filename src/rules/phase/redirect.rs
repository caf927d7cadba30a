//! Redirects by expression (RFC 9110 §15.4).

use std::fmt::Write as _;

use http::{HeaderValue, StatusCode};

use crate::request::RequestView;
use crate::rules::Value;

/// Where a request is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// A URL, or a path on the same host.
    pub target: Value,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Whether the request's query is appended.
    pub preserve_query: bool,
}

/// A redirect of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectTarget {
    /// The Location field.
    pub location: HeaderValue,
    /// The status.
    pub status: StatusCode,
}

impl Redirect {
    /// Where `request` is sent, or why not.
    ///
    /// # Errors
    /// In a few words.
    pub fn resolve(&self, request: &RequestView<'_>) -> Result<RedirectTarget, &'static str> {
        let target = self.target.evaluate(request, None);
        let target = target.ok_or("the target has no value for this request")?;
        let target = std::str::from_utf8(&target).map_err(|_| "the target is not UTF-8")?;
        let query = request.query.filter(|_| self.preserve_query);
        let location = location(target, query)?;
        if is_same(request, &location) {
            return Err("the target is the request itself");
        }
        Ok(RedirectTarget {
            location: HeaderValue::try_from(location).map_err(|_| "the target is no URL")?,
            status: self.status,
        })
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let mut sets = vec![
            ("target", self.target.to_string()),
            ("status", self.status.as_u16().to_string()),
        ];
        if self.preserve_query {
            sets.push(("preserve_query", "true".to_owned()));
        }
        sets
    }
}

/// A Location field for `target`: an absolute URL of HTTP or a path, what URLs cannot hold escaped,
/// `query` appended.
pub(super) fn location(target: &str, query: Option<&str>) -> Result<String, &'static str> {
    let absolute = target.starts_with("https://") || target.starts_with("http://");
    // `//host` and `/\host` leave the site although they look like paths.
    let local = target.starts_with('/') && !target.starts_with("//") && !target.starts_with("/\\");
    if !absolute && !local {
        return Err("the target is neither an http(s) URL nor a path");
    }
    let mut location = escape(target);
    if let Some(query) = query {
        // The query goes before a fragment.
        let fragment = location.find('#').map(|at| location.split_off(at));
        location.push(if location.contains('?') { '&' } else { '?' });
        location.push_str(query);
        location.push_str(fragment.as_deref().unwrap_or_default());
    }
    Ok(location)
}

/// Escapes what no part of a URL may hold (RFC 3986 §2); escapes that are there stay.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Whether following `location` would be the very same request.
fn is_same(request: &RequestView<'_>, location: &str) -> bool {
    let rest = match location.strip_prefix(request.scheme.as_str()) {
        Some(rest) => match rest
            .strip_prefix("://")
            .and_then(|rest| rest.strip_prefix(request.host))
        {
            Some("") => "/",
            Some(rest) => rest,
            None => return false,
        },
        None => location,
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    path == request.path && query == request.query
}
