//! Tables for `storing`, by section of RFC 9111 and by class of attack.

use super::super::fixtures::{at, by_rule, get, http_date, map, seconds, settings, with_ttl};
use super::super::settings::{
    CredentialPolicy, EdgeTtlMode, Eligibility, TtlValue, VaryForm, VarySettings,
};
use super::*;
use NoStoreReason as No;
use proptest::prelude::*;
use std::sync::Arc;

const ALL_REASONS: [NoStoreReason; 23] = [
    No::Bypassed(BypassReason::Method),
    No::RequestNoStore,
    No::Method,
    No::NotRepresentation,
    No::PartialContent,
    No::Status,
    No::NotUnderstood,
    No::OriginRejected,
    No::NoStore,
    No::Private,
    No::SetCookie,
    No::VaryAny,
    No::VaryBypass(None),
    No::Authorization,
    No::ContentType,
    No::TooLarge(None),
    No::UnknownLength,
    No::StoreBusy,
    No::MinUses(None),
    No::RuleNoStore(None),
    No::NoExplicitFreshness,
    No::NoCacheWithoutValidator,
    No::ExpiredWithoutValidator,
];

/// What [`by_rule`] names.
const RULE: Option<RuleId> = Some(RuleId(7));

fn ignoring_credentials() -> CacheSettings {
    CacheSettings {
        authorization: by_rule(CredentialPolicy::Ignore),
        session_cookie: by_rule(CredentialPolicy::Ignore),
        ..settings()
    }
}

