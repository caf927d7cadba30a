//! `[purge]`: who may purge, and how often.

use std::net::IpAddr;

use ipnet::IpNet;

use super::file::put_number;
use super::reader::{Located, Section};
use super::secret::{Secret, read_secret};

/// Who may purge, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// What whoever purges must show.
    pub token: Secret,
    /// Addresses from which purges are accepted.
    pub allow: Vec<IpNet>,
    /// Purges a minute; as many may come at once after a pause.
    pub rate: u32,
    /// Most fetches a second of what was purged and is to be fetched again.
    pub refetch_rate: u32,
}

/// Reads the section; `None` when it has no usable token.
pub(super) fn read_purge(section: Section<'_>) -> Option<Purge> {
    let token = section
        .required_string("token", "\"${SEAWALL_PURGE_TOKEN}\"")
        .and_then(|text| read_secret(&section, "token", text));
    let allow = match section.strings("allow") {
        Some(networks) => networks
            .into_iter()
            .filter_map(|network| read_network(&section, network))
            .collect(),
        None => loopback(),
    };
    let mut rate = 60;
    put_number(&mut rate, section.integer("rate", 1..=1_000_000));
    let mut refetch_rate = 10;
    put_number(&mut refetch_rate, section.integer("refetch_rate", 1..=1000));
    section.finish();
    Some(Purge {
        token: token?,
        allow,
        rate,
        refetch_rate,
    })
}

fn loopback() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128"]
        .into_iter()
        .filter_map(|network| network.parse().ok())
        .collect()
}

fn read_network(section: &Section<'_>, text: Located<String>) -> Option<IpNet> {
    let address = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.value.parse().ok().or_else(|| address(&text.value));
    if network.is_none() {
        let message = format!("`allow` cannot be \"{}\"", text.value);
        let help = "write an address or a network, such as \"10.0.0.7\" or \"10.0.0.0/8\"";
        section
            .reader
            .fault(text.span, message, Some(help.to_owned()));
    }
    network.map(|network| network.trunc())
}
