//! HEAD: answered from what a GET stored, never stored as one, and what its answer says of what is
//! stored (RFC 9111 §4.3.5).

use crate::support::{Origin, Reply, Seawall, eventually};

#[tokio::test]
async fn a_head_is_forwarded_as_one_and_never_stored_as_a_page() {
    let origin = Origin::start(|_| Reply::fresh("hello").field("ETag: \"v1\""));
    let seawall = Seawall::before(&origin).await;
    for nth in 1..=2 {
        let head = seawall.head("/p", &[]).await;
        assert_eq!(head.status, 200);
        assert_eq!(head.field("content-length"), Some("5"));
        assert_eq!(origin.count("/p"), nth);
        assert_eq!(origin.last().method, "HEAD");
    }
    let page = seawall.get("/p", &[]).await;
    assert_eq!((page.text(), page.cache()), ("hello", "MISS"));
    assert_eq!(origin.last().method, "GET");
}

#[tokio::test]
async fn a_head_is_answered_from_a_stored_page() {
    let origin = Origin::start(|_| Reply::fresh("hello").field("ETag: \"v1\""));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;

    let mut client = seawall.connect().await;
    client.request("HEAD", "/p", &[]).await;
    let head = client.response_to_head().await;
    assert_eq!((head.status, head.cache()), (200, "HIT"));
    assert_eq!(head.field("content-length"), Some("5"));
    assert_eq!(client.get("/p", &[]).await.text(), "hello", "framing holds");

    let current = seawall.head("/p", &["If-None-Match: \"v1\""]).await;
    assert_eq!((current.status, current.cache()), (304, "HIT"));
    let ranged = seawall.head("/p", &["Range: bytes=0-1"]).await;
    assert_eq!((ranged.status, ranged.cache()), (200, "HIT"));
    assert_eq!(ranged.field("content-length"), Some("5"));
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn a_head_of_an_unframed_page_keeps_the_connection() {
    let origin = Origin::start(|_| Reply::chunked(["a", "b"]).field("Cache-Control: max-age=60"));
    let seawall = Seawall::before(&origin).await;
    let mut client = seawall.connect().await;
    for _ in 0..2 {
        client.request("HEAD", "/p", &[]).await;
        assert_eq!(client.response_to_head().await.status, 200);
    }
    assert_eq!(client.get("/p", &[]).await.text(), "ab");
    client.request("HEAD", "/p", &[]).await;
    let head = client.response_to_head().await;
    assert_eq!((head.status, head.cache()), (200, "HIT"));
    assert_eq!(client.get("/p", &[]).await.text(), "ab");
}

/// A page that is stale on arrival, and what HEAD says of it.
fn stale_page(head: impl Fn() -> Reply + Send + Sync + 'static) -> Origin {
    Origin::start(move |request| match (&*request.method, request.nth) {
        ("HEAD", _) => head(),
        (_, 0) => Reply::stale("hello").field("X-Version: 1"),
        _ => Reply::fresh("other").field("ETag: \"v2\""),
    })
}

#[tokio::test]
async fn a_head_that_describes_the_stale_page_freshens_it() {
    let origin = stale_page(|| {
        Reply::fresh("12345")
            .field("ETag: \"v1\"")
            .field("X-Version: 2")
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;

    assert_eq!(seawall.head("/p", &[]).await.status, 200);
    assert_eq!(origin.last().method, "HEAD");
    let page = seawall.get("/p", &[]).await;
    assert_eq!((page.text(), page.cache()), ("hello", "HIT"));
    assert_eq!(page.field("x-version"), Some("2"));
    assert_eq!(origin.count("/p"), 2);
}

#[tokio::test]
async fn a_head_that_describes_another_page_outdates_the_stored_one() {
    let heads: [fn() -> Reply; 3] = [
        || Reply::fresh("12345").field("ETag: \"v2\""),
        || Reply::fresh("123456").field("ETag: \"v1\""),
        || Reply::fresh("12345").field("ETag: \"v1\"\r\nContent-Encoding: gzip"),
    ];
    for (case, head) in heads.into_iter().enumerate() {
        let origin = stale_page(head);
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &[]).await;
        seawall.head("/p", &[]).await;
        let page = seawall.get("/p", &[]).await;
        assert_eq!((page.text(), page.cache()), ("other", "EXPIRED"), "{case}");
    }
}

#[tokio::test]
async fn a_failing_head_leaves_the_stored_page_alone() {
    for status in [404, 403, 500, 503] {
        let origin = Origin::start(move |request| match (&*request.method, request.nth) {
            ("HEAD", _) => Reply::status(status, "").field("ETag: \"v2\""),
            (_, 0) => Reply::stale("hello"),
            _ => Reply::not_modified().field("Cache-Control: max-age=60"),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &[]).await;
        assert_eq!(seawall.head("/p", &[]).await.status, status);
        let page = seawall.get("/p", &[]).await;
        let seen = (page.status, page.text(), page.cache());
        assert_eq!(seen, (200, "hello", "REVALIDATED"), "{status}");
    }
}

#[tokio::test]
async fn a_head_that_gets_the_stale_page_does_not_lose_it() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        None => Reply::ok("hello")
            .field("Cache-Control: max-age=60, stale-while-revalidate=600")
            .field("Age: 60")
            .field("ETag: \"v1\""),
        Some(_) => Reply::not_modified().field("Cache-Control: max-age=60"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let head = seawall.head("/p", &[]).await;
    assert_eq!((head.status, head.cache()), (200, "UPDATING"));
    eventually("the freshened page", async || {
        seawall.head("/p", &[]).await.cache() == "HIT"
    })
    .await;
    let page = seawall.get("/p", &[]).await;
    assert_eq!((page.text(), page.cache()), ("hello", "HIT"));
    assert_eq!(origin.count("/p"), 2, "one validation");
}

#[tokio::test]
async fn a_client_that_waits_for_a_page_does_not_get_the_answer_to_a_head() {
    let origin = Origin::start(|request| Reply::fresh(request.method.clone()));
    let seawall = Seawall::before(&origin).await;
    let (head, page) = tokio::join!(seawall.head("/p", &[]), seawall.get("/p", &[]));
    assert_eq!(head.status, 200);
    assert_eq!(page.text(), "GET");
}
