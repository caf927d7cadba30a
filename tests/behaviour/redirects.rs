//! Redirects, single and in bulk, and URL rewrites.

use crate::support::{Origin, Reply, Setup};

fn redirect(expression: &str, rest: &str) -> String {
    format!("[[zones.site.redirect_rules]]\nexpression = '{expression}'\n{rest}")
}

fn rewrite(expression: &str, rest: &str) -> String {
    format!("[[zones.site.rewrite_rules]]\nexpression = '{expression}'\n{rest}")
}

#[tokio::test]
async fn a_redirect_is_answered_at_the_edge() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Setup::before([&origin])
        .zone(&redirect(
            r#"http.request.uri.path eq "/old""#,
            "name = \"moved\"\ntarget = \"https://www.test/new#top\"\nstatus = 308\npreserve_query = true",
        ))
        .start()
        .await;
    let response = seawall.get("/old?a=1", &[]).await;
    assert_eq!(response.status, 308);
    assert_eq!(
        response.field("location"),
        Some("https://www.test/new?a=1#top")
    );
    assert_eq!(
        (response.cache(), response.cache_status()),
        ("NONE", "detail=redirect")
    );
    let posted = seawall.send("POST", "/old", &[], "body").await;
    assert_eq!(posted.status, 308);
    assert_eq!(seawall.head("/old", &[]).await.status, 308);
    assert_eq!(origin.requests().len(), 0);
    let logged = seawall.logged("/old?a=1").await;
    assert_eq!(
        (&logged["rule"], &logged["cache"]),
        (&"moved".into(), &"NONE".into())
    );
    assert!(
        logged["rule_at"]
            .as_str()
            .unwrap()
            .contains("seawall.toml:")
    );
}

#[tokio::test]
async fn a_redirect_is_computed_from_the_request() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Setup::before([&origin])
        .zone(&redirect(
            r#"http.host eq "shop.test""#,
            "target = { expression = 'concat(\"https://www.\", http.host, http.request.uri.path)' }",
        ))
        .start()
        .await;
    let response = seawall.get("/a%20b?x", &["Host: shop.test"]).await;
    assert_eq!(response.status, 302);
    assert_eq!(
        response.field("location"),
        Some("https://www.shop.test/a%20b")
    );
    assert_eq!(
        seawall.get("/a", &["Host: www.shop.test"]).await.status,
        200
    );
}

#[tokio::test]
async fn a_redirect_to_the_request_itself_is_none() {
    let origin = Origin::start(|_| Reply::ok("here"));
    let seawall = Setup::before([&origin])
        .zone(&redirect("true", "target = \"/login\""))
        .start()
        .await;
    assert_eq!(seawall.get("/a", &[]).await.status, 302);
    assert_eq!(seawall.get("/login", &[]).await.text(), "here");
}

#[tokio::test]
async fn bulk_redirects_come_from_a_file_that_is_read_again() {
    let origin = Origin::start(|_| Reply::ok("here"));
    let seawall = Setup::before([&origin])
        .file(
            "moved.csv",
            "# source, target, status, query, subdomains, subpaths, suffix\n\
             /a,/b\n\
             site.test/docs,https://docs.test/v2,302,TRUE,FALSE,TRUE,TRUE\n",
        )
        .zone("[[zones.site.bulk_redirects]]\nfile = \"moved.csv\"\n[[zones.site.bulk_redirects]]\nsource = \"/c\"\ntarget = \"/d\"\nstatus = 307")
        .start()
        .await;
    let to = async |target: &str| {
        let response = seawall.get(target, &["Host: site.test"]).await;
        (
            response.status,
            response.field("location").map(str::to_owned),
        )
    };
    assert_eq!(to("/a").await, (301, Some("/b".to_owned())));
    assert_eq!(to("/c").await, (307, Some("/d".to_owned())));
    assert_eq!(
        to("/docs/x?q=1").await,
        (302, Some("https://docs.test/v2/x?q=1".to_owned()))
    );
    assert_eq!(to("/docsx").await, (200, None));
    std::fs::write(seawall.path("moved.csv"), "/a,/elsewhere\n").unwrap();
    crate::support::eventually("the new table", async || {
        to("/a").await.1.as_deref() == Some("/elsewhere")
    })
    .await;
}

#[tokio::test]
async fn a_rewrite_is_what_the_origin_and_the_cache_see() {
    let origin = Origin::start(|request| Reply::fresh(request.target.clone()));
    let seawall = Setup::before([&origin])
        .purging()
        .zone(&rewrite(
            r#"starts_with(http.request.uri.path, "/shop/")"#,
            "path = { expression = 'regex_replace(http.request.uri.path, \"^/shop/\", \"/store/\")' }",
        ))
        .zone(&rewrite(r#"http.request.uri.path eq "/search""#, "query = \"lang=en\""))
        .rule("rewritten", "/store/*", "browser_ttl = \"7s\"")
        .start()
        .await;
    let shop = seawall.get("/shop/a?b=1", &[]).await;
    assert_eq!((shop.text(), shop.cache()), ("/store/a?b=1", "MISS"));
    assert_eq!(shop.field("cache-control"), Some("public, max-age=7"));
    assert_eq!(seawall.get("/store/a?b=1", &[]).await.cache(), "HIT");
    assert_eq!(
        seawall.get("/search?lang=xx&q=1", &[]).await.text(),
        "/search?lang=en"
    );
    let logged = seawall.logged("/shop/a?b=1").await;
    assert_eq!(logged["rewritten"], "/store/a?b=1");
    // A purge of the URL that clients see reaches what it is stored as.
    seawall
        .purge(r#"{"files": ["http://site.test/shop/a?b=1"]}"#)
        .await;
    assert_eq!(seawall.get("/shop/a?b=1", &[]).await.cache(), "MISS");
}

#[tokio::test]
async fn a_rewrite_cannot_smuggle() {
    let origin = Origin::start(|request| Reply::ok(request.target.clone()));
    let seawall = Setup::before([&origin])
        .zone(&rewrite(
            r#"http.request.uri.path eq "/x""#,
            "path = { expression = 'http.request.headers[\"x-to\"][0]' }",
        ))
        .start()
        .await;
    for (to, expected) in [
        ("/a b", "/a%20b"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/a/../../b", "/b"),
        ("no-slash", "/x"),
        ("/%zz", "/x"),
    ] {
        let response = seawall.get("/x", &[&format!("X-To: {to}")]).await;
        assert_eq!(response.text(), expected, "{to}");
    }
    assert_eq!(seawall.get("/x", &[]).await.text(), "/x");
}

#[tokio::test]
async fn a_rewritten_target_is_no_longer_than_any_other() {
    let origin = Origin::start(|request| Reply::ok(request.target.clone()));
    let seawall = Setup::before([&origin])
        .section("[client]\nmax_uri_length = 256")
        .zone(&rewrite(
            "true",
            "query = { expression = 'concat(http.request.uri.query, http.request.uri.query)' }",
        ))
        .start()
        .await;
    let long = |length| format!("/p?{}", "a".repeat(length));
    assert_eq!(seawall.get(&long(100), &[]).await.status, 200);
    assert_eq!(seawall.get(&long(200), &[]).await.status, 414);
}
