//! Tables for `reuse`, by section of RFC 9111 and RFC 5861.

use super::super::fixtures::{at, seconds};
use super::super::freshness::FreshnessSource;
use super::*;
use ForwardReason::{Bypass, Method, Partial, Stale, UriMiss, VaryMiss};
use OriginState::{Failed, Unasked};
use ReuseDecision::{Forward, Reuse, ReuseStale, Validate};
use proptest::prelude::*;

/// Fresh for 60 s from `at(0)`, then 10 s while revalidating, 30 s on error.
fn stored() -> StoredTimes {
    let lifetimes = Lifetimes {
        freshness: seconds(100),
        source: FreshnessSource::MaxAge,
        initial_age: seconds(40),
        stale_while_revalidate: seconds(10),
        stale_if_error: seconds(30),
        validate_always: false,
    };
    StoredTimes::new(&lifetimes, at(0), true)
}

fn decide(stored: &StoredTimes, origin: OriginState, offset: i64) -> ReuseDecision {
    let found = Found::Complete(stored);
    decide_reuse(RequestDecision::Lookup, found, origin, at(offset))
}

fn stale(ttl: i64, mode: StaleMode) -> ReuseDecision {
    ReuseStale { ttl, mode }
}

#[test]
fn rfc9111_4_2_fresh_is_reused_and_stale_is_validated() {
    use StaleMode::{IfError, WhileRevalidating};
    let table = [
        (Unasked, 0, Reuse { ttl: 60 }),
        (Unasked, 59, Reuse { ttl: 1 }),
        (Unasked, 60, stale(0, WhileRevalidating)),
        (Unasked, 69, stale(-9, WhileRevalidating)),
        (Unasked, 70, Validate),
        (Failed, 69, stale(-9, IfError)),
        (Failed, 70, stale(-10, IfError)),
        (Failed, 89, stale(-29, IfError)),
        (Failed, 90, Forward(Stale)),
    ];
    for (origin, offset, expected) in table {
        assert_eq!(
            decide(&stored(), origin, offset),
            expected,
            "{origin:?} {offset}"
        );
    }
}

#[test]
fn rfc9111_5_2_2_4_no_cache_is_validated_even_when_fresh() {
    let always = StoredTimes {
        validate_always: true,
        ..stored()
    };
    for offset in [0, 65, 1000] {
        assert_eq!(decide(&always, Unasked, offset), Validate);
        assert_eq!(decide(&always, Failed, offset), Forward(Stale));
    }
}

#[test]
fn stale_without_a_validator_is_fetched_anew() {
    let bare = StoredTimes {
        validatable: false,
        ..stored()
    };
    assert_eq!(decide(&bare, Unasked, 70), Forward(Stale));
}

#[test]
fn without_windows_stale_is_never_served() {
    let strict = StoredTimes {
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        ..stored()
    };
    assert_eq!(decide(&strict, Unasked, 60), Validate);
    assert_eq!(decide(&strict, Failed, 60), Forward(Stale));
    assert_eq!(strict.servable_until(), at(60));
}

#[test]
fn rfc9211_2_2_reasons_for_going_forward() {
    let times = stored();
    let bypass = RequestDecision::Bypass;
    let table = [
        (bypass(BypassReason::Method), Found::Nothing, Method),
        (
            bypass(BypassReason::SessionCookie(None)),
            Found::Complete(&times),
            Bypass,
        ),
        (RequestDecision::Lookup, Found::Nothing, UriMiss),
        (RequestDecision::Lookup, Found::OtherVariant, VaryMiss),
        (RequestDecision::Lookup, Found::Part, Partial),
    ];
    for (request, found, expected) in table {
        let got = decide_reuse(request, found, Unasked, at(0));
        assert_eq!(got, Forward(expected));
    }
}

#[test]
fn rfc9111_4_2_3_age_grows_from_the_initial_age_and_survives_clock_jumps() {
    assert_eq!(stored().age(at(0)), seconds(40));
    assert_eq!(stored().age(at(25)), seconds(65));
    assert_eq!(stored().age(at(-1000)), seconds(40));
    assert_eq!(decide(&stored(), Unasked, -1000), Reuse { ttl: 1060 });
}

#[test]
fn servable_until_is_the_end_of_the_longest_window() {
    assert_eq!(stored().servable_until(), at(90));
}

proptest! {
    #[test]
    fn nothing_is_served_past_its_windows(
        offset in -1000_i64..1000, swr in 0_u64..100, sie in 0_u64..100, failed: bool, always: bool,
    ) {
        let times = StoredTimes {
            stale_while_revalidate: seconds(swr),
            stale_if_error: seconds(sie),
            validate_always: always,
            ..stored()
        };
        let origin = if failed { Failed } else { Unasked };
        let served = matches!(decide(&times, origin, offset), Reuse { .. } | ReuseStale { .. });
        if served {
            prop_assert!(!always && at(offset) < times.servable_until());
        }
        prop_assert_eq!(times.ttl(at(offset)), 60 - offset);
    }
}
