//! The modules of the guard, in the order in which a request meets them.

use std::borrow::Cow;
use std::ops::ControlFlow::{self, Break, Continue};

use http::StatusCode;
use smallvec::SmallVec;

use super::access::{Access, AccessRule, Refusal};
use super::challenge::{Visitor, demand};
use super::custom::{CustomAction, Skips};
use super::decision::{Action, Assessment, Check, Finding, Module, Stop};
use super::filters::Reaction;
use super::ip_access::IpAccessAction;
use super::limit::Counters;
use super::lockdown;
use super::rates::rate_limits;
use super::spelling::other_readings;
use crate::cache::settings::RuleId;
use crate::cache::status::EdgeReason;
use crate::request::RequestView;
use crate::rules::phase::{Phase, Phases, Trace};

/// Assesses `request`, which is in canonical form. Where all nodes must be asked first, nothing has counted.
pub fn assess<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    visitor: &Visitor<'_>,
    counters: &impl Counters,
    trace: &mut impl Trace,
) -> Assessment<'z> {
    let mut assessment = Assessment::default();
    let mut skips = Skips::default();
    let _ = modules(
        phases,
        request,
        (visitor, counters),
        &mut skips,
        &mut assessment,
        trace,
    );
    // Who one is, is asked of those as well whom other rules let in.
    if assessment.stop.is_none() && assessment.asks.is_empty() {
        access_rules(phases, request, skips, &mut assessment, trace);
    }
    assessment
}

/// One module after the other, until one breaks.
fn modules<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    (visitor, counters): (&Visitor<'_>, &impl Counters),
    skips: &mut Skips,
    assessment: &mut Assessment<'z>,
    trace: &mut impl Trace,
) -> ControlFlow<()> {
    lockdown_rules(phases, request, assessment)?;
    ip_access_rules(phases, request, visitor, assessment)?;
    custom_rules(phases, request, visitor, skips, assessment, trace)?;
    if !phases.rate_limits.is_empty() && !skips.contains(Module::RateLimitRules) {
        let asked = (visitor, counters);
        rate_limits(&phases.rate_limits, request, asked, assessment, trace)?;
    }
    if !skips.contains(Module::RequestFilters) {
        request_filters(phases, request, assessment)?;
    }
    under_attack(request, visitor, *skips, assessment)
}

/// What is locked stays so for those whom other rules let in.
fn lockdown_rules<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    assessment: &mut Assessment<'z>,
) -> ControlFlow<()> {
    for rule in lockdown::refusing(&phases.lockdown_rules, request) {
        assessment.findings.push(Finding {
            module: Module::LockdownRules,
            rule: &rule.name,
            source: Some(&rule.source),
            action: Action::Block,
            dry_run: rule.dry_run,
        });
        if !rule.dry_run {
            assessment.stop = Some(Stop::refusal(StatusCode::FORBIDDEN));
            return Break(());
        }
    }
    Continue(())
}

fn ip_access_rules<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    visitor: &Visitor<'_>,
    assessment: &mut Assessment<'z>,
) -> ControlFlow<()> {
    for rule in phases.ip_access_rules.find(request) {
        let stop = match rule.action {
            IpAccessAction::Block => Some(Stop::refusal(StatusCode::FORBIDDEN)),
            IpAccessAction::Challenge => match demand(visitor, request) {
                // Passed; other rules are asked.
                None => continue,
                demanded => demanded,
            },
            IpAccessAction::Allow | IpAccessAction::Log => None,
        };
        assessment.findings.push(Finding {
            module: Module::IpAccessRules,
            rule: &rule.name,
            source: Some(&rule.source),
            action: rule.action.action(),
            dry_run: false,
        });
        if stop.is_some() || rule.action == IpAccessAction::Allow {
            assessment.stop = stop;
            return Break(());
        }
    }
    Continue(())
}

fn request_filters<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    assessment: &mut Assessment<'z>,
) -> ControlFlow<()> {
    let filters = &phases.request_filters;
    for found in filters.find(request) {
        let action = match found.reaction {
            Reaction::Block => Action::Block,
            Reaction::Log => Action::Log,
        };
        assessment.findings.push(Finding {
            module: Module::RequestFilters,
            rule: found.filter,
            source: None,
            action,
            dry_run: false,
        });
        if found.reaction == Reaction::Block {
            let mut stop = Stop::refusal(found.status);
            stop.fields.extend(filters.fields(found.filter));
            assessment.stop = Some(stop);
            return Break(());
        }
    }
    Continue(())
}

