//! Extras: equal bytes exactly for equal names and values, and what people read.

use super::super::fixtures::{get, map};
use super::super::settings::QueryKey;
use super::*;
use crate::request::Facts;
use http::HeaderMap;
use proptest::prelude::*;

fn encoded(headers: &HeaderMap, settings: &KeySettings) -> Vec<u8> {
    let mut out = Vec::new();
    write_extras(&get("/", headers), settings, &mut out);
    out
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn nothing_is_added_unless_a_rule_names_it() {
    let headers = map(&[("cookie", "a=1"), ("x-foo", "1"), ("user-agent", "iPad")]);
    assert!(encoded(&headers, &KeySettings::default()).is_empty());
}

#[test]
fn presence_counts_without_the_value() {
    let settings = KeySettings {
        header_presence: names(&["x-foo"]),
        cookie_presence: names(&["a"]),
        ..KeySettings::default()
    };
    let of = |fields: &[(&'static str, &str)]| encoded(&map(fields), &settings);
    assert_eq!(of(&[("x-foo", "1")]), of(&[("x-foo", "2"), ("x-foo", "3")]));
    assert_eq!(of(&[("cookie", "a=1")]), of(&[("cookie", "b=2; a=")]));
    assert_ne!(of(&[]), of(&[("x-foo", "")]));
    assert_ne!(of(&[]), of(&[("cookie", "a")]).split_off(1));
    assert_eq!(of(&[]), of(&[("cookie", "A=1; aa=2")]));
}

type Requested = (Vec<(usize, String)>, Vec<(usize, String)>, Option<usize>);

const NAMES: [&str; 3] = ["a", "ab", "b"];
const AGENTS: [&str; 3] = ["iPhone", "iPad", "curl"];

/// Fields, cookies and device of a request.
fn requested() -> impl Strategy<Value = Requested> {
    let pairs = || proptest::collection::vec((0..NAMES.len(), "[ab]{0,2}"), 0..4);
    (pairs(), pairs(), proptest::option::of(0..AGENTS.len()))
}

fn headers((fields, cookies, agent): &Requested) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(NAMES[*name], value.parse().unwrap());
    }
    let cookies: Vec<_> = cookies
        .iter()
        .map(|(name, value)| format!("{}={value}", NAMES[*name]))
        .collect();
    headers.insert("cookie", cookies.join("; ").parse().unwrap());
    if let Some(agent) = agent {
        headers.insert("user-agent", AGENTS[*agent].parse().unwrap());
    }
    headers
}

fn any_settings() -> impl Strategy<Value = KeySettings> {
    let names = || {
        proptest::sample::subsequence(&NAMES[..], 0..3)
            .prop_map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let texts = || {
        proptest::sample::subsequence(&["a", "b", "ab"][..], 1..3)
            .prop_map(|texts| texts.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let contains = proptest::collection::btree_map(
        proptest::sample::select(&NAMES[..]).prop_map(str::to_owned),
        texts(),
        0..3,
    );
    (names(), names(), contains, names(), names(), any::<bool>()).prop_map(
        |(headers, header_presence, contains, cookies, cookie_presence, device)| KeySettings {
            headers,
            header_presence,
            header_contains: contains.into_iter().collect(),
            cookies,
            cookie_presence,
            device,
            ..KeySettings::default()
        },
    )
}

/// What counts of a request, in a form that needs no encoding.
fn tuple((fields, cookies, agent): &Requested, settings: &KeySettings) -> impl PartialEq {
    let values = |pairs: &[(usize, String)], name: &String| -> Vec<String> {
        let named = pairs.iter().filter(|(index, _)| NAMES[*index] == name);
        named.map(|(_, value)| value.clone()).collect()
    };
    let all = |pairs: &[(usize, String)], names: &[String]| -> Vec<(String, Vec<String>)> {
        let one = |name: &String| (name.clone(), values(pairs, name));
        names.iter().map(one).collect()
    };
    let presence = |pairs: &[(usize, String)], names: &[String]| -> Vec<(String, bool)> {
        let one = |name: &String| (name.clone(), !values(pairs, name).is_empty());
        names.iter().map(one).collect()
    };
    let contains = settings.header_contains.iter().map(|(name, texts)| {
        let values = values(fields, name);
        let found = texts
            .iter()
            .filter(|text| values.iter().any(|value| value.contains(*text)));
        (name.clone(), found.cloned().collect::<Vec<_>>())
    });
    (
        all(fields, &settings.headers),
        presence(fields, &settings.header_presence),
        contains.collect::<Vec<_>>(),
        all(cookies, &settings.cookies),
        presence(cookies, &settings.cookie_presence),
        settings.device.then(|| agent.unwrap_or(2)),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Under different settings as well: rules give one URI different ones.
    #[test]
    fn extras_are_equal_bytes_exactly_when_what_counts_is_equal(
        (one, other) in (requested(), requested()),
        (settings, others) in (any_settings(), any_settings()),
        same_settings in any::<bool>(),
    ) {
        let others = if same_settings { &settings } else { &others };
        let (first, second) = (encoded(&headers(&one), &settings), encoded(&headers(&other), others));
        let same = tuple(&one, &settings) == tuple(&other, others);
        prop_assert_eq!(first == second, same);
        // What follows begins with a 0.
        let follow = |bytes: &[u8]| [bytes, &[0, 0, 1]].concat();
        prop_assert_eq!(follow(&first).starts_with(&follow(&second)), same);
    }
}

#[test]
fn a_field_counts_by_what_it_contains() {
    let settings = KeySettings {
        header_contains: vec![("accept".to_owned(), names(&["image/webp", "image/avif"]))],
        ..KeySettings::default()
    };
    let of = |fields: &[(&'static str, &str)]| encoded(&map(fields), &settings);
    let webp = of(&[("accept", "image/webp")]);
    assert_eq!(webp, of(&[("accept", "text/html, IMAGE/WebP;q=0.8")]));
    assert_eq!(
        webp,
        of(&[("accept", "text/html"), ("accept", "image/webp")])
    );
    assert_ne!(webp, of(&[("accept", "image/avif")]));
    assert_eq!(
        of(&[("accept", "image/avif, image/webp")]),
        of(&[("accept", "image/webp"), ("accept", "image/avif")])
    );
    assert_eq!(of(&[]), of(&[("accept", "text/html")]));
}

#[test]
fn countries_are_told_apart_and_the_unknown_one_too() {
    let settings = KeySettings {
        country: true,
        ..KeySettings::default()
    };
    let headers = HeaderMap::new();
    let of = |country| {
        let request = RequestView {
            facts: Facts {
                country,
                ..Facts::default()
            },
            ..get("/", &headers)
        };
        let mut out = Vec::new();
        write_extras(&request, &settings, &mut out);
        out
    };
    assert_eq!(of(Some(*b"DE")), of(Some(*b"DE")));
    assert_ne!(of(Some(*b"DE")), of(Some(*b"FR")));
    assert_ne!(of(Some(*b"DE")), of(None));
}

#[test]
fn people_read_what_the_key_holds() {
    let settings = KeySettings {
        query: QueryKey::All,
        headers: names(&["x-tenant", "x-none"]),
        header_presence: names(&["x-preview"]),
        header_contains: vec![
            ("accept".to_owned(), names(&["image/webp", "image/avif"])),
            ("x-none".to_owned(), names(&["a"])),
        ],
        cookies: names(&["currency"]),
        cookie_presence: names(&["beta"]),
        device: true,
        country: true,
        ..KeySettings::default()
    };
    let headers = map(&[
        ("x-tenant", "a\"b"),
        ("x-tenant", "c"),
        ("accept", "image/avif,image/webp"),
        ("cookie", "currency=EUR; beta=1"),
        ("user-agent", "iPhone"),
    ]);
    let request = RequestView {
        facts: Facts {
            country: Some(*b"DE"),
            ..Facts::default()
        },
        ..get("/a", &headers)
    };
    let key = CacheKey::of("shop", "example.org:8443", &request, Some("b=1"));
    assert_eq!(
        readable_key(&key, &request, &settings),
        "shop https://example.org:8443/a?b=1; header x-tenant \"a\\\"b\", \"c\"; header x-none absent; \
         header x-preview absent; header accept contains \"image/webp\", \"image/avif\"; \
         header x-none contains nothing; cookie currency \"EUR\"; cookie beta present; \
         device \"mobile\"; country \"DE\""
    );
    let plain = readable_key(&key, &request, &KeySettings::default());
    assert_eq!(plain, "shop https://example.org:8443/a?b=1");
}
