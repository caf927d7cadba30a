//! Verified bots: crawlers that are known by where they come from. What they call themselves only says which
//! one to check for.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// A crawler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBot {
    /// Its name.
    pub name: String,
    /// What its User-Agent contains.
    pub user_agent: String,
    /// Where it comes from.
    pub ranges: Ranges,
    /// Domains in which the names of its addresses are, in lower case, which in turn must have the address.
    pub domains: Vec<String>,
    /// Who is asked for names; `None` asks whom the system asks.
    pub resolver: Option<SocketAddr>,
}

impl VerifiedBot {
    /// Whether a client says that it is this one.
    pub fn is_claimed_by(&self, user_agent: &[u8]) -> bool {
        memchr::memmem::find(user_agent, self.user_agent.as_bytes()).is_some()
    }

    /// Whether the name of an address is in one of its domains. Whoever owns an address chooses its name: it
    /// counts only if the name has the address as well.
    pub fn may_be_named(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.domains.iter().any(|domain| {
            let before = name.strip_suffix(domain.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }
}

/// Addresses as ranges, sorted and merged; IPv4 within IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Box<[(u128, u128)]>);

impl Ranges {
    /// Those of a file: JSON as Google and others publish it, or a network a line.
    ///
    /// # Errors
    /// What is wrong with the file, in a few words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let networks = if text.trim_start().starts_with('{') {
            of_json(text)?
        } else {
            of_lines(text)?
        };
        if networks.is_empty() {
            return Err("it names no networks".to_owned());
        }
        Ok(networks.into_iter().collect())
    }

    /// Whether `address` is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.0.partition_point(|(first, _)| *first <= address);
        let at = after.checked_sub(1).and_then(|at| self.0.get(at));
        at.is_some_and(|(_, last)| address <= *last)
    }
}

impl FromIterator<IpNet> for Ranges {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let ends = |network: IpNet| (number(network.network()), number(network.broadcast()));
        let mut ranges: Vec<_> = networks.into_iter().map(ends).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, previous| {
            let overlap = next.0 <= previous.1;
            if overlap {
                previous.1 = previous.1.max(next.1);
            }
            overlap
        });
        Self(ranges.into_boxed_slice())
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
    .to_bits()
}

/// `{"prefixes": [{"ipv4Prefix": "…"}, {"ipv6Prefix": "…"}]}`
fn of_json(text: &str) -> Result<Vec<IpNet>, String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let prefixes = value.get("prefixes").and_then(serde_json::Value::as_array);
    let prefixes = prefixes.ok_or("it has no `prefixes`")?;
    let each = prefixes.iter().enumerate().map(|(index, prefix)| {
        let text = ["ipv4Prefix", "ipv6Prefix"]
            .iter()
            .find_map(|key| prefix.get(key)?.as_str());
        let text = text.ok_or_else(|| format!("item {} of `prefixes` has no prefix", index + 1))?;
        network(text).ok_or_else(|| format!("\"{text}\" is not a network"))
    });
    each.collect()
}

fn of_lines(text: &str) -> Result<Vec<IpNet>, String> {
    let each = text.lines().enumerate().filter_map(|(index, line)| {
        let written = line.split('#').next().unwrap_or_default().trim();
        let fault = || format!("line {}: \"{written}\" is not a network", index + 1);
        (!written.is_empty()).then(|| network(written).ok_or_else(fault))
    });
    each.collect()
}

fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_files_and_plain_ones_are_read() {
        let json = r#"{"creationTime": "2026-01-01T00:00:00", "prefixes": [
            {"ipv6Prefix": "2001:4860:4801:10::/64"}, {"ipv4Prefix": "66.249.64.0/27"},
            {"ipv4Prefix": "66.249.64.16/28"}]}"#;
        let plain = "# bots\n66.249.64.0/27\n2001:4860:4801:10::/64 # v6\n";
        for text in [json, plain] {
            let ranges = Ranges::parse(text).unwrap();
            for (address, expected) in [
                ("66.249.64.0", true),
                ("66.249.64.31", true),
                ("66.249.64.32", false),
                ("66.249.63.255", false),
                ("::ffff:66.249.64.1", true),
                ("2001:4860:4801:10::7", true),
                ("2001:4860:4801:11::", false),
                ("0.0.0.0", false),
            ] {
                assert_eq!(
                    ranges.contains(address.parse().unwrap()),
                    expected,
                    "{address}"
                );
            }
        }
        for text in [
            "",
            "{}",
            "{\"prefixes\": []}",
            "{\"prefixes\": [{}]}",
            "{",
            "1.2.3",
            "x",
        ] {
            assert!(Ranges::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_in_a_domain_by_whole_labels() {
        let bot = VerifiedBot {
            name: "Googlebot".to_owned(),
            user_agent: "Googlebot".to_owned(),
            ranges: Ranges::default(),
            domains: vec!["googlebot.com".to_owned()],
            resolver: None,
        };
        for (name, expected) in [
            ("crawl-66-249-66-1.googlebot.com.", true),
            ("CRAWL.GOOGLEBOT.COM", true),
            ("googlebot.com", true),
            ("evilgooglebot.com", false),
            ("googlebot.com.evil.test", false),
        ] {
            assert_eq!(bot.may_be_named(name), expected, "{name}");
        }
        assert!(bot.is_claimed_by(b"Mozilla/5.0 (compatible; Googlebot/2.1)"));
        assert!(!bot.is_claimed_by(b"curl/8"));
        assert!(!bot.ranges.contains([66, 249, 64, 1].into()));
    }
}
