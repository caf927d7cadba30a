//! Tables for `partial`, by section of RFC 9111 and RFC 9110.

use super::super::fixtures::{http_date, map};
use super::*;
use proptest::prelude::*;

fn ranges(parts: &[(u64, u64)]) -> Vec<Range<u64>> {
    parts.iter().map(|(start, end)| *start..*end).collect()
}

fn part(fields: &[(&'static str, &str)], status: u16) -> Option<(u64, u64)> {
    let headers = map(fields);
    let response = ResponseView {
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
    };
    part_of(&response).map(|range| (range.first, range.last))
}

#[test]
fn rfc9110_15_3_7_a_206_that_says_which_bytes_it_carries() {
    let range = ("content-range", "bytes 4-8/10");
    assert_eq!(part(&[range], 206), Some((4, 8)));
    assert_eq!(part(&[range, ("content-length", "5")], 206), Some((4, 8)));
    assert_eq!(part(&[range, ("content-length", "6")], 206), None);
    // Fewer bytes than announced: those that came, and nothing is said about the whole.
    assert_eq!(part(&[range, ("content-length", "3")], 206), Some((4, 6)));
    assert_eq!(part(&[range, ("content-length", "0")], 206), None);
    let twice = [range, ("content-length", "5"), ("content-length", "4")];
    assert_eq!(part(&twice, 206), None);
    assert_eq!(part(&[range], 200), None);
    assert_eq!(part(&[], 206), None);
    assert_eq!(part(&[("content-range", "bytes 9-4/10")], 206), None);
    let several = ("content-type", "Multipart/ByteRanges; boundary=x");
    assert_eq!(part(&[several, range], 206), None);
}

#[test]
fn rfc9111_3_4_only_parts_with_one_strong_validator_are_combined() {
    let (modified, date) = (http_date(-60), http_date(0));
    let (modified, date) = (modified.as_str(), date.as_str());
    let dated = &[("last-modified", modified), ("date", date)][..];
    let undated = &[("last-modified", modified)][..];
    let etag = &[("etag", "\"a\"")][..];
    let table = [
        (etag, etag, true),
        (etag, &[("etag", "\"b\"")], false),
        (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], false),
        (etag, &[("etag", "W/\"a\"")], false),
        (etag, &[], false),
        (&[], &[], false),
        (dated, dated, true),
        (undated, undated, false),
        (dated, undated, false),
        (
            &[("etag", "\"a\""), ("content-range", "bytes 0-4/10")],
            &[("etag", "\"a\""), ("content-range", "bytes 5-9/10")],
            true,
        ),
        (
            &[("etag", "\"a\""), ("content-range", "bytes 0-4/10")],
            &[("etag", "\"a\""), ("content-range", "bytes 5-9/11")],
            false,
        ),
        (
            &[("etag", "\"a\""), ("content-encoding", "gzip")],
            etag,
            false,
        ),
    ];
    for (stored, new, expected) in table {
        assert_eq!(
            may_combine(&map(stored), &map(new)),
            expected,
            "{stored:?} {new:?}"
        );
    }
    assert_eq!(if_range(&map(etag)).unwrap(), "\"a\"");
    assert_eq!(if_range(&map(dated)).unwrap(), modified);
    assert_eq!(if_range(&map(undated)), None);
    assert_eq!(if_range(&map(&[("etag", "W/\"a\"")])), None);
}

#[test]
fn rfc9111_3_3_the_one_stretch_that_is_missing() {
    let value = |parts: &[Range<u64>], complete| {
        let missing = missing(parts, complete)?;
        Some(missing.to_value().to_str().unwrap().to_owned())
    };
    let table = [
        (&[(0, 5)][..], Some(10), Some("bytes=5-")),
        (&[(5, 10)], Some(10), Some("bytes=0-4")),
        (&[(0, 3), (6, 10)], Some(10), Some("bytes=3-5")),
        (&[(6, 10), (0, 3)], Some(10), Some("bytes=3-5")),
        (&[(0, 3), (3, 5)], Some(10), Some("bytes=5-")),
        (&[(0, 4), (2, 5)], Some(10), Some("bytes=5-")),
        (&[(0, 10)], Some(10), None),
        (&[(2, 5)], Some(10), None),
        (&[(0, 2), (4, 6)], Some(10), None),
        (&[], Some(10), None),
        (&[(0, 5)], None, None),
    ];
    for (parts, complete, expected) in table {
        assert_eq!(
            value(&ranges(parts), complete).as_deref(),
            expected,
            "{parts:?}"
        );
    }
    assert!(is_complete(&ranges(&[(5, 10), (0, 5)]), Some(10)));
    assert!(!is_complete(&ranges(&[(0, 5)]), Some(10)));
    assert!(!is_complete(&ranges(&[(0, 5)]), None));
}

#[test]
fn rfc9110_14_2_what_parts_answer() {
    let spec = |value: &'static str| RangeSpec::of(&map(&[("range", value)])).unwrap();
    let parts = [4..8, 8..10];
    for (asked, complete, expected) in [
        ("bytes=6-8", Some(10), Some(6..9)),
        ("bytes=6-", Some(10), Some(6..10)),
        ("bytes=-1", Some(10), Some(9..10)),
        ("bytes=-6", Some(10), Some(4..10)),
        ("bytes=4-500", Some(10), Some(4..10)),
        ("bytes=3-8", Some(10), None),
        ("bytes=-7", Some(10), None),
        ("bytes=10-", Some(10), None),
        ("bytes=6-8", None, Some(6..9)),
        ("bytes=6-10", None, None),
        ("bytes=6-", None, None),
        ("bytes=-1", None, None),
    ] {
        assert_eq!(
            answer(&parts, complete, &spec(asked)),
            expected,
            "{asked} {complete:?}"
        );
    }
}

#[test]
fn rfc9111_3_4_new_fields_replace_stored_ones() {
    let stored = map(&[
        ("etag", "\"a\""),
        ("content-range", "bytes 0-4/10"),
        ("content-length", "5"),
        ("a", "1"),
        ("b", "1"),
    ]);
    let new = map(&[
        ("etag", "\"a\""),
        ("content-range", "bytes 5-9/10"),
        ("content-length", "5"),
        ("a", "2"),
        ("set-cookie", "c=d"),
    ]);
    let mut fields = combined(&stored, &new);
    make_complete(&mut fields, 10);
    let expected = map(&[
        ("etag", "\"a\""),
        ("content-length", "10"),
        ("a", "2"),
        ("b", "1"),
    ]);
    assert_eq!(fields, expected);
}

proptest! {
    #[test]
    fn what_is_missing_completes_the_parts(
        parts in proptest::collection::vec((0_u64..20, 1_u64..10), 0..4), complete in 0_u64..25,
    ) {
        let mut parts: Vec<_> = parts
            .iter()
            .map(|(start, length)| *start..(start + length).min(complete))
            .collect();
        if let Some(missing) = missing(&parts, Some(complete)) {
            let last = missing.last.unwrap_or(complete - 1);
            let wanted = missing.first..last + 1;
            let overlaps = |part: &Range<u64>| part.start < wanted.end && wanted.start < part.end;
            prop_assert!(!parts.iter().any(overlaps));
            parts.push(wanted.clone());
            prop_assert!(is_complete(&parts, Some(complete)));
        }
    }

    #[test]
    fn an_answer_lies_within_the_parts(
        parts in proptest::collection::vec((0_u64..20, 1_u64..10), 0..4),
        complete in proptest::option::of(0_u64..40),
        first: Option<u8>,
        last: Option<u8>,
    ) {
        let text = |number: Option<u8>| number.map_or_else(String::new, |n| (n % 40).to_string());
        let value = format!("bytes={}-{}", text(first), text(last));
        let parts: Vec<_> = parts.iter().map(|(start, length)| *start..start + length).collect();
        let asked = RangeSpec::of(&map(&[("range", &value)]));
        if let Some(given) = asked.and_then(|asked| answer(&parts, complete, &asked)) {
            prop_assert!(!given.is_empty());
            for position in given {
                prop_assert!(parts.iter().any(|part| part.contains(&position)));
            }
        }
    }
}
