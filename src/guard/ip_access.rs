//! IP access rules: who may come in, by address, network, country and user agent. After Cloudflare's IP access
//! rules and user agent blocking.

mod intervals;
mod user_agents;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;

use super::decision::Action;
use crate::request::RequestView;
use crate::rules::expression::Wildcard;
use crate::rules::{List, RuleSource};
use intervals::Intervals;
use user_agents::UserAgents;

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpAccessRule {
    /// Its name, for people.
    pub name: String,
    /// Where it is written.
    pub source: RuleSource,
    /// Names of the findings of `seawall check` that are meant so.
    pub lint_allow: Vec<&'static str>,
    /// What happens to those whom it is about.
    pub action: IpAccessAction,
    /// Whom it is about.
    pub who: Who,
}

/// What an access rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpAccessAction {
    /// Lets the client in, whatever else the guard would find.
    Allow,
    /// Refuses it.
    Block,
    /// Has it pass a challenge.
    Challenge,
    /// Tells of it.
    Log,
}

/// Whom an access rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Clients with these addresses.
    Addresses {
        /// Those that the rule names, with both ends included.
        ranges: Vec<(IpAddr, IpAddr)>,
        /// Those of lists.
        lists: Vec<Arc<List>>,
    },
    /// Clients in these autonomous systems.
    Networks {
        /// Those that the rule names.
        numbers: Vec<u32>,
        /// Those of lists.
        lists: Vec<Arc<List>>,
    },
    /// Clients in these countries, ISO 3166-1 alpha-2 in capitals.
    Countries(Vec<[u8; 2]>),
    /// Clients whose User-Agent fits one of these; an absent one is empty.
    UserAgents(Vec<Wildcard>),
}

/// The access rules of a zone, prepared for lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpAccessRules {
    rules: Vec<IpAccessRule>,
    allow: Table,
    block: Table,
    challenge: Table,
    log: Table,
}

/// Rules of one action by what they are about. The narrower goes before the wider: an address or block that a
/// rule names, a list, an autonomous system, a country, a user agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    addresses: Intervals,
    address_lists: Vec<(usize, Arc<List>)>,
    networks: HashMap<u32, usize>,
    network_lists: Vec<(usize, Arc<List>)>,
    countries: HashMap<[u8; 2], usize>,
    user_agents: UserAgents,
}

impl IpAccessAction {
    /// What it is in events.
    pub const fn action(self) -> Action {
        match self {
            Self::Allow => Action::Allow,
            Self::Block => Action::Block,
            Self::Challenge => Action::Challenge,
            Self::Log => Action::Log,
        }
    }
}

impl IpAccessRules {
    /// Prepares `rules`.
    pub fn new(rules: Vec<IpAccessRule>) -> Self {
        let table = |action| {
            let of_action = rules.iter().enumerate();
            Table::new(of_action.filter(|(_, rule)| rule.action == action))
        };
        Self {
            allow: table(IpAccessAction::Allow),
            block: table(IpAccessAction::Block),
            challenge: table(IpAccessAction::Challenge),
            log: table(IpAccessAction::Log),
            rules,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules in the order in which they are written.
    pub fn rules(&self) -> &[IpAccessRule] {
        &self.rules
    }

    /// The rules for `request`: one that tells of it, and the one that decides about it.
    pub fn find(&self, request: &RequestView<'_>) -> impl Iterator<Item = &IpAccessRule> {
        let found = if self.is_empty() {
            [None, None]
        } else {
            let allowed = self.allow.find(request);
            let decides = allowed
                .or_else(|| self.block.find(request))
                .or_else(|| self.challenge.find(request));
            [self.log.find(request), decides]
        };
        found
            .into_iter()
            .flatten()
            .filter_map(|rule| self.rules.get(rule))
    }
}

impl Table {
    fn new<'r>(rules: impl Iterator<Item = (usize, &'r IpAccessRule)>) -> Self {
        let mut table = Self::default();
        let (mut addresses, mut user_agents) = (Vec::new(), Vec::new());
        for (id, rule) in rules {
            match &rule.who {
                Who::Addresses { ranges, lists } => {
                    addresses.extend(ranges.iter().map(|range| (*range, id)));
                    let lists = lists.iter().map(|list| (id, list.clone()));
                    table.address_lists.extend(lists);
                }
                Who::Networks { numbers, lists } => {
                    for number in numbers {
                        table.networks.entry(*number).or_insert(id);
                    }
                    let lists = lists.iter().map(|list| (id, list.clone()));
                    table.network_lists.extend(lists);
                }
                Who::Countries(countries) => {
                    for country in countries {
                        table.countries.entry(*country).or_insert(id);
                    }
                }
                Who::UserAgents(patterns) => {
                    let patterns = patterns.iter().map(|pattern| (id, pattern.clone()));
                    user_agents.extend(patterns);
                }
            }
        }
        table.addresses = Intervals::new(addresses);
        table.user_agents = UserAgents::new(user_agents);
        table
    }

