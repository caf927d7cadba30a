//! Replacements: a pattern, and a template with `${1}` for what its groups matched.

use super::ast::Span;
use super::error::ExpressionError;
use super::pattern::Pattern;
use super::text::Text;
use super::value::append;
use super::wildcard::Wildcard;

/// What is replaced by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// The first part which matches.
    Regex(Pattern, Template),
    /// The whole text, when it fits.
    Wildcard(Wildcard, Template),
}

impl Replacement {
    /// `text` with the replacement made; `text` itself where nothing matches. Nothing when it would
    /// be too long.
    pub(super) fn apply<'t>(&self, text: Text<'t>) -> Option<Text<'t>> {
        let mut whole = Vec::new();
        match self {
            Self::Regex(pattern, template) => {
                let bytes = text.bytes();
                let Some((captures, found)) = pattern.captures(bytes).and_then(|captures| {
                    captures
                        .get(0)
                        .map(|found| found.range())
                        .map(|found| (captures, found))
                }) else {
                    return Some(text);
                };
                append(&mut whole, bytes.get(..found.start)?)?;
                template.expand(&mut whole, |group| {
                    captures.get(group).map_or(&[], |group| group.as_bytes())
                })?;
                append(&mut whole, bytes.get(found.end..)?)?;
            }
            Self::Wildcard(wildcard, template) => {
                let Some(captures) = wildcard.captures(text.bytes()) else {
                    return Some(text);
                };
                template.expand(&mut whole, |group| {
                    let capture = group.checked_sub(1).and_then(|index| captures.get(index));
                    capture.copied().unwrap_or_default()
                })?;
            }
        }
        Some(Text::Heap(whole))
    }
}

/// A replacement text: `${1}` stands for the first group, `$$` for a dollar sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Group(usize),
}

/// As many groups can be referred to, as in Cloudflare's language.
const MOST_GROUPS: usize = 8;

impl Template {
    /// Reads `template`, which is written at `span`, for a pattern with so many groups.
    pub(super) fn new(template: &[u8], groups: usize, span: Span) -> Result<Self, ExpressionError> {
        let fault =
            |message: String, help: &str| Err(ExpressionError::new(span, message).with_help(help));
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut rest = template;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if *first != b'$' {
                text.push(*first);
                continue;
            }
            if let Some(after) = rest.strip_prefix(b"$") {
                text.push(b'$');
                rest = after;
                continue;
            }
            let Some((group, after)) = reference(rest) else {
                let help = "write `${1}` for the first group, `$$` for a dollar sign";
                return fault("a `$` which refers to no group".to_owned(), help);
            };
            if group == 0 || group > groups.min(MOST_GROUPS) {
                let message = format!("`${{{group}}}` refers to a group which is not there");
                let help = match groups.min(MOST_GROUPS) {
                    0 => "the pattern has no groups: no `*`, no parentheses".to_owned(),
                    1 => "the pattern has one group: `${1}`".to_owned(),
                    most => format!("groups go from `${{1}}` to `${{{most}}}` here"),
                };
                return fault(message, &help);
            }
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text).into()));
            }
            parts.push(Part::Group(group));
            rest = after;
        }
        parts.push(Part::Text(text.into()));
        Ok(Self(parts.into()))
    }

    fn expand<'t>(&self, whole: &mut Vec<u8>, group: impl Fn(usize) -> &'t [u8]) -> Option<()> {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => append(whole, text),
            Part::Group(number) => append(whole, group(*number)),
        })
    }
}

