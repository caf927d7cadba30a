//! What is wrong with an expression, and where.

use std::ops::Range;

use super::ast::Span;

/// One mistake in the source of an expression, told to the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// Byte offsets of the offending text in the source. Always on character boundaries; empty and
    /// at the end of the source when something is missing there.
    pub span: Range<usize>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// How to put it right, where that can be guessed.
    pub help: Option<String>,
}

impl ExpressionError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span: span.start..span.end,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn with_suggestion(mut self, suggestion: Option<&str>) -> Self {
        self.help = suggestion.map(|name| format!("did you mean `{name}`?"));
        self
    }
}

/// The candidate which a misspelt `name` most likely stands for.
///
/// A dotted name is first looked up by its last segment, because people forget the path to a field
/// (`host`, `http.request.path`) more often than they misspell it.
pub(super) fn closest<'c>(
    name: &str,
    candidates: impl Iterator<Item = &'c str> + Clone,
) -> Option<&'c str> {
    let last_segment = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let wanted = last_segment(name);
    let distance = |candidate: &&str| strsim::damerau_levenshtein(name, candidate);
    candidates
        .clone()
        .filter(|candidate| last_segment(candidate) == wanted)
        .min_by_key(distance)
        .or_else(|| {
            let tolerance = (name.chars().count() / 4).clamp(1, 5);
            candidates
                .filter(|candidate| distance(candidate) <= tolerance)
                .min_by_key(distance)
        })
}

#[cfg(test)]
pub(super) mod testing {
    use super::super::{Environment, Expression};

    /// A source, the text its only error is about, and parts of the message and of the help; an
    /// empty help means that there is none.
    pub(in super::super) type Case = (&'static str, &'static str, &'static str, &'static str);

    pub(in super::super) fn assert_reported(cases: &[Case]) {
        for (source, text, message, help) in cases {
            let errors = Expression::compile(source, &Environment::default()).unwrap_err();
            assert_eq!(errors.len(), 1, "{source}: {errors:?}");
            let error = errors.first().unwrap();
            assert_eq!(&source[error.span.clone()], *text, "{source}: {error}");
            assert!(error.message.contains(message), "{source}: {error}");
            let found = error.help.clone().unwrap_or_default();
            assert_eq!(found.is_empty(), help.is_empty(), "{source}: {found}");
            assert!(found.contains(help), "{source}: {found}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_candidate_shares_the_last_segment_or_is_a_typo_away() {
        let candidates = ["http.host", "http.request.uri.path", "ip.src", "ssl"];
        for (name, expected) in [
            ("host", Some("http.host")),
            ("http.request.path", Some("http.request.uri.path")),
            ("http.hots", Some("http.host")),
            ("http.request.uri.paht", Some("http.request.uri.path")),
            ("tls", None),
            ("sssl", Some("ssl")),
            ("something.else", None),
        ] {
            assert_eq!(closest(name, candidates.into_iter()), expected, "{name}");
        }
    }
}
