//! Header transforms, origin rules and cache response rules.

use crate::support::{Origin, Reply, Setup};

#[tokio::test]
async fn what_the_origin_gets_by_a_rule_tells_stored_responses_apart() {
    let origin = Origin::start(|request| Reply::fresh(request.field("x-tier").unwrap_or("none")));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.request_header_rules]]\nexpression = 'http.cookie contains \"plan=pro\"'\nset = { \"X-Tier\" = \"pro\" }")
        .zone("[[zones.site.request_header_rules]]\nexpression = 'not http.cookie contains \"plan=pro\"'\nremove = [\"x-tier\"]")
        .start()
        .await;
    for word in ["MISS", "HIT"] {
        let free = seawall.get("/p", &["X-Tier: gold"]).await;
        assert_eq!((free.text(), free.cache()), ("none", word));
        let pro = seawall.get("/p", &["Cookie: plan=pro"]).await;
        assert_eq!((pro.text(), pro.cache()), ("pro", word));
    }
}

#[tokio::test]
async fn a_computed_field_is_keyed_unless_the_rule_says_otherwise() {
    let origin = Origin::start(|request| Reply::fresh(request.field("x-agent").unwrap_or("none")));
    for (keyed, second) in [("true", "MISS"), ("false", "HIT")] {
        let seawall = Setup::before([&origin])
            .zone(&format!("[[zones.site.request_header_rules]]\nexpression = 'true'\nset = {{ \"X-Agent\" = {{ expression = 'http.user_agent' }} }}\nkeyed = {keyed}"))
            .start()
            .await;
        assert_eq!(seawall.get("/p", &["User-Agent: a"]).await.text(), "a");
        let other = seawall.get("/p", &["User-Agent: b"]).await;
        assert_eq!(other.cache(), second, "keyed = {keyed}");
    }
}

#[tokio::test]
async fn response_fields_change_for_every_client_and_not_in_the_store() {
    let origin = Origin::start(|_| Reply::fresh("x").field("Server: app").field("X-Debug: 1"));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.response_header_rules]]\nexpression = 'http.response.code eq 200'\nremove = [\"server\", \"x-debug\"]\nset = { \"X-Frame-Options\" = \"DENY\", \"X-Path\" = { expression = 'http.request.uri.path' } }\nadd = { \"Vary\" = \"X-Other\" }")
        .start()
        .await;
    for word in ["MISS", "HIT"] {
        let response = seawall.get("/p", &[]).await;
        assert_eq!(response.cache(), word);
        assert_eq!(
            (response.field("server"), response.field("x-debug")),
            (None, None)
        );
        assert_eq!(response.field("x-frame-options"), Some("DENY"));
        assert_eq!(response.field("x-path"), Some("/p"));
        assert_eq!(response.field("vary"), Some("X-Other"));
    }
    let posted = seawall.send("POST", "/p", &[], "x").await;
    assert_eq!(posted.field("x-frame-options"), Some("DENY"));
}

#[tokio::test]
async fn origin_rules_choose_pool_host_and_port_and_keep_them_apart_in_the_store() {
    let origin =
        Origin::start(|request| Reply::fresh(format!("app {}", request.field("host").unwrap())));
    let beta =
        Origin::start(|request| Reply::fresh(format!("beta {}", request.field("host").unwrap())));
    let port = beta.address.port();
    let seawall = Setup::before([&origin])
        .section(&format!("[pools.beta]\nservers = [\"http://{}\"]", beta.address))
        .zone("[[zones.site.origin_rules]]\nexpression = 'http.cookie contains \"beta\"'\npool = \"beta\"\nhost_header = \"beta.test\"")
        .zone(&format!("[[zones.site.origin_rules]]\nexpression = 'http.cookie contains \"port\"'\nport = {port}"))
        .start()
        .await;
    for _ in 0..2 {
        let host = "Host: shop.test";
        assert_eq!(seawall.get("/p", &[host]).await.text(), "app shop.test");
        assert_eq!(
            seawall.get("/p", &[host, "Cookie: beta=1"]).await.text(),
            "beta beta.test"
        );
        assert_eq!(
            seawall.get("/p", &[host, "Cookie: port=1"]).await.text(),
            "beta shop.test"
        );
    }
    assert_eq!(
        beta.requests()
            .iter()
            .filter(|request| request.method == "GET")
            .count(),
        2
    );
    let host = "Host: shop.test";
    let posted = seawall
        .send("POST", "/p", &[host, "Cookie: beta=1"], "x")
        .await;
    assert_eq!(posted.text(), "beta beta.test");
    let posted = seawall
        .send("POST", "/p", &[host, "Cookie: port=1"], "x")
        .await;
    assert_eq!(posted.text(), "beta shop.test");
}