    fn find(&self, request: &RequestView<'_>) -> Option<usize> {
        let facts = &request.facts;
        let listed = || {
            let mut lists = self.address_lists.iter();
            lists.find(|(_, list)| list.contains_address(request.client))
        };
        let of_country = || {
            let country = facts.country?;
            self.countries.get(&country).copied()
        };
        self.addresses
            .find(request.client)
            .or_else(|| listed().map(|(rule, _)| *rule))
            .or_else(|| self.of_network(facts.asn?))
            .or_else(of_country)
            .or_else(|| self.of_user_agent(request))
    }

    fn of_network(&self, number: u32) -> Option<usize> {
        let listed = || {
            let mut lists = self.network_lists.iter();
            let holds = |list: &List| list.contains_number(number.into());
            lists.find(|(_, list)| holds(list)).map(|(rule, _)| *rule)
        };
        self.networks.get(&number).copied().or_else(listed)
    }

    fn of_user_agent(&self, request: &RequestView<'_>) -> Option<usize> {
        if self.user_agents.is_empty() {
            return None;
        }
        let sent = request.headers.get(USER_AGENT);
        (self.user_agents).find(sent.map(http::HeaderValue::as_bytes).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Version};

    use super::*;
    use crate::request::{Facts, Scheme};
    use crate::rules::address_range;

    fn rule(name: &str, action: IpAccessAction, who: Who) -> IpAccessRule {
        IpAccessRule {
            name: name.to_owned(),
            source: RuleSource {
                file: "test.toml".into(),
                line: 1,
            },
            lint_allow: Vec::new(),
            action,
            who,
        }
    }

    fn addresses(items: &[&str]) -> Who {
        let ranges = items.iter().map(|item| address_range(item).unwrap());
        Who::Addresses {
            ranges: ranges.collect(),
            lists: Vec::new(),
        }
    }

    fn list(text: &str) -> Who {
        Who::Addresses {
            ranges: Vec::new(),
            lists: vec![Arc::new(List::of_lines(None, text).unwrap())],
        }
    }

    fn found(rules: Vec<IpAccessRule>, client: &str, asn: u32, country: [u8; 2]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, "Mozilla/5.0 BadBot/1".parse().unwrap());
        let request = RequestView {
            method: &Method::GET,
            scheme: Scheme::Https,
            host: "example.com",
            path: "/",
            query: None,
            version: Version::HTTP_11,
            headers: &headers,
            client: client.parse().unwrap(),
            session_cookie: false,
            has_body: false,
            facts: Facts {
                asn: Some(asn),
                country: Some(country),
                ..Facts::default()
            },
        };
        let rules = IpAccessRules::new(rules);
        rules.find(&request).map(|rule| rule.name.clone()).collect()
    }

    #[test]
    fn whoever_is_allowed_is_not_blocked_however_narrow_the_block_is() {
        let rules = vec![
            rule("one", IpAccessAction::Block, addresses(&["203.0.113.7"])),
            rule(
                "office",
                IpAccessAction::Allow,
                addresses(&["203.0.113.0/24"]),
            ),
            rule("drop", IpAccessAction::Block, list("198.51.100.0/24")),
            rule("partner", IpAccessAction::Allow, list("198.51.100.9")),
        ];
        for (client, expected) in [
            ("203.0.113.7", vec!["office"]),
            ("198.51.100.9", vec!["partner"]),
            ("198.51.100.8", vec!["drop"]),
            ("192.0.2.1", vec![]),
        ] {
            assert_eq!(
                found(rules.clone(), client, 1, *b"DE"),
                expected,
                "{client}"
            );
        }
    }

    #[test]
    fn the_narrowest_of_those_that_block_is_the_one_that_is_told() {
        let bots = Wildcard::new(b"*badbot*", true).unwrap();
        let rules = vec![
            rule("bots", IpAccessAction::Block, Who::UserAgents(vec![bots])),
            rule(
                "country",
                IpAccessAction::Block,
                Who::Countries(vec![*b"ZZ"]),
            ),
            rule(
                "network",
                IpAccessAction::Block,
                Who::Networks {
                    numbers: vec![64496],
                    lists: Vec::new(),
                },
            ),
            rule("list", IpAccessAction::Block, list("203.0.113.0/24")),
            rule(
                "wide",
                IpAccessAction::Block,
                addresses(&["203.0.112.0/20"]),
            ),
            rule(
                "narrow",
                IpAccessAction::Block,
                addresses(&["203.0.113.0/28"]),
            ),
        ];
        for (client, asn, country, expected) in [
            ("203.0.113.1", 64496, b"ZZ", "narrow"),
            ("203.0.113.77", 64496, b"ZZ", "wide"),
            ("192.0.2.1", 64496, b"ZZ", "network"),
            ("192.0.2.1", 1, b"ZZ", "country"),
            ("192.0.2.1", 1, b"DE", "bots"),
        ] {
            assert_eq!(found(rules.clone(), client, asn, *country), [expected]);
        }
    }

    #[test]
    fn what_only_logs_excuses_nobody() {
        let rules = vec![
            rule("seen", IpAccessAction::Log, addresses(&["203.0.113.7"])),
            rule("all", IpAccessAction::Block, addresses(&["203.0.113.0/24"])),
        ];
        assert_eq!(found(rules, "203.0.113.7", 1, *b"DE"), ["seen", "all"]);
    }
}
