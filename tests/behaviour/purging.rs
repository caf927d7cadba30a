//! Purged is purged: what was stored or under way when a purge was acknowledged is not served after
//! it.

use crate::support::{Gate, Origin, Reply, Seawall, Setup, TOKEN, eventually};

/// Purges of `/p` at `site.test`, which [`page`] is stored as.
const SCOPES: [&str; 5] = [
    r#""files": ["http://site.test/p"]"#,
    r#""tags": ["product-7"]"#,
    r#""prefixes": ["site.test/p"]"#,
    r#""hosts": ["site.test"]"#,
    r#""purge_everything": true"#,
];

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}")
}

fn tagged(body: impl AsRef<[u8]>) -> Reply {
    Reply::fresh(body).field("Cache-Tag: product-7")
}

/// An origin that counts, and Seawall in front of it.
async fn counting() -> (Origin, Seawall) {
    let origin = Origin::start(|request| {
        tagged(format!("body {}", request.nth)).field(format!("ETag: \"v{}\"", request.nth))
    });
    let seawall = Setup::before([&origin]).purging().start().await;
    (origin, seawall)
}

/// Stores `target` and sees that it is.
async fn store(seawall: &Seawall, target: &str) {
    for word in ["MISS", "HIT"] {
        assert_eq!(seawall.get(target, &[]).await.cache(), word, "{target}");
    }
}

#[tokio::test]
async fn every_kind_of_purge_brings_the_new_page() {
    for scope in SCOPES {
        let (_origin, seawall) = counting().await;
        store(&seawall, "/p").await;

        let answer = seawall.purge(&format!("{{{scope}}}")).await;
        assert_eq!(answer["success"], true, "{scope}");
        assert_eq!(answer["result"]["objects"], 1, "{scope}");

        let response = seawall.get("/p", &[]).await;
        assert_eq!(
            (response.text(), response.cache()),
            ("body 1", "MISS"),
            "{scope}"
        );
        assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT", "{scope}");
    }
}

