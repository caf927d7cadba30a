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

#[tokio::test]
async fn a_field_that_a_rule_removes_for_some_is_not_what_others_get_an_answer_without() {
    let origin = Origin::start(|request| {
        Reply::fresh(request.field("accept-language").unwrap_or("none"))
            .field("Vary: Accept-Language")
    });
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.request_header_rules]]\nexpression = 'http.user_agent contains \"Bot\"'\nremove = [\"accept-language\"]")
        .start()
        .await;
    let language = "Accept-Language: de";
    let robot = seawall.get("/p", &[language, "User-Agent: Bot"]).await;
    let reader = seawall.get("/p", &[language, "User-Agent: reader"]).await;
    assert_eq!((robot.text(), reader.text()), ("none", "de"));
}

#[tokio::test]
async fn what_a_rule_adds_to_a_field_of_the_client_does_not_hide_the_clients_part() {
    let origin = Origin::start(|request| Reply::fresh(request.all("x-tier").join("+")));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.request_header_rules]]\nexpression = 'true'\nadd = { \"X-Tier\" = \"basic\" }")
        .start()
        .await;
    let forged = seawall.get("/p", &["X-Tier: evil"]).await;
    assert_eq!(forged.text(), "evil+basic");
    assert_eq!(seawall.get("/p", &[]).await.text(), "basic");
}

#[tokio::test]
async fn cache_response_rules_see_the_answer_to_a_post_that_fills_the_cache() {
    let origin = Origin::start(|_| {
        Reply::fresh("x")
            .field("Content-Location: /p")
            .field("ETag: \"e\"")
    });
    for (rule, after) in [("", "HIT"), ("cache_control = { private = true }", "MISS")] {
        let rule = format!(
            "[[zones.site.cache_response_rules]]\nexpression = 'http.request.method eq \"POST\"'\n{rule}\nadd_tags = [\"t\"]"
        );
        let seawall = Setup::before([&origin])
            .rule("post", "/p", "cache = \"eligible\"\ncache_post = true")
            .zone(&rule)
            .start()
            .await;
        seawall.send("POST", "/p", &[], "x").await;
        assert_eq!(seawall.get("/p", &[]).await.cache(), after, "{rule}");
    }
}

#[tokio::test]
async fn a_rule_about_a_status_holds_for_a_304_that_freshens_it() {
    let origin = Origin::start(|request| {
        let reply = match request.field("if-none-match") {
            Some(_) => Reply::not_modified(),
            None => Reply::ok("x"),
        };
        reply
            .field("ETag: \"e\"")
            .field("Cache-Control: no-store, max-age=0")
    });
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.cache_response_rules]]\nexpression = 'http.response.code eq 200'\ncache_control = { no-store = false }")
        .start()
        .await;
    seawall.get("/p", &[]).await;
    for _ in 0..2 {
        let status = seawall.get("/p", &[]).await;
        let status = status.field("cache-status").unwrap();
        assert!(
            status.contains("fwd=stale") && status.contains("fwd-status=304"),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_validator_of_one_origin_is_not_shown_to_another() {
    let app = Origin::start(|request| match request.field("if-none-match") {
        Some(_) => Reply::not_modified().field("ETag: \"1\""),
        None => Reply::fresh("app").field("ETag: \"1\""),
    });
    let beta = Origin::start(|request| match request.field("if-none-match") {
        Some(_) => Reply::not_modified().field("ETag: \"1\""),
        None => Reply::fresh("beta").field("ETag: \"1\""),
    });
    let seawall = Setup::before([&app])
        .section(&format!("[pools.beta]\nservers = [\"http://{}\"]", beta.address))
        .rule("all", "/*", "vary = { validate_variants = true }")
        .zone("[[zones.site.origin_rules]]\nexpression = 'http.cookie contains \"beta\"'\npool = \"beta\"")
        .start()
        .await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "app");
    assert_eq!(seawall.get("/p", &["Cookie: beta"]).await.text(), "beta");
}

#[tokio::test]
async fn a_client_that_says_what_rules_say_for_others_speaks_for_itself_alone() {
    let origin = Origin::start(|request| Reply::fresh(request.field("x-tier").unwrap_or("none")));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.request_header_rules]]\nexpression = 'http.cookie contains \"plan=pro\"'\nset = { \"X-Tier\" = \"pro\" }")
        .start()
        .await;
    assert_eq!(seawall.get("/p", &["X-Tier: gold"]).await.text(), "gold");
    let plain = seawall.get("/p", &[]).await;
    assert_eq!((plain.text(), plain.cache()), ("none", "MISS"));
    let pro = ["Cookie: plan=pro", "X-Tier: gold"];
    assert_eq!(seawall.get("/p", &pro).await.text(), "pro");
    assert_eq!(seawall.get("/p", &pro[..1]).await.cache(), "HIT");
}

#[tokio::test]
async fn a_rule_about_a_200_holds_for_a_part_of_it() {
    let origin = Origin::start(|request| Reply::file(request, "0123456789", "\"e\""));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.cache_response_rules]]\nexpression = 'http.response.code eq 200'\ncache_control = { no-store = true }")
        .start()
        .await;
    for _ in 0..2 {
        let part = seawall.get("/p", &["Range: bytes=2-4"]).await;
        assert_eq!((part.text(), part.cache()), ("234", "BYPASS"));
    }
}
