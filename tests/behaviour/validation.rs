//! What the answers to validations do to stored pages (RFC 9111 §3.2, §4.3.3, §4.3.4).

use crate::support::{Gate, Origin, Reply, Seawall, Setup};

const EARLIER: &str = "Sun, 31 Dec 2023 00:00:00 GMT";
const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

#[tokio::test]
async fn a_304_updates_every_field_it_has_and_no_other() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::stale("hello")
            .field("Content-Type: text/plain")
            .field("X-Twice: 1")
            .field("X-Twice: 2")
            .field("X-Kept: kept")
            .field("Link: </old>"),
        _ => Reply::not_modified()
            .field("Cache-Control: max-age=90")
            .field("Content-Type: text/html")
            .field("X-Twice: 3")
            .field("X-New: new")
            .field("Link: </a>")
            .field("Link: </b>")
            .field("Content-Encoding: br")
            .field("Connection: X-Hop")
            .field("X-Hop: 1"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let validated = seawall.get("/p", &[]).await;
    let hit = seawall.get("/p", &[]).await;
    assert_eq!((validated.cache(), hit.cache()), ("REVALIDATED", "HIT"));
    for page in [validated, hit] {
        assert_eq!((page.status, page.text()), (200, "hello"));
        assert_eq!(page.all("cache-control"), ["max-age=90"]);
        assert_eq!(page.all("content-type"), ["text/html"]);
        assert_eq!(page.all("x-twice"), ["3"]);
        assert_eq!(page.all("x-kept"), ["kept"]);
        assert_eq!(page.all("x-new"), ["new"]);
        assert_eq!(page.all("link"), ["</a>", "</b>"]);
        assert_eq!(page.all("etag"), ["\"v1\""]);
        assert_eq!(page.all("content-encoding"), [""; 0]);
        assert_eq!(page.all("x-hop"), [""; 0]);
        assert_eq!(page.all("content-length"), ["5"]);
    }
}

#[tokio::test]
async fn a_page_is_validated_by_tag_and_date_as_the_origin_wrote_them() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::stale("hello").field(format!("Last-Modified: {MODIFIED}")),
        _ => Reply::not_modified().field("Cache-Control: max-age=60"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let fields = [
        "If-None-Match: \"v0\"",
        "If-Modified-Since: Sun, 31 Dec 2023 00:00:00 GMT",
        "Range: bytes=0-1",
    ];
    let part = seawall.get("/p", &fields).await;
    assert_eq!((part.status, part.text()), (206, "he"));
    let asked = origin.last();
    assert_eq!(asked.all("if-none-match"), ["\"v1\""]);
    assert_eq!(asked.all("if-modified-since"), [MODIFIED]);
    assert_eq!(asked.all("range"), [""; 0]);
}

