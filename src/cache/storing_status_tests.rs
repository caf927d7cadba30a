//! Tables for `storing` that concern methods, statuses and parts, by section of the RFCs.

use std::sync::Arc;

use super::super::fixtures::{by_rule, get, http_date, map, seconds, settings, with_ttl};
use super::super::settings::{EdgeTtlMode, Heuristic, TtlValue};
use super::tests::{answer, decide};
use super::*;
use NoStoreReason as No;

#[test]
fn rfc9111_3_statuses_with_explicit_freshness() {
    let fields = [("cache-control", "max-age=60")];
    let stored = [
        200, 201, 203, 204, 299, 300, 301, 302, 303, 307, 308, 401, 403, 404, 410, 418, 429, 451,
    ];
    for status in stored {
        assert_eq!(answer(status, &fields), Ok(60), "{status}");
    }
    for status in [100, 103, 304] {
        assert_eq!(answer(status, &fields), Err(No::Status), "{status}");
    }
    assert_eq!(answer(206, &fields), Err(No::PartialContent));
    for status in [
        400, 405, 413, 414, 416, 431, 408, 411, 412, 417, 421, 426, 501,
    ] {
        assert_eq!(answer(status, &fields), Err(No::OriginRejected), "{status}");
    }
    for status in [500, 502, 503, 504, 599] {
        assert_eq!(answer(status, &fields), Ok(10), "{status}");
    }
}