/// The group that `{1}` names, and what follows it.
fn reference(text: &[u8]) -> Option<(usize, &[u8])> {
    let inner = text.strip_prefix(b"{")?;
    let end = inner.iter().position(|byte| *byte == b'}')?;
    let (number, rest) = inner.split_at_checked(end)?;
    let digits = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(number).ok().filter(|_| digits)?;
    Some((number.parse().unwrap_or(usize::MAX), rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { start: 0, end: 0 };

    fn template(text: &str, groups: usize) -> Result<Template, ExpressionError> {
        Template::new(text.as_bytes(), groups, SPAN)
    }

    #[test]
    fn the_first_match_of_a_regular_expression_is_replaced() {
        for (source, pattern, replacement, expected) in [
            ("/foo/bar", "/bar$", "/baz", "/foo/baz"),
            ("/x", "^/y$", "/mumble", "/x"),
            ("/foo", "^/FOO$", "/x", "/foo"),
            ("/a/a", "/a", "/b", "/b/a"),
            ("/b", "^/b$", "/b$$", "/b$"),
            (
                "/foo/a/path",
                "^/foo/([^/]*)/(.*)$",
                "/bar/${2}/${1}",
                "/bar/path/a",
            ),
            ("ab", "a(x)?", "[${1}]", "[]b"),
            ("ab", "", "x", "xab"),
        ] {
            let pattern = Pattern::new(pattern, SPAN).unwrap();
            let template = template(replacement, pattern.groups()).unwrap();
            let text = Text::Borrowed(source.as_bytes());
            let replaced = Replacement::Regex(pattern, template).apply(text).unwrap();
            assert_eq!(replaced.bytes(), expected.as_bytes(), "{source}");
        }
    }

    #[test]
    fn a_text_which_fits_a_wildcard_is_replaced() {
        for (source, pattern, ignore_case, replacement, expected) in [
            (
                "https://apps.example.com/calendar/admin?expand=true",
                "https://*.example.com/*/*",
                true,
                "https://example.com/${1}/${2}/${3}",
                "https://example.com/apps/calendar/admin?expand=true",
            ),
            (
                "https://example.com/applications/app1",
                "/applications/*",
                true,
                "/apps/${1}",
                "https://example.com/applications/app1",
            ),
            ("/calendar", "/*", true, "/apps/${1}", "/apps/calendar"),
            ("/Apps/calendar", "/apps/*", true, "/${1}", "/calendar"),
            (
                "/Apps/calendar",
                "/apps/*",
                false,
                "/${1}",
                "/Apps/calendar",
            ),
            (
                "/apps/calendar/login",
                "/apps/*/login",
                true,
                "/${1}/login",
                "/calendar/login",
            ),
        ] {
            let wildcard = Wildcard::new(pattern.as_bytes(), ignore_case).unwrap();
            let template = template(replacement, wildcard.stars()).unwrap();
            let text = Text::Borrowed(source.as_bytes());
            let replaced = Replacement::Wildcard(wildcard, template)
                .apply(text)
                .unwrap();
            assert_eq!(replaced.bytes(), expected.as_bytes(), "{source}");
        }
    }

    #[test]
    fn references_to_no_group_are_refused() {
        for (text, groups, message) in [
            ("$1", 1, "refers to no group"),
            ("a$", 1, "refers to no group"),
            ("${x}", 1, "refers to no group"),
            ("${}", 1, "refers to no group"),
            ("${1", 1, "refers to no group"),
            ("${0}", 1, "not there"),
            ("${2}", 1, "not there"),
            ("${9}", 20, "not there"),
            ("${99999999999999999999}", 1, "not there"),
        ] {
            let error = template(text, groups).unwrap_err();
            assert!(error.message.contains(message), "{text}: {error}");
            assert!(error.help.is_some());
        }
        assert!(template("$${1}", 0).is_ok());
    }

    #[test]
    fn what_gets_too_long_has_no_value() {
        let long = vec![b'a'; super::super::value::MAX_LENGTH / 2 + 1];
        let wildcard = Wildcard::new(b"*", true).unwrap();
        let twice = template("${1}${1}", 1).unwrap();
        let replacement = Replacement::Wildcard(wildcard, twice);
        assert!(replacement.apply(Text::Borrowed(&long)).is_none());
        assert!(replacement.apply(Text::Borrowed(b"a")).is_some());
    }
}
