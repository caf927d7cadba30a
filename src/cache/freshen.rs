//! Freshening a stored response with a 304 (RFC 9111 §3.2 and §4.3.4).

use http::{
    HeaderMap,
    header::{AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG},
};

use crate::fields::{hop_by_hop, validators::Validators};

/// What became of a stored response when a 304 came for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshening {
    /// Its fields are updated. Decide about storing it anew: the 304 may have changed its
    /// lifetime, its Vary, or forbidden it.
    Freshened,
    /// The 304 is about another representation: nothing changed. Fetch without conditions.
    OtherRepresentation,
}

/// Updates the fields of a stored response from a 304, all lines of each replaced.
///
/// Not taken over: what is never stored (hop-by-hop, proxy authentication, cookies), and
/// Content-Length, Content-Encoding and Content-Range, which describe the bytes already stored. A
/// stored entity tag stays too: it matched, and a weak one must not become strong.
/// Age and Date always come from the 304: what it leaves out is as of now.
pub fn freshen(stored: &mut HeaderMap, not_modified: &HeaderMap) -> Freshening {
    if !selects(stored, not_modified) {
        return Freshening::OtherRepresentation;
    }
    let mut update = not_modified.clone();
    hop_by_hop::strip_for_storing(&mut update);
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE] {
        update.remove(name);
    }
    if stored.contains_key(ETAG) {
        update.remove(ETAG);
    }
    for name in [AGE, DATE] {
        stored.remove(name);
    }
    for name in update.keys() {
        stored.remove(name);
        for value in update.get_all(name) {
            stored.append(name, value.clone());
        }
    }
    Freshening::Freshened
}

/// RFC 9111 §4.3.4, for the one response that was offered: its entity tag must be the one that
/// the 304 names, else its modification date; a 304 that names nothing is about it.
///
/// Tags are compared weakly. Origins that compress on the fly weaken the tag of a 200 and send
/// the strong one with the 304; taken by the letter, none of their responses could be validated.
fn selects(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    let (old, new) = (Validators::of(stored), Validators::of(not_modified));
    match (old.etag, new.etag) {
        (Some(old), Some(new)) => old.matches_weakly(&new),
        (None, Some(new)) if !new.weak => false,
        _ => new
            .last_modified
            .is_none_or(|new| old.last_modified.is_none_or(|old| old == new)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{http_date, map};
    use super::*;
    use Freshening::{Freshened, OtherRepresentation};

    #[test]
    fn rfc9111_3_2_fields_of_the_304_replace_all_stored_lines() {
        let mut stored = map(&[
            ("etag", "\"a\""),
            ("cache-control", "max-age=1"),
            ("x-tag", "1"),
            ("x-tag", "2"),
            ("x-kept", "yes"),
            ("age", "50"),
            ("date", "old"),
        ]);
        let update = map(&[
            ("etag", "\"a\""),
            ("cache-control", "max-age=60"),
            ("x-tag", "3"),
            ("x-new", "4"),
            ("x-new", "5"),
            ("content-type", "text/plain"),
        ]);
        assert_eq!(freshen(&mut stored, &update), Freshened);
        let expected = map(&[
            ("etag", "\"a\""),
            ("cache-control", "max-age=60"),
            ("x-tag", "3"),
            ("x-kept", "yes"),
            ("x-new", "4"),
            ("x-new", "5"),
            ("content-type", "text/plain"),
        ]);
        assert_eq!(stored, expected);
    }

    #[test]
    fn rfc9111_3_2_fields_that_describe_the_stored_bytes_stay() {
        let fields = [
            ("content-length", "10"),
            ("content-encoding", "gzip"),
            ("etag", "\"a\""),
        ];
        let mut stored = map(&fields);
        let update = map(&[
            ("content-length", "3"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-2/3"),
        ]);
        assert_eq!(freshen(&mut stored, &update), Freshened);
        assert_eq!(stored, map(&fields));
    }

    #[test]
    fn rfc9111_3_1_what_is_never_stored_does_not_enter_by_a_304() {
        let mut stored = map(&[("etag", "\"a\"")]);
        let update = map(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("set-cookie", "a=b"),
            ("proxy-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
        ]);
        assert_eq!(freshen(&mut stored, &update), Freshened);
        assert_eq!(stored, map(&[("etag", "\"a\"")]));
    }

    #[test]
    fn rfc9111_4_3_4_a_304_about_another_representation_changes_nothing() {
        let (old, new) = (http_date(-60), http_date(0));
        let (old, new) = (
            [("last-modified", old.as_str())],
            [("last-modified", new.as_str())],
        );
        let table = [
            (
                &[("etag", "\"a\"")][..],
                &[("etag", "\"b\"")][..],
                OtherRepresentation,
            ),
            (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], Freshened),
            (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], Freshened),
            (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], Freshened),
            (
                &[("etag", "W/\"a\"")],
                &[("etag", "W/\"b\"")],
                OtherRepresentation,
            ),
            (&[("etag", "\"a\"")], &[], Freshened),
            (&old, &[("etag", "\"a\"")], OtherRepresentation),
            (&old, &new, OtherRepresentation),
            (&old, &old, Freshened),
            (&old, &[], Freshened),
        ];
        for (stored, update, expected) in table {
            let mut headers = map(stored);
            assert_eq!(
                freshen(&mut headers, &map(update)),
                expected,
                "{stored:?} {update:?}"
            );
            assert_eq!(headers, map(stored), "nor does a weak tag become strong");
        }
    }
}
