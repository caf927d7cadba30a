//! Byte ranges of a stored response of known length (RFC 9110 §14.1.2 and §14.2).

use std::ops::Range;

use http::{HeaderMap, Method, header::RANGE};

use super::{
    syntax,
    validators::{RangeCondition, Validators, evaluate_if_range},
};

/// More ranges than this in one request are ignored: the whole is sent.
pub const MOST_RANGES: usize = 16;

/// What a Range field asks of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeOutcome {
    /// The whole, as a 200.
    Full,
    /// These bytes, as a 206; half-open, never empty, within the length, disjoint.
    Partial(Vec<Range<u64>>),
    /// None of it exists: 416.
    Unsatisfiable,
}

/// What to send of a stored 200 with `length` bytes: Range counts for GET only (RFC 9110 §14.2)
/// and when If-Range allows it (§13.1.5).
pub fn select(
    method: &Method,
    request: &HeaderMap,
    stored: &Validators<'_>,
    length: u64,
) -> RangeOutcome {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return RangeOutcome::Full;
    };
    if *method != Method::GET || evaluate_if_range(request, stored) == RangeCondition::Ignore {
        return RangeOutcome::Full;
    }
    parse(line.as_bytes(), length)
}

/// Reads a Range value against a representation of `length` bytes.
///
/// Other units and invalid syntax are ignored. Ranges that do not overlap keep their order, so
/// that a client gets the parts as asked. Where two overlap, all are sorted and joined, and where
/// more than two overlap, or there are more than [`MOST_RANGES`], the whole is sent instead
/// (RFC 9110 §14.2 on denial of service).
pub fn parse(value: &[u8], length: u64) -> RangeOutcome {
    let Some(set) = byte_ranges(value) else {
        return RangeOutcome::Full;
    };
    let specs: Option<Vec<RangeSpec>> = syntax::members(set)
        .take(MOST_RANGES + 1)
        .map(RangeSpec::parse)
        .collect();
    match specs {
        Some(specs) if (1..=MOST_RANGES).contains(&specs.len()) => resolve(&specs, length),
        _ => RangeOutcome::Full,
    }
}

/// The range set of a value in bytes.
fn byte_ranges(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = syntax::split_once(value, b'=');
    set.filter(|_| syntax::trim_ows(unit).eq_ignore_ascii_case(b"bytes"))
}

/// One range as it is asked for, whatever there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// From a position to another, or to the end.
    From {
        /// Position of the first byte.
        first: u64,
        /// Position of the last byte, not before the first; `None` for the end.
        last: Option<u64>,
    },
    /// The last so many bytes.
    Suffix(u64),
}

impl RangeSpec {
    /// The range of a request that asks for exactly one, in bytes; else `None`.
    pub fn of(request: &HeaderMap) -> Option<Self> {
        let mut lines = request.get_all(RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return None;
        };
        let mut specs = syntax::members(byte_ranges(line.as_bytes())?);
        match (specs.next(), specs.next()) {
            (Some(one), None) => Self::parse(one),
            _ => None,
        }
    }

    fn parse(member: &[u8]) -> Option<Self> {
        let (first, last) = syntax::split_once(member, b'-');
        match (first, last?) {
            (b"", suffix) => syntax::decimal(suffix).map(Self::Suffix),
            (first, b"") => Some(Self::From {
                first: syntax::decimal(first)?,
                last: None,
            }),
            (first, last) => {
                let (first, last) = (syntax::decimal(first)?, syntax::decimal(last)?);
                // RFC 9110 §14.1.1: a range whose last is before its first is invalid.
                (first <= last).then_some(Self::From {
                    first,
                    last: Some(last),
                })
            }
        }
    }

