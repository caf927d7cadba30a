//! Regular expressions over bytes, bounded in size.

use std::collections::BTreeSet;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};
use regex_syntax::hir::{Hir, Look};

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

    /// The literal text which every text that matches begins with; may be empty.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let Some(parsed) = self.parsed() else {
            return Vec::new();
        };
        let anchored = parsed.properties().look_set_prefix().contains(Look::Start);
        let begins = Extractor::new().extract(&parsed);
        let common = begins.longest_common_prefix().filter(|_| anchored);
        common.unwrap_or_default().to_vec()
    }

    /// Texts, in lower case, of which every text that matches has one in some case; `None` where it need not have
    /// any.
    pub(super) fn literals(&self) -> Option<BTreeSet<Vec<u8>>> {
        let parsed = self.parsed()?;
        let mut extractor = Extractor::new();
        // A letter of either case, but no class that says little.
        extractor.limit_class(2);
        let begins = extractor.extract(&parsed);
        let ends = extractor.kind(ExtractKind::Suffix).extract(&parsed);
        // Long ones tell more.
        let telling = [begins, ends]
            .into_iter()
            .max_by_key(Seq::min_literal_len)?;
        let literals = telling.literals()?.iter();
        Some(
            literals
                .map(|one| one.as_bytes().to_ascii_lowercase())
                .collect(),
        )
    }

    fn parsed(&self) -> Option<Hir> {
        let mut parser = ParserBuilder::new().unicode(false).utf8(false).build();
        parser.parse(self.0.as_str()).ok()
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
            ("^/a(b)c", "/abc"),
            ("^/(api|app)/", "/ap"),
            ("^/a|/b", ""),
            ("^(?i)/a", "/"),
            ("/blog/", ""),
            ("(?m)^/a", ""),
            ("^", ""),
            (r"^/a\b", "/a"),
            (r"^/a\<b", "/ab"),
        ] {
            let span = Span { start: 0, end: 0 };
            let compiled = Pattern::new(pattern, span).unwrap();
            assert_eq!(compiled.prefix(), expected.as_bytes(), "{pattern}");
        }
    }
    #[test]
    fn what_matches_has_one_of_the_literals() {
        for (pattern, expected) in [
            (r"\.(php|cgi)$", Some(&[".cgi", ".php"][..])),
            (r"(?i)\.(php|cgi)$", Some(&[".cgi", ".php"])),
            (r".*\.sql", Some(&[".sql"])),
            ("wp-(login|admin)", Some(&["wp-admin", "wp-login"])),
            (r"^/blog/\d+/edit$", Some(&["/blog/"])),
            (".*", None),
            ("a*", Some(&["", "a"])),
            ("x*select.*", Some(&["select", "x"])),
            (".*select.*", None),
        ] {
            let compiled = Pattern::new(pattern, Span { start: 0, end: 0 }).unwrap();
            let literals = compiled.literals();
            let literals = literals.as_ref().map(|all| {
                let texts = all.iter().map(|one| String::from_utf8_lossy(one));
                texts.collect::<Vec<_>>()
            });
            let literals = literals.as_ref();
            let literals = literals.map(|all| all.iter().map(AsRef::as_ref).collect::<Vec<&str>>());
            assert_eq!(literals.as_deref(), expected, "{pattern}");
        }
    }
}