/// The custom rules; breaks when the request is stopped, or let through whatever else would be found.
fn custom_rules<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    visitor: &Visitor<'_>,
    skips: &mut Skips,
    assessment: &mut Assessment<'z>,
    trace: &mut impl Trace,
) -> ControlFlow<()> {
    for (id, rule) in phases.custom_rules.matching(request) {
        trace.matched(Phase::CustomRules, id);
        let (action, dry_run) = (rule.action.action(), rule.action.dry_run);
        let stop = match &rule.action.action {
            CustomAction::Block { status, page } => Some(Stop {
                reason: EdgeReason::Blocked,
                status: *status,
                page: page.as_ref(),
                fields: Vec::new(),
            }),
            CustomAction::Challenge => match demand(visitor, request) {
                None => continue,
                demanded => demanded,
            },
            _ => None,
        };
        let finding = Finding::of(Module::CustomRules, rule, action, dry_run);
        assessment.findings.push(finding);
        if dry_run {
            continue;
        }
        if stop.is_some() {
            assessment.stop = stop;
            return Break(());
        }
        match &rule.action.action {
            CustomAction::Allow => return Break(()),
            CustomAction::Skip(parts) => skips.merge(*parts),
            _ => {}
        }
        if skips.contains(Module::CustomRules) {
            break;
        }
    }
    Continue(())
}

/// The access rules; all that hold must be satisfied.
fn access_rules<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    skips: Skips,
    assessment: &mut Assessment<'z>,
    trace: &mut impl Trace,
) {
    if skips.contains(Module::AccessRules) || phases.access_rules.is_empty() {
        return;
    }
    // What is a rule's in any reading that an origin might have of the path, it has to satisfy.
    let others = other_readings(request.path);
    let others = others.iter().map(|path| String::from_utf8_lossy(path));
    let mut asked = SmallVec::<[RuleId; 4]>::new();
    let readings = std::iter::once(Cow::Borrowed(request.path)).chain(others);
    let about = readings.flat_map(|path| {
        let request = RequestView {
            path: &path,
            ..*request
        };
        let rules = phases.access_rules.matching(&request);
        rules.collect::<SmallVec<[_; 2]>>()
    });
    for (id, rule) in about {
        if asked.contains(&id) {
            continue;
        }
        asked.push(id);
        trace.matched(Phase::AccessRules, id);
        let finding = Finding::of(Module::AccessRules, rule, Action::Block, false);
        let stop = |refusal: Refusal| Stop {
            reason: EdgeReason::Unauthorized,
            status: refusal.status,
            page: None,
            fields: refusal.fields,
        };
        assessment.takes_authorization |= matches!(rule.action, AccessRule::Basic(_));
        match rule.action.ask(request) {
            Access::Granted => {}
            Access::GrantedWithout(parameter) => assessment.takes_parameter = Some(parameter),
            Access::Check(credentials, refusal) => {
                assessment.checks.push(Check {
                    credentials,
                    finding,
                    stop: stop(refusal),
                });
            }
            Access::Refused(refusal) => {
                assessment.findings.push(finding);
                assessment.stop = Some(stop(refusal));
                return;
            }
        }
    }
}

