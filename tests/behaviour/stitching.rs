//! Bytes of different versions are never put together; what is no part is not stored as one.

use crate::support::{Gate, Origin, Reply, Seawall, connected};

const ONE: &str = "0123456789";
const OTHER: &str = "abcdefghij";

#[tokio::test]
async fn parts_that_may_differ_are_not_joined() {
    for (first, second) in [
        ("ETag: \"v1\"", "ETag: \"v2\""),
        ("ETag: W/\"v1\"", "ETag: W/\"v1\""),
        ("ETag: \"v1\"", "ETag: W/\"v1\""),
        ("ETag: \"v1\"", "X-None: 1"),
        ("X-None: 1", "X-None: 1"),
        (
            "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT",
            "Last-Modified: Mon, 01 Jan 2024 00:00:01 GMT",
        ),
        ("ETag: \"v1\"", "ETag: \"v1\"\r\nContent-Encoding: br"),
    ] {
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::part(ONE, 0, 4).field(first),
            1 => Reply::part(OTHER, 5, 9).field(second),
            _ => Reply::fresh(OTHER).field("ETag: \"v3\""),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &["Range: bytes=0-4"]).await;
        let part = seawall.get("/p", &["Range: bytes=5-9"]).await;
        assert_eq!(part.text(), "fghij", "{first} {second}");

        let whole = seawall.get("/p", &[]).await;
        assert_eq!(
            (whole.status, whole.text()),
            (200, OTHER),
            "{first} {second}"
        );
        let across = seawall.get("/p", &["Range: bytes=3-6"]).await;
        assert_eq!(across.text(), "defg", "{first} {second}");
    }
}

#[tokio::test]
async fn parts_of_wholes_of_different_length_are_not_joined() {
    let longer = "abcdefghijklmnopqrst";
    let origin = Origin::start(move |request| match request.nth {
        0 => Reply::part(ONE, 0, 4).field("ETag: \"v1\""),
        1 => Reply::part(longer, 5, 19).field("ETag: \"v1\""),
        _ => Reply::fresh(longer).field("ETag: \"v1\""),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=0-4"]).await;
    seawall.get("/p", &["Range: bytes=5-19"]).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), longer);
}

#[tokio::test]
async fn several_parts_in_one_answer_are_not_stored() {
    let body = "--x\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n--x--\r\n";
    let origin = Origin::start(move |request| match request.nth {
        0 => Reply::status(206, body)
            .field("Content-Type: multipart/byteranges; boundary=x")
            .field("Cache-Control: max-age=60")
            .field("ETag: \"v1\""),
        _ => Reply::fresh(ONE).field("ETag: \"v1\""),
    });
    let seawall = Seawall::before(&origin).await;
    let parts = seawall.get("/p", &["Range: bytes=0-1"]).await;
    assert_eq!((parts.status, parts.text()), (206, body));
    assert!(parts.cache_status().ends_with("detail=partial-content"));
    let whole = seawall.get("/p", &[]).await;
    assert_eq!((whole.status, whole.text()), (200, ONE));
}

#[tokio::test]
async fn a_206_that_nobody_asked_for_does_not_become_the_page() {
    let origin = Origin::start(move |request| match request.nth {
        0 => Reply::part(ONE, 0, 4),
        _ => Reply::fresh(ONE),
    });
    let seawall = Seawall::before(&origin).await;
    let odd = seawall.get("/p", &[]).await;
    assert_eq!(odd.status, 502);
    let whole = seawall.get("/p", &[]).await;
    assert_eq!((whole.status, whole.text()), (200, ONE));
}

#[tokio::test]
async fn a_206_that_does_not_say_what_it_is_is_not_stored() {
    for range in [
        "Content-Range: bytes */10",
        "Content-Range: bytes 4-0/10",
        "Content-Range: bytes 0-20/10",
        "Content-Range: items 0-4/10",
        "X-None: 1",
    ] {
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::status(206, "01234")
                .field(range)
                .field("Cache-Control: max-age=60"),
            _ => Reply::file(request, ONE, "\"v1\""),
        });
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &["Range: bytes=0-4"]).await;
        seawall.get("/p", &["Range: bytes=0-4"]).await;
        assert_eq!(origin.count("/p"), 2, "{range}");
        assert_eq!(seawall.get("/p", &[]).await.text(), ONE, "{range}");
    }
}

#[tokio::test]
async fn a_416_passes_and_is_not_stored() {
    let origin = Origin::start(|request| match request.field("range") {
        Some(_) => Reply::status(416, "")
            .field("Content-Range: bytes */10")
            .field("Cache-Control: max-age=60"),
        None => Reply::fresh(ONE),
    });
    let seawall = Seawall::before(&origin).await;
    for _ in 0..2 {
        let none = seawall.get("/p", &["Range: bytes=50-"]).await;
        assert_eq!(none.status, 416);
        assert_eq!(none.field("content-range"), Some("bytes */10"));
    }
    assert_eq!(origin.count("/p"), 2);
    let whole = seawall.get("/p", &[]).await;
    assert_eq!((whole.status, whole.text()), (200, ONE));
}

#[tokio::test]
async fn a_part_that_arrives_late_does_not_replace_the_whole() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::file(request, ONE, "\"v1\"");
        match request.field("range") {
            Some(_) => reply.behind(&held),
            None => reply,
        }
    });
    let seawall = Seawall::before(&origin).await;
    let mut late = seawall.connect().await;
    late.request("GET", "/p", &["Range: bytes=0-4"]).await;
    origin.asked("/p", 1).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), ONE);
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");

    gate.open();
    assert_eq!(late.response().await.text(), "01234");
    let whole = seawall.get("/p", &[]).await;
    assert_eq!((whole.text(), whole.cache()), (ONE, "HIT"));
}

#[tokio::test]
async fn who_waits_for_a_range_gets_no_part_of_another_version() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| Reply::file(request, OTHER, "\"v2\"").behind(&held));
    let seawall = Seawall::before(&origin).await;
    let mut first = seawall.connect().await;
    first.request("GET", "/p", &["Range: bytes=5-9"]).await;
    origin.asked("/p", 1).await;
    // The beginning of version 1 is on its disk.
    let mut second = seawall.connect().await;
    second
        .request("GET", "/p", &["Range: bytes=5-9", "If-Range: \"v1\""])
        .await;
    connected(&seawall, 2).await;
    gate.open();
    let part = first.response().await;
    assert_eq!((part.status, part.text()), (206, "fghij"));
    let whole = second.response().await;
    assert_eq!((whole.status, whole.text()), (200, OTHER));
}

#[tokio::test]
async fn if_range_is_judged_for_a_stored_part() {
    let origin = Origin::start(|request| Reply::file(request, ONE, "\"v1\""));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &["Range: bytes=0-4"]).await;
    let same = seawall
        .get("/p", &["Range: bytes=1-2", "If-Range: \"v1\""])
        .await;
    assert_eq!((same.status, same.text(), same.cache()), (206, "12", "HIT"));
    for other in ["\"v0\"", "W/\"v1\"", "Mon, 01 Jan 2024 00:00:00 GMT"] {
        let origin = Origin::start(|request| Reply::file(request, ONE, "\"v1\""));
        let seawall = Seawall::before(&origin).await;
        seawall.get("/p", &["Range: bytes=0-4"]).await;
        let if_range = format!("If-Range: {other}");
        let whole = seawall.get("/p", &["Range: bytes=1-2", &if_range]).await;
        assert_eq!((whole.status, whole.text()), (200, ONE), "{other}");
    }
}
