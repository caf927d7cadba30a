//! Stale pages: while they are validated, and when the origin fails (RFC 5861).

use crate::support::{Gate, Origin, Reply, Seawall, Setup, eventually};

const WHILE_REVALIDATING: &str =
    "Cache-Control: max-age=60, stale-while-revalidate=600, stale-if-error=0";
const IF_ERROR: &str = "Cache-Control: max-age=60, stale-if-error=600";

/// Stale on arrival, with the windows that `control` gives.
fn stale(body: &str, control: &str) -> Reply {
    Reply::ok(body)
        .field(control)
        .field("Age: 60")
        .field("ETag: \"v1\"")
}

#[tokio::test]
async fn while_it_is_fetched_anew_everybody_gets_the_stale_page_at_once() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.nth {
        0 => stale("old", WHILE_REVALIDATING),
        _ => Reply::fresh("new").behind(&held),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;

    for _ in 0..5 {
        let response = seawall.get("/p", &[]).await;
        assert_eq!((response.text(), response.cache()), ("old", "UPDATING"));
        let told = response.cache_status();
        assert!(told.ends_with("detail=stale-while-revalidate"), "{told}");
    }
    origin.asked("/p", 2).await;
    gate.open();
    eventually("the new page", async || {
        seawall.get("/p", &[]).await.cache() == "HIT"
    })
    .await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "new");
    assert_eq!(origin.count("/p"), 2, "one fetch in the background");
}

#[tokio::test]
async fn a_validation_in_the_background_keeps_the_page() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        None => stale("page", WHILE_REVALIDATING),
        Some(_) => Reply::not_modified().field("Cache-Control: max-age=60"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;

    eventually("the freshened page", async || {
        seawall.get("/p", &[]).await.cache() == "HIT"
    })
    .await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "page");
    assert_eq!(origin.count("/p"), 2);
}

#[tokio::test]
async fn a_stale_page_hides_a_dead_origin() {
    let mut origin = Origin::start(|_| stale("page", IF_ERROR));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    origin.stop().await;

    for _ in 0..2 {
        let response = seawall.get("/p", &[]).await;
        assert_eq!(
            (response.status, response.text(), response.cache()),
            (200, "page", "STALE")
        );
        assert!(response.cache_status().ends_with("detail=stale-if-error"));
    }
    assert_eq!(seawall.get("/never-stored", &[]).await.status, 502);
}

#[tokio::test]
async fn a_stale_page_hides_a_failing_origin_and_survives_it() {
    for status in [500, 502, 503, 504] {
        let origin = Origin::start(move |request| match request.nth {
            0 => stale("page", IF_ERROR),
            1 | 2 => Reply::status(status, "oops").field("Cache-Control: max-age=5"),
            _ => Reply::fresh("recovered"),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &[]).await;

        for _ in 0..2 {
            let response = seawall.get("/p", &[]).await;
            let seen = (response.status, response.text(), response.cache());
            assert_eq!(seen, (200, "page", "STALE"), "{status}");
        }
        assert_eq!(seawall.get("/p", &[]).await.text(), "recovered");
    }
}

#[tokio::test]
async fn a_stale_page_hides_a_silent_origin() {
    let never = Gate::closed();
    let origin = Origin::start(move |request| match request.nth {
        0 => stale("page", IF_ERROR),
        _ => Reply::ok("late").behind(&never),
    });
    let seawall = Setup::before([&origin])
        .pool("timeouts = { first_byte = \"200ms\" }")
        .start()
        .await;
    seawall.get("/p", &[]).await;
    let response = seawall.get("/p", &[]).await;
    assert_eq!((response.text(), response.cache()), ("page", "STALE"));
}

#[tokio::test]
async fn must_revalidate_is_never_served_stale() {
    let mut origin = Origin::start(|_| {
        stale(
            "page",
            "Cache-Control: max-age=60, stale-if-error=600, must-revalidate",
        )
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    origin.stop().await;
    assert_eq!(seawall.get("/p", &[]).await.status, 502);
}

#[tokio::test]
async fn without_a_window_a_failure_is_shown() {
    let mut origin = Origin::start(|_| Reply::stale("page"));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    origin.stop().await;
    assert_eq!(seawall.get("/p", &[]).await.status, 502);
}

#[tokio::test]
async fn a_rule_gives_the_windows_the_origin_does_not() {
    let mut origin = Origin::start(|_| Reply::stale("page"));
    let seawall = Setup::before([&origin])
        .rule("stale", "/*", "serve_stale = { if_error = \"1h\" }")
        .start()
        .await;
    seawall.get("/p", &[]).await;
    origin.stop().await;
    let response = seawall.get("/p", &[]).await;
    assert_eq!((response.text(), response.cache()), ("page", "STALE"));
}

#[tokio::test]
async fn an_error_is_kept_for_moments_at_most() {
    let origin =
        Origin::start(|_| Reply::status(503, "down").field("Cache-Control: max-age=86400"));
    let seawall = Seawall::before(&origin).await;
    let response = seawall.get("/p", &[]).await;
    let ttl = response
        .cache_status()
        .split("ttl=")
        .nth(1)
        .map(str::to_owned);
    let ttl: i64 = ttl.map_or(0, |ttl| ttl.parse().unwrap());
    assert!(ttl <= 10, "{ttl}");
}
