//! Attacks by what the key leaves out: what is dropped from it, the origin does not see either.

use crate::support::{Origin, Reply, Seawall, Setup};

/// Sees that nobody who asks for `/p?a=1` gets a page that the origin made of anything else, whatever
/// was asked for before.
async fn victims_are_safe(key: &str, attacks: &[&str]) {
    let origin = Origin::start(|request| Reply::fresh(&request.target));
    let seawall = Setup::before([&origin])
        .rule("keyed", "*", &format!("key = {key}"))
        .start()
        .await;
    for attack in attacks {
        let attacked = seawall.get(attack, &[]).await;
        let received = attacked.text().to_owned();
        let victim = seawall.get("/p?a=1", &[]).await;
        assert_eq!(victim.text(), "/p?a=1", "{key} {attack}");
        // The origin reads exactly what the key holds: the same bytes find the same page.
        let again = seawall.get(&received, &[]).await;
        assert_eq!(again.text(), received, "{key} {attack}");
        assert_eq!(again.cache(), "HIT", "{key} {attack}");
    }
}

const ATTACKS: [&str; 13] = [
    "/p?a=1;utm_x=1&a=evil",
    "/p?utm_x=1;a=evil&a=1",
    "/p?a=1&utm_x=1;a=evil",
    "/p?a=1&a=evil",
    "/p?a=evil&a=1",
    "/p?a=1%26a=evil",
    "/p?a=1&utm_x=1%26a=evil",
    "/p?a=1&utm_x=1%3Ba=evil",
    "/p?a=1&%75tm_x&%61=evil",
    "/p?a=1&utm_x[]=1&a[]=evil",
    "/p?a=1&&=&utm_x=",
    "/p?a=1&A=evil",
    "/p?a=1&callback=evil",
];

#[tokio::test]
async fn parameters_hidden_in_dropped_ones_do_not_reach_the_page() {
    victims_are_safe(
        r#"{ query = { exclude = ["utm_*", "callback"] } }"#,
        &ATTACKS,
    )
    .await;
}

#[tokio::test]
async fn parameters_hidden_in_kept_ones_do_not_reach_the_page() {
    victims_are_safe(r#"{ query = { include = ["a"] } }"#, &ATTACKS).await;
    victims_are_safe(
        r#"{ query = { include = ["a"] }, sort_query = true }"#,
        &ATTACKS,
    )
    .await;
}

#[tokio::test]
async fn sorting_does_not_let_parameters_change_places_with_their_namesakes() {
    victims_are_safe("{ sort_query = true }", &ATTACKS).await;
}

#[tokio::test]
async fn a_fragment_has_no_place_in_a_target() {
    let origin = Origin::start(|request| Reply::fresh(&request.target));
    let seawall = Seawall::before(&origin).await;
    assert_eq!(seawall.get("/p?a=1#a=evil", &[]).await.status, 400);
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_posted_query_reaches_the_application_whole() {
    let origin = Origin::start(|request| Reply::ok(&request.target));
    let seawall = Setup::before([&origin])
        .rule("keyed", "*", r#"key = { query = "none" }"#)
        .start()
        .await;
    let posted = seawall.send("POST", "/p?a=1&b=2", &[], "x").await;
    assert_eq!(posted.text(), "/p?a=1&b=2");
}

#[tokio::test]
async fn a_class_of_device_that_a_client_claims_is_not_believed() {
    let origin = Origin::start(|request| Reply::fresh(request.all("x-device-class").join(",")));
    let seawall = Setup::before([&origin])
        .rule("device", "/d", "key = { device = true }")
        .start()
        .await;
    let claim = ["X-Device-Class: evil"];
    assert_eq!(seawall.get("/d", &claim).await.text(), "desktop");
    assert_eq!(seawall.get("/plain", &claim).await.text(), "");
    assert_eq!(seawall.send("POST", "/plain", &claim, "x").await.text(), "");
}

#[tokio::test]
async fn merged_slashes_are_one_page_to_rules_key_origin_and_purges() {
    let origin = Origin::start(|request| Reply::fresh(&request.target));
    let seawall = Setup::before([&origin])
        .purging()
        .zone("merge_slashes = true")
        .rule("private", "/private/*", "cache = \"bypass\"")
        .start()
        .await;
    assert_eq!(seawall.get("/a/b?x=//", &[]).await.cache(), "MISS");
    for spelling in [
        "//a/b?x=//",
        "/a//b?x=//",
        "///a///b?x=//",
        "/c//../a/b?x=//",
    ] {
        let response = seawall.get(spelling, &[]).await;
        let seen = (response.text(), response.cache());
        assert_eq!(seen, ("/a/b?x=//", "HIT"), "{spelling}");
    }
    let private = seawall.get("//private//page", &[]).await;
    assert_eq!(
        (private.text(), private.cache()),
        ("/private/page", "BYPASS")
    );

    for files in ["http://site.test/a//b?x=//", "http://site.test/a/b?x=//"] {
        seawall
            .purge(&format!("{{\"files\": [\"{files}\"]}}"))
            .await;
        let response = seawall.get("//a/b?x=//", &[]).await;
        assert_eq!(response.cache(), "MISS", "{files}");
    }
}
