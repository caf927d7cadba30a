//! Tables for `validators`, by section of RFC 9110.

use super::*;
use proptest::prelude::*;

const OLD: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn outcome(request: &[(&'static str, &str)], stored: &[(&'static str, &str)]) -> Condition {
    evaluate(
        &Method::GET,
        &map(request),
        StatusCode::OK,
        &Validators::of(&map(stored)),
    )
}

#[test]
fn rfc9110_8_8_3_entity_tags() {
    let strong = |opaque| {
        Some(EntityTag {
            weak: false,
            opaque,
        })
    };
    let weak = |opaque| Some(EntityTag { weak: true, opaque });
    let table: [(&[u8], Option<EntityTag<'_>>); 10] = [
        (b"\"a\"", strong(b"a")),
        (b"\"\"", strong(b"")),
        (b"W/\"a\"", weak(b"a")),
        (b"\"a\\\"", strong(b"a\\")),
        (b"\"a\xff\"", strong(b"a\xff")),
        (b"w/\"a\"", None),
        (b"a", None),
        (b"\"a", None),
        (b"\"a b\"", None),
        (b"\"a\"b", None),
    ];
    for (bytes, expected) in table {
        assert_eq!(EntityTag::parse(bytes), expected);
    }
}

#[test]
fn rfc9110_8_8_3_2_comparison() {
    let tag = |text: &'static str| EntityTag::parse(text.as_bytes()).unwrap();
    let table = [
        ("W/\"1\"", "W/\"1\"", false, true),
        ("W/\"1\"", "W/\"2\"", false, false),
        ("W/\"1\"", "\"1\"", false, true),
        ("\"1\"", "\"1\"", true, true),
    ];
    for (one, other, strong, weak) in table {
        assert_eq!(tag(one).matches_strongly(&tag(other)), strong);
        assert_eq!(tag(one).matches_weakly(&tag(other)), weak);
    }
}

#[test]
fn rfc9110_13_1_2_if_none_match() {
    use Condition::{NotModified, Proceed};
    let table = [
        ("\"a\"", "\"a\"", NotModified),
        ("W/\"a\"", "\"a\"", NotModified),
        ("\"a\"", "W/\"a\"", NotModified),
        ("\"b\", \"a\"", "\"a\"", NotModified),
        ("\"b\",W/\"x,y\" , \"a\"", "\"x,y\"", NotModified),
        ("*", "\"a\"", NotModified),
        ("\"b\"", "\"a\"", Proceed),
        ("a", "\"a\"", Proceed),
        ("\"b\" \"a\"", "\"a\"", Proceed),
        ("\"b\"x, \"a\"", "\"a\"", NotModified),
        ("\"a", "\"a\"", Proceed),
        ("", "\"a\"", Proceed),
    ];
    for (given, stored, expected) in table {
        let got = outcome(&[("if-none-match", given)], &[("etag", stored)]);
        assert_eq!(got, expected, "{given} against {stored}");
    }
    let star = outcome(&[("if-none-match", "*")], &[]);
    assert_eq!(star, NotModified, "a star asks for any representation");
    let lines = [("if-none-match", "\"b\""), ("if-none-match", "\"a\"")];
    assert_eq!(outcome(&lines, &[("etag", "\"a\"")]), NotModified);
}

#[test]
fn rfc9110_13_1_3_if_modified_since() {
    use Condition::{NotModified, Proceed};
    let table = [
        (MODIFIED, &[("last-modified", MODIFIED)][..], NotModified),
        (LATER, &[("last-modified", MODIFIED)], NotModified),
        (OLD, &[("last-modified", MODIFIED)], Proceed),
        (MODIFIED, &[("date", MODIFIED)], NotModified),
        (OLD, &[("date", MODIFIED)], Proceed),
        (MODIFIED, &[], Proceed),
        ("0", &[("last-modified", MODIFIED)], Proceed),
    ];
    for (since, stored, expected) in table {
        let got = outcome(&[("if-modified-since", since)], stored);
        assert_eq!(got, expected, "{since} against {stored:?}");
    }
    let twice = [("if-modified-since", LATER), ("if-modified-since", LATER)];
    assert_eq!(outcome(&twice, &[("last-modified", MODIFIED)]), Proceed);
}

#[test]
fn rfc9110_13_2_2_if_none_match_beats_if_modified_since() {
    let request = [("if-none-match", "\"b\""), ("if-modified-since", LATER)];
    let stored = [("etag", "\"a\""), ("last-modified", MODIFIED)];
    assert_eq!(outcome(&request, &stored), Condition::Proceed);
}

#[test]
fn rfc9110_13_2_1_only_successful_gets_and_heads_become_304() {
    let request = map(&[("if-none-match", "*")]);
    let stored = Validators::default();
    let table = [
        (Method::GET, StatusCode::OK, Condition::NotModified),
        (Method::HEAD, StatusCode::OK, Condition::NotModified),
        (Method::POST, StatusCode::OK, Condition::Proceed),
        (Method::GET, StatusCode::NOT_FOUND, Condition::Proceed),
        (Method::GET, StatusCode::FOUND, Condition::Proceed),
    ];
    for (method, status, expected) in table {
        assert_eq!(evaluate(&method, &request, status, &stored), expected);
    }
}

#[test]
fn rfc9110_13_1_5_if_range_needs_a_strong_match() {
    use RangeCondition::{Apply, Ignore};
    let dated = [("last-modified", MODIFIED), ("date", LATER)];
    let table = [
        ("\"a\"", &[("etag", "\"a\"")][..], Apply),
        ("\"b\"", &[("etag", "\"a\"")], Ignore),
        ("W/\"a\"", &[("etag", "W/\"a\"")], Ignore),
        ("\"a\"", &[("etag", "W/\"a\"")], Ignore),
        ("\"a\", \"b\"", &[("etag", "\"a\"")], Ignore),
        ("*", &[("etag", "\"a\"")], Ignore),
        (MODIFIED, &dated, Apply),
        (LATER, &dated, Ignore),
        (OLD, &dated, Ignore),
        (MODIFIED, &[("last-modified", MODIFIED)], Ignore),
        (
            MODIFIED,
            &[("last-modified", MODIFIED), ("date", MODIFIED)],
            Ignore,
        ),
    ];
    for (given, stored, expected) in table {
        let stored = map(stored);
        let got = evaluate_if_range(&map(&[("if-range", given)]), &Validators::of(&stored));
        assert_eq!(got, expected, "{given} against {stored:?}");
    }
    let absent = evaluate_if_range(&HeaderMap::new(), &Validators::default());
    assert_eq!(absent, Apply);
}

#[test]
fn rfc9111_4_3_1_validation_replaces_the_clients_conditions() {
    let mut request = map(&[
        ("if-none-match", "\"client\""),
        ("if-match", "\"x\""),
        ("if-range", "\"x\""),
        ("range", "bytes=0-1"),
        ("accept", "*/*"),
    ]);
    let stored = map(&[("etag", "W/\"a\""), ("last-modified", MODIFIED)]);
    assert!(make_validating(&mut request, &[&stored]));
    let expected = map(&[
        ("accept", "*/*"),
        ("if-none-match", "W/\"a\""),
        ("if-modified-since", MODIFIED),
    ]);
    assert_eq!(request, expected);
    assert!(!make_validating(&mut request, &[&map(&[("etag", "bare")])]));
    assert_eq!(request, map(&[("accept", "*/*")]));
    assert!(!make_validating(&mut request, &[]));
}

#[test]
fn rfc9111_4_3_1_every_stored_variant_is_offered_by_its_entity_tag() {
    let stored = [
        map(&[("etag", "\"a\""), ("last-modified", MODIFIED)]),
        map(&[("last-modified", LATER)]),
        map(&[("etag", "W/\"b\"")]),
        map(&[("etag", "\"a\"")]),
    ];
    let mut request = HeaderMap::new();
    let stored: Vec<_> = stored.iter().collect();
    assert!(make_validating(&mut request, &stored));
    let expected = map(&[
        ("if-none-match", "\"a\", W/\"b\""),
        ("if-modified-since", MODIFIED),
    ]);
    assert_eq!(request, expected);
}

#[test]
fn rfc9110_8_8_a_strong_validator_is_shared() {
    let strong = [("last-modified", OLD), ("date", LATER)];
    let table = [
        (&[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true),
        (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], false),
        (&strong, &strong, true),
        (&strong, &[("etag", "\"a\"")], false),
        (&[("last-modified", OLD)], &[("last-modified", OLD)], false),
        (&[], &[], false),
    ];
    for (one, other, expected) in table {
        let (one, other) = (map(one), map(other));
        let matches = Validators::of(&one).matches_strongly(&Validators::of(&other));
        assert_eq!(matches, expected, "{one:?} {other:?}");
    }
}

#[test]
fn a_repeated_etag_is_no_validator() {
    let stored = map(&[("etag", "\"a\""), ("etag", "\"b\"")]);
    assert!(!Validators::of(&stored).any());
}

proptest! {
    #[test]
    fn parsing_is_total_and_lists_end(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = EntityTag::parse(&bytes);
        prop_assert!(tags(&bytes).count() <= bytes.len());
    }

    #[test]
    fn a_tag_is_found_in_every_list_that_names_it(
        before in proptest::collection::vec("(W/)?\"[!#-~]{0,5}\"", 0..4),
        opaque in "[!#-~]{0,8}",
    ) {
        let mut list = before;
        list.push(format!("\"{opaque}\""));
        let stored = map(&[("etag", &format!("W/\"{opaque}\""))]);
        let request = map(&[("if-none-match", &list.join(", "))]);
        let validators = Validators::of(&stored);
        prop_assert_eq!(
            evaluate(&Method::GET, &request, StatusCode::OK, &validators),
            Condition::NotModified
        );
    }
}
