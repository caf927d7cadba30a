//! Findings about names and expressions, which rules of every phase have.

use std::collections::HashMap;

use super::codes::{DUPLICATE_RULE_NAME, EXPIRED_RULE, NEVER_MATCHES, REGEX_COULD_BE_WILDCARD};
use super::finding::Findings;
use super::written::Written;

pub(super) fn check(rules: &[Written<'_>], now: i64, found: &mut Findings) {
    let mut names: HashMap<_, &Written<'_>> = HashMap::new();
    for rule in rules {
        if let Some(first) = names.insert((rule.phase, rule.name), rule) {
            let message = format!(
                "another of the {} is called \"{}\": {}",
                rule.phase, rule.name, first.place.source
            );
            found.add(DUPLICATE_RULE_NAME, &rule.place, rule.name, message, None);
        }
        if rule.expires.is_some_and(|expires| expires <= now) {
            let message = format!("the rule \"{}\" has expired", rule.name);
            found.add(EXPIRED_RULE, &rule.place, "expires", message, None);
        }
        never_matches(rule, found);
        for simpler in rule.expression.simpler_patterns() {
            let message = format!(
                "`matches \"{}\"` needs no regular expression",
                simpler.pattern
            );
            let help = Some(format!("write `{}`", simpler.instead));
            found.add(
                REGEX_COULD_BE_WILDCARD,
                &rule.place,
                &simpler.pattern,
                message,
                help,
            );
        }
    }
}

fn never_matches(rule: &Written<'_>, found: &mut Findings) {
    let contradictions = rule.expression.contradictions();
    let never = rule.expression.is_never();
    if never && contradictions.is_empty() {
        let message = format!("the rule \"{}\" never matches", rule.name);
        let help = Some("`enabled = false` switches a rule off".to_owned());
        let source = rule.expression.source();
        found.add(NEVER_MATCHES, &rule.place, source, message, help);
    }
    for part in contradictions {
        let whole = if never {
            "the rule never matches"
        } else {
            "a part never matches"
        };
        let message = format!("{whole}: {}", part.message);
        let help = part.instead.map(|instead| format!("write \"{instead}\""));
        let mark = match &*part.text {
            "" => rule.expression.source(),
            text => text,
        };
        found.add(NEVER_MATCHES, &rule.place, mark, message, help);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, found, rules};

    #[test]
    fn expressions_that_never_hold_are_told() {
        for (expression, expected) in [
            ("false", &["never-matches"][..]),
            (r#"http.host eq "A.test""#, &["never-matches"]),
            (r#"http.host in {"a.test" "B.test"}"#, &["never-matches"]),
            (r#"http.host eq "a.test""#, &[]),
        ] {
            let rule = format!("expression = '{expression}'\ncache = \"bypass\"");
            assert_eq!(
                codes(&rules("cache_rules", &[&rule])),
                expected,
                "{expression}"
            );
        }
        let rule = "expression = 'http.host in {\"a.test\" \"B.test\"}'\ncache = \"bypass\"";
        let message = &found(&rules("cache_rules", &[rule]))[0].1;
        assert!(message.starts_with("a part never matches"), "{message}");
    }

    #[test]
    fn a_rule_whose_time_is_over_is_told() {
        for (year, expected) in [("2020", &["expired-rule"][..]), ("2030", &[])] {
            let rule =
                format!("expression = 'ssl'\nexpires = {year}-01-01T00:00:00Z\ncache = \"bypass\"");
            assert_eq!(codes(&rules("cache_rules", &[&rule])), expected);
        }
    }

    #[test]
    fn one_name_for_two_rules_of_a_phase_is_told() {
        let named = |name, host| {
            format!("name = \"{name}\"\nexpression = 'http.host eq \"{host}\"'\ncache = \"bypass\"")
        };
        let twice = rules(
            "cache_rules",
            &[&named("a", "a.test"), &named("a", "b.test")],
        );
        assert_eq!(codes(&twice), ["duplicate-rule-name"]);
        let differ = rules(
            "cache_rules",
            &[&named("a", "a.test"), &named("b", "b.test")],
        );
        assert_eq!(codes(&differ), [""; 0]);
    }

    #[test]
    fn a_regular_expression_for_a_prefix_is_told() {
        for (pattern, expected) in [
            ("^/a/", &["regex-could-be-wildcard"][..]),
            ("^/a(/|$)", &[]),
        ] {
            let rule = format!(
                "expression = 'http.request.uri.path matches \"{pattern}\"'\ncache = \"bypass\""
            );
            assert_eq!(codes(&rules("cache_rules", &[&rule])), expected);
        }
    }
}
