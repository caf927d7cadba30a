//! Wildcard patterns: a literal beginning, a literal end and literals to be found in between.
//!
//! Each `*` stands for any bytes, also `/` and also none. Taking the first occurrence of every
//! literal is enough, so matching never goes back and takes linear time. `\*` and `\\` stand for
//! the character itself; `**` is refused, as in Cloudflare's language.

use super::substring::Substring;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard {
    shape: Shape,
    ignore_case: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// A pattern without `*`.
    Exact(Box<[u8]>),
    /// A pattern with at least one `*`.
    Open {
        beginning: Box<[u8]>,
        middle: Box<[Substring]>,
        end: Box<[u8]>,
    },
}

/// Why a pattern is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WildcardError {
    /// `**` without a backslash.
    #[error("`**` is not allowed in a wildcard pattern")]
    DoubleStar,
    /// A backslash before anything but `*` and `\`.
    #[error("in a wildcard pattern a backslash stands before `*` or `\\`")]
    Escape,
}

impl Wildcard {
    /// Compiles `pattern`; with `ignore_case`, ASCII letters match in either case.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn new(pattern: &[u8], ignore_case: bool) -> Result<Self, WildcardError> {
        let mut literals = literals(pattern)?;
        let end = literals.pop().unwrap_or_default().into_boxed_slice();
        let mut literals = literals.into_iter();
        let shape = match literals.next() {
            None => Shape::Exact(end),
            Some(beginning) => Shape::Open {
                beginning: beginning.into_boxed_slice(),
                middle: literals
                    .map(|literal| Substring::new(literal, ignore_case))
                    .collect(),
                end,
            },
        };
        Ok(Self { shape, ignore_case })
    }

    /// Whether the whole of `text` fits the pattern.
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.shape {
            Shape::Exact(literal) => self.same(literal, text),
            Shape::Open {
                beginning,
                middle,
                end,
            } => self
                .between(beginning, end, text)
                .is_some_and(|rest| contains_in_order(middle, rest)),
        }
    }

    /// What the stars stand for when the whole of `text` fits, each as short as it can be.
    pub(super) fn captures<'t>(&self, text: &'t [u8]) -> Option<Vec<&'t [u8]>> {
        let (beginning, middle, end) = match &self.shape {
            Shape::Exact(literal) => return self.same(literal, text).then(Vec::new),
            Shape::Open {
                beginning,
                middle,
                end,
            } => (beginning, middle, end),
        };
        let mut rest = self.between(beginning, end, text)?;
        let mut found = Vec::with_capacity(middle.len() + 1);
        for literal in middle {
            let start = literal.find(rest)?;
            found.push(rest.get(..start)?);
            rest = rest.get(start + literal.len()..)?;
        }
        found.push(rest);
        Some(found)
    }

    /// All literals: what each text that fits has.
    pub fn literals(&self) -> impl Iterator<Item = &[u8]> {
        [self.beginning().0, self.end()]
            .into_iter()
            .chain(self.middle())
    }

    /// The literals between the stars.
    pub(super) fn middle(&self) -> impl Iterator<Item = &[u8]> {
        let middle = match &self.shape {
            Shape::Exact(_) => &[][..],
            Shape::Open { middle, .. } => middle,
        };
        middle.iter().map(Substring::bytes)
    }

    /// The text after the last star.
    pub(super) fn end(&self) -> &[u8] {
        match &self.shape {
            Shape::Exact(literal) => literal,
            Shape::Open { end, .. } => end,
        }
    }

    /// Whether ASCII letters match in either case.
    pub(super) const fn ignores_case(&self) -> bool {
        self.ignore_case
    }

    /// The pattern, as it could be written.
    pub(super) fn written(&self) -> String {
        let (beginning, is_whole) = self.beginning();
        let ends = [self.end()].into_iter().filter(|_| !is_whole);
        let literals = std::iter::once(beginning).chain(self.middle()).chain(ends);
        let escaped: Vec<_> = literals
            .map(|literal| {
                let text = String::from_utf8_lossy(literal);
                text.replace('\\', "\\\\").replace('*', "\\*")
            })
            .collect();
        format!("\"{}\"", escaped.join("*"))
    }

    /// How many stars the pattern has.
    pub(super) fn stars(&self) -> usize {
        match &self.shape {
            Shape::Exact(_) => 0,
            Shape::Open { middle, .. } => middle.len() + 1,
        }
    }

    /// The text before the first star, and whether there is no star after it.
    pub(super) fn beginning(&self) -> (&[u8], bool) {
        match &self.shape {
            Shape::Exact(literal) => (literal, true),
            Shape::Open { beginning, .. } => (beginning, false),
        }
    }

    /// What is left of `text` without `beginning` and `end`, if it has both.
    fn between<'t>(&self, beginning: &[u8], end: &[u8], text: &'t [u8]) -> Option<&'t [u8]> {
        let (head, rest) = text.split_at_checked(beginning.len())?;
        let (rest, tail) = rest.split_at_checked(rest.len().checked_sub(end.len())?)?;
        (self.same(beginning, head) && self.same(end, tail)).then_some(rest)
    }

    fn same(&self, literal: &[u8], text: &[u8]) -> bool {
        if self.ignore_case {
            literal.eq_ignore_ascii_case(text)
        } else {
            literal == text
        }
    }
}