#[tokio::test]
async fn a_page_without_a_tag_is_validated_by_date() {
    let origin = Origin::start(|request| match request.field("if-modified-since") {
        None => Reply::ok("hello")
            .field("Cache-Control: max-age=60\r\nAge: 60")
            .field(format!("Last-Modified: {MODIFIED}")),
        Some(_) => Reply::status(304, "")
            .field("Cache-Control: max-age=60")
            .field(format!("Last-Modified: {MODIFIED}")),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    assert_eq!(seawall.get("/p", &[]).await.cache(), "REVALIDATED");
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    let since = |date| format!("If-Modified-Since: {date}");
    assert_eq!(seawall.get("/p", &[&since(MODIFIED)]).await.status, 304);
    assert_eq!(seawall.get("/p", &[&since(EARLIER)]).await.status, 200);
}

#[tokio::test]
async fn a_304_for_another_tag_leads_to_a_plain_request() {
    for other in ["ETag: \"v2\"", "ETag: W/\"v2\""] {
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::stale("old"),
            1 => Reply::status(304, "")
                .field(other)
                .field("Cache-Control: max-age=60"),
            _ => Reply::fresh("new").field(other),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &[]).await;
        let page = seawall.get("/p", &[]).await;
        assert_eq!((page.status, page.text()), (200, "new"), "{other}");
        assert_eq!(origin.last().field("if-none-match"), None);
        let hit = seawall.get("/p", &[]).await;
        assert_eq!((hit.text(), hit.cache()), ("new", "HIT"), "{other}");
    }
}

#[tokio::test]
async fn a_weak_tag_validates_as_well() {
    let origin = Origin::start(|request| match request.field("if-none-match") {
        None => Reply::ok("hello")
            .field("Cache-Control: max-age=60\r\nAge: 60")
            .field("ETag: W/\"v1\""),
        Some("W/\"v1\"") => Reply::not_modified().field("Cache-Control: max-age=60"),
        Some(other) => Reply::status(500, other),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let page = seawall.get("/p", &[]).await;
    assert_eq!((page.text(), page.cache()), ("hello", "REVALIDATED"));
    assert_eq!(
        page.field("etag"),
        Some("W/\"v1\""),
        "it does not get strong"
    );
}

#[tokio::test]
async fn a_304_that_forbids_storing_removes_the_page() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::stale("shared"),
        1 => Reply::not_modified().field("Cache-Control: private"),
        _ => Reply::ok("private").field("Cache-Control: private"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let last = seawall.get("/p", &[]).await;
    assert_eq!((last.text(), last.cache()), ("shared", "BYPASS"));
    assert!(last.cache_status().ends_with("detail=private"));
    assert_eq!(seawall.get("/p", &[]).await.text(), "private");
    assert_eq!(origin.last().field("if-none-match"), None);
}

#[tokio::test]
async fn a_page_that_is_gone_is_not_served_again() {
    for status in [404, 403, 410, 401] {
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::stale("page").field("Cache-Control: stale-if-error=600"),
            1 => Reply::status(status, "gone"),
            _ => Reply::hang_up(),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &[]).await;
        let gone = seawall.get("/p", &[]).await;
        assert_eq!((gone.status, gone.text()), (status, "gone"));
        let after = seawall.get("/p", &[]).await;
        assert_eq!(after.status, 502, "not the page of before: {status}");
    }
}

#[tokio::test]
async fn an_error_in_answer_to_a_validation_is_shown_or_hidden() {
    for (control, seen) in [
        ("max-age=60, stale-if-error=600", (200, "page", "STALE")),
        ("max-age=60", (503, "down", "BYPASS")),
        (
            "max-age=60, stale-if-error=600, must-revalidate",
            (503, "down", "BYPASS"),
        ),
    ] {
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::ok("page")
                .field(format!("Cache-Control: {control}"))
                .field("Age: 60\r\nETag: \"v1\""),
            1 => Reply::status(503, "down"),
            _ => Reply::not_modified().field("Cache-Control: max-age=60"),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &[]).await;
        let answer = seawall.get("/p", &[]).await;
        let told = (answer.status, answer.text(), answer.cache());
        assert_eq!(told, seen, "{control}");
        let after = seawall.get("/p", &[]).await;
        let told = (after.text(), after.cache());
        assert_eq!(told, ("page", "REVALIDATED"), "it is still there");
    }
}

#[tokio::test]
async fn an_unsolicited_304_does_not_pass_for_a_page() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::not_modified().field("Cache-Control: max-age=60"),
        _ => Reply::fresh("hello").field("ETag: \"v1\""),
    });
    let seawall = Seawall::before(&origin).await;
    let odd = seawall.get("/p", &[]).await;
    assert!(odd.status != 200 && odd.body.is_empty() || odd.status >= 500);
    let page = seawall.get("/p", &[]).await;
    assert_eq!(
        (page.status, page.text(), page.cache()),
        (200, "hello", "MISS")
    );
}

#[tokio::test]
async fn preconditions_on_changes_are_for_the_origin_to_judge() {
    let origin = Origin::start(|request| match request.field("if-match") {
        Some("\"v0\"") => Reply::status(412, "no"),
        _ => Reply::stale("page"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let refused = seawall.get("/p", &["If-Match: \"v0\""]).await;
    assert_eq!((refused.status, refused.text()), (412, "no"));
    assert_eq!(origin.last().field("if-none-match"), None);
    let unmodified = format!("If-Unmodified-Since: {MODIFIED}");
    seawall.get("/p", &[&unmodified]).await;
    assert_eq!(origin.last().field("if-unmodified-since"), Some(MODIFIED));
    assert_eq!(seawall.get("/p", &[]).await.status, 200, "no 412 is stored");
}

#[tokio::test]
async fn a_late_304_does_not_touch_what_took_the_pages_place() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| match (request.nth, &*request.method) {
        (0, _) => Reply::stale("old").field("X-Version: 1"),
        (_, "POST") => Reply::status(204, ""),
        (1, _) => Reply::not_modified()
            .field("Cache-Control: max-age=60")
            .field("X-Version: 1a")
            .behind(&held),
        _ => Reply::fresh("new")
            .field("ETag: \"v2\"")
            .field("X-Version: 2"),
    });
    let seawall = Setup::before([&origin]).start().await;
    seawall.get("/p", &[]).await;
    let mut late = seawall.connect().await;
    late.request("GET", "/p", &[]).await;
    origin.asked("/p", 2).await;
    seawall.send("POST", "/p", &[], "x").await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "new");

    gate.open();
    assert_eq!(late.response().await.text(), "old");
    let page = seawall.get("/p", &[]).await;
    assert_eq!((page.text(), page.cache()), ("new", "HIT"));
    assert_eq!(page.field("x-version"), Some("2"));
    assert_eq!(page.field("etag"), Some("\"v2\""));
}
