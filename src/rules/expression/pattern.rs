//! Regular expressions over bytes, bounded in size.

use regex::bytes::{Regex, RegexBuilder};

use super::ast::Span;
use super::error::ExpressionError;

/// How much memory one compiled regular expression may take.
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled regular expression; the same text is the same expression.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Compiles `pattern`, which is written at `span`.
    pub(super) fn new(pattern: &str, span: Span) -> Result<Self, ExpressionError> {
        RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(SIZE_LIMIT)
            .build()
            .map(Self)
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    ExpressionError::new(span, "the regular expression is too large when compiled")
                        .with_help("large repetition counts such as `{1000}` are the usual cause")
                }
                // The last line names the mistake; those before it draw the pattern.
                other => {
                    let description = other.to_string();
                    let reason = description.lines().last().unwrap_or_default();
                    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                    ExpressionError::new(span, format!("invalid regular expression: {reason}"))
                }
            })
    }

    /// The pattern as written.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether some part of `text` matches.
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }

    /// The first match and its groups.
    pub(super) fn captures<'t>(&self, text: &'t [u8]) -> Option<regex::bytes::Captures<'t>> {
        self.0.captures(text)
    }

    /// How many groups the pattern has, itself not counted.
    pub(super) fn groups(&self) -> usize {
        self.0.captures_len().saturating_sub(1)
    }

    /// The literal text which everything that matches begins with; may be empty.
    ///
    /// Plain patterns alone are understood: `^`, then letters, digits, `/`, `-`, `_` and escaped
    /// punctuation, up to anything else.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let mut literal = Vec::new();
        let pattern = self.0.as_str();
        let Some(anchored) = pattern.strip_prefix('^') else {
            return literal;
        };
        // An alternative may begin otherwise; where it stands is not looked at.
        if pattern.contains('|') {
            return literal;
        }
        let mut bytes = anchored.bytes();
        loop {
            match bytes.next() {
                Some(byte) if byte.is_ascii_alphanumeric() || b"/-_".contains(&byte) => {
                    literal.push(byte);
                }
                Some(b'\\') => match bytes.next() {
                    Some(escaped)
                        if escaped.is_ascii_punctuation() && escaped != b'<' && escaped != b'>' =>
                    {
                        literal.push(escaped);
                    }
                    _ => return literal,
                },
                // What is repeated may be repeated no times.
                Some(b'*' | b'?' | b'{') => {
                    literal.pop();
                    return literal;
                }
                _ => return literal,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_an_anchored_pattern_is_found() {
        for (pattern, expected) in [
            ("^/blog/", "/blog/"),
            (r"^/a\.b\-c/\d+", "/a.b-c/"),
            ("^/ab*", "/a"),
            ("^/ab?c", "/a"),
            ("^/ab{0}", "/a"),
            ("^/ab+", "/ab"),
            ("^/a(b)c", "/a"),
            ("^/a|/b", ""),
            ("^(?i)/a", ""),
            ("/blog/", ""),
            ("(?m)^/a", ""),
            ("^", ""),
            (r"^/a\b", "/a"),
            (r"^/a\<b", "/a"),
        ] {
            let span = Span { start: 0, end: 0 };
            let compiled = Pattern::new(pattern, span).unwrap();
            assert_eq!(compiled.prefix(), expected.as_bytes(), "{pattern}");
        }
    }
}