#[tokio::test]
async fn a_purge_leaves_what_it_does_not_name() {
    let (_origin, seawall) = counting().await;
    for target in ["/p", "/p?x=1", "/P", "/blog/a", "/blogs"] {
        store(&seawall, target).await;
    }
    let origin_of_others = ["Host: other.test"];
    seawall.get("/p", &origin_of_others).await;

    for (purge, gone, kept) in [
        (
            r#"{"files": ["http://site.test/p"]}"#,
            "/p",
            &["/p?x=1", "/P", "/blog/a", "/blogs"][..],
        ),
        (
            r#"{"prefixes": ["site.test/blog/"]}"#,
            "/blog/a",
            &["/p", "/p?x=1", "/P", "/blogs"],
        ),
        (r#"{"tags": ["product-70"]}"#, "/new", &["/p", "/blogs"]),
    ] {
        seawall.purge(purge).await;
        assert_eq!(seawall.get(gone, &[]).await.cache(), "MISS", "{purge}");
        for target in kept {
            let response = seawall.get(target, &[]).await;
            assert_eq!(response.cache(), "HIT", "{target} after {purge}");
        }
        let other = seawall.get("/p", &origin_of_others).await;
        assert_eq!(other.cache(), "HIT", "the other host after {purge}");
    }

    seawall.purge(r#"{"hosts": ["site.test"]}"#).await;
    for target in ["/p", "/p?x=1", "/P", "/blog/a", "/blogs"] {
        assert_eq!(seawall.get(target, &[]).await.cache(), "MISS", "{target}");
    }
    let other = seawall.get("/p", &origin_of_others).await;
    assert_eq!(other.cache(), "HIT");
}

#[tokio::test]
async fn a_purge_by_url_takes_all_variants() {
    let origin = Origin::start(|request| {
        let language = request.field("accept-language").unwrap_or("none");
        Reply::fresh(format!("{language} {}", request.nth)).field("Vary: Accept-Language")
    });
    let seawall = Setup::before([&origin]).purging().start().await;
    let languages = ["Accept-Language: de", "Accept-Language: fr"];
    for word in ["MISS", "HIT"] {
        for language in languages {
            assert_eq!(seawall.get("/p", &[language]).await.cache(), word);
        }
    }

    let answer = seawall
        .purge(r#"{"files": ["http://SITE.test:80/x/../p"]}"#)
        .await;
    assert_eq!(answer["result"]["objects"], 2);
    for (language, body) in languages.into_iter().zip(["de 2", "fr 3"]) {
        let response = seawall.get("/p", &[language]).await;
        assert_eq!((response.text(), response.cache()), (body, "MISS"));
    }
}

#[tokio::test]
async fn tags_come_in_either_field_in_any_case_and_do_not_reach_clients() {
    let origin = Origin::start(|request| {
        let reply = Reply::fresh(format!("body {}", request.nth));
        match request.target.as_str() {
            "/comma" => reply.field("Cache-Tag: first, Product-7,third"),
            "/space" => reply.field("Surrogate-Key: first PRODUCT-7 third"),
            "/lines" => reply
                .field("Cache-Tag: first")
                .field("cache-tag: product-7"),
            _ => reply.field("Cache-Tag: product-77, product"),
        }
    });
    let seawall = Setup::before([&origin]).purging().start().await;
    let targets = ["/comma", "/space", "/lines"];
    for target in targets.into_iter().chain(["/other"]) {
        for word in ["MISS", "HIT"] {
            let response = seawall.get(target, &[]).await;
            assert_eq!(response.cache(), word, "{target}");
            assert_eq!(response.field("cache-tag"), None, "{target}");
            assert_eq!(response.field("surrogate-key"), None, "{target}");
        }
    }

    let answer = seawall.purge(r#"{"tags": ["pRODUCT-7"]}"#).await;
    assert_eq!(answer["result"]["objects"], 3);
    for target in targets {
        let response = seawall.get(target, &[]).await;
        assert_eq!(
            (response.text(), response.cache()),
            ("body 1", "MISS"),
            "{target}"
        );
    }
    assert_eq!(seawall.get("/other", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn tags_reach_clients_where_a_rule_says_so() {
    let origin = Origin::start(|_| tagged("page"));
    let seawall = Setup::before([&origin])
        .purging()
        .rule("tags", "*", "pass_cache_tags = true")
        .start()
        .await;
    for word in ["MISS", "HIT"] {
        let response = seawall.get("/p", &[]).await;
        assert_eq!(
            (response.cache(), response.field("cache-tag")),
            (word, Some("product-7"))
        );
    }
    seawall.purge(r#"{"tags": ["product-7"]}"#).await;
    assert_eq!(seawall.get("/p", &[]).await.cache(), "MISS");
}

#[tokio::test]
async fn a_soft_purge_has_the_page_validated() {
    for scope in SCOPES {
        let origin = Origin::start(|request| {
            let reply = match request.field("if-none-match") {
                Some("\"v1\"") if request.target == "/p" => Reply::not_modified(),
                _ => tagged(format!("body {}", request.nth)).field("ETag: \"v1\""),
            };
            reply.field("Cache-Control: max-age=60")
        });
        let seawall = Setup::before([&origin]).purging().start().await;
        store(&seawall, "/p").await;
        store(&seawall, "/p/changed").await;

        seawall.purge(&format!("{{{scope}, \"soft\": true}}")).await;

        let same = seawall.get("/p", &[]).await;
        assert_eq!(
            (same.text(), same.cache()),
            ("body 0", "REVALIDATED"),
            "{scope}"
        );
        assert_eq!(origin.last().field("if-none-match"), Some("\"v1\""));
        assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT", "{scope}");
        if !scope.contains("files") {
            let changed = seawall.get("/p/changed", &[]).await;
            assert_eq!(
                (changed.text(), changed.cache()),
                ("body 1", "EXPIRED"),
                "{scope}"
            );
        }
    }
}

#[tokio::test]
async fn a_dry_run_counts_and_removes_nothing() {
    let (origin, seawall) = counting().await;
    store(&seawall, "/p").await;
    for scope in SCOPES {
        let answer = seawall
            .purge(&format!("{{{scope}, \"dry_run\": true}}"))
            .await;
        assert_eq!(answer["result"]["objects"], 1, "{scope}");
        assert_eq!(answer["result"]["dry_run"], true, "{scope}");
        assert!(answer["result"]["bytes"].as_u64().unwrap() > 0, "{scope}");
        assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT", "{scope}");
    }
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn a_purge_addressed_to_a_zone_leaves_the_others() {
    let origin = Origin::start(|request| Reply::fresh(format!("{}", request.nth)));
    let seawall = Setup::before([&origin])
        .purging()
        .hosts("[\"a.test\"]")
        .zone("[zones.other]\nhosts = [\"b.test\"]\npool = \"app\"")
        .start()
        .await;
    for host in ["Host: a.test", "Host: b.test"] {
        seawall.get("/", &[host]).await;
    }
    let everything = r#"{"purge_everything": true}"#;
    for path in [
        "/zones/site/purge_cache",
        "/client/v4/zones/site/purge_cache",
    ] {
        let answer = seawall.post_admin(path, &[&bearer()], everything).await;
        assert_eq!(answer.status, 200);
        assert_eq!(seawall.get("/", &["Host: a.test"]).await.cache(), "MISS");
        assert_eq!(seawall.get("/", &["Host: b.test"]).await.cache(), "HIT");
    }
}

#[tokio::test]
async fn a_fetch_from_before_the_purge_is_neither_joined_nor_reused() {
    for scope in SCOPES {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.nth {
            0 => tagged("old").behind(&held),
            nth => tagged(format!("new {nth}")),
        });
        let seawall = Setup::before([&origin]).purging().start().await;
        let mut early = seawall.connect().await;
        early.request("GET", "/p", &[]).await;
        origin.asked("/p", 1).await;

        seawall.purge(&format!("{{{scope}}}")).await;

        // The old fetch is still under way, and this does not wait for it.
        let late = seawall.get("/p", &[]).await;
        assert_eq!((late.text(), late.cache()), ("new 1", "MISS"), "{scope}");

        // Nor does its end replace what is newer.
        gate.open();
        assert_eq!(early.response().await.text(), "old", "{scope}");
        let next = seawall.get("/p", &[]).await;
        assert_eq!((next.text(), next.cache()), ("new 1", "HIT"), "{scope}");
    }
}

#[tokio::test]
async fn a_fetch_from_before_the_purge_is_not_stored_when_it_ends_after_it() {
    for scope in SCOPES {
        for soft in [false, true] {
            let gate = Gate::closed();
            let held = gate.clone();
            let origin = Origin::start(move |request| match request.nth {
                0 => tagged("old").behind(&held),
                nth => tagged(format!("new {nth}")),
            });
            let seawall = Setup::before([&origin]).purging().start().await;
            let mut early = seawall.connect().await;
            early.request("GET", "/p", &[]).await;
            origin.asked("/p", 1).await;

            seawall
                .purge(&format!("{{{scope}, \"soft\": {soft}}}"))
                .await;
            gate.open();
            assert_eq!(early.response().await.text(), "old", "{scope}");

            let next = seawall.get("/p", &[]).await;
            assert_eq!(next.text(), "new 1", "{scope} soft {soft}");
            assert_ne!(next.cache(), "HIT", "{scope} soft {soft}");
        }
    }
}

#[tokio::test]
async fn a_body_on_its_way_in_during_the_purge_is_not_reused() {
    for scope in SCOPES {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::chunked(["old "])
                .then("page", &held)
                .field("Cache-Control: max-age=60")
                .field("Cache-Tag: product-7"),
            nth => tagged(format!("new {nth}")),
        });
        let seawall = Setup::before([&origin]).purging().start().await;
        let mut early = seawall.connect().await;
        early.request("GET", "/p", &[]).await;
        assert_eq!(early.response_head().await.unwrap().status, 200);

        seawall.purge(&format!("{{{scope}}}")).await;
        let late = seawall.get("/p", &[]).await;
        assert_eq!((late.text(), late.cache()), ("new 1", "MISS"), "{scope}");

        gate.open();
        let mut body = Vec::new();
        while let Some(chunk) = early.chunk().await.unwrap() {
            body.extend(chunk);
        }
        assert_eq!(body, b"old page", "{scope}");
        let next = seawall.get("/p", &[]).await;
        assert_eq!((next.text(), next.cache()), ("new 1", "HIT"), "{scope}");
    }
}

#[tokio::test]
async fn a_validation_from_before_the_purge_does_not_bring_the_page_back() {
    for scope in SCOPES {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::stale("old").field("Cache-Tag: product-7"),
            1 => Reply::not_modified()
                .field("Cache-Control: max-age=60")
                .behind(&held),
            nth => tagged(format!("new {nth}")),
        });
        let seawall = Setup::before([&origin]).purging().start().await;
        seawall.get("/p", &[]).await;
        let mut early = seawall.connect().await;
        early.request("GET", "/p", &[]).await;
        origin.asked("/p", 2).await;

        seawall.purge(&format!("{{{scope}}}")).await;
        gate.open();
        early.response().await;

        let next = seawall.get("/p", &[]).await;
        assert!(next.text().starts_with("new "), "{scope}: {next:?}");
    }
}

#[tokio::test]
async fn the_method_purge_takes_the_right_token_alone() {
    let (_origin, seawall) = counting().await;
    store(&seawall, "/p").await;

    let bare = seawall.send("PURGE", "/p", &[], "").await;
    assert_eq!(bare.status, 401);
    for wrong in [
        "Authorization: Bearer purge-token-0123456788",
        "Authorization: Basic purge-token-0123456789",
        "X-Purge-Token: purge-token",
    ] {
        let refused = seawall.send("PURGE", "/p", &[wrong], "").await;
        assert_eq!(refused.status, 401, "{wrong}");
        assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT", "{wrong}");
    }

    let done = seawall.send("PURGE", "/p", &[&bearer()], "").await;
    assert_eq!(done.status, 200);
    let response = seawall.get("/p", &[]).await;
    assert_eq!((response.text(), response.cache()), ("body 1", "MISS"));

    let token = format!("X-Purge-Token: {TOKEN}");
    let soft = [&*token, "Seawall-Purge: soft"];
    assert_eq!(seawall.send("PURGE", "/p", &soft, "").await.status, 200);
    let response = seawall.get("/p", &[]).await;
    assert_eq!((response.text(), response.cache()), ("body 2", "EXPIRED"));
}

#[tokio::test]
async fn the_method_purge_never_reaches_the_origin() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = Seawall::before(&origin).await;
    store(&seawall, "/p").await;
    let refused = seawall.send("PURGE", "/p", &[&bearer()], "").await;
    assert_eq!(refused.status, 403, "purging is off");
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    let admin = seawall
        .post_admin("/purge", &[&bearer()], r#"{"purge_everything": true}"#)
        .await;
    assert_eq!(admin.status, 403);
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn the_admin_listener_wants_the_token() {
    let (_origin, seawall) = counting().await;
    store(&seawall, "/p").await;
    let everything = r#"{"purge_everything": true}"#;
    for fields in [&[][..], &["Authorization: Bearer purge-token-0123456788"]] {
        let refused = seawall.post_admin("/purge", fields, everything).await;
        assert_eq!(refused.status, 401, "{fields:?}");
        assert!(refused.field("www-authenticate").is_some());
        assert!(refused.text().contains("\"success\":false"));
    }
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn addresses_that_are_not_on_the_list_may_not_purge() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let purge = format!("[purge]\ntoken = \"{TOKEN}\"\nallow = [\"192.0.2.0/24\"]");
    let seawall = Setup::before([&origin]).section(&purge).start().await;
    store(&seawall, "/p").await;
    let refused = seawall.send("PURGE", "/p", &[&bearer()], "").await;
    assert_eq!(refused.status, 403);
    // Nor does saying so make it another address.
    let claimed = [&*bearer(), "X-Forwarded-For: 192.0.2.1"];
    let refused = seawall.send("PURGE", "/p", &claimed, "").await;
    assert_eq!(refused.status, 403);
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn purges_beyond_the_rate_are_refused_for_a_while() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let purge = format!("[purge]\ntoken = \"{TOKEN}\"\nrate = 2");
    let seawall = Setup::before([&origin]).section(&purge).start().await;
    for _ in 0..2 {
        let done = seawall.send("PURGE", "/p", &[&bearer()], "").await;
        assert_eq!(done.status, 200);
    }
    store(&seawall, "/p").await;
    let over = seawall.send("PURGE", "/p", &[&bearer()], "").await;
    assert_eq!(over.status, 429);
    let wait: u64 = over.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    // Both ways share the rate.
    let admin = seawall
        .post_admin("/purge", &[&bearer()], r#"{"purge_everything": true}"#)
        .await;
    assert_eq!(admin.status, 429);
    assert!(admin.field("retry-after").is_some());
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn a_purge_that_cannot_be_understood_purges_nothing() {
    let (_origin, seawall) = counting().await;
    store(&seawall, "/p").await;
    for (path, body, status) in [
        ("/purge", "", 400),
        ("/purge", "{", 400),
        ("/purge", "{}", 400),
        ("/purge", r#"{"tags": []}"#, 400),
        ("/purge", r#"{"purge_everything": false}"#, 400),
        ("/purge", r#"{"everything": true}"#, 400),
        (
            "/zones/nowhere/purge_cache",
            r#"{"purge_everything": true}"#,
            404,
        ),
    ] {
        let refused = seawall.post_admin(path, &[&bearer()], body).await;
        assert_eq!(refused.status, status, "{path} {body}");
        assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT", "{path} {body}");
    }
}

#[tokio::test]
async fn purges_are_counted() {
    let (_origin, seawall) = counting().await;
    store(&seawall, "/p").await;
    seawall.purge(r#"{"tags": ["product-7"]}"#).await;
    seawall.send("PURGE", "/p", &[&bearer()], "").await;
    seawall.send("PURGE", "/p", &[], "").await;
    seawall.post_admin("/purge", &[], "{}").await;
    for (series, count) in [
        ("seawall_purges_total{result=\"success\"}", 2.0),
        ("seawall_purges_total{result=\"refused\"}", 2.0),
        ("seawall_purged_objects_total", 1.0),
    ] {
        assert_eq!(seawall.metric(series).await, count, "{series}");
    }
}

#[tokio::test]
async fn what_was_served_most_is_fetched_again_before_anybody_waits() {
    let origin = Origin::start(|request| {
        tagged(format!("body {}", request.nth)).field("Vary: Accept-Language, Accept-Encoding")
    });
    let seawall = Setup::before([&origin]).purging().start().await;
    let visitor = [
        "Accept-Language: de-CH, de;q=0.9",
        "Accept-Encoding: gzip, br",
    ];
    for (target, visits) in [("/hot", 5), ("/warm?a=1", 3), ("/once", 2), ("/never", 1)] {
        for _ in 0..visits {
            seawall.get(target, &visitor).await;
        }
    }
    let request = r#"{"tags": ["product-7"], "refetch": 2}"#;
    let answer = seawall.purge(request).await;
    assert_eq!(answer["result"]["objects"], 4);
    assert_eq!(answer["result"]["refetched"], 2);
    for target in ["/hot", "/warm?a=1"] {
        origin.asked(target, 2).await;
        eventually("the new page", async || {
            seawall.get(target, &visitor).await.text() == "body 1"
        })
        .await;
        // For those who ask as the visitors did before.
        assert_eq!(seawall.get(target, &visitor).await.cache(), "HIT");
        assert_eq!(origin.count(target), 2);
    }
    assert_eq!((origin.count("/once"), origin.count("/never")), (1, 1));
    let fetched = "seawall_refetches_total{result=\"fetched\"}";
    assert!((seawall.metric(fetched).await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn refetches_keep_their_pace_and_validate_what_is_only_stale() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        None => tagged("page").field("ETag: \"v1\""),
        Some(_) => Reply::not_modified().field("Cache-Control: max-age=60"),
    });
    let section = format!("[purge]\ntoken = \"{TOKEN}\"\nrefetch_rate = 20");
    let seawall = Setup::before([&origin]).section(&section).start().await;
    let targets = ["/1", "/2", "/3", "/4", "/5", "/6"];
    for target in targets {
        store(&seawall, target).await;
    }
    let began = tokio::time::Instant::now();
    let answer = seawall
        .purge(r#"{"purge_everything": true, "soft": true, "refetch": 100}"#)
        .await;
    assert_eq!(answer["result"]["refetched"], 6);
    eventually("all of them", async || origin.requests().len() == 12).await;
    assert!(began.elapsed() >= std::time::Duration::from_millis(250));
    for target in targets {
        eventually("a fresh page", async || {
            seawall.get(target, &[]).await.cache() == "HIT"
        })
        .await;
        assert_eq!(origin.count(target), 2);
    }
}

#[tokio::test]
async fn what_rules_keep_apart_in_other_ways_is_left_to_visitors() {
    let origin = Origin::start(|_| tagged("page"));
    let seawall = Setup::before([&origin])
        .purging()
        .rule("by currency", "*", "key = { cookies = [\"currency\"] }")
        .start()
        .await;
    for _ in 0..2 {
        seawall.get("/p", &["Cookie: currency=EUR"]).await;
    }
    seawall
        .purge(r#"{"tags": ["product-7"], "refetch": 1}"#)
        .await;
    let passed = "seawall_refetches_total{result=\"passed over\"}";
    eventually("the renewal", async || seawall.metric(passed).await > 0.0).await;
    assert_eq!(origin.requests().len(), 1);
}
