//! Lockdown rules: parts of a site that only some addresses may reach. After Cloudflare's zone lockdown.

use std::sync::Arc;

use super::spelling::lenient;
use crate::request::RequestView;
use crate::rules::expression::Wildcard;
use crate::rules::{List, RuleSource};
use crate::zone::HostPattern;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockdownRule {
    /// Its name, for people.
    pub name: String,
    /// Where it is written.
    pub source: RuleSource,
    /// The hosts that it is about; none for all.
    pub hosts: Vec<HostPattern>,
    /// The paths that it is about.
    pub paths: Vec<Wildcard>,
    /// Who may reach them.
    pub allow: Vec<Arc<List>>,
    /// Whether it is only told of.
    pub dry_run: bool,
}

impl LockdownRule {
    fn is_about(&self, request: &RequestView<'_>, lenient: Option<&str>) -> bool {
        let mut hosts = self.hosts.iter();
        let of_host =
            self.hosts.is_empty() || hosts.any(|host| host.specificity(request.host).is_some());
        let fits = |path: &str| {
            let mut patterns = self.paths.iter();
            patterns.any(|pattern| pattern.matches(path.as_bytes()))
        };
        of_host && (fits(request.path) || lenient.is_some_and(fits))
    }

    fn lets_in(&self, request: &RequestView<'_>) -> bool {
        let mut lists = self.allow.iter();
        lists.any(|list| list.contains_address(request.client))
    }
}

/// The rules that refuse `request`: of those that are about it the first decides, those that are only tried
/// aside. The path counts in every reading that an origin might have of it.
pub fn refusing<'r>(
    rules: &'r [LockdownRule],
    request: &RequestView<'_>,
) -> impl Iterator<Item = &'r LockdownRule> {
    let lenient = (!rules.is_empty()).then(|| lenient(request.path)).flatten();
    let mut decided = false;
    rules.iter().filter(move |rule| {
        if decided || !rule.is_about(request, lenient.as_deref()) {
            return false;
        }
        decided = !rule.dry_run;
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
            hosts: Vec::new(),
            paths: vec![Wildcard::new(path.as_bytes(), true).unwrap()],
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
