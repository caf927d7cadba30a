//! `ip_access_rules` and `lockdown_rules`: who may come in, and who where.

use std::sync::Arc;

use super::diagnostics::position;
use super::lists::{named_list, read_addresses};
use super::reader::{Located, Section};
use super::rule::{RuleFile, read_lint_allow};
use super::zone::read_host;
use crate::guard::ip_access::Who;
use crate::guard::lockdown::patterns;
use crate::guard::{IpAccessAction, IpAccessRule, LockdownRule};
use crate::rules::expression::{Wildcard, WildcardError};
use crate::rules::{List, ListKind, RuleSource, address_range};

const ACTIONS: &[(&str, IpAccessAction)] = &[
    ("allow", IpAccessAction::Allow),
    ("block", IpAccessAction::Block),
    ("challenge", IpAccessAction::Challenge),
    ("log", IpAccessAction::Log),
];

/// What a rule may be about, one of them.
const KINDS: [&str; 4] = ["ip", "asn", "country", "user_agent"];

pub(super) fn read_ip_access_rules(zone: &Section<'_>, from: RuleFile<'_>) -> Vec<IpAccessRule> {
    let rules = zone.sections("ip_access_rules").into_iter().enumerate();
    rules
        .filter_map(|(index, rule)| {
            let (name, source, enabled) = read_common(&rule, index, from);
            if !rule.has("action") {
                let help =
                    "write `action = \"block\"`, \"challenge\", \"allow\" or \"log\"".to_owned();
                let message = "the rule has no `action`";
                rule.reader.fault(rule.span.clone(), message, Some(help));
            }
            let action = rule.word("action", ACTIONS).map(|action| action.value);
            let lint_allow = read_lint_allow(&rule);
            let who = read_who(&rule, action, from);
            rule.finish();
            Some(IpAccessRule {
                name,
                source,
                lint_allow,
                action: action?,
                who: who?,
            })
            .filter(|_| enabled)
        })
        .collect()
}

/// Name, place, and whether it is enabled.
fn read_common(rule: &Section<'_>, index: usize, from: RuleFile<'_>) -> (String, RuleSource, bool) {
    let name = rule
        .string("name")
        .map_or_else(|| format!("rule {}", index + 1), |name| name.value);
    let source = RuleSource {
        file: from.name.into(),
        line: position(from.source, rule.span.start).0,
    };
    let enabled = rule.boolean("enabled").is_none_or(|enabled| enabled.value);
    (name, source, enabled)
}

fn read_who(rule: &Section<'_>, action: Option<IpAccessAction>, from: RuleFile<'_>) -> Option<Who> {
    let addresses = rule.strings("ip");
    let networks = rule.texts("asn");
    let countries = rule.strings("country");
    let user_agents = rule.strings("user_agent");
    let written: Vec<_> = KINDS.into_iter().filter(|key| rule.has(key)).collect();
    if written.len() != 1 {
        let message = match written.as_slice() {
            [] => "the rule does not say whom it is about".to_owned(),
            _ => format!(
                "the rule has `{}`: one is what it is about",
                written.join("` and `")
            ),
        };
        let help = "write one of `ip`, `asn`, `country` and `user_agent`; what needs several is a \
                    custom rule";
        rule.reader
            .fault(rule.span.clone(), message, Some(help.to_owned()));
        return None;
    }
    if action == Some(IpAccessAction::Allow) && rule.has("user_agent") {
        let help = "allow addresses, or write a custom rule";
        let message = "a user agent is what the client says it is, and lets nobody in";
        let place = rule.place_of("user_agent");
        rule.reader.fault(place, message, Some(help.to_owned()));
    }
    let addresses = addresses.map(|items| addresses_of(rule, &items, from));
    let networks = networks.map(|items| networks_of(rule, &items, from));
    let countries = countries.map(|items| {
        let codes = items.iter().filter_map(|item| country(rule, item));
        Who::Countries(codes.collect())
    });
    let user_agents = user_agents.map(|items| Who::UserAgents(wildcards(rule, &items)));
    addresses.or(networks).or(countries).or(user_agents)
}

fn addresses_of(rule: &Section<'_>, items: &[Located<String>], from: RuleFile<'_>) -> Who {
    let (lists, items) = split(rule, items, from, ListKind::Ip);
    let ranges = items.into_iter().filter_map(|item| {
        let parsed = address_range(&item.value);
        let told = |(message, help)| rule.reader.fault(item.span.clone(), message, help);
        parsed.map_err(told).ok()
    });
    Who::Addresses {
        ranges: ranges.collect(),
        lists,
    }
}

