use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::cache::fixtures::map;

const SECRET: &str = "0123456789abcdef";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
}

fn splits() -> Vec<SplitChoice> {
    vec![SplitChoice {
        split: "checkout".into(),
        variant: "b".into(),
    }]
}

fn handover(splits: &[SplitChoice]) -> Handover {
    let facts = Facts {
        node: "edge-1",
        relation: Relation::Lower,
        request_id: "0190",
        client: Ipv4Addr::new(192, 0, 2, 7).into(),
        scheme: Scheme::Https,
        version: Version::HTTP_2,
        country: Some(*b"NL"),
        asn: Some(64500),
        raw_target: Some("/old?x"),
        splits,
        key: &[0x40, 1, 2, 255],
        purges: None,
    };
    Handover::new(&facts, at(0))
}

fn fields() -> HeaderMap {
    map(&[
        ("host", "shop.test"),
        ("accept", "text/html"),
        ("x-forwarded-for", "192.0.2.7"),
        ("cookie", "a=1"),
    ])
}

fn head<'a>(method: &'a Method, target: &'a str, fields: &'a HeaderMap) -> SignedHead<'a> {
    SignedHead {
        method,
        host: fields.get("host").unwrap().as_bytes(),
        target,
        fields,
    }
}

#[test]
fn what_is_handed_over_arrives() {
    let (key, fields) = (TierKey::new(SECRET), fields());
    let head = head(&Method::GET, "/new?y=1", &fields);
    let sent = handover(&splits());
    let value = sent.sign(&head, &key).unwrap();
    let got = Handover::verify(value.as_bytes(), &head, &key, at(60)).unwrap();
    assert_eq!(got, sent);
    assert_eq!(
        (got.scheme(), got.version()),
        (Scheme::Https, Version::HTTP_2)
    );
    assert_eq!((got.country(), got.asn), (Some(*b"NL"), Some(64500)));
    assert_eq!((got.splits(), got.key()), (splits(), vec![0x40, 1, 2, 255]));
}

#[test]
fn a_time_a_minute_away_is_stale() {
    let (key, fields) = (TierKey::new(SECRET), fields());
    let head = head(&Method::GET, "/", &fields);
    let value = handover(&[]).sign(&head, &key).unwrap();
    let at = |time| Handover::verify(value.as_bytes(), &head, &key, time).map(|_| ());
    assert_eq!(at(self::at(0) - Duration::from_mins(1)), Ok(()));
    assert_eq!(at(self::at(61)), Err(NotAuthentic::Stale));
    assert_eq!(
        at(self::at(0) - Duration::from_secs(61)),
        Err(NotAuthentic::Stale)
    );
}

#[test]
fn a_form_of_the_future_is_not_guessed_at_and_members_of_the_future_are_passed_over() {
    let (key, fields) = (TierKey::new(SECRET), fields());
    let head = head(&Method::GET, "/", &fields);
    let mut json = serde_json::to_value(handover(&[])).unwrap();
    let signed = |json: &serde_json::Value| {
        let content = serde_json::to_vec(json).unwrap();
        let tag = hmac::sign(&key.0, &signed_bytes(&content, &head));
        format!("{}.{}", BASE64.encode(content), BASE64.encode(tag))
    };
    let verify = |value: String| Handover::verify(value.as_bytes(), &head, &key, at(0));
    json["future"] = "x".into();
    assert_eq!(verify(signed(&json)), Ok(handover(&[])));
    json["form"] = 2.into();
    assert_eq!(verify(signed(&json)), Err(NotAuthentic::Unknown));
}

#[test]
fn another_head_has_another_signature() {
    let (key, fields) = (TierKey::new(SECRET), fields());
    let signed = head(&Method::GET, "/a", &fields);
    let value = handover(&[]).sign(&signed, &key).unwrap();
    let verify =
        |head: &SignedHead<'_>| Handover::verify(value.as_bytes(), head, &key, at(0)).map(|_| ());
    let forged = Err(NotAuthentic::Forged);
    assert_eq!(verify(&signed), Ok(()));
    assert_eq!(verify(&head(&Method::HEAD, "/a", &fields)), forged);
    assert_eq!(verify(&head(&Method::GET, "/b", &fields)), forged);
    for (name, change) in [
        ("host", "other.test"),
        ("cookie", "a=2"),
        ("x-added", "1"),
        ("x-forwarded-for", "192.0.2.8"),
    ] {
        let mut changed = fields.clone();
        changed.insert(name, HeaderValue::from_static(change));
        assert_eq!(
            verify(&head(&Method::GET, "/a", &changed)),
            forged,
            "{name}"
        );
    }
    let mut removed = fields.clone();
    removed.remove("cookie");
    assert_eq!(verify(&head(&Method::GET, "/a", &removed)), forged);
    let mut of_the_connection = fields.clone();
    of_the_connection.insert("connection", HeaderValue::from_static("keep-alive"));
    assert_eq!(
        verify(&head(&Method::GET, "/a", &of_the_connection)),
        Ok(())
    );
    let other = TierKey::new("fedcba9876543210");
    let by_other = Handover::verify(value.as_bytes(), &signed, &other, at(0));
    assert_eq!(by_other, Err(NotAuthentic::Forged));
}

proptest! {
    #[test]
    fn any_flipped_bit_is_refused(byte in 0_usize..4096, bit in 0_u8..8) {
        let (key, fields) = (TierKey::new(SECRET), fields());
        let head = head(&Method::GET, "/a?b", &fields);
        let value = handover(&splits()).sign(&head, &key).unwrap();
        let mut bytes = value.as_bytes().to_vec();
        let at_byte = byte % bytes.len();
        bytes[at_byte] ^= 1 << bit;
        let got = Handover::verify(&bytes, &head, &key, at(0));
        prop_assert!(matches!(got, Err(NotAuthentic::Forged)), "{got:?}");
    }

    #[test]
    fn anything_at_all_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (key, fields) = (TierKey::new(SECRET), fields());
        let head = head(&Method::GET, "/", &fields);
        prop_assert!(Handover::verify(&bytes, &head, &key, at(0)).is_err());
    }
}
