//! Tables for `freshness`, by section of RFC 9111 and by mode of the edge TTL.

use super::super::control::control_of;
use super::super::fixtures::{at, by_rule, http_date, map, seconds, settings, with_ttl};
use super::super::settings::StaleWindows;
use super::*;
use http::HeaderValue;
use proptest::prelude::*;

const RULE: Option<RuleId> = Some(RuleId(7));

fn now() -> ExchangeTimes {
    ExchangeTimes {
        requested: at(0),
        received: at(0),
    }
}

fn decide(
    status: u16,
    fields: &[(&'static str, &str)],
    settings: &CacheSettings,
) -> Result<Lifetimes, NoLifetime> {
    let headers = map(fields);
    let response = ResponseView {
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
    };
    let (control, stated) = control_of(&headers);
    lifetimes(&response, &control, stated, settings, &now())
}

fn given(
    status: u16,
    fields: &[(&'static str, &str)],
    settings: &CacheSettings,
) -> Option<(u64, FreshnessSource)> {
    let lifetimes = decide(status, fields, settings).ok()?;
    Some((lifetimes.freshness.as_secs(), lifetimes.source))
}

#[test]
fn rfc9111_4_2_1_order_of_lifetimes() {
    use FreshnessSource::{Expires, MaxAge, NoCache, SMaxage};
    let (past, date, future) = (http_date(-60), http_date(0), http_date(60));
    let table = [
        (
            &[
                ("cache-control", "max-age=5, s-maxage=9"),
                ("expires", &future),
            ][..],
            Some((9, SMaxage)),
        ),
        (
            &[("cache-control", "s-maxage=0, max-age=5")],
            Some((0, SMaxage)),
        ),
        (
            &[("cache-control", "max-age=5"), ("expires", &past)],
            Some((5, MaxAge)),
        ),
        (
            &[("expires", &future), ("date", &date)],
            Some((60, Expires)),
        ),
        (
            &[("expires", &future), ("date", &past)],
            Some((120, Expires)),
        ),
        (&[("expires", &future)], Some((60, Expires))),
        (&[("expires", &date), ("date", &date)], Some((0, Expires))),
        (&[("expires", &past), ("date", &date)], Some((0, Expires))),
        (&[("expires", "0")], Some((0, Expires))),
        (&[("cache-control", "no-cache")], Some((0, NoCache))),
        (&[("cache-control", "public")], None),
        (&[], None),
    ];
    for (fields, expected) in table {
        assert_eq!(given(200, fields, &settings()), expected, "{fields:?}");
    }
}

#[test]
fn rfc9111_4_2_3_initial_age() {
    let table = [
        (None, None, 0, 0),
        (Some("30"), None, 0, 30),
        (Some("30"), None, 5, 35),
        (None, Some(-10), 0, 10),
        (Some("30"), Some(-10), 0, 30),
        (Some("5"), Some(-10), 0, 10),
        (None, Some(3600), 0, 0),
        (Some("x"), None, 0, 0),
        (None, None, -50, 0),
    ];
    for (age, date, delay, expected) in table {
        let mut headers = HeaderMap::new();
        if let Some(age) = age {
            headers.insert("age", HeaderValue::from_static(age));
        }
        if let Some(offset) = date {
            headers.insert("date", HeaderValue::from_str(&http_date(offset)).unwrap());
        }
        let times = ExchangeTimes {
            requested: at(-delay),
            received: at(0),
        };
        assert_eq!(
            initial_age(&headers, &times),
            seconds(expected),
            "{age:?} {date:?} {delay}"
        );
    }
}

#[test]
fn an_origins_lifetime_began_at_the_origin_and_an_operators_begins_here() {
    let fields = [("age", "40"), ("cache-control", "max-age=60")];
    let origin = decide(200, &fields, &settings()).unwrap();
    assert_eq!(origin.fresh_for(), seconds(20));
    let overriding = with_ttl(EdgeTtlMode::OverrideOrigin, Some(60), &[]);
    let operator = decide(200, &fields, &overriding).unwrap();
    assert_eq!(operator.fresh_for(), seconds(60));
    assert_eq!(operator.initial_age, seconds(40));
}

#[test]
fn edge_ttl_modes() {
    use EdgeTtlMode::{BypassByDefault, OverrideOrigin, RespectOrigin};
    use FreshnessSource::{DefaultRule, MaxAge, NoCache, StatusRule};
    let status = [
        (404, 404, TtlValue::For(seconds(3))),
        (500, 599, TtlValue::NoStore),
        (200, 299, TtlValue::For(seconds(9))),
    ];
    let (none, max_age) = (&[][..], &[("cache-control", "max-age=60")][..]);
    let no_cache = &[("cache-control", "no-cache")][..];
    let default_ttl = Some((30, DefaultRule(RULE)));
    let table = [
        (RespectOrigin, 200, none, &[][..], default_ttl),
        (RespectOrigin, 200, max_age, &[], Some((60, MaxAge))),
        (RespectOrigin, 200, no_cache, &[], Some((0, NoCache))),
        (RespectOrigin, 301, none, &[], default_ttl),
        (RespectOrigin, 302, none, &[], None),
        (RespectOrigin, 404, none, &[], None),
        (
            RespectOrigin,
            200,
            none,
            &status,
            Some((9, StatusRule(RULE))),
        ),
        (
            RespectOrigin,
            404,
            none,
            &status,
            Some((3, StatusRule(RULE))),
        ),
        (RespectOrigin, 404, max_age, &status, Some((60, MaxAge))),
        (RespectOrigin, 500, max_age, &status, None),
        (OverrideOrigin, 200, max_age, &[], default_ttl),
        (OverrideOrigin, 200, no_cache, &[], default_ttl),
        (
            OverrideOrigin,
            200,
            max_age,
            &status,
            Some((9, StatusRule(RULE))),
        ),
        (
            OverrideOrigin,
            404,
            max_age,
            &status,
            Some((3, StatusRule(RULE))),
        ),
        (OverrideOrigin, 404, max_age, &[], None),
        (BypassByDefault, 200, none, &[], None),
        (BypassByDefault, 200, none, &status, None),
        (BypassByDefault, 200, max_age, &[], Some((60, MaxAge))),
        (BypassByDefault, 500, max_age, &status, None),
    ];
    for (mode, code, fields, status, expected) in table {
        let settings = with_ttl(mode, Some(30), status);
        assert_eq!(
            given(code, fields, &settings),
            expected,
            "{mode:?} {code} {fields:?}"
        );
    }
    let refusing = with_ttl(RespectOrigin, None, &status);
    assert_eq!(
        decide(503, none, &refusing),
        Err(NoLifetime::RefusedForStatus(RULE))
    );
    assert_eq!(decide(302, none, &refusing), Err(NoLifetime::NotGiven));
}

#[test]
fn server_errors_are_fresh_for_ten_seconds_at_most_and_never_stale() {
    let fields = [("cache-control", "max-age=3600, stale-if-error=60")];
    let bounded = decide(500, &fields, &settings()).unwrap();
    assert_eq!(bounded.freshness, LONGEST_ERROR_FRESHNESS);
    assert_eq!(bounded.stale_if_error, Duration::ZERO);
    let ruled = with_ttl(
        EdgeTtlMode::OverrideOrigin,
        None,
        &[(503, 503, TtlValue::For(seconds(60)))],
    );
    assert_eq!(decide(503, &fields, &ruled).unwrap().freshness, seconds(60));
}

#[test]
fn no_cache_and_a_ttl_of_zero_validate_always() {
    let zero = with_ttl(EdgeTtlMode::OverrideOrigin, Some(0), &[]);
    let table = [
        ("no-cache, max-age=60", settings(), true),
        ("max-age=0", settings(), false),
        ("max-age=60", zero, true),
        (
            "no-cache",
            with_ttl(EdgeTtlMode::OverrideOrigin, Some(5), &[]),
            false,
        ),
    ];
    for (control, settings, expected) in table {
        let lifetimes = decide(200, &[("cache-control", control)], &settings).unwrap();
        assert_eq!(lifetimes.validate_always, expected, "{control}");
        assert_eq!(
            lifetimes.reusable_unvalidated(),
            !lifetimes.validate_always && !lifetimes.freshness.is_zero()
        );
    }
}

#[test]
fn rfc5861_and_rfc9111_4_2_4_stale_windows() {
    use EdgeTtlMode::{OverrideOrigin, RespectOrigin};
    let built_in = |mode, windows| {
        let mut settings = with_ttl(mode, Some(60), &[]);
        settings.serve_stale = Setting::default_value(windows);
        settings
    };
    let ruled = |mode, windows| {
        let mut settings = with_ttl(mode, Some(60), &[]);
        settings.serve_stale = by_rule(windows);
        settings
    };
    let unset = StaleWindows::default();
    let both = StaleWindows {
        while_revalidating: Some(seconds(3)),
        if_error: Some(seconds(4)),
        ..StaleWindows::default()
    };
    let none = StaleWindows {
        while_revalidating: Some(Duration::ZERO),
        if_error: Some(Duration::ZERO),
        ..StaleWindows::default()
    };
    let origin = "max-age=9, stale-while-revalidate=1, stale-if-error=2";
    let table = [
        ("max-age=9", built_in(RespectOrigin, unset), (0, 0)),
        (origin, built_in(RespectOrigin, unset), (1, 2)),
        (origin, ruled(RespectOrigin, both), (3, 4)),
        (origin, ruled(RespectOrigin, none), (0, 0)),
        ("max-age=9", built_in(RespectOrigin, both), (3, 4)),
        (
            "s-maxage=9, stale-while-revalidate=1",
            built_in(RespectOrigin, unset),
            (1, 0),
        ),
        ("s-maxage=9", built_in(RespectOrigin, both), (0, 0)),
        ("s-maxage=9", ruled(RespectOrigin, both), (3, 4)),
        (
            "max-age=9, must-revalidate, stale-if-error=2",
            built_in(RespectOrigin, both),
            (0, 0),
        ),
        (
            "max-age=9, must-revalidate",
            ruled(RespectOrigin, both),
            (0, 0),
        ),
        (
            "max-age=9, proxy-revalidate",
            ruled(RespectOrigin, both),
            (0, 0),
        ),
        (
            "max-age=9, must-revalidate",
            ruled(OverrideOrigin, both),
            (3, 4),
        ),
        (
            "must-revalidate, stale-if-error=2",
            ruled(OverrideOrigin, unset),
            (0, 0),
        ),
        (
            "max-age=9, must-revalidate",
            built_in(OverrideOrigin, both),
            (0, 0),
        ),
        ("max-age=9, no-cache", ruled(RespectOrigin, both), (0, 0)),
    ];
    for (control, settings, expected) in table {
        let lifetimes = decide(200, &[("cache-control", control)], &settings).unwrap();
        let got = (
            lifetimes.stale_while_revalidate.as_secs(),
            lifetimes.stale_if_error.as_secs(),
        );
        assert_eq!(got, expected, "{control} {:?}", settings.serve_stale);
    }
}

proptest! {
    #[test]
    fn deciding_is_total(
        status in 100_u16..1000,
        control in "[a-z0-9=,\" -]{0,40}",
        age in "[0-9,-]{0,12}",
        offset in any::<i32>(),
    ) {
        let date = http_date(i64::from(offset).max(-784_111_777));
        let fields = [("cache-control", &*control), ("age", &*age), ("expires", &*date)];
        let _ = decide(status, &fields, &settings());
    }

    #[test]
    fn lifetimes_never_exceed_what_the_origin_gave(max_age in 0_u64..100_000, age in 0_u64..200_000) {
        let (control, age_text) = (format!("max-age={max_age}"), age.to_string());
        let fields = [("cache-control", &*control), ("age", &*age_text)];
        let lifetimes = decide(200, &fields, &settings()).unwrap();
        prop_assert_eq!(lifetimes.fresh_for(), seconds(max_age.saturating_sub(age)));
    }
}
