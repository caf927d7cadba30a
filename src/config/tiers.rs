//! `[tiers]`: the nodes that this one asks before it asks the origin.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::diagnostics::{Diagnostic, did_you_mean};
use super::file::SHORTEST;
use super::pool::read_peers;
use super::reader::{Located, Section};
use super::secret::{Secret, read_secret};
use super::zone::ZoneFile;
use super::{OriginTimeouts, Pool};

/// The word for the siblings among a zone's upper tiers.
pub const SIBLINGS: &str = "siblings";

/// This node among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// Its name, no other node's.
    pub name: String,
    /// What all nodes sign with.
    pub secret: Secret,
    /// The tiers that zones may name, siblings included.
    pub tiers: Vec<Arc<Tier>>,
}

/// Nodes that are asked in place of the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// How they are reached, and what it is called.
    pub pool: Arc<Pool>,
    /// Whether each key has one node that is asked for it.
    pub sharded: bool,
    /// How long until another node is asked as well.
    pub hedge_after: Option<Duration>,
    /// For siblings, this node's address as the others know it.
    pub own_address: Option<SocketAddr>,
}

/// Reads the section; `None` when it lacks what it must have.
pub(super) fn read_tiers(section: Section<'_>) -> Option<Tiers> {
    let name = section
        .required("name", "\"edge-1\"")
        .then(|| section.parsed("name", "a string", node_name))
        .flatten();
    let secret = section
        .required_string("secret", "\"${SEAWALL_TIER_SECRET}\"")
        .and_then(|text| read_secret(&section, "secret", text));
    let mut tiers = Vec::new();
    for (name, tier) in section.named_sections("upper") {
        if name.value == SIBLINGS {
            let message = "an upper tier cannot be called \"siblings\"";
            let help = "that is what zones call `[tiers.siblings]`".to_owned();
            section.reader.fault(name.span, message, Some(help));
        } else {
            tiers.push(Arc::new(read_tier(&name.value, tier)));
        }
    }
    let siblings = section.section_or(
        SIBLINGS,
        "write `[tiers.siblings]` and below it `servers` and `self`",
    );
    tiers.extend(siblings.map(read_siblings).map(Arc::new));
    section.finish();
    Some(Tiers {
        name: name?.value,
        secret: secret?,
        tiers,
    })
}

/// A token, as `Cache-Status` and `CDN-Loop` have it (RFC 8941 §3.3.4, RFC 8586 §2).
fn node_name(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic());
    if begins && text.len() <= 100 && text.bytes().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("must begin with a letter, and go on with letters, digits, `-`, `_` and `.`".to_owned())
    }
}

fn read_tier(name: &str, section: Section<'_>) -> Tier {
    let tier = Tier {
        sharded: section
            .boolean("sharded")
            .is_none_or(|sharded| sharded.value),
        ..read_nodes(name, &section)
    };
    section.finish();
    tier
}

fn read_siblings(section: Section<'_>) -> Tier {
    let own = section
        .required("self", "\"10.0.0.2:8080\"")
        .then(|| section.parsed("self", "an address", own_address))
        .flatten();
    let tier = read_nodes(SIBLINGS, &section);
    if let Some(own) = &own {
        check_listed(&section, own, &tier.pool);
    }
    section.finish();
    Tier {
        own_address: own.map(|own| own.value),
        ..tier
    }
}

fn read_nodes(name: &str, section: &Section<'_>) -> Tier {
    // An upper tier waits for the origin, and gives up before those who wait for it.
    let timeouts = OriginTimeouts {
        connect: Duration::from_secs(1),
        first_byte: Duration::from_secs(45),
        ..OriginTimeouts::default()
    };
    let hedge_after = section.duration_of("hedge_after", SHORTEST);
    Tier {
        pool: Arc::new(read_peers(name.to_owned(), section, timeouts, false)),
        sharded: true,
        hedge_after: hedge_after.map(|after| after.value),
        own_address: None,
    }
}

fn own_address(text: &str) -> Result<SocketAddr, String> {
    let why =
        "must be this node's address and port as the others reach it, such as \"10.0.0.2:8080\"";
    let address: SocketAddr = text.parse().map_err(|_| why.to_owned())?;
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err(why.to_owned());
    }
    Ok(address)
}

/// Where all siblings are addresses, this node's has to be among them: the others take it for an owner.
fn check_listed(section: &Section<'_>, own: &Located<SocketAddr>, pool: &Pool) {
    let mut addresses = pool.servers.iter().map(|server| {
        let ip = server.host.parse().ok()?;
        Some(SocketAddr::new(ip, server.port))
    });
    let listed = addresses.any(|address| address.is_none_or(|address| address == own.value));
    if !listed && !pool.servers.is_empty() {
        let message = format!("`self = \"{}\"` is not among the `servers`", own.value);
        let help = "all siblings list the same servers, themselves included".to_owned();
        section.reader.fault(own.span.clone(), message, Some(help));
    }
}

/// Finds the tiers that a zone names.
pub(super) fn check_upper_tiers(
    zone: &ZoneFile,
    tiers: Option<&Tiers>,
    faults: &mut Vec<Diagnostic>,
) {
    let known = || {
        let tiers = tiers.into_iter().flat_map(|tiers| &tiers.tiers);
        tiers.map(|tier| tier.pool.name.as_str())
    };
    for (position, tier) in zone.upper_tiers.iter().enumerate() {
        let name = &tier.value;
        let twice = zone.upper_tiers.iter().take(position);
        if twice.into_iter().any(|earlier| earlier.value == *name) {
            faults.push(Diagnostic {
                span: tier.span.clone(),
                message: format!("the tier \"{name}\" is listed twice"),
                help: None,
            });
        }
        if !known().any(|known| known == name) {
            let section = if name == SIBLINGS {
                "tiers.siblings".to_owned()
            } else {
                format!("tiers.upper.{name}")
            };
            faults.push(Diagnostic {
                span: tier.span.clone(),
                message: format!("there is no upper tier \"{name}\""),
                help: did_you_mean(name, known())
                    .or_else(|| Some(format!("add `[{section}]` with its `servers`"))),
            });
        }
    }
}