pub(super) fn decide(
    request: &RequestView<'_>,
    status: u16,
    fields: &[(&'static str, &str)],
    settings: &CacheSettings,
) -> Result<u64, NoStoreReason> {
    let headers = map(fields);
    let response = ResponseView {
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
    };
    let times = ExchangeTimes {
        requested: at(0),
        received: at(0),
    };
    match decide_storing(
        request,
        &RequestControl::default(),
        &response,
        settings,
        &times,
    ) {
        StoreDecision::Store(lifetimes) => Ok(lifetimes.freshness.as_secs()),
        StoreDecision::DoNotStore(reason) => Err(reason),
    }
}

pub(super) fn answer(status: u16, fields: &[(&'static str, &str)]) -> Result<u64, NoStoreReason> {
    decide(&get("/", &map(&[])), status, fields, &settings())
}

fn control(value: &str) -> Result<u64, NoStoreReason> {
    answer(200, &[("cache-control", value)])
}

#[test]
fn a_bypassed_request_stores_nothing_even_when_the_caller_forgot() {
    let headers = map(&[("authorization", "Basic x")]);
    let fields = [("cache-control", "public, max-age=60")];
    assert_eq!(
        decide(&get("/", &headers), 200, &fields, &settings()),
        Err(No::Bypassed(BypassReason::Authorization(None)))
    );
    let mut ruled = settings();
    ruled.eligibility = by_rule(Eligibility::Bypass);
    let reason = decide(&get("/", &map(&[])), 200, &fields, &ruled).unwrap_err();
    assert_eq!(reason, No::Bypassed(BypassReason::Rule(RuleId(7))));
    assert_eq!(reason.rule(), Some(RuleId(7)));
}

#[test]
fn rfc9111_5_2_1_5_a_request_may_forbid_to_store() {
    let (none, headers) = (map(&[]), map(&[("cache-control", "max-age=60")]));
    let response = ResponseView {
        status: StatusCode::OK,
        headers: &headers,
    };
    let times = ExchangeTimes {
        requested: at(0),
        received: at(0),
    };
    let asked = RequestControl {
        no_store: true,
        ..RequestControl::default()
    };
    assert_eq!(
        decide_storing(&get("/", &none), &asked, &response, &settings(), &times),
        StoreDecision::DoNotStore(No::RequestNoStore)
    );
}

#[test]
fn rfc9213_2_2_a_targeted_field_decides_about_storing() {
    let cdn = |value: &'static str| ("cdn-cache-control", value);
    let age = ("cache-control", "max-age=60");
    let table = [
        (&[cdn("no-store"), age][..], Err(No::NoStore)),
        (&[cdn("private"), age], Err(No::Private)),
        (&[cdn("no-cache"), age], Err(No::NoCacheWithoutValidator)),
        (&[cdn("no-cache"), age, ("etag", "\"a\"")], Ok(0)),
        (&[cdn("max-age=9"), ("cache-control", "no-store")], Ok(9)),
        (&[cdn("max-age=9"), ("cache-control", "private")], Ok(9)),
        (
            &[cdn("max-age=9, &"), ("cache-control", "no-store")],
            Err(No::NoStore),
        ),
        (
            &[cdn("max-age=9"), ("set-cookie", "a=b")],
            Err(No::SetCookie),
        ),
        (
            &[cdn("max-age=9"), ("seawall-cdn-cache-control", "private")],
            Err(No::Private),
        ),
    ];
    for (fields, expected) in table {
        assert_eq!(answer(200, fields), expected, "{fields:?}");
    }
}

#[test]
fn rfc9111_5_2_2_cache_control_forbids() {
    assert_eq!(control("no-store, max-age=60"), Err(No::NoStore));
    assert_eq!(control("No-Store"), Err(No::NoStore));
    assert_eq!(control("max-age=60, PRIVATE"), Err(No::Private));
    assert_eq!(control("max-age=60, private=\"x\""), Err(No::Private));
    assert_eq!(control("public, max-age=60"), Ok(60));
}

#[test]
fn overriding_the_origin_does_not_override_no_store_and_private() {
    let overriding = with_ttl(EdgeTtlMode::OverrideOrigin, Some(30), &[]);
    let headers = map(&[]);
    let with = |control| {
        decide(
            &get("/", &headers),
            200,
            &[("cache-control", control)],
            &overriding,
        )
    };
    assert_eq!(with("no-cache, max-age=0"), Ok(30));
    assert_eq!(with("no-store"), Err(No::NoStore));
    assert_eq!(with("private"), Err(No::Private));
}

#[test]
fn a_response_that_sets_a_cookie_is_not_stored_unless_a_rule_strips_it() {
    let fields = [
        ("cache-control", "public, s-maxage=60"),
        ("set-cookie", "a=b"),
    ];
    assert_eq!(answer(200, &fields), Err(No::SetCookie));
    let mut stripping = settings();
    stripping.strip_set_cookie = by_rule(true);
    assert_eq!(
        decide(&get("/", &map(&[])), 200, &fields, &stripping),
        Ok(60)
    );
}

#[test]
fn authorized_response_without_public_is_not_stored() {
    let headers = map(&[("authorization", "Basic x")]);
    let table = [
        ("max-age=60", Err(No::Authorization)),
        ("max-age=60, proxy-revalidate", Err(No::Authorization)),
        ("max-age=60, public", Ok(60)),
        ("max-age=60, must-revalidate", Ok(60)),
        ("s-maxage=60", Ok(60)),
    ];
    for (control, expected) in table {
        let fields = [("cache-control", control)];
        let got = decide(&get("/", &headers), 200, &fields, &ignoring_credentials());
        assert_eq!(got, expected, "rfc9111_3_5 {control}");
    }
    let overriding = CacheSettings {
        authorization: by_rule(CredentialPolicy::Ignore),
        ..with_ttl(EdgeTtlMode::OverrideOrigin, Some(30), &[])
    };
    assert_eq!(
        decide(&get("/", &headers), 200, &[], &overriding),
        Err(No::Authorization)
    );
}

#[test]
fn an_ignored_session_cookie_does_not_matter() {
    let headers = map(&[]);
    let request = RequestView {
        session_cookie: true,
        ..get("/", &headers)
    };
    let fields = [("cache-control", "max-age=60")];
    assert_eq!(
        decide(&request, 200, &fields, &ignoring_credentials()),
        Ok(60)
    );
}

#[test]
fn rfc9111_4_1_vary_star_is_not_stored() {
    let fields = [
        ("cache-control", "max-age=60"),
        ("vary", "accept"),
        ("vary", "*"),
    ];
    assert_eq!(answer(200, &fields), Err(No::VaryAny));
}

#[test]
fn what_varies_by_a_bypassed_field_is_not_stored() {
    let bypassing = CacheSettings {
        vary: by_rule(Arc::new(VarySettings {
            fields: vec![(http::header::USER_AGENT, VaryForm::Bypass)],
            ..VarySettings::default()
        })),
        ..settings()
    };
    let headers = map(&[]);
    for (vary, expected) in [
        ("accept-encoding", Ok(60)),
        ("accept-encoding, user-agent", Err(No::VaryBypass(RULE))),
        ("*", Err(No::VaryAny)),
    ] {
        let fields = [("cache-control", "max-age=60"), ("vary", vary)];
        let decided = decide(&get("/", &headers), 200, &fields, &bypassing);
        assert_eq!(decided, expected, "{vary}");
    }
}

#[test]
fn what_is_asked_for_too_rarely_is_not_stored_yet() {
    let wanting = CacheSettings {
        min_uses: by_rule(3),
        ..settings()
    };
    for (uses, reason) in [
        (1, Some(No::MinUses(RULE))),
        (2, Some(No::MinUses(RULE))),
        (3, None),
    ] {
        assert_eq!(too_rare(uses, &wanting), reason);
        assert_eq!(too_rare(uses, &settings()), None);
    }
}

#[test]
fn a_page_under_an_asset_name_is_not_stored() {
    let headers = map(&[]);
    let with = |path, status| {
        let fields = [
            ("cache-control", "max-age=60"),
            ("content-type", "text/html"),
        ];
        decide(&get(path, &headers), status, &fields, &settings())
    };
    assert_eq!(with("/account/x.css", 200), Err(No::ContentType));
    assert_eq!(with("/account/x.css", 404), Err(No::ContentType));
    let unarmoured = CacheSettings {
        cache_deception_armor: by_rule(false),
        ..settings()
    };
    let fields = [
        ("cache-control", "max-age=60"),
        ("content-type", "text/html"),
    ];
    let stored = decide(&get("/a/x.css", &headers), 200, &fields, &unarmoured);
    assert_eq!(stored, Ok(60));
    assert_eq!(with("/old.css", 301), Ok(60));
    assert_eq!(with("/account", 200), Ok(60));
}

#[test]
fn a_response_larger_than_allowed_is_not_stored() {
    let with = |length: &str| {
        answer(
            200,
            &[("cache-control", "max-age=60"), ("content-length", length)],
        )
    };
    assert_eq!(with("1000"), Ok(60));
    assert_eq!(with("1001"), Err(No::TooLarge(None)));
    assert_eq!(with("x"), Ok(60));
}

#[test]
fn what_could_never_be_reused_is_not_stored() {
    let (etag, modified) = (("etag", "\"a\""), http_date(-60));
    let table = [
        ("no-cache", None, Err(No::NoCacheWithoutValidator)),
        ("no-cache", Some(etag), Ok(0)),
        ("no-cache", Some(("last-modified", &*modified)), Ok(0)),
        (
            "no-cache, max-age=60",
            None,
            Err(No::NoCacheWithoutValidator),
        ),
        ("max-age=0", None, Err(No::ExpiredWithoutValidator)),
        ("max-age=0", Some(etag), Ok(0)),
        ("max-age=0, stale-while-revalidate=60", None, Ok(0)),
        (
            "max-age=0",
            Some(("expires", "0")),
            Err(No::ExpiredWithoutValidator),
        ),
    ];
    for (control, more, expected) in table {
        let mut fields = vec![("cache-control", control)];
        fields.extend(more);
        assert_eq!(answer(200, &fields), expected, "{fields:?}");
    }
    let aged = [("cache-control", "max-age=60"), ("age", "60")];
    assert_eq!(answer(200, &aged), Err(No::ExpiredWithoutValidator));
}

#[test]
fn reasons_have_distinct_kebab_case_tokens() {
    let mut tokens: Vec<_> = ALL_REASONS.iter().map(|reason| reason.as_str()).collect();
    assert!(tokens.iter().all(|token| {
        token
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_lowercase())
    }));
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), ALL_REASONS.len());
}

proptest! {
    #[test]
    fn deciding_is_total_and_never_stores_what_the_origin_forbids(
        status in 100_u16..1000,
        before in "[a-z0-9=, -]{0,20}",
        directive in prop_oneof![Just("no-store"), Just("private"), Just("Private=\"a\"")],
        cookie in proptest::option::of(Just("a=b")),
        strip: bool,
        mode in prop_oneof![
            Just(EdgeTtlMode::RespectOrigin),
            Just(EdgeTtlMode::OverrideOrigin),
            Just(EdgeTtlMode::BypassByDefault),
        ],
    ) {
        let value = format!("{before},{directive}");
        let mut fields = vec![("cache-control", &*value), ("expires", "0")];
        fields.extend(cookie.map(|cookie| ("set-cookie", cookie)));
        let mut settings = with_ttl(mode, Some(30), &[(200, 599, TtlValue::For(seconds(5)))]);
        settings.strip_set_cookie = by_rule(strip);
        prop_assert!(decide(&get("/", &map(&[])), status, &fields, &settings).is_err());
    }

    #[test]
    fn what_cache_control_forbids_is_stored_only_by_a_valid_targeted_field(
        cdn in "(max-age|s-maxage|private|no-store|no-cache|x)(=[\"0-9a-z?.-]{0,4})?(, ?[&a-z-]{0,8})?",
        directive in prop_oneof![Just("no-store"), Just("private")],
    ) {
        let fields = [("cdn-cache-control", &*cdn), ("cache-control", directive)];
        let stored = answer(200, &fields).is_ok();
        let targeted = crate::fields::targeted::targeted(&map(&fields));
        prop_assert!(!stored || targeted.is_some_and(|cdn| !cdn.private && !cdn.no_store));
    }
}
