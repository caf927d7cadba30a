//! Tables for `reuse`, by section of RFC 9111 and RFC 5861.

use super::super::fixtures::{at, seconds};
use super::super::freshness::FreshnessSource;
use super::*;
use ForwardReason::{Partial, Request, Stale, UriMiss, VaryMiss};
use OriginState::{Failed, Unasked};
use ReuseDecision::{Forward, GatewayTimeout, Reuse, ReuseStale, Validate};
use proptest::prelude::*;

/// Fresh for 60 s from `at(0)`, then 10 s while revalidating, 30 s on error.
fn stored() -> StoredTimes {
    let lifetimes = Lifetimes {
        freshness: seconds(100),
        source: FreshnessSource::MaxAge,
        initial_age: seconds(40),
        stale_while_revalidate: seconds(10),
        stale_if_error: seconds(30),
        stale_when_overloaded: Duration::ZERO,
        validate_always: false,
        stale_forbidden: false,
    };
    StoredTimes::new(&lifetimes, at(0), true)
}

fn decide(stored: &StoredTimes, origin: OriginState, offset: i64) -> ReuseDecision {
    asked(&RequestControl::default(), stored, origin, offset)
}

fn asked(
    control: &RequestControl,
    stored: &StoredTimes,
    origin: OriginState,
    offset: i64,
) -> ReuseDecision {
    decide_reuse(control, Found::Complete(stored), origin, at(offset))
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
        (Unasked, 70, Validate(Stale)),
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
        assert_eq!(decide(&always, Unasked, offset), Validate(Stale));
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
        stale_when_overloaded: Duration::ZERO,
        ..stored()
    };
    assert_eq!(decide(&strict, Unasked, 60), Validate(Stale));
    assert_eq!(decide(&strict, Failed, 60), Forward(Stale));
    assert_eq!(strict.servable_until(), at(60));
}

#[test]
fn rfc9211_2_2_reasons_for_going_forward() {
    let table = [
        (Found::Nothing, UriMiss),
        (Found::OtherVariant, VaryMiss),
        (Found::Part, Partial),
    ];
    for (found, expected) in table {
        for origin in [Unasked, Failed] {
            let got = decide_reuse(&RequestControl::default(), found, origin, at(0));
            assert_eq!(got, Forward(expected));
        }
    }
    assert_eq!(ForwardReason::from(BypassReason::Method).as_str(), "method");
    assert_eq!(
        ForwardReason::from(BypassReason::SessionCookie(None)).as_str(),
        "bypass"
    );
}

#[test]
fn rfc9111_5_2_1_what_the_request_asks() {
    let none = RequestControl::default();
    let no_cache = RequestControl {
        no_cache: true,
        ..none
    };
    let max_age = |count| RequestControl {
        max_age: Some(seconds(count)),
        ..none
    };
    let min_fresh = |count| RequestControl {
        min_fresh: Some(seconds(count)),
        ..none
    };
    let no_store = RequestControl {
        no_store: true,
        ..none
    };
    // Its age is 40 at the start, and it is fresh for 60 more.
    let table = [
        (no_cache, Unasked, 0, Validate(Request)),
        (no_cache, Unasked, 65, Validate(Stale)),
        (no_cache, Failed, 0, Forward(Request)),
        (no_cache, Failed, 65, Forward(Stale)),
        (max_age(40), Unasked, 0, Reuse { ttl: 60 }),
        (max_age(40), Unasked, 1, Validate(Request)),
        (max_age(0), Unasked, 65, Validate(Stale)),
        (max_age(900), Unasked, 65, Validate(Stale)),
        (max_age(0), Failed, 1, Reuse { ttl: 59 }),
        (max_age(0), Failed, 65, stale(-5, StaleMode::IfError)),
        (min_fresh(60), Unasked, 0, Reuse { ttl: 60 }),
        (min_fresh(60), Unasked, 1, Validate(Request)),
        (min_fresh(1), Unasked, 65, Validate(Stale)),
        (no_store, Unasked, 0, Reuse { ttl: 60 }),
    ];
    for (control, origin, offset, expected) in table {
        let got = asked(&control, &stored(), origin, offset);
        assert_eq!(got, expected, "{control:?} {origin:?} {offset}");
    }
    let bare = StoredTimes {
        validatable: false,
        ..stored()
    };
    assert_eq!(asked(&no_cache, &bare, Unasked, 0), Forward(Request));
}

