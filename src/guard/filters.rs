//! Request filters: small, exact checks of a request's form, each with a name by which it is switched, counted
//! and told of. What no server may take is refused before, in `edge::head` and `request::arrival`.

mod checks;
mod hotlink;

use http::header::ALLOW;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::request::RequestView;

pub use hotlink::Hotlinks;

/// What becomes of a request in which a filter finds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It is refused.
    Block,
    /// It is only told of.
    Log,
}

/// A filter that is on or off: its name, and what it does by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `..` in some reading of the path.
    PathTraversal,
    /// An encoded control character in the path.
    ControlCharacters,
    /// An encoded NUL in the query.
    NullInQuery,
    /// `..` in some reading of an argument.
    QueryTraversal,
    /// A `%` in the query without two digits.
    QueryEscapes,
    /// A field twice that has one value.
    RepeatedFields,
    /// A field that would change method, path or host.
    OverrideFields,
    /// A GET or HEAD with a body.
    BodyOfGet,
    /// No User-Agent.
    NoUserAgent,
}

/// A filter that knows a most: its name, and what that is by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of the path.
    PathLength,
    /// Segments of the path.
    PathSegments,
    /// Bytes of the longest segment.
    SegmentLength,
    /// Bytes of the query.
    QueryLength,
    /// Arguments in the query.
    Arguments,
    /// Bytes of the longest argument with its name.
    ArgumentLength,
    /// Bytes of the longest value of a field.
    FieldLength,
    /// Cookies.
    Cookies,
}

impl Switch {
    /// All of them: name, filter, and what it does by default.
    pub const ALL: &[(&'static str, Self, Option<Reaction>)] = &[
        ("path_traversal", Self::PathTraversal, Some(Reaction::Block)),
        (
            "control_characters",
            Self::ControlCharacters,
            Some(Reaction::Block),
        ),
        ("null_in_query", Self::NullInQuery, Some(Reaction::Block)),
        ("query_traversal", Self::QueryTraversal, None),
        ("query_escapes", Self::QueryEscapes, None),
        (
            "repeated_fields",
            Self::RepeatedFields,
            Some(Reaction::Block),
        ),
        ("override_fields", Self::OverrideFields, None),
        ("body_of_get", Self::BodyOfGet, None),
        ("no_user_agent", Self::NoUserAgent, None),
    ];
}

impl Limit {
    /// All of them: name, filter, its most by default, and the status of what it refuses.
    pub const ALL: &[(&'static str, Self, Option<usize>, StatusCode)] = &[
        (
            "max_path_length",
            Self::PathLength,
            None,
            StatusCode::URI_TOO_LONG,
        ),
        (
            "max_path_segments",
            Self::PathSegments,
            None,
            StatusCode::URI_TOO_LONG,
        ),
        (
            "max_segment_length",
            Self::SegmentLength,
            None,
            StatusCode::URI_TOO_LONG,
        ),
        (
            "max_query_length",
            Self::QueryLength,
            None,
            StatusCode::URI_TOO_LONG,
        ),
        (
            "max_arguments",
            Self::Arguments,
            Some(1000),
            StatusCode::BAD_REQUEST,
        ),
        (
            "max_argument_length",
            Self::ArgumentLength,
            None,
            StatusCode::URI_TOO_LONG,
        ),
        (
            "max_field_length",
            Self::FieldLength,
            None,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
        (
            "max_cookies",
            Self::Cookies,
            Some(300),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
    ];
}

/// The filter of methods.
pub const ALLOWED_METHODS: &str = "allowed_methods";
/// The filter of media types.
pub const ALLOWED_CONTENT_TYPES: &str = "allowed_content_types";
/// The filter of Referer.
pub const HOTLINK_PROTECTION: &str = "hotlink_protection";

/// The filters of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFilters {
    /// Those that are on.
    pub switches: Vec<(&'static str, Switch, Reaction)>,
    /// Those with a most.
    pub limits: Vec<(&'static str, Limit, usize, StatusCode, Reaction)>,
    /// The methods that are taken; `None` for all.
    pub methods: Option<(Vec<String>, Reaction)>,
    /// The media types of bodies that are taken, `image/*` for all of a kind; `None` for all.
    pub content_types: Option<(Vec<String>, Reaction)>,
    /// What other sites may not show.
    pub hotlinks: Option<(Hotlinks, Reaction)>,
}

impl Default for RequestFilters {
    fn default() -> Self {
        let switches = Switch::ALL.iter();
        let limits = Limit::ALL.iter();
        Self {
            switches: switches
                .filter_map(|(name, switch, by_default)| Some((*name, *switch, (*by_default)?)))
                .collect(),
            limits: limits
                .filter_map(|(name, limit, most, status)| {
                    Some((*name, *limit, (*most)?, *status, Reaction::Block))
                })
                .collect(),
            methods: None,
            content_types: None,
            hotlinks: None,
        }
    }
}

/// What a filter found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filtered {
    /// The filter's name.
    pub filter: &'static str,
    /// What becomes of the request.
    pub reaction: Reaction,
    /// The status, where it is refused.
    pub status: StatusCode,
}

impl RequestFilters {
    /// What the filters find in `request`.
    pub fn find<'f>(&'f self, request: &'f RequestView<'_>) -> impl Iterator<Item = Filtered> + 'f {
        self.forms(request)
            .chain(self.sizes(request))
            .chain(self.kinds(request))
    }

    /// Fields of the answer to a request that `filter` refuses.
    pub fn fields(&self, filter: &str) -> Option<(HeaderName, HeaderValue)> {
        let (methods, _) = self
            .methods
            .as_ref()
            .filter(|_| filter == ALLOWED_METHODS)?;
        // RFC 9110 §15.5.6.
        let value = HeaderValue::try_from(methods.join(", ")).ok()?;
        Some((ALLOW, value))
    }

    fn forms<'f>(&'f self, request: &'f RequestView<'_>) -> impl Iterator<Item = Filtered> + 'f {
        let switches = self.switches.iter();
        let found = switches.filter(|(_, switch, _)| checks::holds(*switch, request));
        found.map(|(filter, _, reaction)| Filtered {
            filter,
            reaction: *reaction,
            status: StatusCode::BAD_REQUEST,
        })
    }

