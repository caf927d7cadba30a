//! The Accept field in one form, what it prefers, and what our own error pages make of it (RFC 9110
//! §12.5.1).

use http::{HeaderMap, header::ACCEPT};

use super::syntax;
use super::weights::{self, Weighted};

/// More media ranges than this are not told apart; the rest is dropped.
const MOST_RANGES: usize = 32;

/// In which format a client wants an error page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// `text/html`.
    Html,
    /// `application/problem+json` (RFC 9457).
    Json,
    /// `text/plain`.
    Plain,
}

/// The format for an error page: HTML or JSON when the client names it (the heavier one, HTML on
/// a tie), else plain text. Wildcards name nothing, so curl's `*/*` gets plain text.
pub fn error_format(headers: &HeaderMap) -> ErrorFormat {
    let mut html = 0;
    let mut json = 0;
    for line in headers.get_all(ACCEPT) {
        for member in syntax::members(line.as_bytes()) {
            let (media_type, weight) = syntax::weighted(member);
            match named_format(media_type) {
                Some(ErrorFormat::Html) => html = html.max(weight),
                Some(ErrorFormat::Json) => json = json.max(weight),
                _ => {}
            }
        }
    }
    match (html, json) {
        (0, 0) => ErrorFormat::Plain,
        (html, json) if json > html => ErrorFormat::Json,
        _ => ErrorFormat::Html,
    }
}

/// Whether an error page should be JSON; see [`error_format`].
pub fn prefers_json(headers: &HeaderMap) -> bool {
    error_format(headers) == ErrorFormat::Json
}

fn named_format(media_type: &[u8]) -> Option<ErrorFormat> {
    let lower = media_type.to_ascii_lowercase();
    match lower.as_slice() {
        b"text/html" | b"application/xhtml+xml" => Some(ErrorFormat::Html),
        other if other.ends_with(b"/json") || other.ends_with(b"+json") => Some(ErrorFormat::Json),
        _ => None,
    }
}

/// Appends all lines as one canonical value: lower case, the heaviest range first, then by name, each
/// once. What is no media range, and what is no plain parameter of one, is dropped.
pub(super) fn write_normalized(headers: &HeaderMap, out: &mut Vec<u8>) {
    weights::write(&ranges(headers), out);
}

/// Which of `types` suits the client best. The most specific range that matches a type gives its
/// weight; where types weigh the same, the one that is named more closely wins, then the earlier: a
/// browser that names `image/avif` gets it, and `*/*` asks for the first. Without a match the first;
/// empty when there are none.
pub fn best_of<'a>(headers: &HeaderMap, types: &'a [String]) -> &'a str {
    let accepted = ranges(headers);
    weights::best(types, |media_type| {
        accepted
            .iter()
            .filter_map(|accepted| {
                let closeness = closeness(&accepted.range, media_type.as_bytes())?;
                Some((closeness, accepted.weight))
            })
            .max()
            .filter(|(_, weight)| *weight > 0)
            .map(|(closeness, weight)| (weight, closeness))
    })
}

/// How closely a range names a type: itself, its kind, or anything.
fn closeness(range: &[u8], media_type: &[u8]) -> Option<u8> {
    if range.eq_ignore_ascii_case(media_type) {
        Some(2)
    } else if range == b"*/*" {
        Some(0)
    } else {
        let kind = range.strip_suffix(b"*")?;
        let beginning = media_type.get(..kind.len())?;
        beginning.eq_ignore_ascii_case(kind).then_some(1)
    }
}

/// What the field names, each range once with its greatest weight, the heaviest first.
fn ranges(headers: &HeaderMap) -> Vec<Weighted> {
    let found = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|line| syntax::members(line.as_bytes()))
        .take(MOST_RANGES)
        .filter_map(|member| {
            let (media_range, weight) = syntax::weighted(member);
            let mut range = media_range.to_ascii_lowercase();
            if !is_range(&range) {
                return None;
            }
            // Parameters belong to the range up to its weight.
            for parameter in member.split(|byte| *byte == b';').skip(1) {
                let parameter = syntax::trim_ows(parameter).to_ascii_lowercase();
                let (name, value) = syntax::split_once(&parameter, b'=');
                if name == b"q" {
                    break;
                }
                if syntax::is_token(name) && value.is_some_and(syntax::is_token) {
                    range.push(b';');
                    range.extend_from_slice(&parameter);
                }
            }
            Some(Weighted { range, weight })
        });
    weights::ranked(found)
}