    /// The bytes it names of a representation of `length` bytes; `None` when there are none.
    pub fn resolve(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first, last } => {
                first..last.map_or(length, |last| last.saturating_add(1).min(length))
            }
            Self::Suffix(count) => length.saturating_sub(count)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

fn resolve(specs: &[RangeSpec], length: u64) -> RangeOutcome {
    // RFC 9110 §14.1.1: a suffix longer than the representation names all of it, and an empty
    // whole cannot be a 206, as Content-Range has no form for it.
    let all_of_nothing = |spec: &RangeSpec| matches!(spec, RangeSpec::Suffix(1..));
    if length == 0 && specs.iter().any(all_of_nothing) {
        return RangeOutcome::Full;
    }
    let ranges: Vec<_> = specs
        .iter()
        .filter_map(|spec| spec.resolve(length))
        .collect();
    if ranges.is_empty() {
        return RangeOutcome::Unsatisfiable;
    }
    without_overlap(ranges).map_or(RangeOutcome::Full, RangeOutcome::Partial)
}

/// The ranges joined where they overlap; `None` when more than two do.
fn without_overlap(ranges: Vec<Range<u64>>) -> Option<Vec<Range<u64>>> {
    let mut sorted = ranges.clone();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    let mut overlaps = 0;
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start < last.end => {
                overlaps += 1;
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    match overlaps {
        0 => Some(ranges),
        1 => Some(joined),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RangeOutcome::{Full, Unsatisfiable};
    use http::HeaderValue;
    use proptest::prelude::*;

    fn partial(ranges: &[(u64, u64)]) -> RangeOutcome {
        RangeOutcome::Partial(ranges.iter().map(|(start, end)| *start..*end).collect())
    }

    #[test]
    fn rfc9110_14_1_2_ranges_of_100_bytes() {
        let table = [
            ("bytes=0-0", partial(&[(0, 1)])),
            ("bytes=0-9", partial(&[(0, 10)])),
            ("bytes=0-", partial(&[(0, 100)])),
            ("bytes=90-", partial(&[(90, 100)])),
            ("bytes=90-500", partial(&[(90, 100)])),
            ("bytes=90-99999999999999999999999", partial(&[(90, 100)])),
            ("bytes=-10", partial(&[(90, 100)])),
            ("bytes=-500", partial(&[(0, 100)])),
            ("Bytes=0-9", partial(&[(0, 10)])),
            ("bytes= 0-9 , 20-29,", partial(&[(0, 10), (20, 30)])),
            ("bytes=20-29,0-9", partial(&[(20, 30), (0, 10)])),
            ("bytes=0-9,200-", partial(&[(0, 10)])),
            ("bytes=-0", Unsatisfiable),
            ("bytes=100-", Unsatisfiable),
            ("bytes=100-200,-0", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
        ];
        for (value, expected) in table {
            assert_eq!(parse(value.as_bytes(), 100), expected, "{value}");
        }
    }

    #[test]
    fn rfc9110_14_2_invalid_and_unknown_ranges_are_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=5",
            "bytes=9-0",
            "bytes=a-b",
            "bytes=0-1-2",
            "bytes=+0-1",
            "bytes=0 - 1",
            "bytes=0-1,x",
            "items=0-1",
            "0-1",
        ] {
            assert_eq!(parse(value.as_bytes(), 100), Full, "{value}");
        }
    }

    #[test]
    fn rfc9110_14_2_overlapping_ranges_are_joined_or_refused() {
        let table = [
            ("bytes=20-29,0-24", partial(&[(0, 30)])),
            ("bytes=50-59,20-29,0-24", partial(&[(0, 30), (50, 60)])),
            ("bytes=0-,0-", partial(&[(0, 100)])),
            ("bytes=0-,0-,0-", Full),
            ("bytes=0-9,5-14,10-19", Full),
        ];
        for (value, expected) in table {
            assert_eq!(parse(value.as_bytes(), 100), expected, "{value}");
        }
    }

    #[test]
    fn too_many_ranges_send_the_whole() {
        let ask = |count: u64| {
            let specs: Vec<_> = (0..count).map(|n| format!("{0}-{0}", n * 2)).collect();
            parse(format!("bytes={}", specs.join(",")).as_bytes(), 10_000)
        };
        assert!(matches!(ask(16), RangeOutcome::Partial(ranges) if ranges.len() == 16));
        assert_eq!(ask(17), Full);
        assert_eq!(ask(200), Full);
    }

    #[test]
    fn an_empty_representation_has_no_partial_response() {
        assert_eq!(parse(b"bytes=-5", 0), Full);
        assert_eq!(parse(b"bytes=-0", 0), Unsatisfiable);
        assert_eq!(parse(b"bytes=0-", 0), Unsatisfiable);
    }

    #[test]
    fn a_single_range_is_read_without_knowing_the_length() {
        let read = |value: &'static str| {
            let mut request = HeaderMap::new();
            request.insert(RANGE, HeaderValue::from_static(value));
            RangeSpec::of(&request)
        };
        let from = |first, last| Some(RangeSpec::From { first, last });
        assert_eq!(read("bytes=5-"), from(5, None));
        assert_eq!(read("Bytes=5-9,"), from(5, Some(9)));
        assert_eq!(read("bytes=-5"), Some(RangeSpec::Suffix(5)));
        for value in ["bytes=0-1,3-4", "bytes=9-5", "items=0-1", "bytes=", ""] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn rfc9110_14_2_range_counts_for_a_single_line_of_a_get() {
        let mut request = HeaderMap::new();
        let none = Validators::default();
        assert_eq!(select(&Method::GET, &request, &none, 9), Full);
        request.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        assert_eq!(select(&Method::GET, &request, &none, 9), partial(&[(0, 1)]));
        assert_eq!(select(&Method::HEAD, &request, &none, 9), Full);
        request.insert("if-range", HeaderValue::from_static("\"a\""));
        assert_eq!(select(&Method::GET, &request, &none, 9), Full);
        request.remove("if-range");
        request.append(RANGE, HeaderValue::from_static("bytes=1-1"));
        assert_eq!(select(&Method::GET, &request, &none, 9), Full);
    }

    proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..64), length: u64) {
            let _ = parse(&bytes, length);
        }

        #[test]
        fn parts_are_disjoint_and_within_the_length(
            specs in proptest::collection::vec((0_u64..60, 0_u64..60), 1..20), length in 0_u64..50,
        ) {
            let specs: Vec<_> = specs.iter().map(|(a, b)| format!("{a}-{}", a + b)).collect();
            let value = format!("bytes={}", specs.join(","));
            if let RangeOutcome::Partial(mut ranges) = parse(value.as_bytes(), length) {
                ranges.sort_by_key(|range| range.start);
                prop_assert!(!ranges.is_empty());
                prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= length));
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
            }
        }
    }
}
