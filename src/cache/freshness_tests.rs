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

fn guessing() -> CacheSettings {
    let mut settings = with_ttl(EdgeTtlMode::RespectOrigin, None, &[]);
    heuristic(&mut settings);
    settings
}

fn heuristic(settings: &mut CacheSettings) {
    Arc::make_mut(&mut settings.edge_ttl.value).heuristic = Some(Heuristic {
        percent: 10,
        longest: seconds(3600),
    });
}

#[test]
fn rfc9111_4_2_2_heuristic_freshness() {
    use FreshnessSource::{Expires, MaxAge, NoCache};
    let (date, modified, later) = (http_date(0), http_date(-1000), http_date(60));
    let ancient = http_date(-1_000_000);
    let guessed = |seconds| Some((seconds, FreshnessSource::Heuristic));
    let (date, modified) = (
        ("date", date.as_str()),
        ("last-modified", modified.as_str()),
    );
    for status in [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414] {
        let given = given(status, &[modified, date], &guessing());
        assert_eq!(given, guessed(100), "{status}");
    }
    for status in [201, 202, 302, 307, 403, 502, 503, 504, 599] {
        assert_eq!(
            given(status, &[modified, date], &guessing()),
            None,
            "{status}"
        );
        let public = [modified, date, ("cache-control", "public")];
        let bounded = if status >= 500 { 10 } else { 100 };
        assert_eq!(
            given(status, &public, &guessing()),
            guessed(bounded),
            "{status}"
        );
    }
    assert_eq!(given(501, &[modified, date], &guessing()), guessed(10));
    let table = [
        (&[modified][..], guessed(100)),
        (&[date], None),
        (&[("last-modified", "x"), date], None),
        (&[modified, modified, date], None),
        (&[("last-modified", &*later), date], guessed(0)),
        (&[("last-modified", &*ancient), date], guessed(3600)),
        (&[modified, date, ("expires", "0")], Some((0, Expires))),
        (
            &[modified, date, ("cache-control", "max-age=5")],
            Some((5, MaxAge)),
        ),
        (
            &[modified, date, ("cache-control", "no-cache")],
            Some((0, NoCache)),
        ),
        (&[modified, date, ("pragma", "no-cache")], guessed(100)),
    ];
    for (fields, expected) in table {
        assert_eq!(given(200, fields, &guessing()), expected, "{fields:?}");
    }
    assert_eq!(given(200, &[modified, date], &settings()), None);
}

#[test]
fn a_heuristic_comes_after_every_lifetime_that_is_given() {
    use EdgeTtlMode::{BypassByDefault, OverrideOrigin, RespectOrigin};
    let modified = http_date(-1000);
    let fields = [("last-modified", modified.as_str())];
    let ruled = Some((30, FreshnessSource::DefaultRule(RULE)));
    let guessed = Some((100, FreshnessSource::Heuristic));
    for (mode, status, expected) in [
        (RespectOrigin, 200, ruled),
        (RespectOrigin, 404, guessed),
        (OverrideOrigin, 200, ruled),
        (OverrideOrigin, 404, None),
        (BypassByDefault, 200, None),
    ] {
        let mut settings = with_ttl(mode, Some(30), &[]);
        heuristic(&mut settings);
        assert_eq!(
            given(status, &fields, &settings),
            expected,
            "{mode:?} {status}"
        );
    }
    let aged = [fields[0], ("age", "40")];
    let lifetimes = decide(200, &aged, &guessing()).unwrap();
    assert_eq!(lifetimes.fresh_for(), seconds(60));
}

#[test]
fn rfc9213_2_2_a_targeted_lifetime_replaces_the_others() {
    use FreshnessSource::{MaxAge, Targeted};
    let future = http_date(9000);
    let cdn = |value: &'static str| ("cdn-cache-control", value);
    let control = |value: &'static str| ("cache-control", value);
    let table = [
        (
            &[cdn("max-age=60"), control("max-age=1")][..],
            Some((60, Targeted)),
        ),
        (
            &[cdn("max-age=1"), control("s-maxage=60")],
            Some((1, Targeted)),
        ),
        (
            &[cdn("max-age=1, s-maxage=5"), control("no-store")],
            Some((5, Targeted)),
        ),
        (
            &[cdn("max-age=0"), ("expires", &*future)],
            Some((0, Targeted)),
        ),
        (&[cdn("public"), ("expires", &*future)], None),
        (&[cdn("foo"), control("max-age=60")], None),
        (
            &[cdn("no-cache"), control("max-age=60")],
            Some((0, FreshnessSource::NoCache)),
        ),
        (
            &[cdn("max-age=\"60\""), control("max-age=1")],
            Some((1, MaxAge)),
        ),
        (
            &[cdn("max-age=60, &"), ("expires", &*future)],
            Some((9000, FreshnessSource::Expires)),
        ),
    ];
    for (fields, expected) in table {
        assert_eq!(given(200, fields, &settings()), expected, "{fields:?}");
    }
    let aged = [cdn("max-age=60"), ("age", "20")];
    let lifetimes = decide(200, &aged, &settings()).unwrap();
    assert_eq!(lifetimes.fresh_for(), seconds(40));
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
    assert!(bounded.stale_forbidden);
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
        let mut settings = settings;
        settings.serve_stale = by_rule(StaleWindows {
            if_error: Some(seconds(9)),
            ..StaleWindows::default()
        });
        let lifetimes = decide(200, &[("cache-control", control)], &settings).unwrap();
        assert_eq!(lifetimes.validate_always, expected, "{control}");
        assert_eq!(lifetimes.stale_forbidden, expected, "{control}");
        assert_eq!(lifetimes.stale_if_error.is_zero(), expected, "{control}");
        assert_eq!(lifetimes.reusable_unvalidated(), !expected, "{control}");
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
        let fields = [
            ("cache-control", &*control),
            ("cdn-cache-control", &*control),
            ("age", &*age),
            ("expires", &*date),
            ("last-modified", &*date),
        ];
        let _ = decide(status, &fields, &guessing());
    }

    #[test]
    fn lifetimes_never_exceed_what_the_origin_gave(max_age in 0_u64..100_000, age in 0_u64..200_000) {
        let (control, age_text) = (format!("max-age={max_age}"), age.to_string());
        let fields = [("cache-control", &*control), ("age", &*age_text)];
        let lifetimes = decide(200, &fields, &settings()).unwrap();
        prop_assert_eq!(lifetimes.fresh_for(), seconds(max_age.saturating_sub(age)));
    }
}
