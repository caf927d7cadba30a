//! The field table: which fields there are, what they are called and of which type they are.
//!
//! A new field is a variant, a row in [`FIELDS`] and an arm in [`super::read`].

use http::HeaderName;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Ip,
    String,
    /// An array of strings.
    Array,
    /// A map from strings to arrays of strings.
    Map,
}

impl Type {
    /// The type's name, with its article.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Ip => "an IP address",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Map => "a map",
        }
    }
}

/// A field of the request, by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Bool(BoolField),
    Ip(IpField),
    String(StringField),
    /// The names of a map's entries, an array: one for each element, so repeated names repeat.
    Names(MapField),
    Map(MapField),
}

impl Field {
    /// The field with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        FIELDS
            .iter()
            .find(|(candidate, _)| *candidate == name)
            .map(|(_, field)| *field)
    }
}

/// The names of all fields.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    FIELDS.iter().map(|(name, _)| *name)
}

const FIELDS: &[(&str, Field)] = &[
    ("http.cookie", Field::String(StringField::Cookie)),
    ("http.host", Field::String(StringField::Host)),
    ("http.referer", Field::String(StringField::Referer)),
    ("http.request.cookies", Field::Map(MapField::Cookies)),
    (
        "http.request.cookies.names",
        Field::Names(MapField::Cookies),
    ),
    ("http.request.full_uri", Field::String(StringField::FullUri)),
    ("http.request.headers", Field::Map(MapField::Headers)),
    (
        "http.request.headers.names",
        Field::Names(MapField::Headers),
    ),
    ("http.request.method", Field::String(StringField::Method)),
    ("http.request.uri", Field::String(StringField::Uri)),
    ("http.request.uri.args", Field::Map(MapField::Args)),
    ("http.request.uri.args.names", Field::Names(MapField::Args)),
    ("http.request.uri.path", Field::String(StringField::Path)),
    (
        "http.request.uri.path.extension",
        Field::String(StringField::PathExtension),
    ),
    ("http.request.uri.query", Field::String(StringField::Query)),
    ("http.request.version", Field::String(StringField::Version)),
    ("http.user_agent", Field::String(StringField::UserAgent)),
    (
        "http.x_forwarded_for",
        Field::String(StringField::XForwardedFor),
    ),
    ("ip.src", Field::Ip(IpField::Client)),
    ("seawall.request.has_body", Field::Bool(BoolField::HasBody)),
    (
        "seawall.session_cookie",
        Field::Bool(BoolField::SessionCookie),
    ),
    ("ssl", Field::Bool(BoolField::Ssl)),
];

/// A field which is true or false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BoolField {
    /// Whether the client's connection uses TLS.
    Ssl,
    /// Whether a cookie's name is one of the zone's session cookies.
    SessionCookie,
    /// Whether the request announces a body.
    HasBody,
}

/// A field which is an IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpField {
    /// The client's address; an IPv4 address mapped into IPv6 counts as IPv4.
    Client,
}

/// A field which is a string. Each has a value for every request: a header field which was not
/// sent reads as the empty string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StringField {
    Host,
    Method,
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`.
    Version,
    /// Scheme, host, path and query.
    FullUri,
    /// Path and, if there is one, `?` and the query.
    Uri,
    Path,
    /// What follows the last dot of the last path segment, in lower case; empty where that dot
    /// begins or ends the segment.
    PathExtension,
    /// The query without its `?`; empty if there is none.
    Query,
    /// All `Cookie` lines, joined by `; `.
    Cookie,
    /// The first `Referer` line.
    Referer,
    /// The first `User-Agent` line.
    UserAgent,
    /// All `X-Forwarded-For` lines, joined by `, `.
    XForwardedFor,
}

/// A field which maps names to arrays of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapField {
    /// Header lines by name in lower case.
    Headers,
    /// Query arguments by name; neither names nor values are decoded.
    Args,
    /// Cookies by name; values are as sent.
    Cookies,
}

/// An array of strings which an expression reads: the names of a map, or one of its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Array {
    Names(MapField),
    Header(HeaderName),
    Arg(Box<[u8]>),
    Cookie(Box<[u8]>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(names().is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_field_is_found_by_its_exact_name() {
        assert_eq!(Field::from_name("ssl"), Some(Field::Bool(BoolField::Ssl)));
        assert_eq!(Field::from_name("SSL"), None);
    }
}
