//! Which requests share a stored page: those that are the same to the origin, and no others.

use crate::support::{Origin, Reply, Seawall, Setup, echo_fields};

async fn mirror() -> (Origin, Seawall) {
    let origin = Origin::start(|request| {
        let host = request.field("host").unwrap_or_default();
        Reply::fresh(format!("{host} {}", request.target))
    });
    let seawall = Seawall::before(&origin).await;
    (origin, seawall)
}

#[tokio::test]
async fn spellings_of_one_path_share_a_page() {
    let (origin, seawall) = mirror().await;
    assert_eq!(seawall.get("/a/b~", &[]).await.cache(), "MISS");
    for target in [
        "/a/./b~",
        "/x/../a/b~",
        "/%61/b%7e",
        "/a/%62%7E",
        "/../a/b~",
        "http://site.test/a/b~",
    ] {
        let response = seawall.get(target, &[]).await;
        assert_eq!(
            (response.text(), response.cache()),
            ("site.test /a/b~", "HIT"),
            "{target}"
        );
    }
    assert_eq!(origin.count("/a/b~"), 1);
}

#[tokio::test]
async fn different_resources_do_not_share_a_page() {
    let (_origin, seawall) = mirror().await;
    let targets = [
        "/a",
        "/A",
        "/a/",
        "//a",
        "/a?",
        "/a?x=1",
        "/a?x=1&y=2",
        "/a?y=2&x=1",
        "/a?x=2",
        "/a%3Fx=1",
        "/a+b",
        "/a%20b",
        "/a?x=%31",
    ];
    for target in targets {
        assert_eq!(seawall.get(target, &[]).await.cache(), "MISS", "{target}");
    }
    for target in targets {
        let response = seawall.get(target, &[]).await;
        let expected = format!("site.test {target}");
        assert_eq!((response.text(), response.cache()), (&*expected, "HIT"));
    }
}

#[tokio::test]
async fn hosts_and_ports_are_kept_apart_and_their_spellings_together() {
    let (_origin, seawall) = mirror().await;
    for (host, forwarded, word) in [
        ("a.test", "a.test", "MISS"),
        ("A.TEST", "a.test", "HIT"),
        ("a.test.", "a.test", "HIT"),
        ("a.test:80", "a.test", "HIT"),
        ("a.test:8080", "a.test:8080", "MISS"),
        ("b.test", "b.test", "MISS"),
        ("a.testx", "a.testx", "MISS"),
        ("[::1]", "[::1]", "MISS"),
    ] {
        let response = seawall.get("/", &[&format!("Host: {host}")]).await;
        let expected = format!("{forwarded} /");
        assert_eq!(
            (response.text(), response.cache()),
            (&*expected, word),
            "{host}"
        );
    }
}

#[tokio::test]
async fn fields_that_are_not_in_the_key_do_not_reach_the_page() {
    let names = [
        "X-Forwarded-Host",
        "X-Forwarded-Scheme",
        "X-Forwarded-Prefix",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-Host",
        "Forwarded",
    ];
    let origin = Origin::start(move |request| {
        let marked = request
            .fields
            .iter()
            .any(|(_, value)| value.contains("evil"));
        Reply::fresh(if marked { "poisoned" } else { "clean" })
    });
    let seawall = Seawall::before(&origin).await;
    for name in names {
        let target = format!("/{name}");
        let attack = seawall.get(&target, &[&format!("{name}: evil")]).await;
        assert_eq!(attack.text(), "clean", "{name}");
        let victim = seawall.get(&target, &[]).await;
        assert_eq!(victim.text(), "clean", "{name}");
    }
}

#[tokio::test]
async fn zones_are_kept_apart() {
    let origin = Origin::start(|request| Reply::fresh(format!("{}", request.nth)));
    let seawall = Setup::before([&origin])
        .hosts("[\"a.test\"]")
        .zone("[zones.other]\nhosts = [\"b.test\"]\npool = \"app\"")
        .start()
        .await;
    assert_eq!(seawall.get("/", &["Host: a.test"]).await.text(), "0");
    assert_eq!(seawall.get("/", &["Host: b.test"]).await.text(), "1");
    assert_eq!(seawall.get("/", &["Host: a.test"]).await.text(), "0");
}

