//! What cache rules do to a response on its way.

use crate::support::{Origin, Received, Reply, Setup};

fn numbered(request: &Received) -> Reply {
    Reply::ok(format!("answer {}", request.nth))
}

fn ttl(told: &str) -> i64 {
    let ttl = told
        .split("ttl=")
        .nth(1)
        .unwrap_or_else(|| panic!("no ttl in {told}"));
    ttl.split(';').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_edge_ttl_overrides_the_origin_for_the_edge_alone() {
    let origin = Origin::start(|_| Reply::ok("x").field("Cache-Control: max-age=1"));
    let seawall = Setup::before([&origin])
        .rule("hour", "/*", "edge_ttl = { default = \"1h\" }")
        .start()
        .await;
    seawall.get("/p", &[]).await;
    let hit = seawall.get("/p", &[]).await;
    assert_eq!(hit.cache(), "HIT");
    assert!((3500..=3600).contains(&ttl(hit.cache_status())));
    assert_eq!(hit.field("cache-control"), Some("max-age=1"));
}

#[tokio::test]
async fn an_edge_ttl_by_status() {
    let origin = Origin::start(|request| {
        let status = request.target.trim_start_matches('/').parse().unwrap();
        Reply::status(status, "x").field("Cache-Control: max-age=5")
    });
    let seawall = Setup::before([&origin])
        .rule(
            "by status",
            "/*",
            "edge_ttl = { mode = \"override_origin\", default = \"1h\", \
             status = { \"404\" = \"30s\", \"301-302\" = \"2m\", \"500-599\" = \"no-store\" } }",
        )
        .start()
        .await;
    for (status, lifetime) in [(200, 3600), (404, 30), (301, 120), (302, 120)] {
        let response = seawall.get(&format!("/{status}"), &[]).await;
        let ttl = ttl(response.cache_status());
        assert!((lifetime - 2..=lifetime).contains(&ttl), "{status}: {ttl}");
    }
    for status in [500, 503] {
        let response = seawall.get(&format!("/{status}"), &[]).await;
        let told = response.cache_status();
        assert!(told.contains("detail=rule-no-store:rule-0"), "{told}");
    }
    // Without a lifetime of its own, a 403 is not stored under an override.
    assert_eq!(seawall.get("/403", &[]).await.cache(), "BYPASS");
}

#[tokio::test]
async fn a_default_fills_in_where_the_origin_is_silent() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/speaks" => numbered(request).field("Cache-Control: max-age=5"),
        _ => numbered(request),
    });
    let seawall = Setup::before([&origin])
        .rule(
            "default",
            "/*",
            "edge_ttl = { mode = \"respect_origin\", default = \"1h\" }",
        )
        .start()
        .await;
    assert!(ttl(seawall.get("/speaks", &[]).await.cache_status()) <= 5);
    assert!(ttl(seawall.get("/silent", &[]).await.cache_status()) > 3500);
}

#[tokio::test]
async fn an_override_never_shares_what_is_private() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/private" => numbered(request).field("Cache-Control: private"),
        "/no-store" => numbered(request).field("Cache-Control: no-store"),
        _ => numbered(request).field("Set-Cookie: sid=1"),
    });
    let seawall = Setup::before([&origin])
        .rule(
            "hour",
            "/*",
            "edge_ttl = { default = \"1h\" }\nbrowser_ttl = \"1h\"",
        )
        .start()
        .await;
    for target in ["/private", "/no-store", "/cookie"] {
        for nth in 0..2 {
            let response = seawall.get(target, &[]).await;
            assert_eq!(response.text(), format!("answer {nth}"), "{target}");
            let lifetime = response.field("cache-control").unwrap_or_default();
            assert!(!lifetime.contains("public"), "{target}: {lifetime}");
        }
    }
}

#[tokio::test]
async fn a_browser_ttl_is_what_browsers_get() {
    let origin = Origin::start(|_| {
        Reply::fresh("x")
            .field("Age: 30")
            .field("Expires: 0")
            .field("Pragma: no-cache")
    });
    let seawall = Setup::before([&origin])
        .rule("short", "/short", "browser_ttl = \"10s\"")
        .rule("none", "/none", "browser_ttl = \"bypass\"")
        .start()
        .await;
    for _ in 0..2 {
        let short = seawall.get("/short", &[]).await;
        assert_eq!(short.field("cache-control"), Some("public, max-age=10"));
        assert_eq!(
            (short.field("expires"), short.field("pragma")),
            (None, None)
        );
        let age = short.field("age").unwrap_or("0");
        assert_eq!(age, "0", "the browser's lifetime begins here");
        let none = seawall.get("/none", &[]).await;
        assert_eq!(none.field("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn a_stripped_cookie_reaches_nobody_and_the_page_is_stored() {
    let origin = Origin::start(|request| {
        Reply::fresh(format!("answer {}", request.nth)).field("Set-Cookie: tracking=1")
    });
    let seawall = Setup::before([&origin])
        .rule("strip", "/catalog/*", "strip_set_cookie = true")
        .start()
        .await;
    for word in ["MISS", "HIT"] {
        let response = seawall.get("/catalog/1", &[]).await;
        assert_eq!(
            (response.cache(), response.field("set-cookie")),
            (word, None)
        );
    }
    // A response that was not to be cached keeps its cookie.
    let login = seawall.send("POST", "/catalog/1", &[], "x").await;
    assert_eq!(login.field("set-cookie"), Some("tracking=1"));
    let own = seawall.get("/catalog/1", &["Cookie: sessionid=a"]).await;
    assert_eq!(own.field("set-cookie"), Some("tracking=1"));
}

#[tokio::test]
async fn the_last_rule_that_matches_wins() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Setup::before([&origin])
        .rule("no", "/shop/*", "cache = \"bypass\"")
        .rule("but", "/shop/public/*", "cache = \"eligible\"")
        .start()
        .await;
    seawall.get("/shop/public/1", &[]).await;
    assert_eq!(seawall.get("/shop/public/1", &[]).await.cache(), "HIT");
    let bypassed = seawall.get("/shop/cart", &[]).await;
    assert_eq!(
        bypassed.cache_status(),
        "fwd=bypass; fwd-status=200; detail=rule:rule-0"
    );
}
