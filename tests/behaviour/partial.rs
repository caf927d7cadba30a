//! Parts of pages that are not stored: kept as parts, joined, completed (RFC 9111 §3.3, §3.4).

use crate::support::{Origin, Received, Reply, Seawall};

const WHOLE: &str = "0123456789abcdefghij";

/// An origin of one static file.
fn file() -> Origin {
    Origin::start(|request| Reply::file(request, WHOLE, "\"v1\""))
}

fn asked(origin: &Origin) -> Vec<Option<String>> {
    let range = |request: &Received| request.field("range").map(str::to_owned);
    origin.requests().iter().map(range).collect()
}

#[tokio::test]
async fn a_range_of_a_cold_page_is_all_that_is_fetched() {
    let origin = file();
    let seawall = Seawall::before(&origin).await;
    let part = seawall.get("/p", &["Range: bytes=0-0"]).await;
    assert_eq!((part.status, part.text()), (206, "0"));
    assert_eq!(part.field("content-range"), Some("bytes 0-0/20"));
    assert_eq!(part.field("content-length"), Some("1"));
    assert_eq!(asked(&origin), [Some("bytes=0-0".to_owned())]);
}

#[tokio::test]
async fn a_stored_part_serves_the_ranges_within_it() {
    let origin = file();
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=10-"]).await;

    for (range, body, content_range) in [
        ("10-", "abcdefghij", "bytes 10-19/20"),
        ("12-13", "cd", "bytes 12-13/20"),
        ("15-", "fghij", "bytes 15-19/20"),
        ("18-500", "ij", "bytes 18-19/20"),
        ("-3", "hij", "bytes 17-19/20"),
        ("-10", "abcdefghij", "bytes 10-19/20"),
    ] {
        let part = seawall.get("/p", &[&format!("Range: bytes={range}")]).await;
        assert_eq!((part.status, part.text()), (206, body), "{range}");
        assert_eq!(part.field("content-range"), Some(content_range), "{range}");
        assert_eq!(part.field("etag"), Some("\"v1\""));
        assert_eq!(part.cache(), "HIT", "{range}");
    }
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn a_suffix_may_be_stored_as_well() {
    let origin = file();
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=-5"]).await;
    let part = seawall.get("/p", &["Range: bytes=16-17"]).await;
    assert_eq!((part.text(), part.cache()), ("gh", "HIT"));
}

#[tokio::test]
async fn what_reaches_beyond_a_stored_part_is_asked_of_the_origin() {
    let origin = file();
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=5-9"]).await;
    for (range, body) in [("4-9", "456789"), ("8-11", "89ab"), ("-2", "ij")] {
        let part = seawall.get("/p", &[&format!("Range: bytes={range}")]).await;
        assert_eq!((part.status, part.text()), (206, body), "{range}");
        let told = part.cache_status();
        assert!(told.starts_with("fwd=partial; fwd-status=206; "), "{told}");
    }
    assert_eq!(origin.count("/p"), 4);
}

#[tokio::test]
async fn parts_with_one_strong_tag_become_the_whole() {
    let origin = file();
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=10-19"]).await;
    seawall.get("/p", &["Range: bytes=0-11"]).await;

    let whole = seawall.get("/p", &[]).await;
    assert_eq!(
        (whole.status, whole.text(), whole.cache()),
        (200, WHOLE, "HIT")
    );
    assert_eq!(whole.field("content-length"), Some("20"));
    assert_eq!(whole.field("content-range"), None);
    let part = seawall.get("/p", &["Range: bytes=8-12"]).await;
    assert_eq!((part.text(), part.cache()), ("89abc", "HIT"));
    assert_eq!(origin.count("/p"), 2);
}

#[tokio::test]
async fn three_parts_in_any_order_become_the_whole() {
    let origin = file();
    let seawall = Seawall::before(&origin).await;
    for range in ["15-19", "0-4", "5-14"] {
        seawall.get("/p", &[&format!("Range: bytes={range}")]).await;
    }
    let whole = seawall.get("/p", &[]).await;
    assert_eq!((whole.text(), whole.cache()), (WHOLE, "HIT"));
    assert_eq!(origin.count("/p"), 3);
}

#[tokio::test]
async fn a_plain_get_asks_for_what_is_missing() {
    for (stored, missing) in [
        ("bytes=0-7", "bytes=8-"),
        ("bytes=8-", "bytes=0-7"),
        ("bytes=-12", "bytes=0-7"),
    ] {
        let origin = file();
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &[&format!("Range: {stored}")]).await;

        let whole = seawall.get("/p", &[]).await;
        assert_eq!((whole.status, whole.text()), (200, WHOLE), "{stored}");
        assert_eq!(whole.field("content-length"), Some("20"));
        assert_eq!(whole.field("content-range"), None);
        let told = whole.cache_status();
        assert!(told.starts_with("fwd=partial; fwd-status=206; stored; ttl="));
        let request = origin.last();
        assert_eq!(request.field("range"), Some(missing));
        assert_eq!(request.field("if-range"), Some("\"v1\""));
        assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
        assert_eq!(origin.count("/p"), 2);
    }
}

