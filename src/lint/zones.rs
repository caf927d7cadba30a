//! Findings about rules of the guard that stand where they protect nothing: in another zone than that of the hosts
//! they name, or with a list that has nothing in it.

use super::codes::{EMPTY_LIST, NEVER_MATCHES};
use super::finding::Findings;
use super::written::{Place, Written};
use crate::config::Config;
use crate::rules::expression::{Part, Requirement};
use crate::rules::phase::Phase;
use crate::zone::{self, HostPattern};

const GUARD: &[Phase] = &[
    Phase::CustomRules,
    Phase::AccessRules,
    Phase::RateLimitRules,
];

/// What is odd about the rules of the zone at `at`.
pub(super) fn check(config: &Config, at: usize, rules: &[Written<'_>], found: &mut Findings) {
    let Some(zone) = config.zones.get(at) else {
        return;
    };
    let answers = |host: &str| {
        let zones = config.zones.iter().map(|zone| &*zone.hosts);
        zone::find(zones, host) == Some(at)
    };
    for rule in rules.iter().filter(|rule| GUARD.contains(&rule.phase)) {
        if rule.expression.asks_for_empty_list() {
            let message = format!("the rule \"{}\" asks for a list that is empty", rule.name);
            found.add(EMPTY_LIST, &rule.place, "expression", message, None);
        }
        // Else it is told of already.
        if !rule.expression.contradictions().is_empty() {
            continue;
        }
        let requirements = rule.expression.requirements();
        if let Some(host) = requirements.iter().find_map(|one| foreign(one, &answers)) {
            let message = format!(
                "the rule \"{}\" never matches: requests to {host} are not this zone's",
                rule.name
            );
            found.add(NEVER_MATCHES, &rule.place, &host, message, None);
        }
    }
    for rule in &zone.rules.lockdown_rules {
        let none = |host: &&HostPattern| match host {
            HostPattern::Exact(host) => !answers(host),
            pattern => !zone.hosts.iter().any(|of_zone| overlap(pattern, of_zone)),
        };
        if let Some(host) = rule.hosts.iter().find(none) {
            let message = format!(
                "the rule \"{}\" locks nothing at {host}: requests to it are not this zone's",
                rule.name
            );
            found.add(NEVER_MATCHES, &Place::from(rule), "hosts", message, None);
        }
    }
}

/// The first of the hosts of which a request must have one, when none of them is the zone's.
fn foreign(needed: &Requirement, answers: &dyn Fn(&str) -> bool) -> Option<String> {
    if needed.part() != Some(Part::Host) {
        return None;
    }
    let hosts = needed.alternatives.iter();
    let mut hosts = hosts.map(|(_, host)| String::from_utf8_lossy(host));
    if hosts.clone().any(|host| answers(&host)) {
        return None;
    }
    hosts.next().map(std::borrow::Cow::into_owned)
}

/// Whether some host may be of both.
fn overlap(one: &HostPattern, other: &HostPattern) -> bool {
    match (one, other) {
        (HostPattern::Any, _) | (_, HostPattern::Any) => true,
        (HostPattern::Exact(host), pattern) | (pattern, HostPattern::Exact(host)) => {
            pattern.specificity(host).is_some()
        }
        (HostPattern::Below(one), HostPattern::Below(other)) => {
            one.ends_with(other.as_str()) || other.ends_with(one.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, rules};

    const OTHER: &str = "[zones.other]\nhosts = [\"*.c.test\"]\npool = \"app\"\n";

    fn custom(expression: &str) -> Vec<&'static str> {
        let rule = format!("expression = '{expression}'\naction = \"block\"");
        codes(&format!("{}{OTHER}", rules("custom_rules", &[&rule])))
    }

    #[test]
    fn a_rule_about_hosts_of_another_zone_is_told() {
        let told = ["never-matches"];
        assert_eq!(custom("http.host eq \"x.c.test\" and ssl"), told);
        assert_eq!(custom("http.host in {\"x.c.test\" \"y.c.test\"}"), told);
        assert_eq!(custom("http.host in {\"x.c.test\" \"a.test\"}"), [""; 0]);
        assert_eq!(custom("http.host eq \"b.test\""), [""; 0]);
        assert_eq!(custom("http.host eq \"x.c.test\" or ssl"), [""; 0]);
        assert_eq!(custom("http.host ne \"x.c.test\""), [""; 0]);
        assert_eq!(custom("http.host eq \"A.test\""), told);
    }

    #[test]
    fn a_lockdown_rule_about_hosts_of_another_zone_is_told() {
        let locked = |host: &str| {
            let rule = format!("paths = \"/a*\"\nallow = [\"192.0.2.1\"]\nhosts = [\"{host}\"]");
            codes(&format!("{}{OTHER}", rules("lockdown_rules", &[&rule])))
        };
        assert_eq!(locked("x.c.test"), ["never-matches"]);
        assert_eq!(locked("*.c.test"), ["never-matches"]);
        assert_eq!(locked("a.test"), [""; 0]);
        assert_eq!(locked("*.test"), [""; 0]);
        assert_eq!(locked("*"), [""; 0]);
    }

    #[test]
    fn an_expression_with_an_empty_list_is_told() {
        let of = |items: &str| {
            let rule = "expression = 'ssl and not (ip.src in $few)'\naction = \"block\"";
            let rules = rules("custom_rules", &[rule]);
            codes(&format!("{rules}[lists]\nfew = [{items}]\n"))
        };
        assert_eq!(of(""), ["empty-list"]);
        assert_eq!(of("\"192.0.2.1\""), [""; 0]);
    }
}
