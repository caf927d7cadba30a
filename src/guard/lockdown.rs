//! Lockdown rules: parts of a site that only some addresses may reach. After Cloudflare's zone lockdown.

use std::sync::Arc;

use super::spelling::{literal_pattern, other_readings};
use crate::request::RequestView;
use crate::rules::expression::{Wildcard, WildcardError};
use crate::rules::{List, RuleSource};
use crate::zone::HostPattern;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockdownRule {
    /// Its name, for people.
    pub name: String,
    /// Where it is written.
    pub source: RuleSource,
    /// Names of the findings of `seawall check` that are meant so.
    pub lint_allow: Vec<&'static str>,
    /// The hosts that it is about; none for all.
    pub hosts: Vec<HostPattern>,
    /// The paths that it is about, as [`patterns`] has them.
    pub paths: Vec<Wildcard>,
    /// Who may reach them.
    pub allow: Vec<Arc<List>>,
    /// Whether it is only told of.
    pub dry_run: bool,
}

/// The patterns for `written`, which ignore case. A slash at the end makes no difference to many applications: it is
/// as if it was not there, so that `/admin/*` is also about `/admin`. Escapes stand for what they encode as well.
///
/// # Errors
/// What is wrong with the pattern.
pub fn patterns(written: &str) -> Result<Vec<Wildcard>, WildcardError> {
    let decoded = literal_pattern(written);
    let mut texts = Vec::new();
    for text in std::iter::once(written).chain(decoded.as_deref()) {
        texts.push(text.to_owned());
        let folder = text.strip_suffix("/*").or_else(|| text.strip_suffix('/'));
        match folder {
            Some("") => {}
            Some(folder) => texts.push(folder.to_owned()),
            None if text.ends_with('*') => {}
            None => texts.push(format!("{text}/")),
        }
    }
    let patterns = texts.iter();
    patterns
        .map(|text| Wildcard::new(text.as_bytes(), true))
        .collect()
}

impl LockdownRule {
    fn is_about_host(&self, host: &str) -> bool {
        let mut hosts = self.hosts.iter();
        self.hosts.is_empty() || hosts.any(|pattern| pattern.specificity(host).is_some())
    }

    fn is_about_path(&self, path: &[u8]) -> bool {
        let mut patterns = self.paths.iter();
        patterns.any(|pattern| pattern.matches(path))
    }

    fn lets_in(&self, request: &RequestView<'_>) -> bool {
        let mut lists = self.allow.iter();
        lists.any(|list| list.contains_address(request.client))
    }
}

