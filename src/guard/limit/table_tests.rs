use std::collections::HashMap;

use proptest::prelude::*;

use super::super::state::{Telling, Terms};
use super::super::window::unit;
use super::*;

const SECOND: u64 = 1_000_000_000;
const BEGIN: Moment = 1_700_000_000 * SECOND;

fn terms(limit: u32) -> Terms {
    Terms {
        limit,
        unit: unit(limit),
        period: SECOND,
        mitigation: 0,
        burst: None,
        stops: true,
        telling: Telling::Alone,
    }
}

fn known(sum: u32) -> Known {
    Known {
        sum,
        ..Known::default()
    }
}

/// As good as a hash.
fn key(number: u64) -> Key {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1
}

fn passed(shard: &mut Shard, key: Key, terms: &Terms, at: impl Iterator<Item = u64>) -> usize {
    at.filter(|at| !shard.arrive(key, true, terms, BEGIN + at).is_over())
        .count()
}

#[test]
fn as_many_as_the_limit_pass_in_a_period_and_others_are_not_concerned() {
    let mut shard = Shard::new(1 << 16);
    let terms = terms(10);
    assert_eq!(passed(&mut shard, key(1), &terms, 0..100), 10);
    assert_eq!(passed(&mut shard, key(2), &terms, 0..3), 3);
    assert_eq!(shard.figures().keys, 2);
}

#[test]
fn who_was_too_much_is_stopped_until_the_timeout_and_its_requests_do_not_count() {
    let mut shard = Shard::new(1 << 16);
    let terms = Terms {
        mitigation: 5 * SECOND,
        ..terms(3)
    };
    assert_eq!(passed(&mut shard, key(1), &terms, 0..10), 3);
    let over = shard.arrive(key(1), true, &terms, BEGIN + 4 * SECOND);
    let Verdict::Over { retry_after } = over else {
        panic!("{over:?}")
    };
    assert!(retry_after < Duration::from_millis(1100) && retry_after > Duration::from_millis(900));
    let later = BEGIN + 5 * SECOND + 10;
    assert!(!shard.arrive(key(1), true, &terms, later).is_over());
}

#[test]
fn who_waits_as_told_is_let_through_however_short_the_timeout_is() {
    for mitigation in [0, SECOND / 10, 3 * SECOND] {
        let mut shard = Shard::new(1 << 16);
        let terms = Terms {
            mitigation,
            ..terms(3)
        };
        passed(&mut shard, key(1), &terms, 0..10);
        let over = shard.arrive(key(1), true, &terms, BEGIN + 20);
        let Verdict::Over { retry_after } = over else {
            panic!("{over:?}")
        };
        let later = BEGIN + 20 + u64::try_from(retry_after.as_nanos()).unwrap();
        assert!(!shard.arrive(key(1), true, &terms, later).is_over());
    }
}

#[test]
fn what_is_counted_by_its_answer_stops_the_next_request() {
    let mut shard = Shard::new(1 << 16);
    let terms = terms(3);
    for _ in 0..3 {
        assert!(!shard.arrive(key(1), false, &terms, BEGIN).is_over());
        shard.count(key(1), 1, &terms, BEGIN);
    }
    assert!(shard.arrive(key(1), false, &terms, BEGIN).is_over());
    assert!(shard.count(key(2), 4, &terms, BEGIN));
}

#[test]
fn what_is_only_told_of_goes_on_counting() {
    let mut shard = Shard::new(1 << 16);
    let terms = Terms {
        stops: false,
        ..terms(3)
    };
    passed(&mut shard, key(1), &terms, 0..10);
    // Ten in its first slice: in the middle of that of the next window five of them still count.
    let half = SECOND + SECOND / 16;
    assert_eq!(passed(&mut shard, key(1), &terms, half..=half), 0);
}

#[test]
fn a_clock_that_is_set_back_stops_nobody_for_long() {
    let mut shard = Shard::new(1 << 16);
    let terms = Terms {
        mitigation: SECOND,
        ..terms(1)
    };
    passed(&mut shard, key(1), &terms, 0..10);
    let before = BEGIN - 1000 * SECOND;
    assert!(!shard.arrive(key(1), true, &terms, before).is_over());
}

#[test]
fn room_is_free_again_when_the_clock_that_took_it_is_set_back() {
    let mut shard = Shard::new(64 << 10);
    let terms = Terms {
        mitigation: 3600 * SECOND,
        ..terms(1)
    };
    for number in 0..5_000 {
        passed(&mut shard, key(number), &terms, 0..2);
    }
    let before = BEGIN - 365 * 24 * 3600 * SECOND;
    for number in 5_000..5_100 {
        assert!(!shard.arrive(key(number), true, &terms, before).is_over());
        assert!(shard.arrive(key(number), true, &terms, before).is_over());
    }
}

#[test]
fn a_throttled_key_gets_its_burst_and_then_an_even_rate() {
    let mut shard = Shard::new(1 << 16);
    let terms = Terms {
        burst: Some(2),
        ..terms(10)
    };
    let steps = (0..100).map(|step| step * SECOND / 100);
    assert_eq!(passed(&mut shard, key(1), &terms, steps), 2 + 9);
}

#[test]
fn an_answer_that_counts_for_much_throttles_for_a_period_and_no_longer() {
    let mut shard = Shard::new(1 << 16);
    let terms = Terms {
        burst: Some(2),
        ..terms(10)
    };
    for weight in [11, 5_000, u32::MAX] {
        let (key, begin) = (key(u64::from(weight)), BEGIN);
        assert!(shard.count(key, weight, &terms, begin));
        let half = begin + SECOND / 2;
        assert!(shard.arrive(key, true, &terms, half).is_over(), "{weight}");
        let later = begin + SECOND;
        assert!(
            !shard.arrive(key, true, &terms, later).is_over(),
            "{weight}"
        );
    }
}

