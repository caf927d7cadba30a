//! The Age field (RFC 9111 §5.1).

use std::time::Duration;

use http::{HeaderMap, header::AGE};

use super::syntax;

/// Seconds since the origin generated or validated the response, as upstream caches count them.
///
/// Of a list the first member counts, and an invalid one makes the field as good as absent
/// (RFC 9111 §5.1).
pub fn age(headers: &HeaderMap) -> Option<Duration> {
    let first_line = headers.get(AGE)?.as_bytes();
    let (first, _) = syntax::split_once(first_line, b',');
    syntax::delta_seconds(syntax::trim_ows(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn rfc9111_5_1_first_member_counts_and_invalid_is_ignored() {
        let table: &[(&[&str], Option<u64>)] = &[
            (&[], None),
            (&["30"], Some(30)),
            (&[" 30 "], Some(30)),
            (&["7200,0"], Some(7200)),
            (&["0, 7200"], Some(0)),
            (&["7200", "0"], Some(7200)),
            (&["abc", "7200"], None),
            (&["-7200"], None),
            (&["7200.0"], None),
            (&[""], None),
            (&["99999999999999999999"], Some(1 << 31)),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(AGE, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(
                age(&headers).map(|age| age.as_secs()),
                *expected,
                "{lines:?}"
            );
        }
    }
}