#[tokio::test]
async fn cache_response_rules_change_what_is_decided_about() {
    let origin = Origin::start(|request| {
        let reply = Reply::ok(format!("answer {}", request.nth))
            .field("Set-Cookie: t=1")
            .field("ETag: \"a\"")
            .field("Cache-Tag: Old, kept");
        match request.target.as_str() {
            "/html" => reply.field("Content-Type: text/html; charset=utf-8"),
            _ => reply.field("Content-Type: application/json"),
        }
    });
    let seawall = Setup::before([&origin])
        .purging()
        .zone("[[zones.site.cache_response_rules]]\nexpression = 'http.response.content_type.media_type eq \"text/html\" and http.response.code eq 200'\nstrip_set_cookie = true\nstrip_etag = true\nadd_tags = [\"New\"]\nremove_tags = [\"old\"]\ncache_control = { s-maxage = \"60s\", max-age = \"5s\" }")
        .start()
        .await;
    for word in ["MISS", "HIT"] {
        let html = seawall.get("/html", &[]).await;
        assert_eq!((html.cache(), html.text()), (word, "answer 0"));
        assert_eq!((html.field("set-cookie"), html.field("etag")), (None, None));
        assert_eq!(html.field("cache-control"), Some("max-age=5, s-maxage=60"));
        assert_eq!(
            seawall.get("/json", &[]).await.field("set-cookie"),
            Some("t=1")
        );
    }
    seawall.purge(r#"{"tags": ["old"]}"#).await;
    assert_eq!(seawall.get("/html", &[]).await.cache(), "HIT");
    seawall.purge(r#"{"tags": ["new"]}"#).await;
    assert_eq!(seawall.get("/html", &[]).await.cache(), "MISS");
    // What goes past the cache is not touched.
    let posted = seawall.send("POST", "/html", &[], "x").await;
    assert_eq!(posted.field("set-cookie"), Some("t=1"));
}

#[tokio::test]
async fn cache_response_rules_hold_for_what_a_304_freshens() {
    let origin = Origin::start(|request| {
        let reply = match request.field("if-modified-since") {
            Some(_) => Reply::status(304, ""),
            None => Reply::ok("page").field("Content-Type: text/html"),
        };
        // Stale on arrival, the first time.
        let age = if request.nth == 0 {
            "Age: 120"
        } else {
            "Age: 0"
        };
        reply
            .field("Cache-Control: max-age=0, public")
            .field(age)
            .field("ETag: \"b\"")
            .field("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT")
    });
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.cache_response_rules]]\nexpression = 'http.response.code eq 200 and http.response.content_type.media_type eq \"text/html\"'\nstrip_etag = true\nadd_tags = [\"html\"]\ncache_control = { s-maxage = \"60s\" }")
        .start()
        .await;
    for word in ["MISS", "REVALIDATED", "HIT"] {
        let page = seawall.get("/p", &[]).await;
        assert_eq!((page.cache(), page.text()), (word, "page"));
        assert_eq!(page.field("etag"), None);
        assert_eq!(
            page.field("cache-control"),
            Some("max-age=0, public, s-maxage=60")
        );
    }
}