/// The rules that refuse `request`. The path counts in every reading that an origin might have of it; of the rules
/// that are about a reading the first decides, those that are only tried aside.
pub fn refusing<'r>(
    rules: &'r [LockdownRule],
    request: &RequestView<'_>,
) -> impl Iterator<Item = &'r LockdownRule> {
    let is_locked = !rules.is_empty();
    let others = is_locked.then(|| other_readings(request.path));
    // About which no rule has decided.
    let (mut as_it_is, mut others) = (true, others.unwrap_or_default());
    rules.iter().filter(move |rule| {
        if !rule.is_about_host(request.host) {
            return false;
        }
        let is_about_it = as_it_is && rule.is_about_path(request.path.as_bytes());
        if !is_about_it && !others.iter().any(|path| rule.is_about_path(path)) {
            return false;
        }
        if !rule.dry_run {
            as_it_is &= !is_about_it;
            others.retain(|path| !rule.is_about_path(path));
        }
        !rule.lets_in(request)
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Version};

    use super::*;
    use crate::request::{Facts, Scheme};

    fn rule(name: &str, path: &str, allow: &str) -> LockdownRule {
        LockdownRule {
            name: name.to_owned(),
            source: RuleSource {
                file: "test.toml".into(),
                line: 1,
            },
            lint_allow: Vec::new(),
            hosts: Vec::new(),
            paths: patterns(path).unwrap(),
            allow: vec![Arc::new(List::of_lines(None, allow).unwrap())],
            dry_run: false,
        }
    }

    fn refused(rules: &[LockdownRule], path: &str, client: &str) -> Vec<String> {
        let headers = HeaderMap::new();
        let request = RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host: "shop.test",
            path,
            query: None,
            version: Version::HTTP_11,
            headers: &headers,
            client: client.parse().unwrap(),
            session_cookie: false,
            has_body: false,
            facts: Facts::default(),
        };
        let rules = refusing(rules, &request);
        rules.map(|rule| rule.name.clone()).collect()
    }

    #[test]
    fn a_locked_path_is_for_the_listed_in_every_spelling() {
        let rules = [rule("admin", "/admin*", "192.0.2.0/24")];
        for path in [
            "/admin",
            "/Admin/users",
            "//admin",
            "/%2Fadmin",
            "/x/..%2Fadmin",
            "/;/admin",
            "/%2561dmin",
        ] {
            assert_eq!(refused(&rules, path, "203.0.113.1"), ["admin"], "{path}");
            assert_eq!(refused(&rules, path, "192.0.2.1"), [""; 0], "{path}");
        }
        assert_eq!(refused(&rules, "/shop/admin", "203.0.113.1"), [""; 0]);
    }

    #[test]
    fn a_slash_at_the_end_unlocks_nothing() {
        for (pattern, paths) in [
            (
                "/internal/*",
                &[
                    "/internal",
                    "/internal/",
                    "//internal/",
                    "/%2Finternal/",
                    "/internal;x/",
                    "/internal%2F",
                    "/internal%5C",
                    "/x/..%2Finternal/",
                ][..],
            ),
            ("/exact", &["/exact", "/exact/", "/exact%2F", "/exact%3Fa"]),
            ("/folder/", &["/folder", "/folder/"]),
            (
                "/caf%c3%a9",
                &["/caf%C3%A9", "//caf%C3%A9/", "/caf%25C3%A9"],
            ),
            ("/pri%76ate*", &["/private", "//private/x"]),
        ] {
            let rules = [rule("locked", pattern, "192.0.2.1")];
            for path in paths {
                let refused = refused(&rules, path, "203.0.113.1");
                assert_eq!(refused, ["locked"], "{pattern} {path}");
            }
        }
        for (pattern, path) in [
            ("/internal/*", "/internals"),
            ("/exact", "/exact/x"),
            ("/folder/", "/folder/x"),
        ] {
            let rules = [rule("locked", pattern, "192.0.2.1")];
            assert_eq!(refused(&rules, path, "203.0.113.1"), [""; 0], "{path}");
        }
        assert_eq!(patterns("/*").unwrap().len(), 1);
        let literal = [rule("locked", "/a%2Ab", "192.0.2.1")];
        assert_eq!(refused(&literal, "/a%2Ab", "203.0.113.1"), ["locked"]);
        assert_eq!(refused(&literal, "/axb", "203.0.113.1"), [""; 0]);
        assert!(patterns("/a%5Cb").is_ok());
    }

    #[test]
    fn what_is_open_in_one_reading_stays_locked_in_another() {
        let rules = [
            rule("health", "/admin/health*", "0.0.0.0/0"),
            rule("admin", "/admin*", "192.0.2.0/24"),
        ];
        for path in [
            "/admin/health%2F..%2Fusers",
            "/admin/health/..%5Cusers",
            "/x/..%2Fadmin%2F..%252Fy",
        ] {
            assert_eq!(refused(&rules, path, "203.0.113.1"), ["admin"], "{path}");
        }
        for path in ["/admin/health", "/admin/health;x", "//admin/health/"] {
            assert_eq!(refused(&rules, path, "203.0.113.1"), [""; 0], "{path}");
        }
    }

    #[test]
    fn the_first_rule_about_a_path_decides_and_one_on_trial_does_not() {
        let mut tried = rule("tried", "/*", "192.0.2.1");
        tried.dry_run = true;
        let rules = [
            tried,
            rule("api", "/admin/api*", "198.51.100.0/24"),
            rule("admin", "/admin*", "192.0.2.0/24"),
        ];
        for (path, client, expected) in [
            ("/admin/api/x", "198.51.100.1", vec!["tried"]),
            ("/admin/api/x", "192.0.2.1", vec!["api"]),
            ("/admin/x", "198.51.100.1", vec!["tried", "admin"]),
            ("/admin/x", "192.0.2.1", vec![]),
        ] {
            assert_eq!(refused(&rules, path, client), expected, "{path} {client}");
        }
    }

    #[test]
    fn a_rule_may_be_about_some_hosts() {
        let mut other = rule("other", "/*", "192.0.2.1");
        other.hosts = vec![HostPattern::parse("staging.test").unwrap()];
        assert_eq!(refused(&[other.clone()], "/", "203.0.113.1"), [""; 0]);
        other.hosts.push(HostPattern::parse("*.test").unwrap());
        assert_eq!(refused(&[other], "/", "203.0.113.1"), ["other"]);
    }
}
