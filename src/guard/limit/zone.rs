//! The rate limits of a zone, and the keys of a request for them.

use smallvec::SmallVec;

use super::{Key, LimitRule, Seed};
use crate::cache::settings::RuleId;
use crate::request::RequestView;
use crate::rules::{Rule, Ruleset};

/// All rate limits of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// The rules, by what they may stop.
    pub rules: Ruleset<LimitRule>,
    /// Those that count other requests than they may stop, by what they count.
    pub counting: Ruleset<RuleId>,
    /// Whether all nodes may have to be asked about a request.
    pub has_strict: bool,
    /// For each rule the first one with the same characteristics.
    alike: Vec<RuleId>,
}

impl RateLimits {
    /// Rules in order.
    pub fn new(rules: Vec<Rule<LimitRule>>) -> Self {
        let counting = rules.iter().enumerate().filter_map(|(position, rule)| {
            Some(Rule {
                name: rule.name.clone(),
                source: rule.source.clone(),
                expression: rule.action.counting.expression.clone()?,
                expires: rule.expires,
                lint_allow: Vec::new(),
                action: RuleId(u16::try_from(position).ok()?),
            })
        });
        let texts = |rule: &Rule<LimitRule>| {
            let texts = rule.action.characteristics.iter();
            texts.map(|one| one.text.clone()).collect::<Vec<_>>()
        };
        let first = |rule| {
            let position = rules.iter().position(|other| texts(other) == texts(rule));
            RuleId(
                position
                    .and_then(|at| u16::try_from(at).ok())
                    .unwrap_or_default(),
            )
        };
        Self {
            alike: rules.iter().map(first).collect(),
            counting: Ruleset::new(counting.collect()),
            has_strict: rules.iter().any(|rule| rule.action.strict),
            rules: Ruleset::new(rules),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// The keys of a request. What it has in common with others is hashed once for all rules about the same.
pub struct Keys<'r> {
    limits: &'r RateLimits,
    request: &'r RequestView<'r>,
    seed: Seed,
    hashed: SmallVec<[(RuleId, u64); 4]>,
}

impl<'r> Keys<'r> {
    /// Those of `request`.
    pub fn new(limits: &'r RateLimits, request: &'r RequestView<'r>, seed: Seed) -> Self {
        Self {
            limits,
            request,
            seed,
            hashed: SmallVec::new(),
        }
    }

    /// Its key for a rule.
    pub fn of(&mut self, id: RuleId, rule: &LimitRule) -> Key {
        let first = self.limits.alike.get(usize::from(id.0)).copied();
        let first = first.unwrap_or(id);
        let mut known = self.hashed.iter().filter(|(rule, _)| *rule == first);
        if let Some((_, common)) = known.next() {
            return rule.key_of(*common);
        }
        let common = rule.common(self.request, self.seed);
        self.hashed.push((first, common));
        rule.key_of(common)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, Method, Version};

    use super::super::{
        Characteristic, CharacteristicSource, Counting, Failing, LimitAction, table::SHARD_BITS,
    };
    use super::*;
    use crate::request::{Facts, Scheme};
    use crate::rules::RuleSource;
    use crate::rules::expression::{Environment, Expression};

    fn rule(name: &str, header: Option<&'static str>) -> Rule<LimitRule> {
        let expression = Expression::compile("true", &Environment::default()).unwrap();
        let source = header.map_or(CharacteristicSource::Client, |name| {
            CharacteristicSource::Header(name.parse().unwrap())
        });
        let mut action = LimitRule {
            counting: Counting::default(),
            characteristics: vec![Characteristic {
                text: header.unwrap_or("ip.src").to_owned(),
                source,
            }],
            limit: 10,
            period: Duration::from_mins(1),
            mitigation_timeout: Duration::ZERO,
            action: LimitAction::Log,
            dry_run: false,
            tells: false,
            strict: false,
            on_failure: Failing::default(),
            identity: 0,
        };
        action.identify("site", name, &expression);
        Rule {
            name: name.into(),
            source: RuleSource {
                file: "test".into(),
                line: 1,
            },
            expression,
            expires: None,
            lint_allow: Vec::new(),
            action,
        }
    }

    #[test]
    fn keys_of_rules_about_the_same_differ_and_lie_in_one_shard() {
        let rules = [("a", None), ("b", Some("x-key")), ("c", None)];
        let limits = RateLimits::new(rules.map(|(name, header)| rule(name, header)).to_vec());
        let headers = HeaderMap::new();
        let mut shards = Vec::new();
        for client in 0..100_u8 {
            let request = RequestView {
                method: &Method::GET,
                scheme: Scheme::Https,
                host: "example.com",
                path: "/",
                query: None,
                version: Version::HTTP_11,
                headers: &headers,
                client: [192, 0, 2, client].into(),
                session_cookie: false,
                has_body: false,
                facts: Facts::default(),
            };
            let mut keys = Keys::new(&limits, &request, Seed(1, 2));
            let [a, b, c] = [0, 1, 2].map(|position| {
                let id = RuleId(position);
                let rule = &limits.rules.get(id).unwrap().action;
                let key = keys.of(id, rule);
                assert_eq!(key, rule.key_of(rule.common(&request, Seed(1, 2))));
                key
            });
            let shard = |key| key % (1 << SHARD_BITS);
            assert!(a != c && a != b && shard(a) == shard(c));
            shards.push(shard(a));
        }
        shards.sort_unstable();
        shards.dedup();
        assert!(shards.len() > 50, "{}", shards.len());
    }
}
