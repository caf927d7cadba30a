//! Findings about whom to believe about clients.

use std::net::IpAddr;

use super::codes::{EMPTY_LIST, EVERYBODY_TRUSTED};
use super::finding::Findings;
use crate::config::Config;

/// Addresses that are far from each other.
const STRANGERS: [&[&str]; 2] = [
    &["1.1.1.1", "93.184.215.14", "203.0.113.9"],
    &["2001:db8::1", "2606:4700::1", "2a00:1450::1"],
];

pub(super) fn check(config: &Config, found: &mut Findings) {
    let proxies = &config.client.trust.proxies;
    if proxies.lists.iter().any(|list| list.is_empty()) {
        let message =
            "a list of `trusted_proxies` is empty: its proxies are taken for clients".to_owned();
        found.add_table(EMPTY_LIST, "client", "trusted_proxies", message);
    }
    let trusted = |address: &&str| {
        let address = address.parse::<IpAddr>();
        address.is_ok_and(|address| proxies.contains(address))
    };
    if STRANGERS.iter().any(|few| few.iter().all(trusted)) {
        let message =
            "`trusted_proxies` holds the whole internet: any client says who it is".to_owned();
        found.add_table(EVERYBODY_TRUSTED, "client", "trusted_proxies", message);
    }
}

#[cfg(test)]
mod tests {
    use super::super::lint;
    use crate::config::parse;

    #[test]
    fn trusting_everybody_is_told() {
        let codes = |proxies: &str| {
            let source = format!(
                "listen = \"[::]:80\"\n[client]\ntrusted_proxies = [{proxies}]\n[pools.app]\n\
                 servers = \"http://localhost\"\n[zones.site]\nhosts = \"*\"\npool = \"app\"\n"
            );
            let config = parse("test.toml", &source, &|_| None).unwrap();
            let found = lint("test.toml", &source, &config, 0);
            let codes = found.list().iter().map(|one| one.code.name);
            codes.collect::<Vec<_>>()
        };
        assert_eq!(codes("\"0.0.0.0/0\""), ["everybody-trusted"]);
        assert_eq!(codes("\"10.0.0.0/8\", \"::/0\""), ["everybody-trusted"]);
        assert_eq!(
            codes("\"10.0.0.0/8\", \"fc00::/7\", \"203.0.113.0/24\""),
            [""; 0]
        );
    }

    #[test]
    fn proxies_of_an_empty_list_are_told() {
        let codes = |items: &str| {
            let source = format!(
                "listen = \"[::]:80\"\n[client]\ntrusted_proxies = [\"$cdn\"]\n[lists]\ncdn = [{items}]\n\
                 [pools.app]\nservers = \"http://localhost\"\n[zones.site]\nhosts = \"*\"\npool = \"app\"\n"
            );
            let config = parse("test.toml", &source, &|_| None).unwrap();
            let found = lint("test.toml", &source, &config, 0);
            let codes = found.list().iter().map(|one| one.code.name);
            codes.collect::<Vec<_>>()
        };
        assert_eq!(codes(""), ["empty-list"]);
        assert_eq!(codes("\"192.0.2.0/24\""), [""; 0]);
    }
}