#[test]
fn a_flood_takes_no_more_than_its_room_stops_no_innocent_and_who_is_stopped_stays_so() {
    let mut shard = Shard::new(64 << 10);
    let terms = Terms {
        period: 60 * SECOND,
        mitigation: 600 * SECOND,
        ..terms(20)
    };
    let (attacker, innocent) = (key(u64::MAX - 1), key(u64::MAX - 2));
    assert_eq!(passed(&mut shard, attacker, &terms, 0..100), 20);
    let mut limited = 0;
    for number in 0..200_000 {
        let now = BEGIN + number * 1_000_000;
        shard.arrive(key(number), true, &terms, now);
        assert!(shard.arrive(attacker, true, &terms, now).is_over());
        // Ten a minute.
        if number % 6_000 == 0 {
            limited += u32::from(shard.arrive(innocent, true, &terms, now).is_over());
        }
    }
    let figures = shard.figures();
    assert!(figures.bytes <= 64 << 10, "{figures:?}");
    assert!(figures.turned_away > 100_000, "{figures:?}");
    assert_eq!(limited, 0);
    // One that comes during the flood is found out all the same.
    let late = key(u64::MAX - 3);
    let begin = 200_001 * 1_000_000;
    let let_through = passed(&mut shard, late, &terms, begin..begin + 2_000);
    assert!(let_through <= 20 + 16, "{let_through}");
}

#[test]
fn room_is_given_to_others_when_nothing_of_a_key_matters_any_more() {
    let mut shard = Shard::new(64 << 10);
    for number in 0..10_000 {
        // Forty at a time.
        let now = BEGIN + number / 40 * 3 * SECOND;
        shard.arrive(key(number), true, &terms(5), now);
    }
    assert_eq!(shard.figures().turned_away, 0);
}

#[test]
fn counts_are_told_once_and_what_all_have_counted_is_known() {
    let mut shard = Shard::new(1 << 16);
    let terms = Terms {
        telling: Telling::From(2),
        ..terms(10)
    };
    let told = |shard: &mut Shard| {
        let mut out = Vec::new();
        shard.take_untold(100, &mut out);
        out
    };
    passed(&mut shard, key(1), &terms, 0..1);
    assert_eq!(told(&mut shard), []);
    passed(&mut shard, key(1), &terms, 1..4);
    let [delta] = told(&mut shard)[..] else {
        panic!("one")
    };
    assert_eq!((delta.key, delta.amount), (key(1), 4));
    assert_eq!(told(&mut shard), []);
    // Two more before the answer comes: three were counted elsewhere.
    passed(&mut shard, key(1), &terms, 4..6);
    shard.know(&delta, &known(7), BEGIN + 6);
    assert_eq!(passed(&mut shard, key(1), &terms, 6..100), 1);
    // In the next window all that counts, wherever it was.
    let half = SECOND + SECOND / 16;
    assert_eq!(passed(&mut shard, key(1), &terms, half..half + 100), 5);
    let amounts: Vec<u32> = told(&mut shard).iter().map(|delta| delta.amount).collect();
    assert_eq!(amounts, [3, 5]);
}

#[test]
fn requests_elsewhere_push_back_when_a_throttled_key_is_due() {
    let mut shard = Shard::new(1 << 16);
    let terms = Terms {
        burst: Some(1),
        telling: Telling::From(1),
        ..terms(10)
    };
    assert_eq!(passed(&mut shard, key(1), &terms, 0..1), 1);
    let mut deltas = Vec::new();
    shard.take_untold(10, &mut deltas);
    let again = Delta {
        first: false,
        ..deltas[0]
    };
    shard.know(&again, &known(4), BEGIN + 1);
    let steps = (0..100).map(|step| step * SECOND / 100);
    assert_eq!(passed(&mut shard, key(1), &terms, steps), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn seven_eighths_of_a_period_never_have_too_much_and_who_keeps_to_nine_is_never_stopped(
        limit in 1_u32..60,
        pauses in prop::collection::vec(
            prop_oneof![3 => Just(0), 3 => 0..SECOND / 20, 1 => 0..SECOND],
            50..400,
        ),
    ) {
        let mut shard = Shard::new(1 << 16);
        let terms = terms(limit);
        let (mut now, mut passed) = (BEGIN, Vec::<u64>::new());
        for pause in pauses {
            now += pause;
            let within = |eighths| {
                let since = now - SECOND / 8 * eighths;
                u32::try_from(passed.iter().filter(|at| **at > since).count()).unwrap()
            };
            let (seven, nine) = (within(7), within(9));
            if shard.arrive(key(1), true, &terms, now).is_over() {
                prop_assert!(nine >= limit, "{} of {}", nine, limit);
            } else {
                prop_assert!(seven < limit, "{} of {}", seven, limit);
                passed.push(now);
            }
        }
    }

    #[test]
    fn while_there_is_room_every_key_is_counted_exactly(
        seen in prop::collection::vec((0_u64..500, 0..SECOND / 2000), 1..1000),
    ) {
        let mut shard = Shard::new(1 << 20);
        let terms = terms(5);
        let mut exact = HashMap::<u64, u32>::new();
        let mut now = 0;
        for (number, pause) in seen {
            now = (now + pause).min(SECOND - 1);
            let count = exact.entry(number).or_default();
            let over = shard.arrive(key(number), true, &terms, BEGIN + now).is_over();
            prop_assert_eq!(over, *count >= 5);
            *count += 1;
        }
    }
}
