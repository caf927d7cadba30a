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
                node.know(&delta, *sum, now);
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
    let verdicts = [(
        ask.key,
        limiter.after_asking(&rule, ask.key, true, Some(over), BEGIN),
    )];
    assert!(!counting(&verdicts).must_ask(&rule, ask.key));
    assert_eq!(counting(&verdicts).arrive(&rule, ask.key, true), over);
    // The next one need not be asked for.
    assert!(!counting(&[]).must_ask(&rule, ask.key));
    assert!(counting(&[]).arrive(&rule, ask.key, true).is_over());
    for (failing, is_over) in [(Failing::Open, false), (Failing::Closed, true)] {
        let rule = LimitRule {
            on_failure: failing,
            ..rule.clone()
        };
        let verdict = limiter.after_asking(&rule, 6, true, None, BEGIN);
        assert_eq!(verdict.is_over(), is_over, "{failing:?}");
    }
}
