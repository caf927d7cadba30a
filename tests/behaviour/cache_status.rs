//! What `Cache-Status` tells (RFC 9211).

use crate::support::{Gate, Origin, Reply, Seawall, Setup};

#[tokio::test]
async fn misses_and_hits_tell_their_ttl() {
    let origin = Origin::start(|_| Reply::fresh("page").field("Age: 20"));
    let seawall = Seawall::before(&origin).await;
    for prefix in ["fwd=uri-miss; fwd-status=200; stored; ttl=", "hit; ttl="] {
        let page = seawall.get("/p", &[]).await;
        let told = page.cache_status();
        let ttl = told
            .strip_prefix(prefix)
            .unwrap_or_else(|| panic!("{told}"));
        assert!((20..=40).contains(&ttl.parse::<i64>().unwrap()), "{told}");
    }
}

#[tokio::test]
async fn a_stale_page_tells_for_how_long() {
    let origin = Origin::start(|_| {
        Reply::ok("page")
            .field("Cache-Control: max-age=60, stale-while-revalidate=600")
            .field("Age: 100\r\nETag: \"v1\"")
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let page = seawall.get("/p", &[]).await;
    let told = page.cache_status();
    let ttl = told
        .strip_prefix("hit; ttl=-")
        .and_then(|rest| rest.strip_suffix("; detail=stale-while-revalidate"));
    let ttl: i64 = ttl.unwrap_or_else(|| panic!("{told}")).parse().unwrap();
    assert!((40..=60).contains(&ttl), "{told}");
}

#[tokio::test]
async fn a_variant_that_is_not_stored_is_a_vary_miss() {
    let origin = Origin::start(|_| Reply::fresh("page").field("Vary: X-Kind"));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["X-Kind: 1"]).await;
    let other = seawall.get("/p", &["X-Kind: 2"]).await;
    let told = other.cache_status();
    let expected = "fwd=vary-miss; fwd-status=200; stored; ttl=";
    assert!(told.starts_with(expected), "{told}");
}

#[tokio::test]
async fn what_a_client_makes_go_forward_is_told_so() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = Setup::before([&origin])
        .rule("respect", "/*", "request_cache_control = \"respect\"")
        .start()
        .await;
    seawall.get("/p", &[]).await;
    let page = seawall.get("/p", &["Cache-Control: no-cache"]).await;
    let told = page.cache_status();
    let expected = "fwd=request; fwd-status=200; stored; ttl=";
    assert!(told.starts_with(expected), "{told}");
    let post = seawall.send("POST", "/p", &[], "x").await;
    let told = post.cache_status();
    assert!(told.starts_with("fwd=method; fwd-status=200"), "{told}");
}

#[tokio::test]
async fn a_part_tells_that_more_was_missing() {
    let origin = Origin::start(|request| Reply::file(request, "0123456789", "\"v1\""));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=0-1"]).await;
    let more = seawall.get("/p", &["Range: bytes=1-2"]).await;
    let told = more.cache_status();
    let expected = "fwd=partial; fwd-status=206; stored; ttl=";
    assert!(told.starts_with(expected), "{told}");
}

#[tokio::test]
async fn who_waited_for_another_is_told_so() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::chunked(["first "])
            .then("second", &held)
            .field("Cache-Control: max-age=60")
    });
    let seawall = Seawall::before(&origin).await;
    let mut leader = seawall.connect().await;
    leader.request("GET", "/p", &[]).await;
    let led = leader.response_head().await.unwrap();
    let told = led.cache_status();
    let expected = "fwd=uri-miss; fwd-status=200; stored; ttl=";
    assert!(told.starts_with(expected), "{told}");
    let mut follower = seawall.connect().await;
    follower.request("GET", "/p", &[]).await;
    let second = follower.response_head().await.unwrap();
    let told = second.cache_status();
    let expected = "fwd=uri-miss; fwd-status=200; collapsed; ttl=";
    assert!(told.starts_with(expected), "{told}");
    gate.open();
}

#[tokio::test]
async fn an_origin_that_does_not_answer_has_no_status() {
    let origin = Origin::start(|_| Reply::hang_up());
    let seawall = Seawall::before(&origin).await;
    let error = seawall.get("/p", &[]).await;
    assert_eq!((error.status, error.cache_status()), (502, "fwd=uri-miss"));
}
