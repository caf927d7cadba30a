//! Findings about redirects: where they lead is asked of the rules themselves.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method, Version};

use super::codes::{DUPLICATE_REDIRECT, REDIRECT_CHAIN, REDIRECT_LOOP, REDIRECT_TO_ITSELF};
use super::finding::Findings;
use super::written::Place;
use crate::config::Zone;
use crate::request::{Facts, RequestView, Scheme};
use crate::rules::expression::{Environment, Expression, Part};
use crate::rules::phase::{BulkItem, Phases, Redirect};
use crate::rules::{
    Circumstances, EdgeAnswer, Planned, Rule, RuleSource, Value, plan, split_target,
};
use crate::zone::{HostPattern, Slashes, canonical_path};

/// Redirects that follow each other; browsers give up at twenty.
const MOST_STEPS: usize = 10;

pub(super) fn check(zone: &Zone, found: &mut Findings) {
    let phases = &zone.rules;
    for rule in phases.redirect_rules.rules() {
        let Value::Text(target) = &rule.action.target else {
            continue;
        };
        let place = Place::of(rule);
        if leads_to_itself(rule, target) {
            let message = format!("the rule \"{}\" redirects to the path it is for", rule.name);
            found.add(REDIRECT_TO_ITSELF, &place, "target", message, None);
        } else if let Some(url) = Url::of_target(target, &host_of(rule, zone)) {
            follow(zone, &url, &place, found);
        }
    }
    duplicates(phases.bulk_redirects.items(), found);
    for item in phases.bulk_redirects.items() {
        of_row(zone, item, found);
    }
}

/// Whether a rule is for nothing but the path that it leads to.
fn leads_to_itself(rule: &Rule<Redirect>, target: &str) -> bool {
    if !target.starts_with('/') || target.contains('"') {
        return false;
    }
    let source = format!("http.request.uri.path eq \"{}\"", split_target(target).0);
    let itself = Expression::compile(&source, &Environment::default());
    itself.is_ok_and(|itself| rule.expression.implies(&itself))
}

/// The host that a rule asks for, or one of the zone's.
fn host_of(rule: &Rule<Redirect>, zone: &Zone) -> String {
    let required = rule.expression.requirements().into_iter();
    let host = required
        .filter(|required| required.part() == Some(Part::Host))
        .find_map(|required| {
            let (_, host) = required.alternatives.into_iter().next()?;
            String::from_utf8(host.into()).ok()
        });
    host.unwrap_or_else(|| some_host(zone))
}

/// A host of the zone.
fn some_host(zone: &Zone) -> String {
    let exact = zone.hosts.iter().find_map(|host| match host {
        HostPattern::Exact(name) => Some(name.clone()),
        _ => None,
    });
    exact.unwrap_or_default()
}

fn of_row(zone: &Zone, item: &BulkItem, found: &mut Findings) {
    let source = of_file(item);
    let place = place(&source);
    // Where the target goes on with what followed the source there is no one target.
    if item.subpath_matching && item.preserve_path_suffix {
        return;
    }
    let host = match item.host.as_str() {
        "" => some_host(zone),
        host => host.to_owned(),
    };
    let Some(url) = Url::of_target(&item.target, &host) else {
        return;
    };
    let same_host = item.host.is_empty() || item.host == url.host;
    let same_scheme = item.scheme.is_none() || item.target.starts_with('/');
    if same_host
        && same_scheme
        && item.path == url.path
        && url.query.is_none()
        && !item.subpath_matching
    {
        let message = format!("\"{}{}\" is redirected to itself", item.host, item.path);
        found.add(REDIRECT_TO_ITSELF, &place, &item.target, message, None);
    } else {
        follow(zone, &url, &place, found);
    }
}

fn duplicates(items: &[BulkItem], found: &mut Findings) {
    let mut rows = HashMap::new();
    for item in items {
        let urls = (
            item.scheme.map(Scheme::as_str),
            &item.host,
            &item.path,
            item.include_subdomains,
            item.subpath_matching,
        );
        if let Some(earlier) = rows.insert(urls, item) {
            let message = format!(
                "\"{}{}\" has a row already: {}:{}",
                item.host, item.path, earlier.file, earlier.line
            );
            found.add(
                DUPLICATE_REDIRECT,
                &place(&of_file(item)),
                &item.path,
                message,
                None,
            );
        }
    }
}

fn of_file(item: &BulkItem) -> RuleSource {
    RuleSource {
        file: item.file.clone(),
        line: item.line,
    }
}

fn place(source: &RuleSource) -> Place<'_> {
    Place {
        name: None,
        source,
        allows: &[],
    }
}

/// Tells whether `first`, where something leads, is redirected again.
fn follow(zone: &Zone, first: &Url, place: &Place<'_>, found: &mut Findings) {
    let mut seen = vec![first.clone()];
    let mut last = first.clone();
    while let Some(next) = next(zone, &last) {
        if seen.contains(&next) || seen.len() >= MOST_STEPS {
            let message = format!("the redirect to {first} never ends: {last} leads to {next}");
            found.add(REDIRECT_LOOP, place, "target", message, None);
            return;
        }
        seen.push(next.clone());
        last = next;
    }
    if last != *first {
        let message = format!("{first}, where this leads, is redirected to {last}");
        let help = Some(format!("write `target = \"{last}\"`"));
        found.add(REDIRECT_CHAIN, place, "target", message, help);
    }
}