fn networks_of(rule: &Section<'_>, items: &[Located<String>], from: RuleFile<'_>) -> Who {
    let (lists, items) = split(rule, items, from, ListKind::Number);
    let numbers = items.into_iter().filter_map(|item| {
        let number = item.value.parse().ok();
        if number.is_none() {
            let message = format!("`{}` is not the number of an autonomous system", item.value);
            let help = Some("write for example `64496` or `\"$networks\"`".to_owned());
            rule.reader.fault(item.span.clone(), message, help);
        }
        number
    });
    Who::Networks {
        numbers: numbers.collect(),
        lists,
    }
}

/// The lists that are named, and the other items.
fn split<'i>(
    rule: &Section<'_>,
    items: &'i [Located<String>],
    from: RuleFile<'_>,
    kind: ListKind,
) -> (Vec<Arc<List>>, Vec<&'i Located<String>>) {
    let is_name = |item: &&Located<String>| item.value.starts_with('$');
    let (names, others): (Vec<_>, Vec<_>) = items.iter().partition(is_name);
    let lists = names.into_iter();
    let lists = lists.filter_map(|item| named_list(rule, item, from.lists, kind));
    (lists.collect(), others)
}

fn country(rule: &Section<'_>, item: &Located<String>) -> Option<[u8; 2]> {
    let code = item.value.to_ascii_uppercase();
    let code: Option<[u8; 2]> = code.as_bytes().try_into().ok();
    let code = code.filter(|code| code.iter().all(u8::is_ascii_alphabetic));
    if code.is_none() {
        let message = format!("`{}` is not the code of a country", item.value);
        let help = Some("write two letters (ISO 3166-1 alpha-2), such as \"DE\"".to_owned());
        rule.reader.fault(item.span.clone(), message, help);
    }
    code
}

fn wildcards(rule: &Section<'_>, items: &[Located<String>]) -> Vec<Wildcard> {
    let patterns = items.iter().filter_map(|item| {
        let pattern = Wildcard::new(item.value.as_bytes(), true);
        let told = |why: WildcardError| {
            rule.reader.fault(item.span.clone(), why.to_string(), None);
        };
        pattern.map_err(told).ok()
    });
    patterns.collect()
}

pub(super) fn read_lockdown_rules(zone: &Section<'_>, from: RuleFile<'_>) -> Vec<LockdownRule> {
    let rules = zone.sections("lockdown_rules").into_iter().enumerate();
    rules
        .filter_map(|(index, rule)| {
            let (name, source, enabled) = read_common(&rule, index, from);
            let hosts = rule.strings("hosts").unwrap_or_default();
            let hosts = hosts.into_iter();
            let hosts = hosts.filter_map(|host| read_host(&rule, host));
            let hosts = hosts.map(|host| host.value).collect();
            let paths = read_paths(&rule);
            rule.required("allow", "[\"192.0.2.0/24\", \"$office\"]");
            let allow = rule.strings("allow").unwrap_or_default();
            let allow = read_addresses(&rule, &allow, from.lists);
            let dry_run = rule.boolean("dry_run").is_some_and(|dry| dry.value);
            let lint_allow = read_lint_allow(&rule);
            rule.finish();
            let rule = LockdownRule {
                name,
                source,
                lint_allow,
                hosts,
                paths,
                allow,
                dry_run,
            };
            Some(rule).filter(|_| enabled)
        })
        .collect()
}

fn read_paths(rule: &Section<'_>) -> Vec<Wildcard> {
    rule.required("paths", "[\"/admin*\"]");
    let paths = rule.strings("paths").unwrap_or_default();
    for path in paths
        .iter()
        .filter(|path| !path.value.starts_with(['/', '*']))
    {
        let message = format!("no path begins like \"{}\"", path.value);
        let help = "write for example \"/admin*\"; hosts have a key of their own, `hosts`";
        rule.reader
            .fault(path.span.clone(), message, Some(help.to_owned()));
    }
    let patterns = paths.iter().filter_map(|path| {
        let told = |why: WildcardError| {
            rule.reader.fault(path.span.clone(), why.to_string(), None);
        };
        patterns(&path.value).map_err(told).ok()
    });
    patterns.flatten().collect()
}