#[tokio::test]
async fn the_middle_of_a_page_is_completed() {
    let origin = file();
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=0-4"]).await;
    seawall.get("/p", &["Range: bytes=15-"]).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), WHOLE);
    assert_eq!(origin.last().field("range"), Some("bytes=5-14"));
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn a_changed_page_replaces_the_stored_part() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::file(request, WHOLE, "\"v1\""),
        _ => Reply::file(request, "a new page", "\"v2\""),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=0-7"]).await;

    let whole = seawall.get("/p", &[]).await;
    assert_eq!((whole.status, whole.text()), (200, "a new page"));
    assert_eq!(origin.last().field("if-range"), Some("\"v1\""));
    let part = seawall.get("/p", &["Range: bytes=0-4"]).await;
    assert_eq!((part.text(), part.cache()), ("a new", "HIT"));
    assert_eq!(origin.count("/p"), 2);
}

#[tokio::test]
async fn what_does_not_complete_a_part_leads_to_a_plain_request() {
    let other = "abcdefghijklmnopqrst";
    let answers: [fn() -> Reply; 6] = [
        || Reply::part("abcdefghijklmnopqrst", 8, 19).field("ETag: \"v2\""),
        || Reply::part("abcdefghijklmnopqrst", 9, 19).field("ETag: \"v1\""),
        || Reply::part("abcdefghijklmnopqrst", 8, 12).field("ETag: \"v1\""),
        || Reply::part("abcdefghijklmnopqrstuvwxyz", 8, 25).field("ETag: \"v1\""),
        || Reply::part("abcdefghijklmnopqrst", 8, 19),
        || Reply::status(416, "").field("Content-Range: bytes */5"),
    ];
    for (case, answer) in answers.into_iter().enumerate() {
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::file(request, WHOLE, "\"v1\""),
            1 => answer(),
            _ => Reply::file(request, other, "\"v2\""),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &["Range: bytes=0-7"]).await;

        let whole = seawall.get("/p", &[]).await;
        assert_eq!((whole.status, whole.text()), (200, other), "{case}");
        assert_eq!(origin.last().field("range"), None, "{case}");
        let again = seawall.get("/p", &[]).await;
        assert_eq!((again.text(), again.cache()), (other, "HIT"), "{case}");
    }
}

#[tokio::test]
async fn a_rest_that_is_cut_short_is_no_rest() {
    let origin = Origin::start(|request| match request.nth {
        1 => Reply::raw(
            "HTTP/1.1 206 P\r\nContent-Length: 12\r\nContent-Range: bytes 8-19/20\r\n\
             ETag: \"v1\"\r\nCache-Control: max-age=60\r\n\r\n89a",
        ),
        _ => Reply::file(request, WHOLE, "\"v1\""),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=0-7"]).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), WHOLE);
    assert_eq!(origin.count("/p"), 3);
}

#[tokio::test]
async fn a_part_without_a_strong_tag_is_not_completed() {
    // Without any validator the answer would show, but this one does not.
    for (validator, requests) in [("ETag: W/\"v1\"", 2), ("X-None: 1", 3)] {
        let origin = Origin::start(move |request| match request.field("range") {
            Some(_) => Reply::part(WHOLE, 0, 7).field(validator),
            None => Reply::fresh(WHOLE).field(validator),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &["Range: bytes=0-7"]).await;
        let whole = seawall.get("/p", &[]).await;
        assert_eq!((whole.status, whole.text()), (200, WHOLE), "{validator}");
        assert_eq!(origin.count("/p"), requests, "{validator}");
    }
}

#[tokio::test]
async fn a_part_answers_neither_a_plain_get_nor_a_head() {
    let origin = Origin::start(|request| match request.field("range") {
        Some(_) => Reply::part(WHOLE, 0, 7),
        None => Reply::status(503, "down"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=0-7"]).await;
    assert_eq!(seawall.get("/p", &[]).await.status, 503);
    assert_eq!(seawall.head("/p", &[]).await.status, 503);
    let part = seawall.get("/p", &["Range: bytes=0-7"]).await;
    assert_eq!((part.status, part.text()), (206, "01234567"));
}

#[tokio::test]
async fn a_client_that_has_the_page_gets_a_304_from_a_part() {
    let origin = file();
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=0-7"]).await;
    let fields = ["Range: bytes=0-3", "If-None-Match: \"v1\""];
    let current = seawall.get("/p", &fields).await;
    assert_eq!((current.status, current.cache()), (304, "HIT"));
    assert_eq!(origin.count("/p"), 1);
}
