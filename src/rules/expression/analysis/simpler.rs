//! Regular expressions that say what a plainer operator says.

use super::super::eval::{Predicate, StringTest};
use super::super::field::StringField;
use super::super::value::StringValue;
use super::words;
use crate::rules::expression::array::Array;

/// A regular expression, and what says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simpler {
    /// The regular expression.
    pub pattern: String,
    /// The whole comparison, written anew.
    pub instead: String,
}

pub(super) fn in_predicate(predicate: &Predicate) -> Vec<Simpler> {
    let mut found = Vec::new();
    collect(predicate, None, &mut found);
    found
}

fn collect(predicate: &Predicate, array: Option<&Array>, found: &mut Vec<Simpler>) {
    match predicate {
        Predicate::And(operands) | Predicate::Or(operands) | Predicate::Xor(operands) => {
            operands.iter().for_each(|one| collect(one, array, found));
        }
        Predicate::Not(operand) => collect(operand, array, found),
        Predicate::Any(array, body) | Predicate::All(array, body) => {
            collect(body, Some(array), found);
        }
        Predicate::String(value, StringTest::Matches(pattern)) => {
            let written = words::text(value, array);
            let is_path = *value == StringValue::Field(StringField::Path);
            let instead = written.and_then(|value| instead(&value, pattern.as_str(), is_path));
            found.extend(instead.map(|instead| Simpler {
                pattern: pattern.as_str().to_owned(),
                instead,
            }));
        }
        _ => {}
    }
}

fn instead(value: &str, pattern: &str, is_path: bool) -> Option<String> {
    if let Some(extensions) = pattern.strip_prefix("\\.").filter(|_| is_path)
        && let Some(set) = extension_set(extensions)
    {
        return Some(format!("http.request.uri.path.extension {set}"));
    }
    let (pattern, from_start) = match pattern.strip_prefix('^') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    let (pattern, to_end) = match pattern.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => (rest, true),
        _ => (pattern, false),
    };
    let mut literals = literals(pattern)?;
    // Outside of anchors anything may stand, as within `.*`.
    if !from_start {
        literals.insert(0, String::new());
    }
    if !to_end {
        literals.push(String::new());
    }
    literals.dedup_by(|one, other| one.is_empty() && other.is_empty());
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match &*literals {
        [] => None,
        [whole] if from_start && to_end => Some(format!("{value} eq {}", quoted(whole))),
        [beginning, end] if end.is_empty() && !beginning.is_empty() => {
            Some(format!("starts_with({value}, {})", quoted(beginning)))
        }
        [beginning, end] if beginning.is_empty() && !end.is_empty() => {
            Some(format!("ends_with({value}, {})", quoted(end)))
        }
        [before, part, after] if before.is_empty() && after.is_empty() && !part.is_empty() => {
            Some(format!("{value} contains {}", quoted(part)))
        }
        // Stars in it would have to be escaped, and so would backslashes.
        parts if parts.len() > 1 && !parts.iter().any(|part| part.contains(['*', '\\'])) => Some(
            format!("{value} strict wildcard {}", quoted(&parts.join("*"))),
        ),
        _ => None,
    }
}

/// `css$` or `(css|js)$`.
fn extension_set(pattern: &str) -> Option<String> {
    let body = pattern.strip_suffix('$')?;
    let is_word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if is_word(body) {
        return Some(format!("eq \"{body}\""));
    }
    let inner = body.strip_prefix('(')?.strip_suffix(')')?;
    let inner = inner.strip_prefix("?:").unwrap_or(inner);
    let words: Option<Vec<_>> = inner
        .split('|')
        .map(|word| is_word(word).then(|| format!("\"{word}\"")))
        .collect();
    Some(format!("in {{{}}}", words?.join(" ")))
}

/// The literal texts between `.*`; `None` where there is anything else.
fn literals(pattern: &str) -> Option<Vec<String>> {
    let mut found = vec![String::new()];
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        let literal = match c {
            '.' if rest.peek() == Some(&'*') => {
                rest.next();
                // Lazy or not is the same to a question of yes or no.
                rest.next_if_eq(&'?');
                found.push(String::new());
                continue;
            }
            '\\' => rest.next().filter(char::is_ascii_punctuation)?,
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => {
                return None;
            }
            other if other.is_ascii() => other,
            _ => return None,
        };
        if matches!(rest.peek(), Some('*' | '+' | '?' | '{'))
            || matches!((c, literal), ('\\', '<' | '>'))
        {
            return None;
        }
        found.last_mut()?.push(literal);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::instead;

    #[test]
    fn plain_patterns_have_a_plainer_form() {
        for (pattern, expected) in [
            ("^/a/", r#"starts_with(p, "/a/")"#),
            ("^/a/.*$", r#"starts_with(p, "/a/")"#),
            ("^/a$", r#"p eq "/a""#),
            (r"^/static/.*\.css$", r#"p strict wildcard "/static/*.css""#),
            ("/end$", r#"ends_with(p, "/end")"#),
            ("inner", r#"p contains "inner""#),
            (r"\.css$", r#"http.request.uri.path.extension eq "css""#),
            (
                r"\.(css|js)$",
                r#"http.request.uri.path.extension in {"css" "js"}"#,
            ),
        ] {
            assert_eq!(
                instead("p", pattern, true).as_deref(),
                Some(expected),
                "{pattern}"
            );
        }
        assert_eq!(
            instead("q", r"\.css$", false).as_deref(),
            Some(r#"ends_with(q, ".css")"#)
        );
    }

    #[test]
    fn patterns_that_need_to_be_patterns_stay() {
        for pattern in [
            "^/a/[0-9]+$",
            "^/a(/|$)",
            "a?b",
            "^/(a|b)/",
            "(?i)^/a",
            r"\.(css|jpe?g)$",
            r"^/a/\d",
            r"^/a.b",
            ".*",
            "",
            r"a\$",
        ] {
            let found = instead("p", pattern, true);
            let plain = pattern == r"a\$";
            assert_eq!(found.is_some(), plain, "{pattern}: {found:?}");
        }
    }
}
