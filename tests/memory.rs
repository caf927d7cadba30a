//! What stored responses take of the process's memory, with the allocator of the binary.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test may fail as the test does"
)]

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use seawall::cache::key::CacheKey;
use seawall::cache::reuse::StoredTimes;
use seawall::fields::stored::StoredFields;
use seawall::fields::vary::Vary;
use seawall::purge::Generation;
use seawall::request::Scheme;
use seawall::store::{
    Body, Content, MemoryStore, Selection, Served, StoreKey, StoredResponse, shared,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const OBJECTS: u64 = 100_000;

/// What an application behind a server sends with a small file.
const FIELDS: [(&str, &str); 10] = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "1024"),
    ("cache-control", "public, max-age=3600"),
    ("etag", "\"5f2c6e1a-400\""),
    ("last-modified", "Mon, 02 Mar 2026 10:00:00 GMT"),
    ("date", "Tue, 03 Mar 2026 10:00:00 GMT"),
    ("server", "nginx/1.28.0"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
];

fn key(number: u64) -> StoreKey {
    let path = format!("/products/{number}/reviews");
    let key = CacheKey {
        zone: "shop",
        scheme: Scheme::Https,
        host: "www.shop.example",
        path: &path,
        query: Some("page=1"),
    };
    StoreKey(key.encode().into())
}

/// As it comes from the network.
fn fields() -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in FIELDS {
        let value =
            HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value.as_bytes())).unwrap();
        fields.append(HeaderName::from_static(name), value);
    }
    fields
}

fn stored(store: &MemoryStore) -> StoredResponse {
    let received = UNIX_EPOCH + Duration::from_secs(1_800_000_123);
    let mut stored = StoredResponse {
        id: store.next_id(),
        generation: Generation(0),
        status: StatusCode::OK,
        fields: StoredFields::from(&fields()),
        times: StoredTimes {
            received,
            initial_age: Duration::ZERO,
            fresh_until: received + Duration::from_hours(1),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_when_overloaded: Duration::ZERO,
            validate_always: false,
            stale_forbidden: false,
            validatable: true,
        }
        .into(),
        selection: Selection {
            vary: Vary::None,
            key: shared(Vec::new()),
            by_language: None,
        },
        tags: shared(Vec::new()),
        content: Content::Complete(Arc::new(Body::copy_of(&[vec![0; 1024].into()]))),
        uses: Served::default(),
        encoded: None,
        disk: true,
    };
    stored.renew_encoded();
    stored
}

/// Bytes that are resident.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes << 10
}

#[test]
fn a_small_response_takes_what_it_is_counted_for() {
    let store = MemoryStore::new(1 << 30).unwrap();
    let before = resident();
    for number in 0..OBJECTS {
        store.extend(&key(number), stored(&store));
    }
    // What is served takes a little more.
    for number in 0..OBJECTS {
        let found = store.find(&key(number)).unwrap();
        let Content::Complete(body) = &found.variants()[0].content else {
            panic!("it is complete");
        };
        assert_eq!(body.in_memory(0..u64::MAX).unwrap().concat().len(), 1024);
    }
    let taken = (resident() - before) / OBJECTS;
    let counted = store.statistics().bytes / OBJECTS;
    println!("{taken} bytes each, counted {counted}");
    let fields: usize = FIELDS
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    assert!(taken - 1024 - fields as u64 <= 700, "{taken}");
    let tolerated = taken / 20;
    assert!(
        counted.abs_diff(taken) <= tolerated,
        "{taken}, counted {counted}"
    );
}
