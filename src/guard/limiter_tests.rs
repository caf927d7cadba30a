use http::StatusCode;

use super::*;
use crate::cache::settings::RuleId;
use crate::guard::limit;
use crate::guard::limit::{Refusal, StrictAsk};

const SECOND: u64 = 1_000_000_000;
const BEGIN: Moment = 1_700_000_000 * SECOND;

fn rule(on_failure: Failing) -> LimitRule {
    LimitRule {
        counting: limit::Counting::default(),
        characteristics: Vec::new(),
        limit: 100,
        period: Duration::from_secs(10),
        mitigation_timeout: Duration::ZERO,
        action: LimitAction::Block(Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            page: None,
        }),
        dry_run: false,
        tells: false,
        strict: false,
        on_failure,
        identity: 1,
    }
}

fn passed(limiter: &RateLimiter, rule: &LimitRule, key: Key) -> usize {
    (0..300)
        .filter(|at| !limiter.arrive(rule, key, true, BEGIN + at).is_over())
        .count()
}

#[test]
fn while_nodes_cannot_tell_each_other_each_has_its_share_or_what_the_rule_says() {
    for (failing, expected) in [
        (Failing::Local, 34),
        (Failing::Open, 300),
        (Failing::Closed, 0),
    ] {
        let limiter = RateLimiter::new(1 << 20, Seed(1, 2), true);
        limiter.set_nodes(3);
        assert_eq!(passed(&limiter, &rule(failing), 7), expected, "{failing:?}");
        limiter.connect(true);
        assert_eq!(passed(&limiter, &rule(failing), 8), 100, "{failing:?}");
    }
    let alone = RateLimiter::new(1 << 20, Seed(1, 2), false);
    assert_eq!(passed(&alone, &rule(Failing::Closed), 7), 100);
}

#[test]
fn nodes_that_tell_each_other_count_together_to_within_a_few() {
    let nodes: Vec<RateLimiter> = (0..4)
        .map(|_| RateLimiter::new(1 << 20, Seed(1, 2), true))
        .collect();
    for node in &nodes {
        node.connect(true);
        node.set_nodes(4);
    }
    let rule = rule(Failing::Local);
    let mut server = std::collections::HashMap::<(Key, u32), u32>::new();
    let mut let_through = 0;
    // One client on all nodes, at twice its limit; they tell each other every fifty milliseconds.
    for step in 0..2_000_u64 {
        let now = BEGIN + step * SECOND / 20;
        for node in &nodes {
            let_through += u32::from(!node.arrive(&rule, 9, true, now).is_over());
        }
        for node in &nodes {
            for delta in node.take_untold(100) {
                let sum = server.entry((delta.key, delta.window)).or_default();
                *sum += delta.amount;
                let known = Known {
                    sum: *sum,
                    ..Known::default()
                };
                node.know(&delta, &known, now);
            }
        }
    }
    // A hundred seconds: ten periods, and the one that the first window has to itself.
    let ideal = 1_000;
    assert!(
        (ideal..=ideal + 100 + 50).contains(&let_through),
        "{let_through}"
    );
}

#[test]
fn a_request_for_a_strict_rule_asks_until_the_answer_is_there_or_it_is_known_to_be_over() {
    let limiter = RateLimiter::new(1 << 20, Seed(1, 2), true);
    let rule = LimitRule {
        strict: true,
        mitigation_timeout: Duration::from_mins(1),
        ..rule(Failing::Local)
    };
    let ask = StrictAsk {
        rule: RuleId(0),
        key: 5,
        counts: true,
    };
    let counting = |verdicts| Counting {
        limiter: &limiter,
        now: BEGIN,
        verdicts,
    };
    assert!(counting(&[]).must_ask(&rule, ask.key));
    let over = Verdict::Over {
        retry_after: Duration::from_mins(1),
    };
    assert!(!counting(&[]).is_over(&rule, ask.key));
    let verdicts = [(
        ask.key,
        limiter.after_asking(&rule, ask.key, true, Some(over), BEGIN),
    )];
    assert!(!counting(&verdicts).must_ask(&rule, ask.key));
    let arriving = |verdicts| {
        let mut found = None;
        let asks = [Ask {
            rule: &rule,
            key: ask.key,
            counts: true,
        }];
        let _ = counting(verdicts).arrive(&asks, |_, verdict| {
            found = Some(verdict);
            Continue(())
        });
        found.unwrap()
    };
    assert_eq!(arriving(&verdicts), over);
    assert!(counting(&verdicts).is_over(&rule, ask.key));
    // The next one need not be asked for.
    assert!(!counting(&[]).must_ask(&rule, ask.key));
    assert!(arriving(&[]).is_over());
    for (failing, is_over) in [(Failing::Open, false), (Failing::Closed, true)] {
        let rule = LimitRule {
            on_failure: failing,
            ..rule.clone()
        };
        let verdict = limiter.after_asking(&rule, 6, true, None, BEGIN);
        assert_eq!(verdict.is_over(), is_over, "{failing:?}");
    }
}

