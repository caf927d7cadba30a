//! Findings about tiers.

use std::net::{IpAddr, SocketAddr};

use super::codes::{TIER_IS_THIS_NODE, UNUSED_TIER};
use super::finding::Findings;
use crate::config::{Config, OriginServer, SIBLINGS, Tier};

pub(super) fn check(config: &Config, found: &mut Findings) {
    let tiers = config.tiers.iter().flat_map(|tiers| &tiers.tiers);
    for tier in tiers {
        let name = &tier.pool.name;
        let mut zones = config
            .zones
            .iter()
            .filter(|zone| zone.upper_tiers.contains(name));
        let table = if name == SIBLINGS {
            "tiers"
        } else {
            "tiers.upper"
        };
        let Some(zone) = zones.next() else {
            let message = format!("no zone asks the tier \"{name}\"");
            found.add_table(UNUSED_TIER, table, name, message);
            continue;
        };
        if let Some(address) = own(tier, config) {
            let zone = &zone.name;
            let message =
                format!("the zone \"{zone}\" asks {address}, where this node itself listens");
            found.add_table(TIER_IS_THIS_NODE, table, name, message);
        }
    }
}

/// The node of an upper tier that is this one, as far as addresses tell. Siblings list themselves.
fn own(tier: &Tier, config: &Config) -> Option<SocketAddr> {
    if tier.own_address.is_some() {
        return None;
    }
    let addresses = tier.pool.servers.iter().filter_map(literal);
    let mut own = addresses.filter(|address| {
        let mut listeners = config.listeners.iter();
        listeners.any(|listener| reaches(*address, listener.address))
    });
    own.next()
}

fn literal(server: &OriginServer) -> Option<SocketAddr> {
    let ip = match server.host.as_str() {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => host.parse().ok()?,
    };
    Some(SocketAddr::new(ip, server.port))
}

/// Whether who connects to `address` on this machine reaches the listener.
fn reaches(address: SocketAddr, listener: SocketAddr) -> bool {
    let here = address.ip() == listener.ip()
        || (listener.ip().is_unspecified() && address.ip().is_loopback());
    here && address.port() == listener.port()
}

#[cfg(test)]
mod tests {
    use super::super::testing::codes;

    fn zone_asks(tier: &str, servers: &str) -> Vec<&'static str> {
        codes(&format!(
            "upper_tiers = [\"{tier}\"]\n[tiers]\nname = \"edge-1\"\nsecret = \"0123456789abcdef\"\n\
             [tiers.upper.shield]\nservers = [{servers}]\n"
        ))
    }

    #[test]
    fn a_node_that_asks_itself_is_told() {
        assert_eq!(zone_asks("shield", "\"http://10.0.0.1\""), [""; 0]);
        for own in ["http://localhost", "http://127.0.0.1:80", "http://[::1]"] {
            let servers = format!("\"http://10.0.0.1\", \"{own}\"");
            assert_eq!(
                zone_asks("shield", &servers),
                ["tier-is-this-node"],
                "{own}"
            );
        }
        assert_eq!(zone_asks("shield", "\"http://127.0.0.1:81\""), [""; 0]);
    }

    #[test]
    fn a_tier_that_nobody_asks_is_told() {
        let tiers = "[tiers]\nname = \"edge-1\"\nsecret = \"0123456789abcdef\"\n\
             [tiers.upper.shield]\nservers = [\"http://10.0.0.1\"]\n\
             [tiers.siblings]\nself = \"10.0.0.2:80\"\nservers = [\"http://10.0.0.2\"]\n";
        assert_eq!(codes(tiers), ["unused-tier", "unused-tier"]);
    }
}
