//! The admin listener: liveness, readiness, metrics, pools, purging, explaining. Never reachable through the public
//! listeners.

pub(crate) mod audit;
mod explain;
mod pools;
mod purge;
mod rooms;
mod security;
mod switches;
mod wait;

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use serde::Serialize;

use crate::clock;
use crate::guard::limit::moment;
use crate::origin::ReplicaReport;
use crate::server::{Runtime, Shared};

/// Answers operators.
pub struct Admin {
    shared: Arc<Shared>,
}

#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    config: &'static str,
    zones: Vec<&'a str>,
    pools: Vec<PoolReadiness<'a>>,
}

#[derive(Serialize)]
struct PoolReadiness<'a> {
    name: &'a str,
    healthy: usize,
    replicas: Vec<ReplicaReport>,
}

impl Admin {
    /// An admin interface to `shared`.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        let runtime = self.shared.runtime();
        let pools = runtime.pools.iter().map(|pool| &**pool);
        let store = &self.shared.store;
        let tiers = (store.disk_statistics(), store.reserve_statistics());
        let tiers = (tiers.0.as_ref(), tiers.1.as_ref());
        let shared = self.shared.shared_state.as_ref();
        let shared = shared.map(|shared| shared.statistics());
        let metrics = &self.shared.metrics;
        let nodes = self.shared.shared_limits.as_ref();
        let nodes = nodes.map(|limits| limits.statistics());
        let figures = self.shared.limits.figures();
        metrics
            .limits
            .measure(&figures, nodes.as_ref(), moment(clock::now()));
        match metrics.render(
            store.statistics(),
            tiers,
            shared.as_ref(),
            pools,
            runtime.sites(),
        ) {
            Ok(text) => respond(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                text,
            ),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let path = request.uri.path().to_owned();
        let reads = matches!(request.method, http::Method::GET | http::Method::HEAD);
        if let Some(route) = purge::route(&path) {
            let runtime = self.shared.runtime();
            if request.method == http::Method::POST {
                let purger = self.shared.clone();
                let limiter = &self.shared.purge_limiter;
                let response =
                    purge::answer(session, route, &runtime.config, limiter, purger).await;
                if !response.status().is_success() {
                    self.shared.metrics.purge_refused();
                }
                return response;
            }
            return if reads {
                purge::usage(&runtime.config)
            } else {
                wrong_method("GET, HEAD, POST")
            };
        }
        if let Some(switch) = switches::route(&path) {
            return if reads || request.method == http::Method::POST {
                switches::answer(session, switch, &self.shared).await
            } else {
                wrong_method("GET, HEAD, POST")
            };
        }
        if let Some(replica) = pools::route(&path) {
            return if request.method == http::Method::POST {
                pools::change(session, replica, &self.shared).await
            } else {
                wrong_method("POST")
            };
        }
        if path == "/explain" {
            return match request.method {
                http::Method::POST => explain::answer(session, &self.shared).await,
                _ if reads => plain(StatusCode::OK, explain::USAGE),
                _ => wrong_method("GET, HEAD, POST"),
            };
        }
        if !reads {
            return wrong_method("GET, HEAD");
        }
        match &*path {
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => readiness(&self.shared.runtime()),
            "/metrics" => self.metrics(),
            "/purges/wait" => wait::answer(request.uri.query(), &self.shared).await,
            "/waiting-rooms" => rooms::list(&self.shared.runtime()),
            "/security/events" => security::answer(request.uri.query(), &self.shared),
            "/pools" => pools::list(&self.shared.runtime()),
            "/" => plain(StatusCode::OK, &format!("Seawall admin: {PATHS}\n")),
            _ => plain(
                StatusCode::NOT_FOUND,
                &format!("not found; there are {PATHS}\n"),
            ),
        }
    }
}

const PATHS: &str = "/healthz /readyz /metrics /pools /waiting-rooms /purge /purges/wait /security/events /explain /zones/NAME/development_mode /zones/NAME/under_attack";

fn wrong_method(allowed: &'static str) -> Response<Vec<u8>> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed}\n"));
    let value = header::HeaderValue::from_static(allowed);
    response.headers_mut().insert(header::ALLOW, value);
    response
}

/// Ready when every pool has a replica in service: without one, another instance serves better.
fn readiness(runtime: &Runtime) -> Response<Vec<u8>> {
    let pools: Vec<PoolReadiness<'_>> = runtime
        .pools
        .iter()
        .map(|pool| {
            let replicas = pool.report();
            let healthy = replicas.iter().filter(|replica| replica.healthy).count();
            PoolReadiness {
                name: &pool.config.name,
                healthy,
                replicas,
            }
        })
        .collect();
    let ready = pools.iter().all(|pool| pool.healthy > 0);
    let readiness = Readiness {
        ready,
        config: "loaded",
        zones: runtime
            .config
            .zones
            .iter()
            .map(|zone| zone.name.as_str())
            .collect(),
        pools,
    };
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    match serde_json::to_vec_pretty(&readiness) {
        Ok(mut json) => {
            json.push(b'\n');
            respond(status, "application/json", json)
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    respond(
        status,
        "text/plain; charset=utf-8",
        text.as_bytes().to_vec(),
    )
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let length = header::HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}
