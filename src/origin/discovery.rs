//! Turns the servers of a pool into addresses, again and again: every address is a replica. Servers are
//! those of the configuration and of the pool's file; a name is asked again when its answer is too old.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;

use super::pool::OriginPool;
use crate::clock;
use crate::config::{OriginServer, Pool, parse_servers};

/// An answer that may be kept for no time at all is kept for so long.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often a file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// A replica to be.
type Found = (SocketAddr, OriginServer);

/// What a name was resolved to.
struct Answer {
    due: Instant,
    found: Vec<Found>,
}

/// Resolves until the pool is gone. A name that cannot be resolved keeps the addresses it had, and a file
/// that cannot be read its servers.
pub(super) async fn run(pool: Weak<OriginPool>) {
    let mut answers: HashMap<OriginServer, Answer> = HashMap::new();
    let mut resolver = None;
    loop {
        let Some(current) = pool.upgrade() else {
            return;
        };
        let config = current.config.clone();
        read_again(&current, &config).await;
        let servers = current.servers();
        let needs_names = servers.iter().any(|server| address(server).is_none());
        if config.servers_file.is_none() && !needs_names {
            return;
        }
        if needs_names && resolver.is_none() {
            resolver = super::resolver::of(config.resolver, &config.name);
        }
        let mut next = clock::instant() + config.resolve_interval;
        if config.servers_file.is_some() {
            next = next.min(clock::instant() + FILE_INTERVAL);
        }
        answers.retain(|server, _| servers.contains(server));
        let mut found = Vec::new();
        for server in &servers {
            if let Some(address) = address(server) {
                found.push((address, server.clone()));
                continue;
            }
            let known = answers.remove(server);
            let answer = match known.filter(|known| clock::instant() < known.due) {
                Some(known) => known,
                None => look_up(resolver.as_ref(), server, &current).await,
            };
            next = next.min(answer.due);
            found.extend(answer.found.iter().cloned());
            answers.insert(server.clone(), answer);
        }
        current.set_replicas(found);
        drop(current);
        tokio::time::sleep_until(next.into()).await;
    }
}

fn address(server: &OriginServer) -> Option<SocketAddr> {
    let literal = server.host.parse::<IpAddr>().ok()?;
    Some(SocketAddr::new(literal, server.port))
}

/// Takes the servers of the pool's file over, if they are good.
async fn read_again(pool: &OriginPool, config: &Pool) {
    let Some(path) = config.servers_file.clone() else {
        return;
    };
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
    let servers = match read {
        Ok(Ok(text)) => parse_servers(&text),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    pool.take_file(servers, &shown);
}

/// Where a server is, and until when that holds.
async fn look_up(
    resolver: Option<&TokioResolver>,
    server: &OriginServer,
    pool: &OriginPool,
) -> Answer {
    let now = clock::instant();
    let longest = pool.config.resolve_interval;
    let asked = match resolver {
        None => Err("no resolver".to_owned()),
        Some(resolver) if server.srv.is_some() => services(resolver, server).await,
        Some(resolver) => addresses(resolver, server).await,
    };
    match asked {
        Ok((found, until)) if !found.is_empty() => Answer {
            due: until.clamp(now + SHORTEST, now + longest.max(SHORTEST)),
            found,
        },
        failed => {
            let why = failed.err().unwrap_or_else(|| "no addresses".to_owned());
            let host = server.srv.as_ref().unwrap_or(&server.host);
            tracing::warn!(pool = pool.config.name, host, why, "name not resolved");
            Answer {
                due: now + longest.max(SHORTEST),
                found: pool.known_of(server),
            }
        }
    }
}

async fn addresses(
    resolver: &TokioResolver,
    server: &OriginServer,
) -> Result<(Vec<Found>, Instant), String> {
    let answer = resolver.lookup_ip(server.host.as_str()).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = answer.iter().collect();
    // A stable order keeps round robin steady whatever the server shuffles.
    addresses.sort_unstable();
    addresses.dedup();
    let found = addresses
        .into_iter()
        .map(|address| (SocketAddr::new(address, server.port), server.clone()));
    Ok((found.collect(), answer.valid_until()))
}

/// RFC 2782: targets with their ports, priorities and weights.
async fn services(
    resolver: &TokioResolver,
    server: &OriginServer,
) -> Result<(Vec<Found>, Instant), String> {
    let name = server.srv.clone().unwrap_or_default();
    let answer = resolver.srv_lookup(name).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let mut until = answer.valid_until();
    let records: Vec<&SRV> = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(service) => Some(service),
            _ => None,
        })
        .collect();
    let mut priorities: Vec<u16> = records.iter().map(|record| record.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let mut found: Vec<Found> = Vec::new();
    for record in records {
        let target = record.target.to_utf8();
        // RFC 2782: a single dot says that the service is not there.
        if target == "." {
            continue;
        }
        let rank = priorities.iter().position(|one| *one == record.priority);
        let rank = rank.and_then(|rank| u8::try_from(rank).ok());
        let target = OriginServer {
            host: target.trim_end_matches('.').to_owned(),
            port: record.port,
            // Zero means as good as nothing, where others have some.
            weight: record.weight.max(1),
            priority: server.priority.saturating_add(rank.unwrap_or(u8::MAX)),
            ..server.clone()
        };
        let (addresses, valid) = addresses(resolver, &target).await?;
        until = until.min(valid);
        found.extend(addresses);
    }
    found.sort_by_key(|(address, _)| *address);
    Ok((found, until))
}