#[test]
fn client_errors_are_stored_where_a_rule_allows_and_the_origin_gives_a_lifetime() {
    let mut allowing = with_ttl(
        EdgeTtlMode::RespectOrigin,
        Some(30),
        &[(405, 405, TtlValue::For(seconds(5)))],
    );
    allowing.cache_client_errors = by_rule(true);
    Arc::make_mut(&mut allowing.edge_ttl.value).heuristic = Some(Heuristic {
        percent: 10,
        longest: seconds(3600),
    });
    let headers = map(&[]);
    let modified = http_date(-1000);
    let explicit = [("cache-control", "max-age=60")];
    let heuristic = [("last-modified", modified.as_str())];
    let with = |status, fields: &[(&'static str, &str)]| {
        decide(&get("/", &headers), status, fields, &allowing)
    };
    for status in [400, 414, 499] {
        assert_eq!(with(status, &explicit), Ok(60), "{status}");
        assert_eq!(with(status, &[]), Err(No::NoExplicitFreshness), "{status}");
    }
    assert_eq!(with(501, &explicit), Ok(10));
    assert_eq!(with(414, &heuristic), Ok(100));
    assert_eq!(with(400, &heuristic), Err(No::NoExplicitFreshness));
    assert_eq!(with(405, &explicit), Ok(60));
    assert_eq!(
        with(405, &[]),
        Err(No::OriginRejected),
        "a rule gives no blame a lifetime"
    );
    for status in [407, 408, 411, 412, 413, 415, 416, 417, 421, 426, 431, 505] {
        assert_eq!(with(status, &explicit), Err(No::OriginRejected), "{status}");
    }
}

#[test]
fn rfc9111_5_2_2_3_must_understand() {
    let fields = |control| [("cache-control", control)];
    let both = fields("max-age=60, no-store, must-understand");
    assert_eq!(answer(200, &both), Ok(60));
    assert_eq!(answer(404, &both), Ok(60));
    assert_eq!(answer(599, &both), Err(No::NotUnderstood));
    let alone = fields("max-age=60, must-understand");
    assert_eq!(answer(200, &alone), Ok(60));
    assert_eq!(answer(599, &alone), Err(No::NotUnderstood));
    assert_eq!(answer(299, &alone), Err(No::NotUnderstood));
    assert_eq!(answer(599, &fields("max-age=60")), Ok(10));
    let private = fields("private, no-store, must-understand, max-age=60");
    assert_eq!(answer(200, &private), Err(No::Private));
}

#[test]
fn rfc9111_3_3_a_part_is_stored_when_it_says_which() {
    let age = ("cache-control", "max-age=60");
    let range = ("content-range", "bytes 0-4/10");
    let multipart = ("content-type", "multipart/byteranges; boundary=x");
    let table = [
        (&[age, range][..], Ok(60)),
        (&[age, range, ("content-length", "5")], Ok(60)),
        (
            &[age, range, ("content-length", "6")],
            Err(No::PartialContent),
        ),
        (&[age], Err(No::PartialContent)),
        (&[age, range, multipart], Err(No::PartialContent)),
        (&[age, range, range], Err(No::PartialContent)),
        (&[range], Err(No::NoExplicitFreshness)),
    ];
    for (fields, expected) in table {
        assert_eq!(answer(206, fields), expected, "{fields:?}");
    }
}

#[test]
fn rfc9110_9_3_3_a_post_is_stored_when_it_represents_its_target() {
    let headers = map(&[]);
    let post = RequestView {
        method: &Method::POST,
        has_body: true,
        ..get("/form", &headers)
    };
    let mut allowing = with_ttl(EdgeTtlMode::RespectOrigin, Some(30), &[]);
    allowing.cache_post = by_rule(true);
    let age = ("cache-control", "max-age=60");
    let here = ("content-location", "/form");
    let there = ("content-location", "/other");
    let table = [
        (200, &[age, here][..], Ok(60)),
        (200, &[("cdn-cache-control", "max-age=9"), here], Ok(9)),
        (200, &[here], Err(No::NoExplicitFreshness)),
        (200, &[age], Err(No::NotRepresentation)),
        (200, &[age, there], Err(No::NotRepresentation)),
        (201, &[age, here], Err(No::NotRepresentation)),
        (404, &[age, here], Err(No::NotRepresentation)),
    ];
    for (status, fields, expected) in table {
        let got = decide(&post, status, fields, &allowing);
        assert_eq!(got, expected, "{status} {fields:?}");
    }
    let method = Err(No::Bypassed(BypassReason::Method));
    assert_eq!(decide(&post, 200, &[age, here], &settings()), method);
    let put = RequestView {
        method: &Method::PUT,
        ..post
    };
    assert_eq!(decide(&put, 200, &[age, here], &allowing), method);
}

#[test]
fn a_failure_is_shared_with_who_waited_unless_it_is_someones() {
    let table = [
        (500, &[][..], true),
        (503, &[("cache-control", "max-age=5")], true),
        (503, &[("cache-control", "no-store")], false),
        (502, &[("cache-control", "private")], false),
        (502, &[("cdn-cache-control", "no-store")], false),
        (500, &[("set-cookie", "a=b")], false),
        (500, &[("vary", "*")], false),
        (404, &[], false),
        (200, &[], false),
    ];
    for (status, fields, expected) in table {
        let headers = map(fields);
        let response = ResponseView {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
        };
        assert_eq!(shares_failure(&response), expected, "{status} {fields:?}");
    }
}

#[test]
fn rfc9111_3_only_a_get_is_stored() {
    let headers = map(&[]);
    let with = |method: &Method| {
        let request = RequestView {
            method,
            ..get("/", &headers)
        };
        decide(
            &request,
            200,
            &[("cache-control", "max-age=60")],
            &settings(),
        )
    };
    assert_eq!(with(&Method::GET), Ok(60));
    assert_eq!(with(&Method::HEAD), Err(No::Method));
    assert_eq!(with(&Method::POST), Err(No::Bypassed(BypassReason::Method)));
}

#[test]
fn a_rule_that_refuses_a_status_is_named() {
    let refusing = with_ttl(
        EdgeTtlMode::RespectOrigin,
        Some(30),
        &[(404, 404, TtlValue::NoStore)],
    );
    let headers = map(&[]);
    let fields = [("cache-control", "max-age=60")];
    let reason = decide(&get("/", &headers), 404, &fields, &refusing).unwrap_err();
    assert_eq!(reason, No::RuleNoStore(Some(RuleId(7))));
    assert_eq!(reason.rule(), Some(RuleId(7)));
}

#[test]
fn statuses_without_explicit_freshness_are_not_stored() {
    for status in [200, 301, 302, 404, 410, 500, 503] {
        assert_eq!(
            answer(status, &[]),
            Err(No::NoExplicitFreshness),
            "{status}"
        );
    }
}
