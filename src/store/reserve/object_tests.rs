use super::*;
use crate::purge::Generation;
use crate::store::body::Body;
use crate::store::fixtures;
use crate::store::stored::{StoredId, StoredResponse};

const DAY: Duration = Duration::from_hours(24);

fn place(key: &str, extras: &str) -> Place {
    Place {
        key: StoreKey(Arc::from(key.as_bytes())),
        extras: extras.as_bytes().into(),
    }
}

fn term() -> Term {
    Term {
        written: UNIX_EPOCH + 20_000 * DAY,
        retention: 30 * DAY,
    }
}

/// An encoded head of a response of so many bytes.
fn head(length: usize) -> Bytes {
    let body = Body::copy_of(&[vec![7; length].into()]);
    let stored = StoredResponse {
        generation: Generation(2),
        ..fixtures::stored(StoredId(1), body, UNIX_EPOCH)
    };
    record::encode(&stored, record::Place::Inline).unwrap()
}

#[test]
fn an_object_reads_back_for_its_key_and_no_other() {
    let body = Bytes::from_static(b"body");
    let bytes = whole(
        &place("key", "x"),
        term(),
        &head(4),
        std::slice::from_ref(&body),
    )
    .unwrap();
    let object = read(&bytes, &place("key", "x")).unwrap();
    assert_eq!(object.term, term());
    let What::Response { head, body } = object.what else {
        panic!("{object:?}");
    };
    assert_eq!((head.id(), head.length), (StoredId(1), 4));
    assert!(matches!(body, ReadBody::Here(bytes) if bytes == "body"));
    for other in [place("kez", "x"), place("key", ""), place("keyx", "")] {
        assert!(read(&bytes, &other).is_none());
    }
}

#[test]
fn no_changed_or_missing_byte_goes_unnoticed() {
    let place = place("key", "");
    let bytes = whole(&place, term(), &head(4), &[Bytes::from_static(b"body")]).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x10;
        assert!(read(&changed.into(), &place).is_none(), "byte {at}");
        assert!(read(&bytes.slice(..at), &place).is_none(), "cut at {at}");
    }
    assert!(read(&[&bytes[..], b"x"].concat().into(), &place).is_none());
}

#[test]
fn a_large_body_has_a_checksum_for_every_slice() {
    let place = place("key", "");
    let length = 2 * usize::try_from(SLICE).unwrap() + 1;
    let object = |sums: &[u64]| without_body(&place, term(), &head(length), (9, sums)).unwrap();
    let read = read(&object(&[1, 2, 3]), &place).unwrap();
    let What::Response { body, .. } = read.what else {
        panic!("{read:?}");
    };
    assert!(matches!(body, ReadBody::Apart(9, sums) if *sums == [1, 2, 3]));
    assert!(super::read(&object(&[1, 2]), &place).is_none());
}

#[test]
fn what_varies_is_told() {
    let place = place("key", "");
    let fields = Vary::Fields(vec![http::header::ACCEPT_LANGUAGE]);
    let bytes = varies(&place, term(), &fields).unwrap();
    let object = read(&bytes, &place).unwrap();
    assert!(matches!(object.what, What::Varies(told) if told == fields));
    assert!(varies(&place, term(), &Vary::None).is_none());
}

#[test]
fn an_object_is_good_for_its_time_and_no_longer_than_the_reader_keeps_objects() {
    let term = term();
    let after = |days: u32| term.written + DAY * days;
    assert!(term.holds(after(29), 60 * DAY));
    assert!(!term.holds(after(30), 60 * DAY));
    assert!(!term.holds(after(10), 10 * DAY));
    assert!(term.holds(term.written - Duration::from_mins(4), 60 * DAY));
    assert!(!term.holds(term.written - Duration::from_mins(6), 60 * DAY));
    assert!(!term.is_half_over(after(14), 60 * DAY));
    assert!(term.is_half_over(after(15), 60 * DAY));
    assert!(term.is_half_over(after(5), 10 * DAY));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let mut checked = MAGIC.to_vec();
        checked.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        checked.extend(sum(&bytes).to_le_bytes());
        checked.extend(&bytes);
        let _ = read(&checked.into(), &place("key", ""));
        let _ = read(&bytes.into(), &place("key", ""));
    }
}