/// Where a plain GET of `url` is redirected by the zone.
fn next(zone: &Zone, url: &Url) -> Option<Url> {
    let ours = |host: &HostPattern| host.specificity(&url.host).is_some() || url.host.is_empty();
    if !zone.hosts.iter().any(ours) {
        return None;
    }
    let location = location(&zone.rules, url)?;
    Url::of_target(&location, &url.host)
}

fn location(phases: &Phases, url: &Url) -> Option<String> {
    let request = RequestView {
        method: &Method::GET,
        scheme: url.scheme,
        host: &url.host,
        path: &url.path,
        query: url.query.as_deref(),
        version: Version::HTTP_11,
        headers: &HeaderMap::new(),
        client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        session_cookie: false,
        has_body: false,
        facts: Facts::default(),
    };
    let circumstances = Circumstances {
        chance: 0,
        slashes: Slashes::Keep,
        development_mode: false,
    };
    let planned = plan(phases, &request, &circumstances, &mut ());
    let Planned::Answer(EdgeAnswer::Redirect(_, target) | EdgeAnswer::BulkRedirect(_, target)) =
        planned
    else {
        return None;
    };
    Some(target.location.to_str().ok()?.to_owned())
}

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    scheme: Scheme,
    host: String,
    path: String,
    query: Option<String>,
}

impl Url {
    /// Where a target leads from a URL of `host`.
    fn of_target(target: &str, host: &str) -> Option<Self> {
        let target = target.split('#').next().unwrap_or_default();
        let (scheme, rest) = match target.strip_prefix("http://") {
            Some(rest) => (Scheme::Http, rest),
            None => (
                Scheme::Https,
                target.strip_prefix("https://").unwrap_or(target),
            ),
        };
        let start = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(start)?;
        let host = if authority.is_empty() {
            host
        } else {
            authority
        };
        let (path, query) = split_target(rest);
        let path = if path.is_empty() { "/" } else { path };
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            path: canonical_path(path).ok()?.into_owned(),
            query: query.map(str::to_owned),
        })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.host.is_empty() {
            write!(formatter, "{}://{}", self.scheme.as_str(), self.host)?;
        }
        write!(formatter, "{}", self.path)?;
        match &self.query {
            Some(query) => write!(formatter, "?{query}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, found, rules};

    fn redirect(path: &str, target: &str) -> String {
        format!("expression = 'http.request.uri.path eq \"{path}\"'\ntarget = \"{target}\"")
    }

    #[test]
    fn a_redirect_to_where_it_begins_is_told() {
        let of = |path, target| codes(&rules("redirect_rules", &[&redirect(path, target)]));
        assert_eq!(of("/a", "/a"), ["redirect-to-itself"]);
        assert_eq!(of("/a", "/b"), [""; 0]);
        assert_eq!(of("/a", "https://other.test/a"), [""; 0]);
    }

    #[test]
    fn redirects_that_follow_each_other_are_told() {
        let first = redirect("/a", "/b");
        let chain = rules(
            "redirect_rules",
            &[&first, &redirect("/b", "https://other.test/c")],
        );
        let found = found(&chain);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "redirect-chain");
        assert!(found[0].1.contains("https://other.test/c"), "{found:?}");
        let circle = rules("redirect_rules", &[&first, &redirect("/b", "/a")]);
        assert_eq!(codes(&circle), ["redirect-loop", "redirect-loop"]);
        let apart = rules("redirect_rules", &[&first, &redirect("/c", "/d")]);
        assert_eq!(codes(&apart), [""; 0]);
        let elsewhere = rules(
            "redirect_rules",
            &[
                &redirect("/a", "https://other.test/b"),
                &redirect("/b", "/c"),
            ],
        );
        assert_eq!(codes(&elsewhere), [""; 0]);
    }

    #[test]
    fn rows_are_looked_at_as_well() {
        let row =
            |source: &str, target: &str| format!("source = \"{source}\"\ntarget = \"{target}\"");
        let of = |rows: &[&str]| codes(&rules("bulk_redirects", rows));
        assert_eq!(of(&[&row("/a", "/a")]), ["redirect-to-itself"]);
        assert_eq!(of(&[&row("a.test/a", "https://b.test/a")]), [""; 0]);
        assert_eq!(of(&[&row("http://a.test/a", "https://a.test/a")]), [""; 0]);
        assert_eq!(
            of(&[&row("/a", "/b"), &row("/b", "/c")]),
            ["redirect-chain"]
        );
        assert_eq!(
            of(&[&row("/a", "/b"), &row("/a", "/c")]),
            ["duplicate-redirect"]
        );
        assert_eq!(
            of(&[&row("a.test/a", "/b"), &row("b.test/a", "/c")]),
            [""; 0]
        );
    }
}
