//! Tables for `encoding`.

use super::super::fixtures::map;
use super::*;

const PAGE: (&str, &str) = ("content-type", "text/html; charset=utf-8");

fn may(status: u16, fields: &[(&'static str, &str)], length: Option<u64>) -> bool {
    let headers = map(fields);
    let response = ResponseView {
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
    };
    is_compressible(&response, length)
}

#[test]
fn only_whole_plain_answers_of_a_fitting_size_are_compressed() {
    let page = [PAGE];
    assert!(may(200, &page, Some(1024)));
    assert!(may(200, &page, None));
    assert!(may(200, &page, Some(10 << 20)));
    for length in [0, 1023, (10 << 20) + 1] {
        assert!(!may(200, &page, Some(length)), "{length}");
    }
    for status in [203, 204, 206, 304, 404, 500] {
        assert!(!may(status, &page, Some(5000)), "{status}");
    }
    let headers = map(&page);
    let part = ResponseView {
        status: StatusCode::PARTIAL_CONTENT,
        headers: &headers,
    };
    assert!(may_be_compressed(&part, Some(10)));
}

#[test]
fn rfc9110_7_7_what_the_origin_encoded_or_forbids_to_transform_is_left_alone() {
    for field in [
        ("content-encoding", "br"),
        ("content-encoding", "identity"),
        ("cache-control", "max-age=60, no-transform"),
        ("cache-control", "No-Transform"),
        ("cdn-cache-control", "max-age=60, no-transform"),
    ] {
        assert!(!may(200, &[PAGE, field], None), "{field:?}");
    }
    let other = ("cache-control", "max-age=60");
    assert!(may(200, &[PAGE, other], None));
    // A targeted field does not lift what Cache-Control says to everybody on the way.
    let both = [
        PAGE,
        ("cache-control", "no-transform"),
        ("cdn-cache-control", "max-age=60"),
    ];
    assert!(!may(200, &both, None));
}

#[test]
fn only_types_that_compressing_helps_are_compressed() {
    for compressed in [
        "text/html",
        "Text/CSS ; charset=utf-8",
        "text/plain",
        "application/json",
        "application/problem+json",
        "application/manifest+json",
        "application/atom+xml",
        "image/svg+xml",
        "application/javascript",
        "application/wasm",
        "font/ttf",
        "font/otf",
        "image/x-icon",
        "application/vnd.ms-fontobject",
    ] {
        assert!(
            may(200, &[("content-type", compressed)], None),
            "{compressed}"
        );
    }
    for other in [
        "text/event-stream",
        "TEXT/EVENT-STREAM",
        "font/woff",
        "font/woff2",
        "image/png",
        "image/jpeg",
        "image/webp",
        "video/mp4",
        "audio/mpeg",
        "application/zip",
        "application/gzip",
        "application/zstd",
        "application/pdf",
        "application/octet-stream",
        "multipart/byteranges",
        "application/jsonx",
        "text",
        "",
    ] {
        assert!(!may(200, &[("content-type", other)], None), "{other}");
    }
    assert!(!may(200, &[], None));
    assert!(!may(200, &[PAGE, PAGE], None));
}

#[test]
fn a_client_that_wants_ranges_or_no_transformation_has_none() {
    let accepts = ("accept-encoding", "gzip");
    let wanted = |fields: &[(&'static str, &str)]| wanted_by(&map(fields)).is_some();
    assert!(wanted(&[accepts]));
    assert!(wanted(&[accepts, ("cache-control", "no-cache")]));
    assert!(!wanted(&[]));
    assert!(!wanted(&[accepts, ("range", "bytes=0-1")]));
    assert!(!wanted(&[
        accepts,
        ("cache-control", "max-age=0, No-Transform")
    ]));
}

#[test]
fn what_speaks_of_the_origins_bytes_goes_and_the_tag_is_weak() {
    let fields = map(&[
        PAGE,
        ("content-length", "5000"),
        ("etag", "\"v1\""),
        ("accept-ranges", "bytes"),
        ("content-digest", "sha-256=:x:"),
        ("repr-digest", "sha-256=:x:"),
        ("digest", "sha-256=x"),
        ("content-md5", "x"),
        ("vary", "Cookie"),
        ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ]);
    let expected = map(&[
        PAGE,
        ("content-length", "700"),
        ("content-encoding", "zstd"),
        ("etag", "W/\"v1\""),
        ("vary", "Cookie"),
        ("vary", "Accept-Encoding"),
        ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ]);
    assert_eq!(encoded_fields(&fields, Coding::Zstd, 700), expected);
    let weak = map(&[("etag", "W/\"v1\"")]);
    let encoded = encoded_fields(&weak, Coding::Gzip, 1);
    assert_eq!(encoded.get(ETAG).unwrap(), "W/\"v1\"");
}

#[test]
fn a_twentieth_must_be_saved() {
    assert!(is_worthwhile(1000, 950));
    assert!(!is_worthwhile(1000, 951));
    assert!(!is_worthwhile(1000, 1200));
}
