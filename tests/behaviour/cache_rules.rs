//! Settings of cache rules beside key, Vary and lifetimes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::{Gate, Origin, Reply, Seawall, Setup, crowd};

/// An origin that counts, behind a rule with these settings.
async fn ruled(settings: &str) -> (Origin, Seawall) {
    let origin = Origin::start(|request| Reply::fresh(format!("{}", request.nth)));
    let seawall = Setup::before([&origin])
        .rule("ruled", "*", settings)
        .start()
        .await;
    (origin, seawall)
}

#[tokio::test]
async fn what_is_asked_for_too_rarely_is_not_stored() {
    let (origin, seawall) = ruled("min_uses = 3\nbrowser_ttl = \"7s\"").await;
    for (target, word, reason) in [
        ("/a", "MISS", "detail=min-uses:rule-0"),
        ("/b", "MISS", "detail=min-uses:rule-0"),
        ("/a", "MISS", "detail=min-uses:rule-0"),
        ("/a", "MISS", "stored; ttl="),
        ("/a", "HIT", "hit; ttl="),
        ("/b", "MISS", "detail=min-uses:rule-0"),
    ] {
        let response = seawall.get(target, &[]).await;
        assert_eq!(response.cache(), word, "{target}");
        assert!(
            response.cache_status().contains(reason),
            "{target}: {}",
            response.cache_status()
        );
        // Its rarity is no reason for browsers not to keep it.
        let told = response.field("cache-control").unwrap();
        assert!(told.contains("max-age=7"), "{told}");
    }
    assert_eq!((origin.count("/a"), origin.count("/b")), (3, 2));
}

#[tokio::test]
async fn a_herd_for_what_is_rare_is_one_request_and_each_of_it_counts() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::chunked(["first "])
            .then("second", &held)
            .field("Cache-Control: max-age=60")
    });
    let seawall = Setup::before([&origin])
        .rule("rare", "*", "min_uses = 21")
        .start()
        .await;

    let mut clients = crowd(&seawall, 20, "/p").await;
    for client in &mut clients {
        assert_eq!(client.response_head().await.unwrap().status, 200);
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"first ");
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"second");
        assert!(client.chunk().await.unwrap().is_none());
    }
    assert_eq!(origin.count("/p"), 1);
    for word in ["MISS", "HIT"] {
        let response = seawall.get("/p", &[]).await;
        assert_eq!((response.text(), response.cache()), ("first second", word));
    }
    assert_eq!(origin.count("/p"), 2);
}

#[tokio::test]
async fn what_was_wanted_once_is_replaced_without_counting_anew() {
    let origin = Origin::start(|request| {
        let body = format!("{}", request.nth);
        if request.nth < 3 {
            Reply::ok(body)
                .field("Cache-Control: max-age=60")
                .field("Age: 60")
                .field(format!("ETag: \"{}\"", request.nth))
        } else {
            Reply::fresh(body)
        }
    });
    let seawall = Setup::before([&origin])
        .rule("rare", "*", "min_uses = 2")
        .start()
        .await;
    for (word, body) in [
        ("MISS", "0"),
        ("MISS", "1"),
        ("EXPIRED", "2"),
        ("EXPIRED", "3"),
        ("HIT", "3"),
    ] {
        let response = seawall.get("/p", &[]).await;
        assert_eq!((response.cache(), response.text()), (word, body));
    }
}

#[tokio::test]
async fn tags_of_a_rule_are_for_purging_alone() {
    let origin = Origin::start(|request| {
        Reply::fresh(format!("{}", request.nth)).field("Cache-Tag: product-7")
    });
    let seawall = Setup::before([&origin])
        .purging()
        .rule(
            "tagged",
            "/catalog/*",
            "tags = [\"Catalog\"]\npass_cache_tags = true",
        )
        .start()
        .await;
    for tag in ["catalog", "CATALOG", "product-7"] {
        let (target, other) = (format!("/catalog/{tag}"), format!("/other/{tag}"));
        for target in [&target, &other] {
            seawall.get(target, &[]).await;
            assert_eq!(seawall.get(target, &[]).await.cache(), "HIT");
        }
        let response = seawall.get(&target, &[]).await;
        assert_eq!(response.all("cache-tag"), ["product-7"]);
        seawall.purge(&format!("{{\"tags\": [\"{tag}\"]}}")).await;
        assert_eq!(seawall.get(&target, &[]).await.cache(), "MISS", "{tag}");
        let word = if tag == "product-7" { "MISS" } else { "HIT" };
        assert_eq!(seawall.get(&other, &[]).await.cache(), word, "{tag}");
    }
}

#[tokio::test]
async fn tags_of_a_rule_outlive_a_validation() {
    let origin = Origin::start(|request| {
        if request.field("if-none-match").is_some() {
            Reply::not_modified().field("Cache-Control: max-age=60")
        } else {
            Reply::stale(format!("{}", request.nth))
        }
    });
    let seawall = Setup::before([&origin])
        .purging()
        .rule("tagged", "*", "tags = \"catalog\"")
        .start()
        .await;
    for word in ["MISS", "REVALIDATED", "HIT"] {
        assert_eq!(seawall.get("/p", &[]).await.cache(), word);
    }
    seawall.purge("{\"tags\": [\"catalog\"]}").await;
    assert_eq!(seawall.get("/p", &[]).await.cache(), "MISS");
}

#[tokio::test]
async fn a_page_under_an_asset_name_is_stored_without_the_armor_alone() {
    let origin =
        Origin::start(|_| Reply::fresh("page").field("Content-Type: text/html; charset=utf-8"));
    let seawall = Setup::before([&origin])
        .rule("plain", "/plain/*", "cache_deception_armor = false")
        .start()
        .await;
    for (target, word) in [("/plain/x.css", "HIT"), ("/account/x.css", "BYPASS")] {
        seawall.get(target, &[]).await;
        assert_eq!(seawall.get(target, &[]).await.cache(), word, "{target}");
    }
}

#[tokio::test]
async fn a_rule_gives_the_origin_less_time_than_its_pool() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh("late").behind(&held));
    let seawall = Setup::before([&origin])
        .rule("hasty", "*", "read_timeout = \"100ms\"")
        .rule("past the cache", "/bypass/*", "cache = \"bypass\"")
        .start()
        .await;
    for target in ["/p", "/bypass/p"] {
        let began = Instant::now();
        assert_eq!(seawall.get(target, &[]).await.status, 504, "{target}");
        assert!(began.elapsed() < Duration::from_secs(5), "{target}");
    }
    gate.open();
}

#[tokio::test]
async fn a_rule_gives_the_origin_more_time_than_its_pool() {
    let pause = Duration::from_millis(600);
    for target in ["/p", "/bypass/p", "/hasty"] {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |_| Reply::fresh("late").behind(&held));
        let seawall = Setup::before([&origin])
            .pool("timeouts = { first_byte = \"200ms\", between_bytes = \"200ms\" }")
            .rule("patient", "*", "read_timeout = \"10s\"")
            .rule("past the cache", "/bypass/*", "cache = \"bypass\"")
            .rule("as before", "/hasty", "read_timeout = \"pool\"")
            .start()
            .await;
        let mut client = seawall.connect().await;
        client.request("GET", target, &[]).await;
        origin.asked(target, 1).await;
        sleep(pause).await;
        gate.open();
        let expected = if target == "/hasty" { 504 } else { 200 };
        assert_eq!(client.response().await.status, expected, "{target}");
    }
}
