//! The modules of the guard, in the order in which a request meets them.

use std::ops::ControlFlow::{self, Break, Continue};

use super::access::{Access, AccessRule, Refusal};
use super::custom::{CustomAction, Skips};
use super::decision::{Action, Assessment, Finding, Module, Stop};
use crate::cache::status::EdgeReason;
use crate::request::RequestView;
use crate::rules::phase::{Phase, Phases, Trace};

/// Assesses `request`, which is in canonical form.
pub fn assess<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    trace: &mut impl Trace,
) -> Assessment<'z> {
    let mut assessment = Assessment::default();
    let mut skips = Skips::default();
    let _ = custom_rules(phases, request, &mut skips, &mut assessment, trace)
        .is_continue()
        .then(|| access_rules(phases, request, skips, &mut assessment, trace));
    assessment
}

/// The access rules; all that hold must be satisfied.
fn access_rules<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    skips: Skips,
    assessment: &mut Assessment<'z>,
    trace: &mut impl Trace,
) {
    if skips.contains(Module::AccessRules) {
        return;
    }
    for (id, _) in phases.access_rules.matching(request) {
        let Some(rule) = phases.access_rules.get(id) else {
            continue;
        };
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
                assessment.check = Some((credentials, finding, stop(refusal)));
            }
            Access::Refused(refusal) => {
                assessment.findings.push(finding);
                assessment.stop = Some(stop(refusal));
                return;
            }
        }
    }
}

/// The custom rules; breaks when the request is stopped, or let through whatever else would be found.
fn custom_rules<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    skips: &mut Skips,
    assessment: &mut Assessment<'z>,
    trace: &mut impl Trace,
) -> ControlFlow<()> {
    for (id, _) in phases.custom_rules.matching(request) {
        // By its id, as what `matching` gives lives no longer than the request.
        let Some(rule) = phases.custom_rules.get(id) else {
            continue;
        };
        trace.matched(Phase::CustomRules, id);
        let (action, dry_run) = (rule.action.action(), rule.action.dry_run);
        let finding = Finding::of(Module::CustomRules, rule, action, dry_run);
        assessment.findings.push(finding);
        if dry_run {
            continue;
        }
        match &rule.action.action {
            CustomAction::Block { status, page } => {
                assessment.stop = Some(Stop {
                    reason: EdgeReason::Blocked,
                    status: *status,
                    page: page.as_ref(),
                    fields: Vec::new(),
                });
                return Break(());
            }
            CustomAction::Allow => return Break(()),
            CustomAction::Skip(parts) => skips.merge(*parts),
            CustomAction::Log => {}
        }
        if skips.contains(Module::CustomRules) {
            break;
        }
    }
    Continue(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, StatusCode, Version};

    use super::super::custom::CustomRule;
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
        let assessment = assess(&phases, &request, &mut ());
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
}
