//! Validations in the background: one at a time, and whatever they bring, no storm (RFC 5861 §3).

use crate::support::{Gate, Origin, Reply, Seawall, Setup, answers, crowd, eventually};

/// Stale on arrival, and good enough while it is validated.
fn stale(body: &str) -> Reply {
    Reply::ok(body)
        .field("Cache-Control: max-age=60, stale-while-revalidate=600")
        .field("Age: 60")
        .field("ETag: \"v1\"")
}

#[tokio::test]
async fn a_herd_on_a_stale_page_is_one_fetch_in_the_background() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.nth {
        0 => stale("old"),
        _ => Reply::fresh("new").field("ETag: \"v2\"").behind(&held),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;

    for page in answers(crowd(&seawall, 200, "/p").await).await {
        assert_eq!((page.text(), page.cache()), ("old", "UPDATING"));
    }
    origin.asked("/p", 2).await;
    gate.open();
    eventually("the new page", async || {
        seawall.get("/p", &[]).await.text() == "new"
    })
    .await;
    assert_eq!(origin.count("/p"), 2);
}

#[tokio::test]
async fn a_background_fetch_asks_for_the_page_whatever_the_client_asked() {
    let origin = Origin::start(|request| match request.nth {
        0 => stale("0123456789"),
        _ => Reply::not_modified().field("Cache-Control: max-age=60"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let fields = ["Range: bytes=0-1", "If-None-Match: \"v0\""];
    let part = seawall.get("/p", &fields).await;
    let seen = (part.status, part.text(), part.cache());
    assert_eq!(seen, (206, "01", "UPDATING"));
    origin.asked("/p", 2).await;
    let asked = origin.last();
    assert_eq!(asked.field("range"), None);
    assert_eq!(asked.all("if-none-match"), ["\"v1\""]);
    eventually("the freshened page", async || {
        seawall.get("/p", &[]).await.cache() == "HIT"
    })
    .await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "0123456789");
}

#[tokio::test]
async fn a_page_found_gone_or_private_in_the_background_is_not_served_again() {
    for (status, control) in [(404, "X-None: 1"), (200, "Cache-Control: private")] {
        let origin = Origin::start(move |request| match request.nth {
            0 => stale("old"),
            _ => Reply::status(status, "other").field(control),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &[]).await;
        assert_eq!(seawall.get("/p", &[]).await.text(), "old");
        eventually("the old page to go", async || {
            seawall.get("/p", &[]).await.text() == "other"
        })
        .await;
        for _ in 0..3 {
            let before = origin.count("/p");
            let page = seawall.get("/p", &[]).await;
            assert_eq!((page.status, page.text()), (status, "other"));
            assert_eq!(origin.count("/p"), before + 1, "no fetch beside its own");
        }
    }
}

#[tokio::test]
async fn failing_background_fetches_are_no_storm() {
    for failure in [Reply::status(500, "oops"), Reply::hang_up()] {
        let origin = Origin::start(move |request| match request.nth {
            0 => stale("page"),
            _ => failure.clone(),
        });
        let seawall = Setup::before([&origin])
            .pool("retries = { max = 0 }")
            .start()
            .await;
        seawall.get("/p", &[]).await;
        for _ in 0..10 {
            for page in answers(crowd(&seawall, 20, "/p").await).await {
                let seen = (page.status, page.text(), page.cache());
                assert_eq!(seen, (200, "page", "UPDATING"));
            }
        }
        let count = origin.count("/p");
        assert!(count <= 10, "{count} requests for 200 clients");
    }
}

#[tokio::test]
async fn a_page_that_arrives_too_stale_is_not_served_while_it_is_validated() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::ok("old")
            .field("Cache-Control: max-age=60, stale-while-revalidate=30, stale-if-error=30")
            .field("Age: 100")
            .field("ETag: \"v1\""),
        1 => Reply::status(503, "down"),
        _ => Reply::fresh("new"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    assert_eq!(seawall.get("/p", &[]).await.status, 503);
    assert_eq!(seawall.get("/p", &[]).await.text(), "new");
}

#[tokio::test]
async fn what_is_wanted_often_is_validated_before_it_is_stale() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::ok("page")
            .field("Cache-Control: max-age=3")
            .field("ETag: \"v1\""),
        _ => Reply::not_modified().field("Cache-Control: max-age=60"),
    });
    let seawall = Setup::before([&origin])
        .rule("early", "*", "early_revalidation = \"1 minute\"")
        .start()
        .await;
    seawall.get("/p", &[]).await;
    // By one of many requests, each of which is a hit: nobody waits.
    while origin.count("/p") < 2 {
        assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    }
    eventually("the freshened page", async || {
        let page = seawall.get("/p", &[]).await;
        assert_eq!(page.cache(), "HIT");
        page.field("cache-control") == Some("max-age=60")
    })
    .await;
    assert_eq!(origin.count("/p"), 2);
    assert_eq!(origin.last().all("if-none-match"), ["\"v1\""]);
    assert!(seawall.metric("seawall_early_revalidations_total").await >= 1.0);
}

#[tokio::test]
async fn without_the_setting_nothing_is_validated_early() {
    let origin = Origin::start(|_| Reply::ok("page").field("Cache-Control: max-age=1"));
    let seawall = Setup::before([&origin]).start().await;
    while origin.count("/p") < 2 {
        let hit = seawall.get("/p", &[]).await.cache() == "HIT";
        assert!(!hit || origin.count("/p") == 1);
    }
    assert_eq!(
        seawall.metric("seawall_early_revalidations_total").await,
        0.0
    );
}
