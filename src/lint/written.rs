//! Rules of all phases under one roof: what every one of them has.

use crate::guard::{IpAccessRule, LockdownRule};
use crate::rules::expression::Expression;
use crate::rules::phase::{Phase, Phases};
use crate::rules::{Rule, RuleSource, Ruleset};

/// Where something is written, and what may be odd about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'r> {
    /// The rule's name, where it is a rule.
    pub(super) name: Option<&'r str>,
    pub(super) source: &'r RuleSource,
    /// Names of codes.
    pub(super) allows: &'r [&'static str],
}

impl<'r> Place<'r> {
    pub(super) fn of<A>(rule: &'r Rule<A>) -> Self {
        Self {
            name: Some(&rule.name),
            source: &rule.source,
            allows: &rule.lint_allow,
        }
    }
}

impl<'r> From<&'r IpAccessRule> for Place<'r> {
    fn from(rule: &'r IpAccessRule) -> Self {
        Self {
            name: Some(&rule.name),
            source: &rule.source,
            allows: &rule.lint_allow,
        }
    }
}

impl<'r> From<&'r LockdownRule> for Place<'r> {
    fn from(rule: &'r LockdownRule) -> Self {
        Self {
            name: Some(&rule.name),
            source: &rule.source,
            allows: &rule.lint_allow,
        }
    }
}

/// A rule of any phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'r> {
    pub(super) phase: Phase,
    pub(super) name: &'r str,
    pub(super) place: Place<'r>,
    pub(super) expression: &'r Expression,
    pub(super) expires: Option<i64>,
}

/// All rules of a zone.
pub(super) fn of(phases: &Phases) -> Vec<Written<'_>> {
    let mut found = Vec::new();
    put(Phase::CustomRules, &phases.custom_rules, &mut found);
    put(Phase::AccessRules, &phases.access_rules, &mut found);
    put(Phase::RateLimitRules, &phases.rate_limits.rules, &mut found);
    put(Phase::Maintenance, &phases.maintenance, &mut found);
    put(Phase::Redirects, &phases.redirect_rules, &mut found);
    put(Phase::WaitingRooms, &phases.waiting_rooms, &mut found);
    put(Phase::Splits, &phases.splits, &mut found);
    put(Phase::Rewrites, &phases.rewrite_rules, &mut found);
    put(
        Phase::RequestHeaders,
        &phases.request_header_rules,
        &mut found,
    );
    put(Phase::OriginRules, &phases.origin_rules, &mut found);
    put(Phase::CacheRules, &phases.cache_rules.rules, &mut found);
    put(
        Phase::CacheResponseRules,
        &phases.cache_response_rules,
        &mut found,
    );
    put(Phase::ErrorPages, &phases.error_rules, &mut found);
    put(
        Phase::ResponseHeaders,
        &phases.response_header_rules,
        &mut found,
    );
    found
}

fn put<'r, A>(phase: Phase, rules: &'r Ruleset<A>, found: &mut Vec<Written<'r>>) {
    found.extend(rules.rules().iter().map(|rule| Written {
        phase,
        name: &rule.name,
        place: Place::of(rule),
        expression: &rule.expression,
        expires: rule.expires,
    }));
}
