//! What tells stored responses apart.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderValue, Method, Version};
use seawall::cache::key::CacheKey;
use seawall::cache::query::keyed_query;
use seawall::cache::settings::{KeySettings, QueryKey, VaryForm, VarySettings};
use seawall::cache::target::Target;
use seawall::fields::vary::Vary;
use seawall::request::{RequestView, Scheme};
use seawall::zone::canonical_path;

use super::{first_line, message, text};

/// Keys are equal exactly when what they are made of is equal. Two keys of four lines each.
pub(super) fn cache_key(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let parts: Vec<&str> = text.split('\n').collect();
    let key = |from: usize| {
        let part = |index: usize| parts.get(from + index).copied();
        CacheKey {
            zone: part(0).unwrap_or_default(),
            scheme: Scheme::Http,
            host: part(1).unwrap_or_default(),
            path: part(2).unwrap_or_default(),
            query: part(3),
        }
    };
    let (one, other) = (key(0), key(4));
    assert_eq!(one == other, one.encode() == other.encode());
    let secure = CacheKey {
        scheme: Scheme::Https,
        ..one
    };
    assert_ne!(one.encode(), secure.encode());
    assert_eq!(CacheKey::decode(&secure.encode()), Some(secure));
    // Whatever the bytes are.
    let _ = CacheKey::decode(data);
}

/// What counts of a query counts of itself, and comes from it.
pub(super) fn query(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let named = || vec!["a".to_owned(), "utm_*".to_owned()];
    for query in [
        QueryKey::All,
        QueryKey::None,
        QueryKey::Include(named()),
        QueryKey::Exclude(named()),
    ] {
        for sort_query in [false, true] {
            let settings = KeySettings {
                query: query.clone(),
                sort_query,
                ..KeySettings::default()
            };
            let Some(kept) = keyed_query(Some(text), &settings) else {
                continue;
            };
            assert_eq!(
                keyed_query(Some(&kept), &settings).as_deref(),
                Some(kept.as_ref())
            );
            let sent: Vec<&str> = text.split('&').collect();
            assert!(
                kept.split('&')
                    .all(|part| sent.contains(&part) || part.is_empty())
            );
        }
    }
}

/// What a reference names has the form in which keys hold it. The first line is the request's
/// path, the second the reference.
pub(super) fn reference(data: &[u8]) {
    let (path, reference) = first_line(data);
    let Some(Ok(path)) = text(path).map(canonical_path) else {
        return;
    };
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return;
    }
    let headers = HeaderMap::from_iter([(
        http::header::HOST,
        HeaderValue::from_static("example.com:8080"),
    )]);
    let request = RequestView {
        method: &Method::POST,
        scheme: Scheme::Http,
        host: "example.com",
        path: &path,
        query: Some("q=1"),
        version: Version::HTTP_11,
        headers: &headers,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        session_cookie: false,
        has_body: false,
        facts: seawall::request::Facts::default(),
    };
    let own = Target::of(&request);
    assert_eq!(Target::resolve(&request, b""), Some(own.clone()));
    if let Some(target) = Target::resolve(&request, reference) {
        assert!(target.host == own.host && target.scheme == own.scheme);
        assert!(target.path.starts_with('/'));
        assert_eq!(
            canonical_path(&target.path).as_deref(),
            Ok(target.path.as_str())
        );
        assert!(!target.path.contains(['?', '#']));
    }
}

/// The selecting key is the same for lines and for one line that joins them, `*` matches nothing,
/// and what Vary names decides. The first line is Vary, the rest the request.
pub(super) fn vary(data: &[u8]) {
    let (value, fields) = first_line(data);
    let mut response = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(value) {
        response.insert(VARY, value);
    }
    let vary = Vary::of(&response);
    let request = message(fields);
    for form in [
        VaryForm::PassThrough,
        VaryForm::Normalize,
        VaryForm::Best(vec!["en".to_owned(), "de".to_owned()]),
    ] {
        let settings = VarySettings {
            fields: vec![(ACCEPT, form.clone()), (ACCEPT_LANGUAGE, form)],
            ..VarySettings::default()
        };
        let key = |request: &HeaderMap| vary.selecting_key(request, &settings);
        assert_eq!(key(&request).is_none(), vary == Vary::Any);
        let Vary::Fields(names) = &vary else { continue };
        assert!(names.is_sorted_by(|one, other| one.as_str() < other.as_str()));
        let mut other = request.clone();
        for name in [ACCEPT, ACCEPT_LANGUAGE, ACCEPT_ENCODING] {
            if let Some(joined) = joined(&request, &name) {
                other.insert(name, joined);
            }
        }
        assert_eq!(key(&request), key(&other));
        other.insert("x-not-named-by-vary-at-all", HeaderValue::from_static("1"));
        assert_eq!(key(&request), key(&other));
        vary.language_key(&request, b"de", &settings);
    }
    response.append(VARY, HeaderValue::from_static("*"));
    assert_eq!(Vary::of(&response), Vary::Any);
}

/// All lines of a field as one.
fn joined(request: &HeaderMap, name: &http::HeaderName) -> Option<HeaderValue> {
    let lines: Vec<&[u8]> = request
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // A quoted string that is not closed would swallow the lines after it.
    let plain = !lines.is_empty() && !lines.concat().contains(&b'"');
    plain.then(|| HeaderValue::from_bytes(&lines.join(&b", "[..])).ok())?
}