#[test]
fn when_there_is_too_much_to_tell_the_keys_of_all_shards_are_told_in_turn() {
    let limiter = RateLimiter::new(1 << 20, Seed(1, 2), true);
    limiter.connect(true);
    let rule = rule(Failing::Local);
    let mut told = std::collections::HashSet::new();
    for _ in 0..8 {
        for number in 1..=256_u64 {
            for _ in 0..5 {
                limiter.arrive(&rule, (number << 32) | (number % 256), true, BEGIN);
            }
        }
        told.extend(limiter.take_untold(64).iter().map(|delta| delta.key));
    }
    assert_eq!(told.len(), 256);
}

#[test]
fn limits_are_asked_in_order_until_one_ends_it_wherever_their_keys_are() {
    let limiter = RateLimiter::new(1 << 20, Seed(1, 2), false);
    let rule = LimitRule {
        limit: 2,
        ..rule(Failing::Local)
    };
    let asks = [1, 257, 2, 513].map(|key| Ask {
        rule: &rule,
        key,
        counts: true,
    });
    // The third is over its limit.
    passed(&limiter, &rule, 2);
    let counting = Counting {
        limiter: &limiter,
        now: BEGIN,
        verdicts: &[],
    };
    let mut seen = Vec::new();
    let flow = counting.arrive(&asks, |position, verdict| {
        seen.push((position, verdict.is_over()));
        if verdict.is_over() {
            return ControlFlow::Break(());
        }
        Continue(())
    });
    assert!(flow.is_break());
    assert_eq!(seen, [(0, false), (1, false), (2, true)]);
    // The others count each for itself.
    assert_eq!(passed(&limiter, &rule, 257), 1);
    assert_eq!(passed(&limiter, &rule, 513), 2);
}

#[test]
fn a_node_that_a_client_comes_to_knows_what_it_did_elsewhere_before() {
    let nodes: Vec<RateLimiter> = (0..2)
        .map(|_| RateLimiter::new(1 << 20, Seed(1, 2), true))
        .collect();
    let block = rule(Failing::Local);
    let throttle = LimitRule {
        action: LimitAction::Throttle {
            burst: 10,
            refusal: Refusal {
                status: StatusCode::TOO_MANY_REQUESTS,
                page: None,
            },
        },
        ..block.clone()
    };
    for (rule, key) in [(&block, 3), (&throttle, 4)] {
        for node in &nodes {
            node.connect(true);
            node.set_nodes(2);
        }
        let mut server = std::collections::HashMap::<(Key, u32), u32>::new();
        let mut dues = std::collections::HashMap::<Key, Moment>::new();
        let alone = RateLimiter::new(1 << 20, Seed(1, 2), false);
        let (mut together, mut by_one) = (0, 0);
        // At twice its limit: for 25 seconds at one node, and then at the other.
        for step in 0..1_000_u64 {
            let now = BEGIN + step * SECOND / 20;
            let node = &nodes[usize::from(step >= 500)];
            together += u32::from(!node.arrive(rule, key, true, now).is_over());
            by_one += u32::from(!alone.arrive(rule, key, true, now).is_over());
            for delta in node.take_untold(100) {
                let sum = server.entry((delta.key, delta.window)).or_default();
                *sum += delta.amount;
                let sum = *sum;
                let before = delta.first.then(|| {
                    let before = server.get(&(delta.key, delta.window - 1));
                    before.copied().unwrap_or_default()
                });
                let due = dues.get(&delta.key).copied().filter(|_| delta.first);
                if !delta.first || due.is_none() {
                    dues.insert(delta.key, delta.due);
                }
                let known = Known { sum, before, due };
                node.know(&delta, &known, now);
            }
        }
        let most = by_one / 20;
        assert!(together.abs_diff(by_one) <= most, "{together}, {by_one}");
    }
}

#[test]
fn what_was_counted_while_nobody_could_be_told_is_told_afterwards() {
    let limiter = RateLimiter::new(1 << 20, Seed(1, 2), true);
    limiter.set_nodes(2);
    let rule = rule(Failing::Local);
    for _ in 0..10 {
        limiter.arrive(&rule, 7, true, BEGIN);
    }
    assert_eq!(limiter.take_untold(10), []);
    limiter.connect(true);
    for _ in 0..5 {
        limiter.arrive(&rule, 7, true, BEGIN);
    }
    let amounts = limiter.take_untold(10);
    assert_eq!(amounts.iter().map(|delta| delta.amount).sum::<u32>(), 15);
}
