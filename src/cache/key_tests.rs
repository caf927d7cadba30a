//! Keys: equal bytes exactly for equal canonical tuples.

use super::super::fixtures::get;
use super::*;
use http::HeaderMap;
use proptest::prelude::*;

type Parts = (String, bool, String, String, Option<String>);

fn encode((zone, tls, host, path, query): &Parts) -> Vec<u8> {
    CacheKey {
        zone,
        scheme: if *tls { Scheme::Https } else { Scheme::Http },
        host,
        path,
        query: query.as_deref(),
    }
    .encode()
}

fn parts() -> impl Strategy<Value = Parts> {
    // Few letters and short texts, so that boundaries collide often.
    let text = || "[ab\u{0}\u{1}]{0,3}";
    (
        text(),
        any::<bool>(),
        text(),
        text(),
        proptest::option::of(text()),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn keys_are_equal_bytes_exactly_when_they_are_equal_tuples(one in parts(), other in parts()) {
        prop_assert_eq!(encode(&one) == encode(&other), one == other);
    }

    #[test]
    fn a_key_reads_back_as_it_was_written(parts in parts(), cut in any::<usize>()) {
        let encoded = encode(&parts);
        let key = CacheKey::decode(&encoded).unwrap();
        let tls = key.scheme == Scheme::Https;
        let read = (key.zone, tls, key.host, key.path, key.query.map(str::to_owned));
        prop_assert_eq!(read, (&*parts.0, parts.1, &*parts.2, &*parts.3, parts.4));
        prop_assert!(CacheKey::decode(&encoded[..cut % encoded.len()]).is_none());
    }

    #[test]
    fn no_bytes_make_reading_a_key_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = CacheKey::decode(&bytes);
    }

    #[test]
    fn no_key_begins_another(one in parts(), other in parts()) {
        prop_assert_eq!(encode(&other).starts_with(&encode(&one)), one == other);
    }

    #[test]
    fn lengths_are_read_back(length in 0_usize..=usize::MAX) {
        let mut bytes = Vec::new();
        write_length(length, &mut bytes);
        let read = bytes.iter().rev().fold(0, |n, byte| (n << 7) | usize::from(byte & 0x7f));
        prop_assert_eq!(read, length);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Spellings of one URI have one key, and different URIs different ones.
    #[test]
    fn keys_are_equal_exactly_when_the_canonical_uris_are(one in uri(), other in uri()) {
        let (one, other) = (one.canonical(), other.canonical());
        prop_assert_eq!(one.key() == other.key(), one == other);
    }

    #[test]
    fn respelling_a_uri_does_not_change_its_key(uri in uri(), seed in any::<u64>()) {
        prop_assert_eq!(uri.canonical().key(), uri.respelled(seed).canonical().key());
    }
}

#[derive(Clone, Debug, PartialEq)]
struct TestUri {
    scheme: Scheme,
    authority: String,
    path: String,
    query: Option<String>,
}

fn uri() -> impl Strategy<Value = TestUri> {
    let scheme = prop_oneof![Just(Scheme::Http), Just(Scheme::Https)];
    let port = prop_oneof![
        Just(""),
        Just(":"),
        Just(":80"),
        Just(":443"),
        Just(":8080")
    ];
    let host = "[aA]\\.[bB]\\.?";
    let path = "(/([aA.~-]|\\.\\.|%61|%7e|%2F|%2f|%2E){0,2}){1,3}";
    (
        scheme,
        host,
        port,
        path,
        proptest::option::of("[ab&=]{0,4}"),
    )
        .prop_map(|(scheme, host, port, path, query)| TestUri {
            scheme,
            authority: format!("{host}{port}"),
            path,
            query,
        })
}

impl TestUri {
    fn canonical(&self) -> Self {
        let authority = crate::zone::Authority::parse(&self.authority, self.scheme).unwrap();
        Self {
            authority: authority.as_str().to_owned(),
            path: crate::zone::canonical_path(&self.path)
                .unwrap()
                .into_owned(),
            ..self.clone()
        }
    }

    fn key(&self) -> Vec<u8> {
        let settings = KeySettings::default();
        let query = super::super::query::keyed_query(self.query.as_deref(), &settings);
        let headers = HeaderMap::new();
        let request = RequestView {
            scheme: self.scheme,
            ..get(&self.path, &headers)
        };
        CacheKey::of("shop", &self.authority, &request, query.as_deref()).encode()
    }

    /// Each bit of `seed` says whether the next thing is spelled differently.
    fn respelled(&self, mut seed: u64) -> Self {
        let mut toss = || {
            seed = seed.rotate_right(1);
            seed & 1 == 1
        };
        let authority: String = self
            .authority
            .chars()
            .map(|c| {
                if toss() {
                    c.to_ascii_uppercase()
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect();
        let mut path = String::new();
        let mut rest = self.path.as_str();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '/' if toss() => path.push_str("/./"),
                'a' | '~' | '-' if toss() => path.push_str(match c {
                    'a' => "%61",
                    '~' => "%7e",
                    _ => "%2D",
                }),
                '%' => {
                    let digits = &rest[..2];
                    rest = &rest[2..];
                    path.push('%');
                    path.push_str(&if toss() {
                        digits.to_uppercase()
                    } else {
                        digits.to_lowercase()
                    });
                }
                _ => path.push(c),
            }
        }
        Self {
            authority,
            path,
            ..self.clone()
        }
    }
}

#[test]
fn parts_do_not_run_into_one_another() {
    let headers = HeaderMap::new();
    let base = CacheKey::of("shop", "example.org", &get("/a", &headers), None);
    let others = [
        CacheKey {
            zone: "shopp",
            ..base
        },
        CacheKey {
            scheme: Scheme::Http,
            ..base
        },
        CacheKey {
            host: "example.org/",
            path: "a",
            ..base
        },
        CacheKey { path: "/A", ..base },
        CacheKey {
            query: Some(""),
            ..base
        },
        CacheKey {
            path: "/a?",
            ..base
        },
        CacheKey {
            query: Some("b"),
            ..base
        },
    ];
    for other in others {
        assert_ne!(base.encode(), other.encode(), "{other:?}");
    }
}

#[test]
fn the_encoding_and_its_hash_are_stable() {
    let headers = HeaderMap::new();
    let key = CacheKey::of("shop", "example.org", &get("/a", &headers), None).encode();
    assert_eq!(key, b"\x04shop\x01\x0bexample.org\x02/a\x00");
    assert_eq!(short_hash(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(short_hash(b"a"), 0xaf63_dc4c_8601_ec8c);
}

#[test]
fn the_host_that_counts_is_the_clients_or_the_origins() {
    let resolved = KeySettings {
        host: HostKey::Resolved,
        ..KeySettings::default()
    };
    assert_eq!(keyed_host(&KeySettings::default(), "a", "b"), "a");
    assert_eq!(keyed_host(&resolved, "a", "b"), "b");
}
