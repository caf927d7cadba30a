//! Splits: sticky variants that are cached apart.

use std::collections::BTreeMap;

use crate::support::{Origin, Reply, Setup};

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