/// An origin that counts, behind a rule with this `key`.
async fn keyed(key: &str) -> (Origin, Seawall) {
    let origin = Origin::start(|request| Reply::fresh(format!("{}", request.nth)));
    let seawall = Setup::before([&origin])
        .rule("keyed", "*", &format!("key = {key}"))
        .start()
        .await;
    (origin, seawall)
}

/// Sees that requests for these targets make the origin receive these, or are hits where there is
/// none.
async fn receives(key: &str, steps: &[(&str, Option<&str>)]) {
    let (origin, seawall) = keyed(key).await;
    for (target, received) in steps {
        let before = origin.requests().len();
        let response = seawall.get(target, &[]).await;
        assert_eq!(response.status, 200, "{key}: {target}");
        let requests = origin.requests();
        let after: Vec<&str> = requests[before..]
            .iter()
            .map(|request| request.target.as_str())
            .collect();
        let expected: Vec<&str> = received.iter().copied().collect();
        assert_eq!(after, expected, "{key}: {target}");
        let word = if received.is_some() { "MISS" } else { "HIT" };
        assert_eq!(response.cache(), word, "{key}: {target}");
    }
}

/// Sees which of these requests, told apart by one field, share a page.
async fn shares(key: &str, steps: &[(&str, &str)]) {
    let (_origin, seawall) = keyed(key).await;
    for (field, word) in steps {
        let response = seawall.get("/p", &[field]).await;
        assert_eq!(response.cache(), *word, "{key}: {field}");
    }
}

#[tokio::test]
async fn parameters_that_do_not_count_do_not_reach_the_origin() {
    receives(
        r#"{ query = { exclude = ["utm_*", "fbclid"] } }"#,
        &[
            ("/p?a=1&utm_source=x", Some("/p?a=1")),
            ("/p?a=1", None),
            ("/p?utm_=&a=1&fbclid=2", None),
            ("/p?%75tm_source=x&a=1", None),
            ("/p?&a=1&", None),
            ("/p?a=1&fbclid2=x", Some("/p?a=1&fbclid2=x")),
            ("/p?a=1&FBCLID=x", Some("/p?a=1&FBCLID=x")),
            ("/p?a=1;utm_source=x", Some("/p?a=1;utm_source=x")),
            ("/p?utm_source=x", Some("/p")),
            ("/p", None),
            ("/p?", None),
        ],
    )
    .await;
}

#[tokio::test]
async fn parameters_that_count_reach_the_origin_alone() {
    receives(
        r#"{ query = { include = ["q", "page"] } }"#,
        &[
            ("/p?x=1&q=tea&y=2&page=3", Some("/p?q=tea&page=3")),
            ("/p?q=tea&page=3&z", None),
            ("/p?q=tea&page=3&q=milk", Some("/p?q=tea&page=3&q=milk")),
            ("/p?page=3&q=tea", Some("/p?page=3&q=tea")),
            ("/p?x=1", Some("/p")),
        ],
    )
    .await;
}

#[tokio::test]
async fn without_a_query_in_the_key_none_reaches_the_origin() {
    receives(
        r#"{ query = "none" }"#,
        &[("/p?a=1", Some("/p")), ("/p?b", None), ("/p", None)],
    )
    .await;
}

