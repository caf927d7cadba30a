//! The rate limits of a zone, asked about a request.

use std::ops::ControlFlow::{self, Break, Continue};

use smallvec::SmallVec;

use super::challenge::{Visitor, demand};
use super::decision::{Action, Assessment, Finding, Module, Stop};
use super::limit::{Ask, Counters, Key, Keys, LimitRule, Pending, RateLimits, StrictAsk, Verdict};
use crate::cache::settings::RuleId;
use crate::cache::status::EdgeReason;
use crate::request::RequestView;
use crate::rules::Rule;
use crate::rules::phase::{Phase, Trace};

/// What explain says of a rule, as it has no counters.
const COUNTS: &str = "counts towards its limit, and others before it are not known of";

/// Asks the limits that are for `request`, in order, until one stops it; then counts it where it counts but
/// may not be stopped.
pub(super) fn rate_limits<'z>(
    limits: &'z RateLimits,
    request: &RequestView<'_>,
    (visitor, counters): (&Visitor<'_>, &impl Counters),
    assessment: &mut Assessment<'z>,
    trace: &mut impl Trace,
) -> ControlFlow<()> {
    let mut keys = Keys::new(limits, request, counters.seed());
    if limits.has_strict {
        ask_first(limits, request, (counters, &mut keys), assessment);
        if !assessment.asks.is_empty() {
            return Break(());
        }
    }
    let mut rules: SmallVec<[(RuleId, &Rule<LimitRule>); 10]> = SmallVec::new();
    let mut asks: SmallVec<[Ask<'_>; 10]> = SmallVec::new();
    for (id, rule) in limits.rules.matching(request) {
        rules.push((id, rule));
        asks.push(Ask {
            rule: &rule.action,
            key: keys.of(id, &rule.action),
            counts: counts_on_arrival(&rule.action, request),
        });
    }
    counters.arrive(&asks, |position, verdict| {
        let (Some((id, rule)), Some(ask)) = (rules.get(position), asks.get(position)) else {
            return Continue(());
        };
        trace.matched(Phase::RateLimitRules, *id);
        let (limit, key) = (ask.rule, ask.key);
        if limit.counting.is_after() && limit.counting.expression.is_none() {
            assessment.pending.push(Pending { rule: *id, key });
        }
        if verdict.is_over() {
            return over(rule, &verdict, request, visitor, assessment);
        }
        trace.without_effect(Phase::RateLimitRules, *id, COUNTS);
        if limit.tells {
            assessment.fields.extend(limit.fields(&rule.name, &verdict));
        }
        Continue(())
    })?;
    count_others(limits, request, (counters, &mut keys), &rules, assessment);
    Continue(())
}

/// Whether the request is one more when it arrives.
fn counts_on_arrival(limit: &LimitRule, request: &RequestView<'_>) -> bool {
    let counting = &limit.counting;
    !counting.is_after()
        && counting
            .expression
            .as_ref()
            .is_none_or(|expression| expression.matches(request))
}

/// Finds what all nodes must be asked before: nothing that comes after a rule that stops the request anyway,
/// as what is stopped does not count.
fn ask_first(
    limits: &RateLimits,
    request: &RequestView<'_>,
    (counters, keys): (&impl Counters, &mut Keys<'_>),
    assessment: &mut Assessment<'_>,
) {
    let mut before: SmallVec<[(&LimitRule, Key); 8]> = SmallVec::new();
    for (id, rule) in limits.rules.matching(request) {
        let limit = &rule.action;
        let key = keys.of(id, limit);
        if !limit.strict || !counters.must_ask(limit, key) {
            if limit.refuses() {
                before.push((limit, key));
            }
            continue;
        }
        let mut before = before.drain(..);
        if before.any(|(limit, key)| counters.is_over(limit, key)) {
            return;
        }
        assessment.asks.push(StrictAsk {
            rule: id,
            key,
            counts: counts_on_arrival(limit, request),
        });
    }
}

/// The request is too much for `rule`.
fn over<'z>(
    rule: &'z Rule<LimitRule>,
    verdict: &Verdict,
    request: &RequestView<'_>,
    visitor: &Visitor<'_>,
    assessment: &mut Assessment<'z>,
) -> ControlFlow<()> {
    let limit = &rule.action;
    let challenges = limit.action() == Action::Challenge;
    let demanded = challenges.then(|| demand(visitor, request)).flatten();
    if challenges && demanded.is_none() {
        // Who has passed it may have more.
        return Continue(());
    }
    let (action, dry_run) = (limit.action(), limit.dry_run);
    let finding = Finding::of(Module::RateLimitRules, rule, action, dry_run);
    assessment.findings.push(finding);
    let refused = limit.refusal().map(|refusal| Stop {
        reason: EdgeReason::RateLimited,
        status: refusal.status,
        page: refusal.page.as_ref(),
        fields: limit.fields(&rule.name, verdict),
    });
    let Some(stop) = demanded.or(refused).filter(|_| !dry_run) else {
        return Continue(());
    };
    assessment.stop = Some(stop);
    // It is not answered as those that are counted by their answers.
    assessment.pending.clear();
    Break(())
}

/// Counts the request under the rules that count other requests than they may stop.
fn count_others(
    limits: &RateLimits,
    request: &RequestView<'_>,
    (counters, keys): (&impl Counters, &mut Keys<'_>),
    asked: &[(RuleId, &Rule<LimitRule>)],
    assessment: &mut Assessment<'_>,
) {
    if limits.counting.is_empty() {
        return;
    }
    for (_, counting) in limits.counting.possible(request) {
        let id = counting.action;
        let Some(rule) = limits.rules.get(id) else {
            continue;
        };
        let limit = &rule.action;
        if limit.counting.is_after() {
            let key = keys.of(id, limit);
            assessment.pending.push(Pending { rule: id, key });
        } else if !asked.iter().any(|(asked, _)| *asked == id)
            && counting.expression.matches(request)
        {
            counters.count(limit, keys.of(id, limit));
        }
    }
}
