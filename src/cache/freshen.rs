//! Freshening stored responses with a 304 (RFC 9111 §3.2 and §4.3.4) or the answer to a HEAD
//! (§4.3.5).

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED},
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

/// Updates the fields of the one stored response that was offered, from a 304.
pub fn freshen(stored: &mut HeaderMap, not_modified: &HeaderMap) -> Freshening {
    if !selects(stored, not_modified) {
        return Freshening::OtherRepresentation;
    }
    update(stored, not_modified);
    Freshening::Freshened
}

/// Updates the fields of a stored response, all lines of each replaced (RFC 9111 §3.2).
///
/// Not taken over: what is never stored (hop-by-hop, proxy authentication, cookies), and the
/// fields that describe the bytes already stored. A stored entity tag stays too: it matched, and a
/// weak one must not become strong. Age and Date always come from the update: what it leaves out
/// is as of now.
pub fn update(stored: &mut HeaderMap, from: &HeaderMap) {
    let mut update = from.clone();
    hop_by_hop::strip_for_storing(&mut update);
    for name in [
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_DIGEST,
        CONTENT_MD5,
    ] {
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
    // The update may say of a stored field that it is not to be reused (RFC 9111 §5.2.2.4).
    hop_by_hop::strip_for_storing(stored);
}

/// RFC 9530 §2.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Which of several stored responses a 304 is about (RFC 9111 §4.3.4), by their positions: all
/// with the strong validator that it names, or the latest that its weak one fits. One that names
/// nothing is about the stored response only when there is no other.
pub fn selected_by(not_modified: &HeaderMap, stored: &[&HeaderMap]) -> Vec<usize> {
    if let [one] = stored {
        return if selects(one, not_modified) {
            vec![0]
        } else {
            Vec::new()
        };
    }
    let new = Validators::of(not_modified);
    let fits = |old: &Validators<'_>| match (new.etag, old.etag) {
        (Some(new), Some(old)) if new.weak => new.matches_weakly(&old),
        (Some(new), Some(old)) => new.matches_strongly(&old),
        (Some(_), None) => false,
        (None, _) => new.last_modified.is_some() && new.last_modified == old.last_modified,
    };
    let fitting = stored
        .iter()
        .enumerate()
        .map(|(position, headers)| (position, Validators::of(headers)))
        .filter(|(_, old)| fits(old));
    let strong =
        new.has_strong_etag() || (new.etag.is_none() && new.strong_last_modified().is_some());
    if strong {
        fitting.map(|(position, _)| position).collect()
    } else {
        let latest = fitting.max_by_key(|(position, old)| (old.date, *position));
        latest.map(|(position, _)| position).into_iter().collect()
    }
}

/// What the answer to a HEAD makes of a stored response to GET (RFC 9111 §4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadUpdate {
    /// It describes the stored response: update its fields from it, and decide about storing anew.
    Freshens,
    /// The representation has changed: the stored response is stale from now on.
    Outdates,
    /// It is not a 200, and says nothing about it.
    Nothing,
}

/// Compares the answer to a HEAD with a stored response of `stored_length` bytes: every validator
/// and the length that the answer names must be the stored ones.
pub fn head_update(
    stored_status: StatusCode,
    stored: &HeaderMap,
    stored_length: u64,
    head_status: StatusCode,
    head: &HeaderMap,
) -> HeadUpdate {
    if head_status != StatusCode::OK {
        return HeadUpdate::Nothing;
    }
    let same = |name: &HeaderName| {
        !head.contains_key(name) || head.get_all(name).iter().eq(stored.get_all(name).iter())
    };
    let same_length = head.get_all(CONTENT_LENGTH).iter().all(|length| {
        let length = length
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok());
        length == Some(stored_length)
    });
    let described = stored_status == StatusCode::OK
        && same(&ETAG)
        && same(&LAST_MODIFIED)
        && same(&CONTENT_ENCODING)
        && same_length;
    if described {
        HeadUpdate::Freshens
    } else {
        HeadUpdate::Outdates
    }
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
            ("content-digest", "sha-256=:AA==:"),
            ("content-md5", "AA=="),
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
    fn rfc9111_5_2_2_4_an_update_may_withdraw_stored_fields() {
        let mut stored = map(&[("etag", "\"a\""), ("x-user", "1"), ("x", "1")]);
        let update = map(&[
            ("cache-control", "no-cache=\"x-user, x-new\""),
            ("x-new", "2"),
        ]);
        assert_eq!(freshen(&mut stored, &update), Freshened);
        let expected = map(&[
            ("etag", "\"a\""),
            ("x", "1"),
            ("cache-control", "no-cache=\"x-user, x-new\""),
        ]);
        assert_eq!(stored, expected);
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

    #[test]
    fn rfc9111_4_3_4_a_304_selects_among_several_stored_responses() {
        let (old, new) = (http_date(-60), http_date(0));
        let (old, new) = (old.as_str(), new.as_str());
        let stored = [
            map(&[("etag", "\"a\""), ("date", new)]),
            map(&[("etag", "W/\"a\""), ("date", old)]),
            map(&[("etag", "\"b\""), ("last-modified", old), ("date", old)]),
            map(&[("last-modified", old), ("date", new)]),
        ];
        let stored: Vec<_> = stored.iter().collect();
        let table = [
            (&[("etag", "\"a\"")][..], &[0][..]),
            (&[("etag", "W/\"a\"")], &[0]),
            (&[("etag", "\"c\"")], &[]),
            (&[("etag", "\"c\""), ("last-modified", old)], &[]),
            (&[("last-modified", old), ("date", new)], &[2, 3]),
            (&[("last-modified", old)], &[3]),
            (&[], &[]),
        ];
        for (fields, expected) in table {
            assert_eq!(selected_by(&map(fields), &stored), expected, "{fields:?}");
        }
        assert_eq!(selected_by(&map(&[]), &[&map(&[("etag", "\"a\"")])]), [0]);
        assert!(selected_by(&map(&[("etag", "\"b\"")]), &[&map(&[("etag", "\"a\"")])]).is_empty());
        assert!(selected_by(&map(&[]), &[]).is_empty());
    }

    #[test]
    fn rfc9111_4_3_5_the_answer_to_a_head_freshens_or_outdates() {
        use HeadUpdate::{Freshens, Nothing, Outdates};
        let stored = map(&[("etag", "\"a\""), ("x", "1"), ("date", &http_date(0))]);
        let (earlier, later) = (http_date(-1), http_date(1));
        let table = [
            (200, &[][..], Freshens),
            (
                200,
                &[("etag", "\"a\""), ("content-length", "10")],
                Freshens,
            ),
            (200, &[("date", &later), ("x", "2")], Freshens),
            (200, &[("etag", "\"b\"")], Outdates),
            (200, &[("etag", "W/\"a\"")], Outdates),
            (200, &[("last-modified", &earlier)], Outdates),
            (200, &[("content-length", "11")], Outdates),
            (200, &[("content-length", "x")], Outdates),
            (410, &[], Nothing),
            (304, &[], Nothing),
        ];
        for (status, fields, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            let got = head_update(StatusCode::OK, &stored, 10, status, &map(fields));
            assert_eq!(got, expected, "{status} {fields:?}");
        }
        let (ok, missing) = (StatusCode::OK, StatusCode::NOT_FOUND);
        assert_eq!(head_update(missing, &stored, 10, ok, &map(&[])), Outdates);
    }
}