    fn sizes<'f>(&'f self, request: &'f RequestView<'_>) -> impl Iterator<Item = Filtered> + 'f {
        let limits = self.limits.iter();
        let found = limits.filter(|(_, limit, most, ..)| checks::size(*limit, request) > *most);
        found.map(|(filter, _, _, status, reaction)| Filtered {
            filter,
            reaction: *reaction,
            status: *status,
        })
    }

    fn kinds<'f>(&'f self, request: &'f RequestView<'_>) -> impl Iterator<Item = Filtered> + 'f {
        let method = self.methods.as_ref().and_then(|(methods, reaction)| {
            let taken = methods
                .iter()
                .any(|method| request.method == method.as_str());
            (!taken).then_some((ALLOWED_METHODS, *reaction, StatusCode::METHOD_NOT_ALLOWED))
        });
        let content_type = self.content_types.as_ref().and_then(|(types, reaction)| {
            let taken = !request.has_body || checks::has_type(request.headers, types);
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            (!taken).then_some((ALLOWED_CONTENT_TYPES, *reaction, status))
        });
        let hotlink = self.hotlinks.as_ref().and_then(|(hotlinks, reaction)| {
            let found = hotlinks.is_hotlink(request);
            found.then_some((HOTLINK_PROTECTION, *reaction, StatusCode::FORBIDDEN))
        });
        let found = [method, content_type, hotlink].into_iter().flatten();
        found.map(|(filter, reaction, status)| Filtered {
            filter,
            reaction,
            status,
        })
    }
}

#[cfg(test)]
mod tests;
