//! The `Cookie` request field (RFC 6265 §5.4): its name–value pairs, borrowed from the header map.
//!
//! Reading is tolerant, because a cache must see at least what an origin may see: nothing a client
//! sends is an error here, and no value is decoded or unquoted.

use http::HeaderMap;
use http::header::COOKIE;

/// Every cookie of a request as `(name, value)`, in the order sent.
///
/// All `Cookie` lines are read, since HTTP/2 and HTTP/3 clients may split the field (RFC 9113
/// §8.2.3). White space around names and values is dropped and empty pairs are skipped. A pair
/// without `=` is a value with an empty name, which is how browsers send a nameless cookie.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
        .map(name_and_value)
}

fn name_and_value(pair: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = pair.splitn(2, |byte| *byte == b'=');
    let first = halves.next().unwrap_or_default();
    match halves.next() {
        Some(value) => (first.trim_ascii_end(), value.trim_ascii_start()),
        None => (b"", pair),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        cookies(&headers)
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect()
    }

    #[test]
    fn pairs_are_read_from_every_line_in_order() {
        type Case = (
            &'static [&'static [u8]],
            &'static [(&'static [u8], &'static [u8])],
        );
        let cases: &[Case] = &[
            (&[], &[]),
            (&[b""], &[]),
            (&[b"a=1"], &[(b"a", b"1")]),
            (&[b"a=1; b=2"], &[(b"a", b"1"), (b"b", b"2")]),
            (&[b"a=1", b"b=2"], &[(b"a", b"1"), (b"b", b"2")]),
            (
                &[b"a=1;b=2;;  ; c=3 ;"],
                &[(b"a", b"1"), (b"b", b"2"), (b"c", b"3")],
            ),
            (&[b"a=1; a=2"], &[(b"a", b"1"), (b"a", b"2")]),
            (&[b" a = 1 "], &[(b"a", b"1")]),
            (&[b"a=b=c"], &[(b"a", b"b=c")]),
            (&[b"a="], &[(b"a", b"")]),
            (&[b"=v"], &[(b"", b"v")]),
            (&[b"bare"], &[(b"", b"bare")]),
            (&[b"a=\"q;r\""], &[(b"a", b"\"q"), (b"", b"r\"")]),
            (&[b"a=\xff\xfe"], &[(b"a", b"\xff\xfe")]),
        ];
        for (lines, expected) in cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect();
            assert_eq!(read(lines), expected, "{lines:?}");
        }
    }
}
