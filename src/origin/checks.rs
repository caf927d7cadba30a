//! Active health checks: a GET to every replica of a pool, each at its own pace.

use std::sync::{Arc, Weak};

use pingora_core::connectors::http::Connector;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use tokio::task::JoinSet;

use super::pool::{OriginPool, Replica};
use super::wire;
use crate::config::HealthCheck;
use crate::rules::phase::OriginPatch;

/// Checks until the pool is gone.
pub(super) async fn run(pool: Weak<OriginPool>) {
    let connector: Arc<Connector> = Arc::new(Connector::new(None));
    loop {
        let Some(current) = pool.upgrade() else {
            return;
        };
        let Some(check) = current.config.health_check.clone() else {
            return;
        };
        let mut round = JoinSet::new();
        for replica in current.replicas().iter().cloned() {
            round.spawn(check_one(
                connector.clone(),
                current.clone(),
                replica,
                check.clone(),
            ));
        }
        drop(current);
        while round.join_next().await.is_some() {}
        tokio::time::sleep(check.interval).await;
    }
}

async fn check_one(
    connector: Arc<Connector>,
    pool: Arc<OriginPool>,
    replica: Arc<Replica>,
    check: HealthCheck,
) {
    let outcome =
        tokio::time::timeout(check.timeout, ask(&connector, &pool, &replica, &check)).await;
    let success = match outcome {
        Ok(Ok(status)) => match check.status {
            Some(expected) => status == expected,
            None => (200..300).contains(&status),
        },
        Ok(Err(_)) | Err(_) => false,
    };
    pool.record_health(&replica, success);
}

async fn ask(
    connector: &Connector,
    pool: &OriginPool,
    replica: &Replica,
    check: &HealthCheck,
) -> Result<u16> {
    let peer = pool.peer(replica, false, &OriginPatch::default());
    let (mut session, _) = connector.get_http_session(&peer).await?;
    let mut request = RequestHeader::build("GET", check.path.as_bytes(), Some(3))?;
    let host = check.host.as_deref().or(pool.config.host_header.as_deref());
    match host {
        Some(host) => request.insert_header("Host", host)?,
        None => request.insert_header(
            "Host",
            format!("{}:{}", replica.server.host, replica.server.port),
        )?,
    }
    request.insert_header(
        "User-Agent",
        concat!("seawall/", env!("CARGO_PKG_VERSION"), " (health check)"),
    )?;
    request.insert_header("Connection", "close")?;
    wire::send(&mut session, request, peer.is_tls()).await?;
    session.read_response_header().await?;
    let status = session
        .response_header()
        .map(|header| header.status.as_u16());
    session.shutdown().await;
    status.ok_or_else(|| Error::explain(ErrorType::InvalidHTTPHeader, "no response head"))
}