/// A zone under attack challenges everybody.
fn under_attack(
    request: &RequestView<'_>,
    visitor: &Visitor<'_>,
    skips: Skips,
    assessment: &mut Assessment<'_>,
) -> ControlFlow<()> {
    if !visitor.under_attack || skips.contains(Module::Challenge) {
        return Continue(());
    }
    let Some(stop) = demand(visitor, request) else {
        return Continue(());
    };
    assessment.findings.push(Finding {
        module: Module::Challenge,
        rule: "under_attack",
        source: None,
        action: Action::Challenge,
        dry_run: false,
    });
    assessment.stop = Some(stop);
    Break(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Version};

    use super::super::custom::CustomRule;
    use super::super::limit::NoCounters;
    use super::*;
    use crate::request::{Facts, Scheme};
    use crate::rules::expression::{Environment, Expression};
    use crate::rules::{CacheRuleset, Rule, RuleSource, Ruleset};

    fn rule(name: &str, expression: &str, action: CustomAction) -> Rule<CustomRule> {
        Rule {
            name: name.to_owned(),
            source: RuleSource {
                file: "test.toml".into(),
                line: 1,
            },
            expression: Expression::compile(expression, &Environment::default()).unwrap(),
            expires: None,
            lint_allow: Vec::new(),
            action: CustomRule {
                action,
                dry_run: false,
            },
        }
    }

    fn block() -> CustomAction {
        CustomAction::Block {
            status: StatusCode::FORBIDDEN,
            page: None,
        }
    }

    fn found(rules: Vec<Rule<CustomRule>>) -> (Vec<(String, Action)>, bool) {
        found_under_attack(rules, false)
    }

    fn found_under_attack(
        rules: Vec<Rule<CustomRule>>,
        under_attack: bool,
    ) -> (Vec<(String, Action)>, bool) {
        let mut phases = Phases::of_cache(CacheRuleset::new(Vec::new(), 0));
        phases.custom_rules = Ruleset::new(rules);
        let request = RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host: "example.com",
            path: "/wp-login.php",
            query: None,
            version: Version::HTTP_11,
            headers: &HeaderMap::new(),
            client: [192, 0, 2, 1].into(),
            session_cookie: false,
            has_body: false,
            facts: Facts::default(),
        };
        let visitor = Visitor {
            under_attack,
            ..Visitor::default()
        };
        let assessment = assess(&phases, &request, &visitor, &NoCounters, &mut ());
        let findings = assessment.findings.iter();
        (
            findings
                .map(|finding| (finding.rule.to_owned(), finding.action))
                .collect(),
            assessment.stop.is_some(),
        )
    }

    #[test]
    fn the_first_rule_that_blocks_ends_it_and_what_logs_does_not() {
        let (findings, stopped) = found(vec![
            rule("elsewhere", r#"http.host eq "example.org""#, block()),
            rule("seen", "true", CustomAction::Log),
            rule("php", r#"http.request.uri.path contains ".php""#, block()),
            rule("never", "true", CustomAction::Allow),
        ]);
        let expected = [("seen", Action::Log), ("php", Action::Block)];
        assert_eq!(
            findings,
            expected.map(|(name, action)| (name.to_owned(), action))
        );
        assert!(stopped);
    }

    #[test]
    fn what_is_allowed_or_spared_the_rest_of_the_rules_is_not_blocked_by_a_later_one() {
        let mut parts = Skips::default();
        parts.insert(Module::CustomRules);
        for action in [CustomAction::Allow, CustomAction::Skip(parts)] {
            let name = action.clone();
            let (findings, stopped) = found(vec![
                rule("office", "ip.src in {192.0.2.0/24}", action),
                rule("all", "true", block()),
            ]);
            assert_eq!(findings.len(), 1, "{name:?}");
            assert!(!stopped, "{name:?}");
        }
    }

    #[test]
    fn a_dry_run_is_found_and_does_nothing() {
        let mut tried = rule("tried", "true", block());
        tried.action.dry_run = true;
        let (findings, stopped) = found(vec![tried, rule("seen", "true", CustomAction::Log)]);
        assert_eq!(findings.len(), 2);
        assert!(!stopped);
    }

    #[test]
    fn under_attack_all_are_challenged_but_who_is_spared_that() {
        let (findings, stopped) = found_under_attack(Vec::new(), true);
        assert_eq!(findings, [("under_attack".to_owned(), Action::Challenge)]);
        assert!(stopped);
        let mut parts = Skips::default();
        parts.insert(Module::Challenge);
        for action in [CustomAction::Allow, CustomAction::Skip(parts)] {
            let (_, stopped) = found_under_attack(vec![rule("office", "true", action)], true);
            assert!(!stopped);
        }
    }

    #[test]
    fn a_rule_challenges_and_ends_it_and_the_next_is_for_who_has_passed() {
        let (findings, stopped) = found(vec![
            rule("browsers", "true", CustomAction::Challenge),
            rule("php", "true", block()),
        ]);
        assert_eq!(findings, [("browsers".to_owned(), Action::Challenge)]);
        assert!(stopped);
    }
}
