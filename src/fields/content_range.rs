//! The Content-Range field (RFC 9110 §14.4): which bytes of a representation a 206 carries.

use std::ops::Range;

use http::{HeaderMap, header::CONTENT_RANGE};

use super::syntax;

/// The one range of bytes in a 206.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Position of its first byte.
    pub first: u64,
    /// Position of its last byte; not before the first.
    pub last: u64,
    /// Length of the whole representation, greater than `last`; `None` when it is not known.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// The range of a response with one valid Content-Range in bytes; else `None`.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let (range, complete) = parts(headers)?;
        let (first, last) = syntax::split_once(range, b'-');
        let (first, last) = (syntax::decimal(first)?, syntax::decimal(last?)?);
        let complete = match complete {
            b"*" => None,
            digits => Some(syntax::decimal(digits)?),
        };
        // RFC 9110 §14.4: last before first, or not within the complete length, is invalid.
        let valid = first <= last && last < complete.unwrap_or(u64::MAX);
        valid.then_some(Self {
            first,
            last,
            complete,
        })
    }

    /// The positions of its bytes, half-open; never empty.
    pub const fn range(&self) -> Range<u64> {
        self.first..self.last.saturating_add(1)
    }

    /// The field's value.
    pub fn to_text(&self) -> String {
        let Self { first, last, .. } = self;
        match self.complete {
            Some(complete) => format!("bytes {first}-{last}/{complete}"),
            None => format!("bytes {first}-{last}/*"),
        }
    }
}

/// The complete length that a 416 tells: `bytes */10` (RFC 9110 §15.5.17).
pub fn unsatisfied_length(headers: &HeaderMap) -> Option<u64> {
    match parts(headers)? {
        (b"*", length) => syntax::decimal(length),
        _ => None,
    }
}

/// What stands before and after the slash of a single line in bytes.
fn parts(headers: &HeaderMap) -> Option<(&[u8], &[u8])> {
    let mut lines = headers.get_all(CONTENT_RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let (unit, rest) = syntax::split_once(syntax::trim_ows(line.as_bytes()), b' ');
    let (range, complete) = syntax::split_once(rest?, b'/');
    unit.eq_ignore_ascii_case(b"bytes")
        .then_some((range, complete?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn map(lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(CONTENT_RANGE, HeaderValue::from_str(line).unwrap());
        }
        map
    }

    fn of(line: &str) -> Option<(u64, u64, Option<u64>)> {
        ContentRange::of(&map(&[line])).map(|range| (range.first, range.last, range.complete))
    }

    #[test]
    fn rfc9110_14_4_valid_ranges() {
        assert_eq!(of("bytes 0-4/10"), Some((0, 4, Some(10))));
        assert_eq!(of("Bytes 9-9/10"), Some((9, 9, Some(10))));
        assert_eq!(of("bytes 5-9/*"), Some((5, 9, None)));
        let range = ContentRange::of(&map(&["bytes 5-9/10"])).unwrap();
        assert_eq!((range.range(), &*range.to_text()), (5..10, "bytes 5-9/10"));
        assert_eq!(unsatisfied_length(&map(&["bytes */10"])), Some(10));
        assert_eq!(unsatisfied_length(&map(&["bytes 0-1/10"])), None);
    }

    #[test]
    fn rfc9110_14_4_invalid_ranges() {
        for line in [
            "",
            "bytes",
            "bytes 0-4",
            "bytes 4-0/10",
            "bytes 0-10/10",
            "bytes 0-4/4",
            "bytes */10",
            "bytes -4/10",
            "bytes 0-/10",
            "bytes 0-4/",
            "bytes 0-4/x",
            "bytes  0-4/10",
            "bytes=0-4/10",
            "bytes 0-4/10, bytes 5-9/10",
            "items 0-4/10",
            "bytes 0-99999999999999999999999/*",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
        let twice = map(&["bytes 0-4/10", "bytes 0-4/10"]);
        assert_eq!(ContentRange::of(&twice), None);
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..48)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_RANGE, value);
                let _ = (ContentRange::of(&headers), unsatisfied_length(&headers));
            }
        }

        #[test]
        fn what_is_written_is_read_back(first: u32, length in 1_u64..1_000_000, more: Option<u16>) {
            let first = u64::from(first);
            let range = ContentRange {
                first,
                last: first + length - 1,
                complete: more.map(|more| first + length + u64::from(more)),
            };
            prop_assert_eq!(ContentRange::of(&map(&[&range.to_text()])), Some(range));
        }
    }
}
