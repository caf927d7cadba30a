//! Unsafe methods and what they change (RFC 9111 §4.4), and answers to POST that serve GETs.

use crate::support::{Gate, Origin, Reply, Seawall, Setup};

/// Pages for GET; for everything else an answer with these fields.
fn site(status: u16, fields: &'static [&'static str]) -> Origin {
    Origin::start(move |request| match request.method.as_str() {
        "GET" => Reply::fresh(format!("page {}", request.nth)),
        _ => fields
            .iter()
            .fold(Reply::status(status, "done"), |reply, field| {
                reply.field(*field)
            }),
    })
}

/// Whether the page is still in the store after it was put there and `method` was sent to `/a`.
async fn survives(seawall: &Seawall, page: &str, method: &str) -> bool {
    seawall.get(page, &[]).await;
    assert_eq!(seawall.get(page, &[]).await.cache(), "HIT");
    seawall.send(method, "/a", &[], "x").await;
    seawall.get(page, &[]).await.cache() == "HIT"
}

#[tokio::test]
async fn success_invalidates_the_target_and_failure_does_not() {
    for (status, kept) in [
        (200, false),
        (201, false),
        (303, false),
        (404, true),
        (500, true),
    ] {
        let origin = site(status, &[]);
        let seawall = Seawall::before(&origin).await;
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
            assert_eq!(
                survives(&seawall, "/a", method).await,
                kept,
                "{method} {status}"
            );
        }
        assert!(survives(&seawall, "/b", "POST").await, "another page");
        assert!(survives(&seawall, "/a", "OPTIONS").await, "a safe method");
    }
}

#[tokio::test]
async fn location_and_content_location_of_the_same_origin_are_invalidated() {
    for fields in [
        &["Location: /b"][..],
        &["Content-Location: b"],
        &["Location: http://site.test/b"],
        &["Content-Location: /x/../b#part"],
    ] {
        let origin = site(201, fields);
        let seawall = Seawall::before(&origin).await;
        assert!(!survives(&seawall, "/b", "POST").await, "{fields:?}");
    }
    for fields in [
        &["Location: http://other.test/b"][..],
        &["Content-Location: https://site.test/b"],
        &["Location: http://site.test:81/b"],
    ] {
        let origin = site(201, fields);
        let seawall = Seawall::before(&origin).await;
        assert!(survives(&seawall, "/b", "POST").await, "{fields:?}");
    }
}

#[tokio::test]
async fn every_variant_is_invalidated() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "GET" => Reply::fresh("page").field("Vary: X-Kind"),
        _ => Reply::ok("done"),
    });
    let seawall = Seawall::before(&origin).await;
    for kind in ["X-Kind: 1", "X-Kind: 2"] {
        seawall.get("/a", &[kind]).await;
        assert_eq!(seawall.get("/a", &[kind]).await.cache(), "HIT");
    }
    seawall.send("POST", "/a", &[], "x").await;
    for kind in ["X-Kind: 1", "X-Kind: 2"] {
        assert_eq!(seawall.get("/a", &[kind]).await.cache(), "MISS", "{kind}");
    }
}

#[tokio::test]
async fn what_was_on_its_way_when_a_page_changed_is_not_kept() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(
        move |request| match (request.method.as_str(), request.nth) {
            ("GET", 0) => Reply::fresh("old").behind(&held),
            ("GET", _) => Reply::fresh("new"),
            _ => Reply::ok("done"),
        },
    );
    let seawall = Seawall::before(&origin).await;
    let mut slow = seawall.connect().await;
    slow.request("GET", "/a", &[]).await;
    origin.asked("/a", 1).await;
    seawall.send("POST", "/a", &[], "x").await;
    assert_eq!(seawall.get("/a", &[]).await.text(), "new");
    gate.open();
    assert_eq!(slow.response().await.text(), "old");
    let page = seawall.get("/a", &[]).await;
    assert_eq!((page.text(), page.cache()), ("new", "HIT"));
}

#[tokio::test]
async fn the_answer_to_a_post_serves_gets_only_where_rule_and_answer_say_so() {
    let rule = "cache_post = true";
    let named = &["Cache-Control: max-age=60", "Content-Location: /a"][..];
    for (rule, fields, kept) in [
        (rule, named, true),
        ("cache_post = false", named, false),
        (rule, &["Cache-Control: max-age=60"], false),
        (
            rule,
            &["Cache-Control: max-age=60", "Content-Location: /b"],
            false,
        ),
        (rule, &["Content-Location: /a"], false),
        (
            rule,
            &["Cache-Control: private, max-age=60", "Content-Location: /a"],
            false,
        ),
        (
            rule,
            &[
                "Cache-Control: max-age=60",
                "Content-Location: /a",
                "Set-Cookie: a=b",
            ],
            false,
        ),
    ] {
        let origin = site(200, fields);
        let seawall = Setup::before([&origin])
            .rule("post", "/*", rule)
            .start()
            .await;
        seawall.send("POST", "/a", &[], "x").await;
        let page = seawall.get("/a", &[]).await;
        let hit = (page.text(), page.cache()) == ("done", "HIT");
        assert_eq!(hit, kept, "{rule} {fields:?}");
    }
}
