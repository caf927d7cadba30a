//! Turns the configured servers into addresses, again and again: every address is a replica.

use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;

use hickory_resolver::TokioResolver;

use super::pool::OriginPool;
use crate::config::OriginServer;

/// Resolves until the pool is gone. A name that cannot be resolved keeps the addresses it had.
pub(super) async fn run(pool: Weak<OriginPool>) {
    let Some(resolver) = system_resolver() else {
        return;
    };
    loop {
        let Some(current) = pool.upgrade() else {
            return;
        };
        if current
            .config
            .servers
            .iter()
            .all(|server| server.host.parse::<IpAddr>().is_ok())
        {
            return;
        }
        let mut found = Vec::new();
        for server in &current.config.servers {
            found.extend(resolve(&resolver, server, &current).await);
        }
        current.set_replicas(found);
        let pause = current.config.resolve_interval;
        drop(current);
        tokio::time::sleep(pause).await;
    }
}

fn system_resolver() -> Option<TokioResolver> {
    match TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build) {
        Ok(resolver) => Some(resolver),
        Err(error) => {
            tracing::error!(%error, "no name resolution: the system's resolver configuration is unusable");
            None
        }
    }
}

async fn resolve(
    resolver: &TokioResolver,
    server: &OriginServer,
    pool: &OriginPool,
) -> Vec<(SocketAddr, OriginServer)> {
    if let Ok(address) = server.host.parse() {
        return vec![(SocketAddr::new(address, server.port), server.clone())];
    }
    match resolver.lookup_ip(server.host.as_str()).await {
        Ok(answer) => {
            let mut addresses: Vec<IpAddr> = answer.iter().collect();
            // A stable order keeps round robin steady whatever the server shuffles.
            addresses.sort_unstable();
            addresses.dedup();
            addresses
                .into_iter()
                .map(|address| (SocketAddr::new(address, server.port), server.clone()))
                .collect()
        }
        Err(error) => {
            tracing::warn!(pool = pool.config.name, host = server.host, %error, "name not resolved");
            let known = pool.replicas();
            known
                .iter()
                .filter(|replica| replica.server == *server)
                .map(|replica| (replica.address, server.clone()))
                .collect()
        }
    }
}
