//! Validators: between client and store, and between store and origin (RFC 9110 §13, RFC 9111 §4.3).

use crate::support::{Origin, Reply, Seawall};

const MODIFIED: &str = "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT";

#[tokio::test]
async fn a_client_that_has_the_page_gets_a_304_from_the_store() {
    let origin = Origin::start(|_| Reply::fresh("hello").field("ETag: \"v1\"").field(MODIFIED));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;

    for (condition, status) in [
        ("If-None-Match: \"v1\"", 304),
        ("If-None-Match: W/\"v1\"", 304),
        ("If-None-Match: \"v0\", \"v1\"", 304),
        ("If-None-Match: *", 304),
        ("If-None-Match: \"v2\"", 200),
        ("If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT", 304),
        ("If-Modified-Since: Sun, 31 Dec 2023 00:00:00 GMT", 200),
        ("If-Modified-Since: nonsense", 200),
    ] {
        let response = seawall.get("/p", &[condition]).await;
        assert_eq!(
            (response.status, response.cache()),
            (status, "HIT"),
            "{condition}"
        );
        assert_eq!(response.body.is_empty(), status == 304, "{condition}");
        assert_eq!(response.field("etag"), Some("\"v1\""));
    }
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn a_condition_on_a_cold_key_does_not_keep_the_page_from_the_store() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        Some(_) => Reply::not_modified().field("Cache-Control: max-age=60"),
        None => Reply::fresh("hello").field("ETag: \"v1\""),
    });
    let seawall = Seawall::before(&origin).await;

    let first = seawall.get("/p", &["If-None-Match: \"v1\""]).await;
    assert_eq!(first.status, 304);
    let other = seawall.get("/p", &[]).await;
    assert_eq!(
        (other.status, other.text(), other.cache()),
        (200, "hello", "HIT")
    );
}

#[tokio::test]
async fn a_stale_page_is_validated_and_freshened() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        None => Reply::stale("hello").field("X-Version: 1"),
        Some("\"v1\"") => Reply::not_modified()
            .field("Cache-Control: max-age=90")
            .field("X-Version: 2"),
        Some(_) => Reply::status(500, "what?"),
    });
    let seawall = Seawall::before(&origin).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "hello");

    let validated = seawall.get("/p", &[]).await;
    assert_eq!((validated.status, validated.cache()), (200, "REVALIDATED"));
    assert_eq!(validated.text(), "hello");
    assert!(
        validated
            .cache_status()
            .starts_with("fwd=stale; fwd-status=304; stored; ttl=")
    );

    let hit = seawall.get("/p", &[]).await;
    assert_eq!((hit.text(), hit.cache()), ("hello", "HIT"));
    assert_eq!(hit.field("x-version"), Some("2"));
    assert_eq!(hit.field("cache-control"), Some("max-age=90"));
    assert_eq!(hit.field("content-length"), Some("5"));
    assert_eq!(origin.count("/p"), 2);
}

#[tokio::test]
async fn a_304_cannot_cut_or_relabel_the_stored_page() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::stale("whole page"),
        _ => Reply::not_modified()
            .field("Cache-Control: max-age=60")
            .field("Content-Length: 3")
            .field("Set-Cookie: a=b"),
    });
    let seawall = Seawall::before(&origin).await;

    for _ in 0..3 {
        let response = seawall.get("/p", &[]).await;
        assert_eq!((response.status, response.text()), (200, "whole page"));
    }
    assert_eq!(seawall.get("/p", &[]).await.field("set-cookie"), None);
}

#[tokio::test]
async fn a_changed_page_replaces_the_stale_one() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::stale("old"),
        _ => Reply::fresh("new").field("ETag: \"v2\""),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;

    let changed = seawall.get("/p", &[]).await;
    assert_eq!((changed.text(), changed.cache()), ("new", "EXPIRED"));
    let hit = seawall.get("/p", &[]).await;
    assert_eq!((hit.text(), hit.cache()), ("new", "HIT"));
}

#[tokio::test]
async fn a_client_with_the_current_page_gets_a_304_through_a_validation() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        Some("\"v1\"") => Reply::not_modified().field("Cache-Control: max-age=60"),
        _ => Reply::stale("hello"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;

    let current = seawall.get("/p", &["If-None-Match: \"v1\""]).await;
    assert_eq!((current.status, current.cache()), (304, "REVALIDATED"));
    let outdated = seawall.get("/p", &["If-None-Match: \"v0\""]).await;
    assert_eq!((outdated.status, outdated.text()), (200, "hello"));
}

#[tokio::test]
async fn no_cache_is_validated_before_every_reuse() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        Some("\"v1\"") => Reply::not_modified().field("Cache-Control: no-cache"),
        _ => Reply::ok("hello")
            .field("Cache-Control: no-cache")
            .field("ETag: \"v1\""),
    });
    let seawall = Seawall::before(&origin).await;

    for (nth, word) in ["MISS", "REVALIDATED", "REVALIDATED"]
        .into_iter()
        .enumerate()
    {
        let response = seawall.get("/p", &[]).await;
        assert_eq!((response.text(), response.cache()), ("hello", word));
        assert_eq!(origin.count("/p"), nth + 1);
    }
}

#[tokio::test]
async fn an_unsolicited_304_is_not_stored() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::not_modified().field("Cache-Control: max-age=60"),
        _ => Reply::fresh("hello"),
    });
    let seawall = Seawall::before(&origin).await;

    seawall.get("/p", &[]).await;
    let page = seawall.get("/p", &[]).await;
    assert_eq!((page.status, page.text()), (200, "hello"));
}
