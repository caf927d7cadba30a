//! One line a request, from which the request can be explained.

use crate::support::{Origin, Reply, Seawall, Setup};

#[tokio::test]
async fn a_line_tells_what_happened_and_which_rule_decided() {
    let origin = Origin::start(|_| Reply::ok("0123456789"));
    let seawall = Setup::before([&origin])
        .rule("minute", "/catalog/*", "edge_ttl = { default = \"60s\" }")
        .start()
        .await;
    let response = seawall.get("/catalog/1?q=1", &["User-Agent: test"]).await;

    let line = seawall.logged("/catalog/1?q=1").await;
    for (field, value) in [
        ("client", "127.0.0.1"),
        ("zone", "site"),
        ("method", "GET"),
        ("scheme", "http"),
        ("host", "site.test"),
        ("protocol", "HTTP/1.1"),
        ("cache", "MISS"),
        ("rule", "minute"),
        ("upstream", &origin.address.to_string()),
        ("user_agent", "test"),
        ("request_id", response.field("x-request-id").unwrap()),
        ("cache_status", response.field("cache-status").unwrap()),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(
        (&line["status"], &line["response_bytes"]),
        (&200.into(), &10.into())
    );
    assert_eq!(line["attempts"], 1);
    let at = line["rule_at"].as_str().unwrap();
    let config = std::fs::read_to_string(seawall.path("seawall.toml")).unwrap();
    let written = config
        .lines()
        .position(|line| line == "[[zones.site.cache_rules]]")
        .unwrap();
    assert_eq!(
        at,
        format!("{}:{}", seawall.path("seawall.toml").display(), written + 1)
    );
    assert_eq!(line["key"].as_str().unwrap().len(), 16);
    assert!(line["duration_ms"].is_f64() && line["first_byte_ms"].is_f64());
}

#[tokio::test]
async fn a_hit_has_the_key_of_its_miss_and_no_upstream() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Accept: first"]).await;
    let miss = seawall.logged("/p").await;
    // Another spelling of the target, by which the second line can be told from the first.
    let target = "http://SITE.test/p";
    seawall.get(target, &[]).await;
    seawall.get("/other", &[]).await;
    let other = seawall.logged("/other").await;
    assert_ne!(miss["key"], other["key"]);
}

#[tokio::test]
async fn a_preset_is_named_as_the_rules_place() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Setup::before([&origin])
        .zone("presets = [\"bypass_private\"]")
        .start()
        .await;
    seawall.get("/api/x", &[]).await;
    let line = seawall.logged("/api/x").await;
    assert_eq!(line["rule"], "bypass_private: API");
    assert!(
        line["rule_at"].as_str().unwrap().contains("bypass_private"),
        "{line}"
    );
}

#[tokio::test]
async fn what_clients_send_cannot_forge_a_line() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Seawall::before(&origin).await;
    let agent = "User-Agent: \",\"forged\":\"1\u{7f}";
    seawall.get("/p?a=\",\"forged\":1", &[]).await;
    seawall.get("/q", &[agent]).await;
    seawall.get("/end", &[]).await;
    assert!(seawall.logged("/end").await.get("forged").is_none());
}

#[tokio::test]
async fn the_log_can_be_switched_off() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Setup::before([&origin])
        .section("[log]\naccess = false")
        .start()
        .await;
    seawall.get("/p", &[]).await;
    seawall.get("/q", &[]).await;
    assert_eq!(seawall.stdout(), "");
}
