//! Parts of a stored page (RFC 9110 §14).

use crate::support::{Origin, Reply, Seawall};

async fn primed() -> (Origin, Seawall) {
    let origin = Origin::start(|_| {
        Reply::fresh("0123456789")
            .field("ETag: \"v1\"")
            .field("Content-Type: text/plain")
    });
    let seawall = Seawall::before(&origin).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "0123456789");
    (origin, seawall)
}

#[tokio::test]
async fn one_range_of_a_stored_page() {
    let (origin, seawall) = primed().await;
    for (range, body, content_range) in [
        ("0-0", "0", "bytes 0-0/10"),
        ("2-4", "234", "bytes 2-4/10"),
        ("8-", "89", "bytes 8-9/10"),
        ("8-100", "89", "bytes 8-9/10"),
        ("-3", "789", "bytes 7-9/10"),
        ("-100", "0123456789", "bytes 0-9/10"),
    ] {
        let response = seawall.get("/p", &[&format!("Range: bytes={range}")]).await;
        assert_eq!((response.status, response.text()), (206, body), "{range}");
        assert_eq!(response.field("content-range"), Some(content_range));
        assert_eq!(response.cache(), "HIT");
    }
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn a_range_outside_the_page_is_unsatisfiable() {
    let (origin, seawall) = primed().await;
    for range in ["10-", "100-200", "-0"] {
        let mut client = seawall.connect().await;
        let response = client.get("/p", &[&format!("Range: bytes={range}")]).await;
        assert_eq!(response.status, 416, "{range}");
        assert_eq!(
            response.field("content-range"),
            Some("bytes */10"),
            "{range}"
        );
        assert_eq!(client.get("/p", &[]).await.text(), "0123456789");
    }
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn what_is_no_range_is_ignored() {
    let (_origin, seawall) = primed().await;
    for range in ["bytes=4-2", "bytes=a-b", "bytes=", "lines=1-2", "bytes 1-2"] {
        let response = seawall.get("/p", &[&format!("Range: {range}")]).await;
        assert_eq!(
            (response.status, response.text()),
            (200, "0123456789"),
            "{range}"
        );
    }
}

#[tokio::test]
async fn many_overlapping_ranges_do_not_multiply_the_page() {
    let (_origin, seawall) = primed().await;
    let ranges = vec!["0-"; 200].join(",");
    let response = seawall
        .get("/p", &[&format!("Range: bytes={ranges}")])
        .await;
    assert!(response.body.len() < 1000, "{} bytes", response.body.len());
}

#[tokio::test]
async fn a_range_of_another_version_gets_the_whole() {
    let (_origin, seawall) = primed().await;
    for (condition, status) in [("\"v1\"", 206), ("\"v0\"", 200), ("W/\"v1\"", 200)] {
        let if_range = format!("If-Range: {condition}");
        let response = seawall.get("/p", &["Range: bytes=0-1", &if_range]).await;
        assert_eq!(response.status, status, "{condition}");
    }
}

#[tokio::test]
async fn a_range_on_a_cold_key_fills_the_store_with_the_whole() {
    let origin = Origin::start(|request| match request.field("range") {
        Some(_) => Reply::status(206, "01").field("Content-Range: bytes 0-1/10"),
        None => Reply::fresh("0123456789"),
    });
    let seawall = Seawall::before(&origin).await;

    let part = seawall.get("/p", &["Range: bytes=0-1"]).await;
    assert_eq!((part.status, part.text()), (206, "01"));
    let whole = seawall.get("/p", &[]).await;
    assert_eq!((whole.status, whole.text()), (200, "0123456789"));
}

#[tokio::test]
async fn several_ranges_come_as_parts() {
    let (_origin, seawall) = primed().await;
    let response = seawall.get("/p", &["Range: bytes=0-1,-2"]).await;
    assert_eq!(response.status, 206);
    let kind = response.field("content-type").unwrap().to_owned();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap()
        .trim_matches('"');
    let parts: Vec<&str> = response.text().split(&format!("--{boundary}")).collect();
    assert!(
        parts[1].contains("bytes 0-1/10") && parts[1].trim_end().ends_with("\r\n01"),
        "{parts:?}"
    );
    assert!(
        parts[2].contains("bytes 8-9/10") && parts[2].trim_end().ends_with("\r\n89"),
        "{parts:?}"
    );
    assert_eq!(parts[3].trim_end(), "--");
}
