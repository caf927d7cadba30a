//! The rate limits of a zone, asked about a request.

use std::ops::ControlFlow::{self, Break, Continue};

use smallvec::SmallVec;

use super::challenge::{Visitor, demand};
use super::decision::{Action, Assessment, Finding, Module, Stop};
use super::limit::{Counters, LimitRule, Pending, RateLimits, StrictAsk, Verdict};
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
    let seed = counters.seed();
    if limits.has_strict {
        ask_first(limits, request, counters, assessment);
        if !assessment.asks.is_empty() {
            return Break(());
        }
    }
    let mut asked: SmallVec<[RuleId; 8]> = SmallVec::new();
    for (id, rule) in limits.rules.matching(request) {
        trace.matched(Phase::RateLimitRules, id);
        asked.push(id);
        let limit = &rule.action;
        let key = limit.key(request, seed);
        let verdict = counters.arrive(limit, key, counts_on_arrival(limit, request));
        if limit.counting.is_after() && limit.counting.expression.is_none() {
            assessment.pending.push(Pending { rule: id, key });
        }
        if verdict.is_over() {
            over(rule, &verdict, request, visitor, assessment)?;
        } else {
            trace.without_effect(Phase::RateLimitRules, id, COUNTS);
            if limit.tells {
                assessment.fields.extend(limit.fields(&rule.name, &verdict));
            }
        }
    }
    count_others(limits, request, counters, &asked, assessment);
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

/// Finds what all nodes must be asked before.
fn ask_first(
    limits: &RateLimits,
    request: &RequestView<'_>,
    counters: &impl Counters,
    assessment: &mut Assessment<'_>,
) {
    let seed = counters.seed();
    let strict = limits.rules.matching(request);
    for (id, rule) in strict.filter(|(_, rule)| rule.action.strict) {
        let key = rule.action.key(request, seed);
        if counters.must_ask(&rule.action, key) {
            assessment.asks.push(StrictAsk {
                rule: id,
                key,
                counts: counts_on_arrival(&rule.action, request),
            });
        }
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
    counters: &impl Counters,
    asked: &[RuleId],
    assessment: &mut Assessment<'_>,
) {
    if limits.counting.is_empty() {
        return;
    }
    let seed = counters.seed();
    for (_, counting) in limits.counting.possible(request) {
        let id = counting.action;
        let Some(rule) = limits.rules.get(id) else {
            continue;
        };
        let limit = &rule.action;
        if limit.counting.is_after() {
            let key = limit.key(request, seed);
            assessment.pending.push(Pending { rule: id, key });
        } else if !asked.contains(&id) && counting.expression.matches(request) {
            let key = limit.key(request, seed);
            counters.count(limit, key);
        }
    }
}
