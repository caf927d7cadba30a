//! How much of a site an expression is for.

use super::super::Requirement;
use super::super::eval::{Predicate, StringTest};
use super::super::field::StringField;
use super::super::value::StringValue;
use super::shape::Shape;

/// Extensions of files that are the same for everybody.
const ASSETS: &[&str] = &[
    "avif", "bmp", "css", "eot", "gif", "ico", "jpeg", "jpg", "js", "map", "mjs", "mp3", "mp4",
    "otf", "png", "svg", "ttf", "wasm", "webm", "webp", "woff", "woff2",
];
/// Extensions of pages.
const PAGES: &[&str] = &["", "htm", "html", "php", "asp", "aspx", "jsp", "xhtml"];

/// Whether some paths are left out that look like pages.
pub(super) fn is_narrow(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Constant(truth) => !truth,
        Predicate::And(operands) => operands.iter().any(is_narrow),
        Predicate::Or(operands) => operands.iter().all(is_narrow),
        Predicate::String(value, test) => match field(value) {
            Some(StringField::PathExtension) => {
                let shape = Shape::of(test);
                let members = shape.and_then(|shape| shape.whole);
                members.is_some_and(|members| !members.iter().any(|one| is_among(one, PAGES)))
            }
            Some(StringField::Path | StringField::RawPath) => match test {
                StringTest::Matches(_) | StringTest::InList(_) => true,
                _ => Shape::of(test).is_some_and(|shape| {
                    shape.whole.is_some()
                        || !(shape.beginning.is_empty() || shape.beginning == b"/")
                        || !shape.end.is_empty()
                        || !shape.parts.is_empty()
                }),
            },
            _ => {
                let requirements = predicate.requirements();
                requirements.iter().any(Requirement::narrows_paths)
            }
        },
        _ => false,
    }
}

/// Whether every path has the extension of an asset.
pub(super) fn is_of_assets(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Constant(truth) => !truth,
        Predicate::And(operands) => operands.iter().any(is_of_assets),
        Predicate::Or(operands) => operands.iter().all(is_of_assets),
        Predicate::String(value, test) => match (field(value), test) {
            (Some(StringField::Path | StringField::RawPath), StringTest::Matches(pattern)) => {
                ends_in_assets(pattern.as_str())
            }
            (Some(StringField::Path | StringField::RawPath), _) => {
                Shape::of(test).is_some_and(|shape| match shape.whole {
                    Some(members) => members.iter().all(|path| has_asset_extension(path)),
                    None => has_asset_extension(shape.end),
                })
            }
            (Some(StringField::PathExtension), _) => Shape::of(test)
                .and_then(|shape| shape.whole)
                .is_some_and(|members| members.iter().all(|one| is_among(one, ASSETS))),
            _ => false,
        },
        _ => false,
    }
}

fn field(value: &StringValue) -> Option<StringField> {
    match value {
        StringValue::Field(field) => Some(*field),
        StringValue::Lower(of) | StringValue::Upper(of) => field(of),
        _ => None,
    }
}

fn is_among(text: &[u8], words: &[&str]) -> bool {
    words
        .iter()
        .any(|word| word.as_bytes().eq_ignore_ascii_case(text))
}

fn has_asset_extension(path: &[u8]) -> bool {
    let mut parts = path.rsplitn(2, |byte| *byte == b'.');
    let extension = parts.next().unwrap_or_default();
    parts.next().is_some() && is_among(extension, ASSETS)
}

/// Whether a regular expression ends in `\.css$` or `\.(css|jpe?g)$` with nothing but assets.
fn ends_in_assets(pattern: &str) -> bool {
    let Some(body) = pattern.strip_suffix('$') else {
        return false;
    };
    let Some((before, last)) = body.rsplit_once("\\.") else {
        return false;
    };
    // An alternative outside the group might end otherwise.
    let depth = |text: &str| text.matches('(').count() == text.matches(')').count();
    if !depth(before) || splits_outside_groups(before) {
        return false;
    }
    let inner = match last.strip_prefix('(') {
        Some(group) => group
            .strip_suffix(')')
            .map(|group| group.trim_start_matches("?:")),
        None => Some(last).filter(|last| !last.contains('|')),
    };
    inner.is_some_and(|inner| {
        inner
            .split('|')
            .all(|one| is_among(one.replace('?', "").as_bytes(), ASSETS))
    })
}

/// Whether a `|` stands outside all groups and classes.
fn splits_outside_groups(pattern: &str) -> bool {
    let mut depth = 0_usize;
    let mut in_class = false;
    let mut escaped = false;
    for c in pattern.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            _ if in_class => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::rules::expression::{Environment, Expression};

    fn compile(source: &str) -> Expression {
        Expression::compile(source, &Environment::default())
            .unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
    }

    #[test]
    fn whole_sites_and_all_pages_are_not_narrow() {
        for (source, expected) in [
            ("true", false),
            (r#"http.host eq "a.test""#, false),
            (r#"http.request.uri.path wildcard "/*""#, false),
            (
                r#"http.request.full_uri wildcard "https://a.test/*""#,
                false,
            ),
            (r#"http.request.uri.path.extension in {"" "css"}"#, false),
            (r#"not starts_with(http.request.uri.path, "/admin")"#, false),
            (r#"ssl or starts_with(http.request.uri.path, "/a")"#, false),
            (r#"ssl and starts_with(http.request.uri.path, "/a")"#, true),
            (
                r#"http.request.full_uri wildcard "https://a.test/a/*""#,
                true,
            ),
            (r#"http.request.uri.path eq "/""#, true),
            (r#"http.request.uri.path.extension in {"css"}"#, true),
            (r#"http.request.uri.path matches "x""#, true),
        ] {
            assert_eq!(compile(source).is_narrow(), expected, "{source}");
        }
    }

    #[test]
    fn assets_are_known_by_their_extensions() {
        for (source, expected) in [
            (r#"http.request.uri.path.extension in {"css" "js"}"#, true),
            (
                r#"http.request.uri.path.extension in {"css" "html"}"#,
                false,
            ),
            (r#"http.request.uri.path wildcard "/static/*.css""#, true),
            (r#"http.request.uri.path wildcard "/static/*""#, false),
            (r#"ends_with(http.request.uri.path, "css")"#, false),
            (
                r#"http.request.uri.path matches r"\.(css|jpe?g|woff2?)$""#,
                true,
            ),
            (r#"http.request.uri.path matches r"^/a|\.(css|js)$""#, false),
            (r#"http.request.uri.path matches r"\.(css|json)$""#, false),
            (
                r#"http.request.uri.path matches r"(/account|\.css)$""#,
                false,
            ),
            (r#"http.request.uri.path matches r"\.css""#, false),
            (r#"ssl and http.request.uri.path eq "/logo.png""#, true),
            (r#"ssl or http.request.uri.path eq "/logo.png""#, false),
        ] {
            assert_eq!(compile(source).is_of_assets(), expected, "{source}");
        }
    }
}
