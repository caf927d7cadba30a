//! Active health checks: a GET to every replica of a pool, or a connection, again and again.

use std::sync::{Arc, Weak};

use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::pool::OriginPool;
use super::replica::Replica;
use super::wire;
use crate::clock;
use crate::config::{CheckKind, HealthCheck};
use crate::rules::phase::OriginPatch;

/// As much of a body is looked at.
const MOST_BODY: usize = 64 << 10;

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
        // A tenth more or less, so that many nodes do not check at the same time for ever.
        let tenths = u32::try_from(clock::chance() % 21).unwrap_or(10) + 90;
        tokio::time::sleep(check.interval * tenths / 100).await;
    }
}

async fn check_one(
    connector: Arc<Connector>,
    pool: Arc<OriginPool>,
    replica: Arc<Replica>,
    check: HealthCheck,
) {
    let asking = async {
        match check.kind {
            CheckKind::Http => ask(&connector, &pool, &replica, &check)
                .await
                .unwrap_or(false),
            CheckKind::Tcp => TcpStream::connect(replica.address).await.is_ok(),
        }
    };
    let success = tokio::time::timeout(check.timeout, asking).await;
    pool.record_health(&replica, success.unwrap_or(false));
}

/// Whether the answer is as it should be.
async fn ask(
    connector: &Connector,
    pool: &OriginPool,
    replica: &Replica,
    check: &HealthCheck,
) -> Result<bool> {
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
    let head = session.response_header().cloned();
    let fits = match (head, &check.expected_body) {
        (None, _) => false,
        (Some(head), _) if !head_fits(&head, check) => false,
        (Some(_), None) => true,
        (Some(_), Some(text)) => body_has(&mut session, text.as_bytes()).await?,
    };
    session.shutdown().await;
    Ok(fits)
}

fn head_fits(head: &ResponseHeader, check: &HealthCheck) -> bool {
    let status = head.status.as_u16();
    let status_fits = check
        .expected_codes
        .iter()
        .any(|range| range.contains(&status));
    status_fits
        && check.expected_headers.iter().all(|(name, text)| {
            let mut values = head.headers.get_all(name).iter();
            values.any(|value| value.as_bytes() == text.as_bytes())
        })
}

/// Whether the beginning of the body contains `text`.
async fn body_has(session: &mut HttpSession, text: &[u8]) -> Result<bool> {
    let mut body = Vec::new();
    while body.len() < MOST_BODY {
        match session.read_response_body().await? {
            Some(part) => body.extend_from_slice(&part),
            None => break,
        }
    }
    Ok(memchr::memmem::find(&body, text).is_some())
}
