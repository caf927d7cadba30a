//! The Accept field, as far as our own error pages need it (RFC 9110 §12.5.1).

use http::{HeaderMap, header::ACCEPT};

use super::syntax;

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

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorFormat::{Html, Json, Plain};
    use http::HeaderValue;

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
