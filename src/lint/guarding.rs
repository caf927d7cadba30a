//! Findings about whom the guard's rules are about.

use std::sync::Arc;

use super::codes::{ALLOWED_ANYWAY, EMPTY_LIST, NO_DATABASE};
use super::finding::Findings;
use super::written::Place;
use crate::config::Geo;
use crate::guard::ip_access::Who;
use crate::guard::{IpAccessAction, IpAccessRule};
use crate::rules::List;
use crate::rules::phase::Phases;

/// Fields that databases know, without what they begin with.
const OF_COUNTRIES: &[&str] = &["country", "continent", "is_in_european_union"];
const OF_NETWORKS: &[&str] = &["asnum"];

pub(super) fn check(phases: &Phases, geo: &Geo, found: &mut Findings) {
    let rules = phases.ip_access_rules.rules();
    let allowed = rules
        .iter()
        .filter(|rule| rule.action == IpAccessAction::Allow);
    let allowed: Vec<List> = allowed.filter_map(addresses).collect();
    for rule in rules {
        about_nobody(rule, found);
        allowed_anyway(rule, &allowed, found);
        without_database(rule, geo, found);
    }
    for rule in &phases.lockdown_rules {
        if rule.allow.iter().all(|list| list.is_empty()) {
            let message = format!("the rule \"{}\" lets nobody in", rule.name);
            found.add(EMPTY_LIST, &Place::from(rule), "allow", message, None);
        }
    }
    for rule in phases.custom_rules.rules() {
        for field in rule.expression.reads_beside_the_uri() {
            let of_client = field
                .strip_prefix("ip.src.")
                .or_else(|| field.strip_prefix("ip.geoip."));
            if of_client.is_some_and(|name| lacks(name, geo)) {
                let message = format!("nothing tells `{field}` of a client");
                found.add(NO_DATABASE, &Place::of(rule), &field, message, None);
            }
        }
    }
}

fn lacks(name: &str, geo: &Geo) -> bool {
    OF_COUNTRIES.contains(&name) && geo.country_database.is_none()
        || OF_NETWORKS.contains(&name) && geo.asn_database.is_none()
}

fn about_nobody(rule: &IpAccessRule, found: &mut Findings) {
    let all_empty = |lists: &[Arc<List>]| lists.iter().all(|list| list.is_empty());
    let (nobody, mark) = match &rule.who {
        Who::Addresses { ranges, lists } => (ranges.is_empty() && all_empty(lists), "ip ="),
        Who::Networks { numbers, lists } => (numbers.is_empty() && all_empty(lists), "asn"),
        Who::Countries(countries) => (countries.is_empty(), "country"),
        Who::UserAgents(patterns) => (patterns.is_empty(), "user_agent"),
    };
    if nobody {
        let message = format!("the rule \"{}\" is about nobody", rule.name);
        found.add(EMPTY_LIST, &Place::from(rule), mark, message, None);
    }
}

/// All addresses that a rule is about.
fn addresses(rule: &IpAccessRule) -> Option<List> {
    let Who::Addresses { ranges, lists } = &rule.who else {
        return None;
    };
    let lists = lists.iter().flat_map(|list| list.ranges());
    let all = List::of_ranges(ranges.iter().copied().chain(lists));
    Some(all).filter(|all| !all.is_empty())
}

fn allowed_anyway(rule: &IpAccessRule, allowed: &[List], found: &mut Findings) {
    if allowed.is_empty() || rule.action == IpAccessAction::Allow {
        return;
    }
    // What only tells, tells of those who are let in as well.
    if rule.action == IpAccessAction::Log {
        return;
    }
    let left = addresses(rule).map(|all| all.without(allowed, false));
    if left.is_some_and(|left| left.is_empty()) {
        let message = format!("others allow all that the rule \"{}\" is about", rule.name);
        found.add(ALLOWED_ANYWAY, &Place::from(rule), "ip =", message, None);
    }
}

fn without_database(rule: &IpAccessRule, geo: &Geo, found: &mut Findings) {
    let (lacking, mark) = match &rule.who {
        Who::Networks { .. } => (geo.asn_database.is_none(), "asn"),
        Who::Countries(_) => (geo.country_database.is_none(), "country"),
        Who::Addresses { .. } | Who::UserAgents(_) => return,
    };
    if lacking {
        let message = format!("nothing tells the `{mark}` of a client");
        found.add(NO_DATABASE, &Place::from(rule), mark, message, None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, rules};

    fn of_access(written: &[&str], rest: &str) -> Vec<&'static str> {
        codes(&format!("{}{rest}", rules("ip_access_rules", written)))
    }

    #[test]
    fn a_rule_about_nobody_is_told() {
        let empty = "[lists]\nempty = []\nsome = [\"192.0.2.1\"]\n";
        let block = "action = \"block\"\nip = [\"$empty\"]";
        let used = "action = \"log\"\nip = [\"$some\"]";
        assert_eq!(of_access(&[block, used], empty), ["empty-list"]);
        let both = "action = \"block\"\nip = [\"$empty\", \"$some\"]";
        assert_eq!(of_access(&[both], empty), [""; 0]);
        let meant = format!("{block}\nlint_allow = [\"empty-list\"]");
        assert_eq!(of_access(&[&meant, used], empty), [""; 0]);
        let locked = |allow: &str| {
            let rule = format!("paths = \"/a*\"\nallow = [{allow}]");
            codes(&format!("{}{empty}", rules("lockdown_rules", &[&rule])))
        };
        assert_eq!(locked("\"$empty\""), ["empty-list", "unused-list"]);
        assert_eq!(locked("\"$empty\", \"$some\""), [""; 0]);
    }

    #[test]
    fn a_block_that_others_allow_wholly_is_told() {
        let allow = "action = \"allow\"\nip = [\"192.0.2.0/24\", \"198.51.100.0/25\"]";
        let rest = "action = \"allow\"\nip = [\"198.51.100.128/25\"]";
        let block = |ip: &str| format!("action = \"block\"\nip = [{ip}]");
        for (ip, told) in [
            ("\"192.0.2.7\", \"198.51.100.0/24\"", true),
            ("\"192.0.2.7\", \"203.0.113.1\"", false),
            ("\"192.0.0.0/16\"", false),
            ("\"2001:db8::/32\"", false),
        ] {
            let expected: Vec<&str> = ["allowed-anyway"].into_iter().filter(|_| told).collect();
            assert_eq!(of_access(&[allow, rest, &block(ip)], ""), expected, "{ip}");
        }
        let log = "action = \"log\"\nip = [\"192.0.2.7\"]";
        assert_eq!(of_access(&[allow, log], ""), [""; 0]);
    }

    #[test]
    fn a_country_without_a_database_is_told() {
        let rule = "action = \"block\"\ncountry = [\"DE\"]";
        let network = "action = \"block\"\nasn = [64496]";
        let told = ["no-database"];
        assert_eq!(of_access(&[rule], ""), told);
        assert_eq!(of_access(&[network], ""), told);
        let countries = "[geo]\ncountry_database = \"countries.mmdb\"\n";
        assert_eq!(of_access(&[rule], countries), [""; 0]);
        assert_eq!(of_access(&[network], countries), told);
        let custom = |expression: &str| {
            let rule = format!("expression = '{expression}'\naction = \"block\"");
            codes(&rules("custom_rules", &[&rule]))
        };
        assert_eq!(custom("ip.src.country in {\"DE\" \"FR\"}"), told);
        assert_eq!(custom("ip.geoip.asnum eq 64496"), told);
        assert_eq!(custom("ip.src in {192.0.2.0/24}"), [""; 0]);
    }
}
