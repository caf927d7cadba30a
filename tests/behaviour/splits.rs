//! Splits: sticky variants that are cached apart.

use std::collections::BTreeMap;

use crate::support::{Origin, Reply, Setup, TOKEN};

fn origin() -> Origin {
    Origin::start(|request| Reply::fresh(request.field("x-split-hero").unwrap_or("none")))
}

const SECRET: &str = "secret = \"0123456789abcdef0123456789abcdef\"";

#[tokio::test]
async fn a_client_keeps_its_variant_and_every_variant_is_cached() {
    let origin = origin();
    let seawall = Setup::before([&origin])
        .top(SECRET)
        .zone("[[zones.site.splits]]\nname = \"hero\"\nvariants = { a = 50, b = 50 }")
        .start()
        .await;
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..40 {
        let first = seawall.get("/", &["X-Split-Hero: forged"]).await;
        let cookie = first.field("set-cookie").unwrap();
        let pair = cookie.split(';').next().unwrap().to_owned();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("Path=/"),
            "{cookie}"
        );
        assert!(first.field("vary").unwrap().contains("cookie"));
        seen.insert(first.text().to_owned(), pair);
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["a", "b"]);
    for (variant, pair) in &seen {
        for _ in 0..5 {
            let again = seawall.get("/", &[&format!("Cookie: {pair}")]).await;
            assert_eq!((again.text(), again.cache()), (variant.as_str(), "HIT"));
            assert_eq!(again.field("set-cookie"), None);
        }
    }
    assert_eq!(origin.requests().len(), 2, "one fetch a variant");
}

#[tokio::test]
async fn a_split_by_a_value_needs_no_cookie() {
    let origin = origin();
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.splits]]\nname = \"hero\"\nvariants = { a = 1, b = 1 }\nby = { expression = 'http.request.headers[\"x-user\"][0]' }")
        .start()
        .await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for user in 0..60 {
        let field = format!("X-User: user-{user}");
        let first = seawall.get("/", &[&field]).await;
        assert_eq!(seawall.get("/", &[&field]).await.text(), first.text());
        assert_eq!(first.field("set-cookie"), None);
        *counts.entry(first.text().to_owned()).or_default() += 1;
    }
    assert!(
        counts.values().all(|count| (15..=45).contains(count)),
        "{counts:?}"
    );
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn later_rules_see_the_variant() {
    let origin = Origin::start(|request| Reply::fresh(request.target.clone()));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.splits]]\nname = \"hero\"\nvariants = { a = 0, b = 1 }\nby = { expression = 'http.host' }")
        .zone("[[zones.site.rewrite_rules]]\nexpression = 'seawall.splits[\"hero\"][0] eq \"b\" and http.request.uri.path eq \"/\"'\npath = \"/b/\"")
        .start()
        .await;
    assert_eq!(seawall.get("/", &[]).await.text(), "/b/");
}

#[tokio::test]
async fn nobody_names_a_variant_where_the_split_does_not_hold() {
    let origin = origin();
    let seawall = Setup::before([&origin])
        .top(SECRET)
        .zone("[[zones.site.splits]]\nname = \"hero\"\nexpression = 'http.request.uri.path eq \"/\"'\nvariants = { a = 50, b = 50 }")
        .start()
        .await;
    for cache in ["MISS", "HIT"] {
        let forged = seawall.get("/other", &["X-Split-Hero: b"]).await;
        assert_eq!((forged.text(), forged.cache()), ("none", cache));
        assert_eq!(seawall.get("/other", &[]).await.text(), "none");
    }
    let passed = seawall
        .send("POST", "/other", &["X-Split-Hero: b"], "x")
        .await;
    assert_eq!(passed.text(), "none");
}

#[tokio::test]
async fn a_purge_reaches_what_a_url_is_rewritten_to_for_every_variant() {
    let origin = Origin::start(|request| Reply::fresh(request.target.clone()));
    let seawall = Setup::before([&origin])
        .purging()
        .zone("[[zones.site.splits]]\nname = \"hero\"\nvariants = { a = 0, b = 1 }\nby = { expression = 'http.host' }")
        .zone("[[zones.site.rewrite_rules]]\nexpression = 'http.request.uri.path eq \"/\"'\npath = { expression = 'concat(\"/\", seawall.splits[\"hero\"][0], \"/\")' }")
        .start()
        .await;
    let token = format!("Authorization: Bearer {TOKEN}");
    for _ in 0..2 {
        let response = seawall.get("/", &[]).await;
        assert_eq!((response.text(), response.cache()), ("/b/", "MISS"));
        assert_eq!(seawall.get("/", &[]).await.cache(), "HIT");
        assert_eq!(seawall.send("PURGE", "/", &[&token], "").await.status, 200);
    }
}

#[tokio::test]
async fn an_unsafe_request_invalidates_its_url_for_the_variants_of_others_too() {
    let origin = Origin::start(|request| Reply::fresh(request.target.clone()));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.splits]]\nname = \"hero\"\nvariants = { a = 1, b = 1 }\nby = { expression = 'http.request.headers[\"x-user\"][0]' }")
        .zone("[[zones.site.rewrite_rules]]\nexpression = 'http.request.uri.path eq \"/\"'\npath = { expression = 'concat(\"/\", seawall.splits[\"hero\"][0], \"/\")' }")
        .start()
        .await;
    let users: Vec<String> = (0..20).map(|user| format!("X-User: {user}")).collect();
    let mut of = BTreeMap::new();
    for user in &users {
        of.insert(seawall.get("/", &[user]).await.text().to_owned(), user);
    }
    assert_eq!(of.len(), 2, "both variants are stored");
    seawall.send("POST", "/", &[of["/a/"]], "x").await;
    for user in of.values() {
        assert_eq!(seawall.get("/", &[user]).await.cache(), "MISS");
    }
}