#[test]
fn rfc9111_5_2_1_2_max_stale_is_the_clients_to_give_and_the_origins_to_forbid() {
    let strict = StoredTimes {
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        stale_when_overloaded: Duration::ZERO,
        ..stored()
    };
    let forbidding = StoredTimes {
        stale_forbidden: true,
        ..strict
    };
    let with = |max_stale| RequestControl {
        max_stale: Some(max_stale),
        ..RequestControl::default()
    };
    let up_to = with(MaxStale::UpTo(seconds(10)));
    let accepted = |ttl| stale(ttl, StaleMode::ClientAccepts);
    let table = [
        (up_to, &strict, Unasked, 70, accepted(-10)),
        (up_to, &strict, Failed, 70, accepted(-10)),
        (up_to, &strict, Unasked, 71, Validate(Stale)),
        (with(MaxStale::Any), &strict, Unasked, 900, accepted(-840)),
        (up_to, &forbidding, Unasked, 70, Validate(Stale)),
        (up_to, &forbidding, Failed, 70, Forward(Stale)),
    ];
    for (control, stored, origin, offset, expected) in table {
        let got = asked(&control, stored, origin, offset);
        assert_eq!(got, expected, "{control:?} {offset}");
    }
    let windowed = asked(&up_to, &stored(), Unasked, 65);
    assert_eq!(windowed, stale(-5, StaleMode::WhileRevalidating));
    let aged = RequestControl {
        max_age: Some(seconds(100)),
        ..up_to
    };
    assert_eq!(asked(&aged, &strict, Unasked, 60), accepted(0));
    assert_eq!(asked(&aged, &strict, Unasked, 61), Validate(Stale));
}

#[test]
fn rfc9111_5_2_1_7_only_if_cached_never_asks_the_origin() {
    let control = RequestControl {
        only_if_cached: true,
        ..RequestControl::default()
    };
    assert_eq!(asked(&control, &stored(), Unasked, 0), Reuse { ttl: 60 });
    assert_eq!(asked(&control, &stored(), Unasked, 70), GatewayTimeout);
    for found in [Found::Nothing, Found::OtherVariant, Found::Part] {
        assert_eq!(
            decide_reuse(&control, found, Unasked, at(0)),
            GatewayTimeout
        );
    }
}

#[test]
fn a_soft_purge_makes_stale_and_starts_the_windows() {
    let purged = stored().expire(at(20));
    assert_eq!(
        decide(&purged, Unasked, 20),
        stale(0, StaleMode::WhileRevalidating)
    );
    assert_eq!(decide(&purged, Unasked, 30), Validate(Stale));
    assert_eq!(decide(&purged, Failed, 49), stale(-29, StaleMode::IfError));
    assert_eq!(decide(&purged, Failed, 50), Forward(Stale));
    assert_eq!(purged.age(at(20)), seconds(60));
    assert_eq!(stored().expire(at(65)), stored(), "stale already");
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

fn control() -> impl Strategy<Value = RequestControl> {
    let time = || proptest::option::of((0_u64..150).prop_map(seconds));
    let stale = prop_oneof![
        Just(MaxStale::Any),
        (0_u64..150).prop_map(|count| MaxStale::UpTo(seconds(count))),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (flags, time(), time(), proptest::option::of(stale)).prop_map(
        |((no_cache, no_store, only_if_cached), max_age, min_fresh, max_stale)| RequestControl {
            no_cache,
            no_store,
            only_if_cached,
            max_age,
            min_fresh,
            max_stale,
        },
    )
}

proptest! {
    #[test]
    fn nothing_is_served_past_its_windows(
        offset in -1000_i64..1000, swr in 0_u64..100, sie in 0_u64..100,
        failed: bool, always: bool, forbidden: bool, control in control(),
    ) {
        let times = StoredTimes {
            stale_while_revalidate: seconds(swr),
            stale_if_error: seconds(sie),
            stale_when_overloaded: Duration::ZERO,
            validate_always: always,
            stale_forbidden: forbidden,
            ..stored()
        };
        let origin = if failed { Failed } else { Unasked };
        let (fresh, served) = match asked(&control, &times, origin, offset) {
            Reuse { .. } => (true, true),
            ReuseStale { mode, .. } => {
                let accepted = mode == StaleMode::ClientAccepts;
                prop_assert!(at(offset) < times.servable_until() || accepted);
                prop_assert!(!accepted || (!forbidden && control.max_stale.is_some()));
                (false, true)
            }
            Validate(_) | Forward(_) => {
                prop_assert!(!control.only_if_cached);
                (false, false)
            }
            GatewayTimeout => {
                prop_assert!(control.only_if_cached);
                (false, false)
            }
        };
        prop_assert!(!served || !(always || control.no_cache));
        prop_assert!(!fresh || times.is_fresh(at(offset)));
        if origin == Unasked && served {
            prop_assert!(control.max_age.is_none_or(|most| times.age(at(offset)) <= most));
        }
        prop_assert_eq!(times.ttl(at(offset)), 60 - offset);
    }
}
