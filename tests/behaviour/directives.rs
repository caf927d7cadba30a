//! Whose directives hold: the targeted fields before Cache-Control before Expires, and the client's
//! own where a zone heeds them.

use crate::support::{Origin, Reply, Seawall, Setup};

const PAST: &str = "Expires: Mon, 01 Jan 2024 00:00:00 GMT";
const FUTURE: &str = "Expires: Thu, 01 Jan 2099 00:00:00 GMT";
const MODIFIED: &str = "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT";

/// The word for the second request of a page with these fields.
async fn second(setup: impl FnOnce(&Origin) -> Setup, fields: &'static [&str]) -> String {
    let origin = Origin::start(move |_| {
        fields
            .iter()
            .fold(Reply::ok("page"), |reply, field| reply.field(*field))
    });
    let seawall = setup(&origin).start().await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "page");
    seawall.get("/p", &[]).await.cache().to_owned()
}

fn plain(origin: &Origin) -> Setup {
    Setup::before([origin])
}

fn respecting(origin: &Origin) -> Setup {
    Setup::before([origin]).rule("respect", "/*", "request_cache_control = \"respect\"")
}

#[tokio::test]
async fn targeted_fields_go_before_cache_control_and_expires() {
    for (fields, word) in [
        (
            &["CDN-Cache-Control: max-age=60", "Cache-Control: no-store"][..],
            "HIT",
        ),
        (&["CDN-Cache-Control: max-age=60", PAST], "HIT"),
        (
            &["CDN-Cache-Control: no-store", "Cache-Control: max-age=60"],
            "BYPASS",
        ),
        (&["CDN-Cache-Control: private", FUTURE], "BYPASS"),
        (&["CDN-Cache-Control: public", FUTURE], "BYPASS"),
        (
            &[
                "Seawall-CDN-Cache-Control: max-age=60",
                "CDN-Cache-Control: no-store",
                "Cache-Control: no-store",
            ],
            "HIT",
        ),
        (
            &[
                "Seawall-CDN-Cache-Control: no-store",
                "CDN-Cache-Control: max-age=60",
            ],
            "BYPASS",
        ),
        (&["Cache-Control: max-age=60", PAST], "HIT"),
        (&["Cache-Control: s-maxage=60, max-age=0"], "HIT"),
        (&[FUTURE], "HIT"),
        (&[PAST], "BYPASS"),
        (&["Expires: 0"], "BYPASS"),
    ] {
        assert_eq!(second(plain, fields).await, word, "{fields:?}");
    }
}

#[tokio::test]
async fn an_invalid_targeted_field_is_as_good_as_absent() {
    for (fields, word) in [
        (
            &[
                "CDN-Cache-Control: max-age=60, &",
                "Cache-Control: no-store",
            ][..],
            "BYPASS",
        ),
        (
            &[
                "CDN-Cache-Control: no-store, &",
                "Cache-Control: max-age=60",
            ],
            "HIT",
        ),
        (
            &[
                "CDN-Cache-Control: max-age=\"60\"",
                "Cache-Control: max-age=60",
            ],
            "HIT",
        ),
        (
            &["CDN-Cache-Control: max-age=60.5", "Cache-Control: no-store"],
            "BYPASS",
        ),
        (&["CDN-Cache-Control:", "Cache-Control: max-age=60"], "HIT"),
        (
            &[
                "Seawall-CDN-Cache-Control: max-age=?",
                "CDN-Cache-Control: max-age=60",
                "Cache-Control: no-store",
            ],
            "HIT",
        ),
    ] {
        assert_eq!(second(plain, fields).await, word, "{fields:?}");
    }
}

#[tokio::test]
async fn our_own_targeted_field_is_not_passed_on_and_the_common_one_is() {
    let origin = Origin::start(|_| {
        Reply::ok("page")
            .field("Seawall-CDN-Cache-Control: max-age=60")
            .field("CDN-Cache-Control: max-age=30")
            .field("Cache-Control: no-cache")
    });
    let seawall = Seawall::before(&origin).await;
    for word in ["MISS", "HIT"] {
        let page = seawall.get("/p", &[]).await;
        assert_eq!(page.cache(), word);
        assert_eq!(page.field("seawall-cdn-cache-control"), None);
        assert_eq!(page.field("cdn-cache-control"), Some("max-age=30"));
        assert_eq!(page.field("cache-control"), Some("no-cache"));
    }
}