#[tokio::test]
async fn sorted_parameters_share_a_page_and_reach_the_origin_sorted() {
    receives(
        "{ sort_query = true }",
        &[
            ("/p?b=2&a=1", Some("/p?a=1&b=2")),
            ("/p?a=1&b=2", None),
            // The order within one name is the application's.
            ("/p?b=1&a=2&b=0", Some("/p?a=2&b=1&b=0")),
            ("/p?a=2&b=0&b=1", Some("/p?a=2&b=0&b=1")),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_dropped_does_not_poison_what_is_shared() {
    let origin = Origin::start(|request| Reply::fresh(&request.target));
    let seawall = Setup::before([&origin])
        .rule(
            "keyed",
            "*",
            r#"key = { query = { exclude = ["callback"] } }"#,
        )
        .start()
        .await;
    let attack = seawall.get("/p?callback=evil", &[]).await;
    assert_eq!(attack.text(), "/p");
    let victim = seawall.get("/p", &[]).await;
    assert_eq!((victim.text(), victim.cache()), ("/p", "HIT"));
}

#[tokio::test]
async fn fields_count_with_their_values_or_their_presence() {
    shares(
        r#"{ headers = ["X-Tenant"] }"#,
        &[
            ("X-Tenant: a", "MISS"),
            ("x-tenant: a", "HIT"),
            ("X-Tenant: b", "MISS"),
            ("X-Tenant: A", "MISS"),
            ("X-Tenant:", "MISS"),
            ("X-Other: a", "MISS"),
            ("X-Other: b", "HIT"),
            ("X-Tenant: b", "HIT"),
        ],
    )
    .await;
    shares(
        r#"{ header_presence = ["x-preview"] }"#,
        &[
            ("X-Preview: 1", "MISS"),
            ("X-Preview: 2", "HIT"),
            ("X-Other: a", "MISS"),
            ("X-Preview: 3", "HIT"),
        ],
    )
    .await;
}

#[tokio::test]
async fn cookies_count_with_their_values_or_their_presence() {
    shares(
        r#"{ cookies = ["currency"] }"#,
        &[
            ("Cookie: currency=eur", "MISS"),
            ("Cookie: a=1; currency=eur; b=2", "HIT"),
            ("Cookie: currency=usd", "MISS"),
            ("Cookie: a=1", "MISS"),
            ("Cookie: b=2", "HIT"),
            ("Cookie: currency2=usd", "HIT"),
            ("Cookie: a=currency=usd", "HIT"),
        ],
    )
    .await;
    shares(
        r#"{ cookie_presence = ["beta"] }"#,
        &[
            ("Cookie: beta=1", "MISS"),
            ("Cookie: a=1; beta=2", "HIT"),
            ("Cookie: a=1", "MISS"),
            ("Cookie: alphabeta=1", "HIT"),
        ],
    )
    .await;
}

#[tokio::test]
async fn devices_are_told_apart_and_the_origin_is_told_which() {
    let origin = Origin::start(|request| Reply::fresh(request.all("x-device-class").join(",")));
    let seawall = Setup::before([&origin])
        .rule("keyed", "/d/*", "key = { device = true }")
        .start()
        .await;
    let phone =
        "User-Agent: Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile Safari/537.36";
    let other_phone =
        "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148";
    let tablet = "User-Agent: Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15";
    let desktop = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101";
    for (fields, class, word) in [
        (&[phone][..], "mobile", "MISS"),
        (&[other_phone], "mobile", "HIT"),
        (&["Sec-CH-UA-Mobile: ?1"], "mobile", "HIT"),
        (&[tablet], "tablet", "MISS"),
        (&[desktop], "desktop", "MISS"),
        (&[], "desktop", "HIT"),
        (&[desktop, "X-Device-Class: mobile"], "desktop", "HIT"),
    ] {
        let response = seawall.get("/d/p", fields).await;
        assert_eq!(
            (response.text(), response.cache()),
            (class, word),
            "{fields:?}"
        );
    }
    // Where it is not in the key, the origin does not learn it, from nobody.
    let plain = seawall.get("/p", &[phone, "X-Device-Class: tablet"]).await;
    assert_eq!(plain.text(), "");
}

#[tokio::test]
async fn of_a_field_that_counts_by_what_it_contains_nothing_else_reaches_the_origin() {
    let origin = Origin::start(|request| {
        Reply::fresh(request.all("accept").join(" | ")).field("Vary: Accept")
    });
    let seawall = Setup::before([&origin])
        .rule(
            "keyed",
            "*",
            r#"key = { header_contains = { accept = ["image/webp", "image/avif"] } }"#,
        )
        .start()
        .await;
    for (fields, received, word) in [
        (
            &["Accept: image/avif, IMAGE/WebP;q=0.5, evil/type"][..],
            "image/webp, image/avif",
            "MISS",
        ),
        (
            &["Accept: image/webp", "Accept: image/avif"],
            "image/webp, image/avif",
            "HIT",
        ),
        (&["Accept: image/webp"], "image/webp", "MISS"),
        (&["Accept: */*, evil/type"], "", "MISS"),
        (&["Accept: text/html"], "", "HIT"),
        (&[], "", "HIT"),
    ] {
        let response = seawall.get("/p", fields).await;
        let got = (response.text(), response.cache());
        assert_eq!(got, (received, word), "{fields:?}");
    }
}

#[tokio::test]
async fn a_client_does_not_choose_the_country_that_the_origin_is_told() {
    let origin = Origin::start(|request| Reply::fresh(request.all("x-country").join(",")));
    let seawall = Setup::before([&origin])
        .rule("keyed", "/by-country/*", "key = { country = true }")
        .start()
        .await;
    for target in ["/p", "/by-country/p"] {
        let response = seawall.get(target, &["X-Country: XX"]).await;
        assert_eq!((response.text(), response.cache()), ("", "MISS"));
        assert_eq!(seawall.get(target, &[]).await.cache(), "HIT", "{target}");
    }
}

/// An origin that shows under which hosts it thinks it was reached, behind a pool with a host of its
/// own and a rule that keys by that one.
async fn resolved() -> (Origin, Seawall) {
    let origin = Origin::start(|request| {
        let names = ["host", "x-forwarded-host", "forwarded"];
        Reply::fresh(echo_fields(request, &names))
    });
    let seawall = Setup::before([&origin])
        .pool("host_header = \"app.internal:8000\"")
        .purging()
        .rule("keyed", "*", "key = { host = \"resolved\" }")
        .rule("past the cache", "/bypass/*", "cache = \"bypass\"")
        .start()
        .await;
    (origin, seawall)
}

#[tokio::test]
async fn hosts_with_one_resolved_host_share_pages_and_do_not_reach_the_origin() {
    let (_origin, seawall) = resolved().await;
    for (host, word) in [
        ("evil.test", "MISS"),
        ("a.test", "HIT"),
        ("a.test:81", "HIT"),
    ] {
        let host = format!("Host: {host}");
        let response = seawall.get("/p", &[&host]).await;
        assert_eq!(response.cache(), word, "{host}");
        assert!(!response.text().contains("test"), "{}", response.text());
        assert!(response.text().contains("app.internal:8000"));
    }
    // What is for one client alone may know the client's host.
    let bypassed = seawall.get("/bypass/p", &["Host: a.test"]).await;
    assert!(bypassed.text().contains("a.test"), "{}", bypassed.text());
}

#[tokio::test]
async fn pages_under_a_resolved_host_are_purged_and_invalidated_by_every_host() {
    let (_origin, seawall) = resolved().await;
    for purge in [
        r#"{"files": ["http://b.test/p"]}"#,
        r#"{"files": ["https://a.test/p"]}"#,
        r#"{"hosts": ["b.test"]}"#,
        r#"{"prefixes": ["b.test/p"]}"#,
    ] {
        seawall.get("/p", &["Host: a.test"]).await;
        assert_eq!(seawall.get("/p", &["Host: a.test"]).await.cache(), "HIT");
        seawall.purge(purge).await;
        let response = seawall.get("/p", &["Host: a.test"]).await;
        assert_eq!(response.cache(), "MISS", "{purge}");
    }
    let posted = seawall.send("POST", "/p", &["Host: b.test"], "x").await;
    assert_eq!(posted.status, 200);
    assert_eq!(seawall.get("/p", &["Host: a.test"]).await.cache(), "MISS");
}

#[tokio::test]
async fn without_a_host_of_the_pool_the_resolved_host_is_the_clients() {
    shares(
        r#"{ host = "resolved" }"#,
        &[
            ("Host: a.test", "MISS"),
            ("Host: b.test", "MISS"),
            ("Host: a.test", "HIT"),
        ],
    )
    .await;
}

#[tokio::test]
async fn operators_with_the_token_see_the_key() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = Setup::before([&origin])
        .section("[cache]\ndebug_token = \"debug-token-0123456789\"")
        .start()
        .await;
    let right = "Seawall-Debug: debug-token-0123456789";
    let mut keys = Vec::new();
    for (target, word) in [("/p", "MISS"), ("/p", "HIT"), ("/q", "MISS")] {
        let response = seawall.get(target, &[right]).await;
        assert_eq!(response.cache(), word);
        let status = response.cache_status();
        let (_, key) = status.split_once("; key=").expect("the key");
        keys.push(key.to_owned());
    }
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
    for fields in [&[][..], &["Seawall-Debug: debug-token-0123456788"]] {
        let response = seawall.get("/p", fields).await;
        assert!(!response.cache_status().contains("key="), "{fields:?}");
    }
    let received = origin.requests();
    assert!(
        received
            .iter()
            .all(|request| request.field("seawall-debug").is_none()),
        "the token is not for the origin"
    );
}