fn contains_in_order(literals: &[Substring], mut text: &[u8]) -> bool {
    literals.iter().all(|literal| {
        let rest = literal
            .find(text)
            .and_then(|start| text.get(start + literal.len()..));
        text = rest.unwrap_or_default();
        rest.is_some()
    })
}

/// The literals between the stars: always one more than there are stars.
fn literals(pattern: &[u8]) -> Result<Vec<Vec<u8>>, WildcardError> {
    let mut finished = Vec::new();
    let mut literal = Vec::new();
    let mut after_star = false;
    let mut bytes = pattern.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'*' if after_star => return Err(WildcardError::DoubleStar),
            b'*' => finished.push(std::mem::take(&mut literal)),
            b'\\' => match bytes.next() {
                Some(&escaped @ (b'*' | b'\\')) => literal.push(escaped),
                _ => return Err(WildcardError::Escape),
            },
            _ => literal.push(byte),
        }
        after_star = byte == b'*';
    }
    finished.push(literal);
    Ok(finished)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, ignore_case: bool, text: &str) -> bool {
        Wildcard::new(pattern.as_bytes(), ignore_case)
            .unwrap()
            .matches(text.as_bytes())
    }

    #[test]
    fn the_whole_text_must_fit() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "/a/b", true),
            ("/x/*", "/x/", true),
            ("/x/*", "/x/y/z", true),
            ("/x/*", "/x", false),
            ("*.js", ".js", true),
            ("*.js", "/a/b.js", true),
            ("*.js", "/a.jsx", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*a*b*", "xbxaxbx", true),
            ("*a*b*", "xbxax", false),
            ("a*bc*c", "abcbc", true),
            ("a*bc*c", "abc", false),
            (
                "*.example.com/*/page",
                "https://s.example.com/a/b/page",
                true,
            ),
            ("*.example.com/*/page", "https://example.com/a/page", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"a\\*", r"a\b", true),
            (r"\**", "*x", true),
        ] {
            assert_eq!(matches(pattern, false, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn case_matters_only_to_the_strict_kind() {
        assert!(matches("/X/*.Js", true, "/x/A.jS"));
        assert!(matches("*Q*", true, "aqb"));
        assert!(!matches("/X/*", false, "/x/"));
        assert!(!matches("*Q*", false, "aqb"));
    }

    #[test]
    fn stars_stand_for_the_shortest_text_each() {
        let captures = |pattern: &str, text: &str| {
            let wildcard = Wildcard::new(pattern.as_bytes(), true).unwrap();
            let found = wildcard.captures(text.as_bytes())?;
            assert_eq!(found.len(), wildcard.stars());
            Some(found.join(&b'|'))
        };
        for (pattern, text, expected) in [
            ("a", "A", Some("")),
            ("a", "b", None),
            ("/*", "/a/b", Some("a/b")),
            ("/*/*", "/a/b/c", Some("a|b/c")),
            ("*.*.*", "a.b.c.d", Some("a|b|c.d")),
            ("/*/login", "/apps/x/login", Some("apps/x")),
            ("/*/x", "/a/y", None),
        ] {
            let found = captures(pattern, text);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{pattern}");
        }
    }

    #[test]
    fn double_stars_and_stray_backslashes_are_refused() {
        for (pattern, error) in [
            ("**", WildcardError::DoubleStar),
            ("a**b", WildcardError::DoubleStar),
            (r"a\", WildcardError::Escape),
            (r"a\b", WildcardError::Escape),
        ] {
            assert_eq!(Wildcard::new(pattern.as_bytes(), true).unwrap_err(), error);
        }
    }

    #[test]
    fn many_stars_take_linear_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(&pattern, false, &"a".repeat(100_000)));
    }

    /// Tries every length for every star.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), Some((_, shorter))) => {
                naive(rest, text) || naive(pattern, shorter)
            }
            (Some((b'*', rest)), None) => naive(rest, text),
            (Some((p, pattern)), Some((t, text))) => p == t && naive(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_trying_every_length(pattern in r"\*?([ab]{1,2}\*?){0,4}", text in "[ab]{0,10}") {
            prop_assert_eq!(
                matches(&pattern, false, &text),
                naive(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn ignoring_case_is_matching_lower_case(pattern in r"\*?([aAbB]{1,2}\*?){0,4}", text in "[aAbB]{0,10}") {
            prop_assert_eq!(
                matches(&pattern, true, &text),
                matches(&pattern.to_lowercase(), false, &text.to_lowercase())
            );
        }
    }
}