#[tokio::test]
async fn must_understand_overrides_no_store_where_the_status_is_understood() {
    for (status, word) in [(200, "HIT"), (404, "HIT"), (299, "BYPASS")] {
        let origin = Origin::start(move |_| {
            Reply::status(status, "page")
                .field("Cache-Control: max-age=60, must-understand, no-store")
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &[]).await;
        assert_eq!(seawall.get("/p", &[]).await.cache(), word, "{status}");
    }
}

#[tokio::test]
async fn a_lifetime_is_estimated_where_a_rule_says_so() {
    let estimating = |origin: &Origin| {
        Setup::before([origin]).rule("estimate", "/*", "edge_ttl = { heuristic = {} }")
    };
    assert_eq!(second(plain, &[MODIFIED]).await, "BYPASS");
    assert_eq!(second(estimating, &[MODIFIED]).await, "HIT");
    assert_eq!(second(estimating, &[]).await, "BYPASS");
    let forbidden = &[MODIFIED, "Cache-Control: no-store"];
    assert_eq!(second(estimating, forbidden).await, "BYPASS");
}

#[tokio::test]
async fn fields_that_no_cache_names_are_not_stored() {
    let origin = Origin::start(|_| {
        Reply::ok("page")
            .field("Cache-Control: max-age=60, no-cache=\"X-Mine, X-Other\"")
            .field("X-Mine: 1")
            .field("X-Other: 2")
            .field("X-Shared: 3")
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let hit = seawall.get("/p", &[]).await;
    assert_eq!((hit.text(), hit.cache()), ("page", "HIT"));
    assert_eq!((hit.field("x-mine"), hit.field("x-other")), (None, None));
    assert_eq!(hit.field("x-shared"), Some("3"));
}

#[tokio::test]
async fn what_the_client_says_is_ignored_by_default() {
    let origin = Origin::start(|_| Reply::fresh("page").field("Age: 30"));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Cache-Control: no-store"]).await;
    for asked in [
        "Cache-Control: no-cache",
        "Cache-Control: no-store",
        "Cache-Control: max-age=0",
        "Cache-Control: min-fresh=50",
        "Pragma: no-cache",
    ] {
        assert_eq!(seawall.get("/p", &[asked]).await.cache(), "HIT", "{asked}");
    }
    let cold = seawall.get("/q", &["Cache-Control: only-if-cached"]).await;
    assert_eq!((cold.status, cold.cache()), (200, "MISS"));
}

#[tokio::test]
async fn what_the_client_says_holds_where_a_rule_says_so() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        Some(_) => Reply::not_modified()
            .field("Cache-Control: max-age=60")
            .field("Age: 30"),
        None => Reply::fresh("page").field("Age: 30").field("ETag: \"v1\""),
    });
    let seawall = respecting(&origin).start().await;
    seawall.get("/p", &[]).await;
    for (asked, word) in [
        ("Cache-Control: no-cache", "REVALIDATED"),
        ("Pragma: no-cache", "REVALIDATED"),
        ("Cache-Control: max-age=10", "REVALIDATED"),
        ("Cache-Control: max-age=50", "HIT"),
        ("Cache-Control: min-fresh=50", "REVALIDATED"),
        ("Cache-Control: min-fresh=10", "HIT"),
        ("Cache-Control: only-if-cached", "HIT"),
        ("Cache-Control: max-stale", "HIT"),
    ] {
        let page = seawall.get("/p", &[asked]).await;
        assert_eq!((page.text(), page.cache()), ("page", word), "{asked}");
        let request = word == "REVALIDATED";
        let told = page.cache_status();
        assert_eq!(told.starts_with("fwd=request; "), request, "{told}");
    }
}

#[tokio::test]
async fn what_a_client_wants_unstored_is_not_stored() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = respecting(&origin).start().await;
    for _ in 0..2 {
        let page = seawall.get("/p", &["Cache-Control: no-store"]).await;
        assert_eq!(page.cache(), "BYPASS");
        let told = page.cache_status();
        assert!(told.ends_with("detail=request-no-store"), "{told}");
    }
    assert_eq!(seawall.get("/p", &[]).await.cache(), "MISS");
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn stale_pages_go_to_those_who_accept_them() {
    for (control, asked, word) in [
        ("max-age=60", "max-stale", "STALE"),
        ("max-age=60", "max-stale=600", "STALE"),
        ("max-age=60", "max-stale=10", "REVALIDATED"),
        ("max-age=60", "max-age=600", "REVALIDATED"),
        ("max-age=60, must-revalidate", "max-stale", "REVALIDATED"),
        ("s-maxage=60", "max-stale", "REVALIDATED"),
    ] {
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::ok("page")
                .field(format!("Cache-Control: {control}"))
                .field("Age: 120\r\nETag: \"v1\""),
            _ => Reply::not_modified(),
        });
        let seawall = respecting(&origin).start().await;
        seawall.get("/p", &[]).await;
        let asked = format!("Cache-Control: {asked}");
        let page = seawall.get("/p", &[&asked]).await;
        let seen = (page.text(), page.cache());
        assert_eq!(seen, ("page", word), "{control} {asked}");
    }
}

#[tokio::test]
async fn who_wants_only_what_is_stored_gets_that_or_a_504() {
    let origin = Origin::start(|request| match request.field("range") {
        Some(_) => Reply::file(request, "0123456789", "\"v1\""),
        None => Reply::stale("page"),
    });
    let seawall = respecting(&origin).start().await;
    seawall.get("/stale", &[]).await;
    seawall.get("/part", &["Range: bytes=0-4"]).await;
    let before = origin.requests().len();

    let only = "Cache-Control: only-if-cached";
    for (target, range) in [
        ("/cold", "X-None: 1"),
        ("/cold", "Range: bytes=0-1"),
        ("/stale", "X-None: 1"),
        ("/part", "X-None: 1"),
        ("/part", "Range: bytes=3-6"),
    ] {
        let none = seawall.get(target, &[only, range]).await;
        assert_eq!(none.status, 504, "{target} {range}");
        assert_eq!(none.cache_status(), "detail=only-if-cached");
    }
    let part = seawall.get("/part", &[only, "Range: bytes=1-2"]).await;
    assert_eq!((part.status, part.text(), part.cache()), (206, "12", "HIT"));
    assert_eq!(origin.requests().len(), before);
}