/// `*/*`, `type/*` or `type/subtype`.
fn is_range(range: &[u8]) -> bool {
    let (kind, subtype) = syntax::split_once(range, b'/');
    syntax::is_token(kind)
        && subtype.is_some_and(syntax::is_token)
        && (kind != b"*" || subtype == Some(b"*"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorFormat::{Html, Json, Plain};
    use http::HeaderValue;
    use proptest::prelude::*;

    fn map(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn canonical(value: &str) -> String {
        let mut out = Vec::new();
        write_normalized(&map(value), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc9110_12_5_1_spellings_of_one_preference_become_one_value() {
        for (value, expected) in [
            ("text/html, image/png", "image/png,text/html"),
            ("IMAGE/png ,text/HTML,", "image/png,text/html"),
            ("*/*;q=0.80, text/html;q=1.0", "text/html,*/*;q=0.8"),
            (
                "text/html; Level=1;q=0.5;ext=1, text/html",
                "text/html,text/html;level=1;q=0.5",
            ),
            ("text/html;x=\"a\", html, */html, /", "text/html"),
            ("", ""),
        ] {
            assert_eq!(canonical(value), expected, "{value}");
            assert_eq!(canonical(expected), expected);
        }
    }

    #[test]
    fn rfc9110_12_5_1_the_best_of_the_types_there_are() {
        let types: Vec<String> = ["image/jpeg", "image/avif", "image/webp"]
            .into_iter()
            .map(str::to_owned)
            .collect();
        for (accept, expected) in [
            (
                "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
                "image/avif",
            ),
            ("image/webp,*/*", "image/webp"),
            ("Image/WebP", "image/webp"),
            ("image/webp;q=0.5, image/jpeg", "image/jpeg"),
            ("image/*;q=0.5, image/webp;q=0.4", "image/jpeg"),
            ("image/*, image/jpeg;q=0", "image/avif"),
            ("image/avif;q=0, */*;q=0.1", "image/jpeg"),
            ("image/webp;v=1", "image/jpeg"),
            ("*/*", "image/jpeg"),
            ("text/html", "image/jpeg"),
            ("", "image/jpeg"),
        ] {
            assert_eq!(best_of(&map(accept), &types), expected, "{accept}");
        }
        assert_eq!(best_of(&HeaderMap::new(), &types), "image/jpeg");
        assert_eq!(best_of(&map("*/*"), &[]), "");
    }

    proptest! {
        #[test]
        fn reading_is_total_and_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(ACCEPT, value);
                let mut once = Vec::new();
                write_normalized(&headers, &mut once);
                headers.insert(ACCEPT, HeaderValue::from_bytes(&once).unwrap());
                let mut twice = Vec::new();
                write_normalized(&headers, &mut twice);
                prop_assert_eq!(once, twice);
                let _ = best_of(&headers, &["text/html".to_owned()]);
            }
        }
    }

    #[test]
    fn rfc9110_12_5_1_the_named_and_heavier_format_wins() {
        let table = [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Html,
            ),
            ("application/json", Json),
            ("Application/Problem+JSON", Json),
            ("application/vnd.api+json", Json),
            ("text/html;q=0.5, application/json", Json),
            ("text/html, application/json;q=0.9", Html),
            ("text/html, application/json", Html),
            ("application/json;q=0, */*", Plain),
            ("*/*", Plain),
            ("image/avif,image/*;q=0.8", Plain),
            ("", Plain),
        ];
        for (accept, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(error_format(&headers), expected, "{accept}");
            assert_eq!(prefers_json(&headers), expected == Json, "{accept}");
        }
        assert_eq!(error_format(&HeaderMap::new()), Plain);
    }
}
