//! Cache rules of a zone, in order: they stack, and for each setting the last match wins.

use std::sync::Arc;

use super::rule::{Rule, Ruleset};
pub use crate::cache::settings::CachePatch;
use crate::cache::settings::{CacheSettings, Setting};
use crate::request::RequestView;

/// The cache rules of one zone, and what holds where no rule says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRuleset {
    /// The rules.
    pub rules: Ruleset<CachePatch>,
    defaults: Arc<CacheSettings>,
}

/// One cache rule.
pub type CacheRule = Rule<CachePatch>;

impl CacheRuleset {
    /// Rules in order of precedence, the strongest last. Bodies larger than `max_object_size` bytes
    /// are not stored, unless a rule says otherwise.
    pub fn new(rules: Vec<CacheRule>, max_object_size: u64) -> Self {
        Self {
            rules: Ruleset::new(rules),
            defaults: Arc::new(CacheSettings {
                max_object_size: Setting::default_value(max_object_size),
                ..CacheSettings::default()
            }),
        }
    }

    /// What holds for `request`.
    pub fn evaluate(&self, request: &RequestView<'_>) -> CacheSettings {
        let mut settings = CacheSettings::clone(&self.defaults);
        for (id, rule) in self.rules.matching(request) {
            rule.action.apply(id, &mut settings);
        }
        settings
    }

    /// What holds when no rule matches; shared, as they are large.
    pub fn no_settings(&self) -> Arc<CacheSettings> {
        self.defaults.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::settings::{Eligibility, RuleId};
    use crate::rules::RuleSource;
    use crate::rules::expression::{Environment, Expression};
    use std::net::{IpAddr, Ipv4Addr};

    fn rule(name: &str, expression: &str, patch: CachePatch) -> CacheRule {
        CacheRule {
            name: name.to_owned(),
            source: RuleSource {
                file: "test".into(),
                line: 1,
            },
            expression: Expression::compile(expression, &Environment::default()).unwrap(),
            expires: None,
            lint_allow: Vec::new(),
            action: patch,
        }
    }

    #[test]
    fn rules_stack_and_the_last_match_wins_setting_by_setting() {
        let bypass = CachePatch {
            eligibility: Some(Eligibility::Bypass),
            ..CachePatch::default()
        };
        let eligible = CachePatch {
            eligibility: Some(Eligibility::Eligible),
            strip_set_cookie: Some(true),
            ..CachePatch::default()
        };
        let rules = CacheRuleset::new(
            vec![
                rule(
                    "eligible",
                    r#"http.request.uri.path wildcard "/a/*""#,
                    eligible,
                ),
                rule(
                    "bypass",
                    r#"http.request.uri.path wildcard "/a/b*""#,
                    bypass,
                ),
            ],
            1,
        );
        let headers = http::HeaderMap::new();
        let at = |path| {
            rules.evaluate(&RequestView {
                method: &http::Method::GET,
                scheme: crate::request::Scheme::Http,
                host: "a.test",
                path,
                query: None,
                version: http::Version::HTTP_11,
                headers: &headers,
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
                session_cookie: false,
                has_body: false,
                facts: crate::request::Facts::default(),
            })
        };
        let both = at("/a/b");
        assert_eq!(
            both.eligibility,
            Setting {
                value: Eligibility::Bypass,
                rule: Some(RuleId(1))
            }
        );
        assert_eq!(
            both.strip_set_cookie,
            Setting {
                value: true,
                rule: Some(RuleId(0))
            }
        );
        assert_eq!(at("/a/c").eligibility.rule, Some(RuleId(0)));
        assert_eq!(
            at("/b").eligibility,
            Setting::default_value(Eligibility::Eligible)
        );
    }
}
