//! A pool at run time: its replicas as resolved, their health, whose turn it is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::upstreams::peer::HttpPeer;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::health::{Health, Transition};
use super::peer::{Trust, http_peer};
use super::retry::RetryBudget;
use super::select::{Avoid, Candidate, RoundRobin};
use super::{checks, discovery};
use crate::clock;
use crate::config::{OriginServer, Pool};
use crate::rules::phase::OriginPatch;

/// How long a replica that refused a connection is passed over.
const CONNECT_BACKOFF: Duration = Duration::from_secs(1);

/// A pool at run time.
pub struct OriginPool {
    /// Its configuration.
    pub config: Arc<Pool>,
    /// Retries left.
    pub retries: RetryBudget,
    trust: ArcSwap<Trust>,
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    turns: Mutex<RoundRobin>,
    outstanding: Arc<Semaphore>,
    /// [`clock::uptime`] in seconds before which no further refusal of a bucket is told.
    pub(super) complaints: AtomicU64,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Leave to have one request outstanding; given back when dropped.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// One address of a configured server.
#[derive(Debug)]
pub struct Replica {
    /// Where it listens.
    pub address: SocketAddr,
    /// The server it was resolved from.
    pub server: OriginServer,
    health: Mutex<Health>,
    /// [`clock::uptime`] in milliseconds until which it is passed over.
    refused_until: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// A replica as `/readyz` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaReport {
    /// Where it listens.
    pub address: SocketAddr,
    /// In service.
    pub healthy: bool,
    /// Share of the requests.
    pub weight: u16,
    /// Requests sent to it.
    pub requests: u64,
    /// Of those, without an answer.
    pub failures: u64,
}

impl OriginPool {
    /// A pool whose literal addresses are ready; names follow once [`Self::start`] resolved them.
    ///
    /// # Errors
    /// When a file of certificates cannot be read.
    pub fn new(config: Arc<Pool>) -> Result<Arc<Self>, String> {
        let trust = ArcSwap::from_pointee(Trust::load(&config.tls)?);
        let pool = Self {
            retries: RetryBudget::new(config.retries.budget_percent),
            trust,
            replicas: ArcSwap::default(),
            turns: Mutex::default(),
            outstanding: Arc::new(Semaphore::new(config.max_requests)),
            complaints: AtomicU64::new(0),
            tasks: Mutex::default(),
            config,
        };
        let literal = pool.config.servers.iter().filter_map(|server| {
            let address = server.host.parse().ok()?;
            Some((SocketAddr::new(address, server.port), server.clone()))
        });
        pool.set_replicas(literal.collect());
        Ok(Arc::new(pool))
    }

    /// Reads the files of TLS again, for [`Self::trust`].
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn read_trust(&self) -> Result<Trust, String> {
        Trust::load(&self.config.tls)
    }

    /// New connections rest on this from now on.
    pub fn trust(&self, trust: Trust) {
        self.trust.store(Arc::new(trust));
    }

    /// Starts resolving and checking, once; both end with the pool.
    pub fn start(self: &Arc<Self>) {
        let mut tasks = lock(&self.tasks);
        if tasks.is_empty() {
            tasks.push(tokio::spawn(discovery::run(Arc::downgrade(self))));
            if self.config.health_check.is_some() {
                tasks.push(tokio::spawn(checks::run(Arc::downgrade(self))));
            }
        }
    }

    /// Takes over what discovery found. Replicas that stay keep their health and counts.
    pub(super) fn set_replicas(&self, found: Vec<(SocketAddr, OriginServer)>) {
        let known = self.replicas.load();
        let replicas = found
            .into_iter()
            .map(|(address, server)| {
                let same = known
                    .iter()
                    .find(|replica| replica.address == address && replica.server == server);
                same.cloned()
                    .unwrap_or_else(|| Arc::new(Replica::new(address, server)))
            })
            .collect();
        self.replicas.store(Arc::new(replicas));
    }

    /// The replicas as they are now.
    pub fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        self.replicas.load_full()
    }

    /// Leave to have a request outstanding at the pool; `None` when none came free in time.
    pub async fn permit(&self) -> Option<Permit> {
        let free = self.outstanding.clone().acquire_owned();
        let acquired = tokio::time::timeout(self.config.timeouts.queue, free).await;
        acquired.ok()?.ok().map(Permit)
    }

    /// Whose turn it is, among those not in `tried` if possible. `None` without any replica.
    pub fn pick(&self, tried: &[SocketAddr]) -> Option<Arc<Replica>> {
        let replicas = self.replicas.load();
        let now = clock::uptime();
        let candidates: Vec<Candidate> = replicas
            .iter()
            .map(|replica| replica.candidate(tried, now))
            .collect();
        let index = lock(&self.turns).pick(&candidates)?;
        replicas.get(index).cloned()
    }

    /// How to reach `replica`, as rules want it; `upgraded` for a connection that stays open after its response head.
    pub fn peer(&self, replica: &Replica, upgraded: bool, patch: &OriginPatch) -> HttpPeer {
        http_peer(
            &self.config,
            &self.trust.load(),
            replica.address,
            &replica.server,
            upgraded,
            patch,
        )
    }

    /// Takes the outcome of a check, or of a connection attempt, into account.
    pub fn record_health(&self, replica: &Replica, success: bool) {
        let Some(check) = &self.config.health_check else {
            return;
        };
        let transition = {
            let mut health = lock(&replica.health);
            let (next, transition) = health.record(success, check.rise, check.fall);
            *health = next;
            transition
        };
        match transition {
            Some(Transition::Failed) => {
                tracing::warn!(pool = self.config.name, replica = %replica.address, "replica out of service");
            }
            Some(Transition::Recovered) => {
                tracing::info!(pool = self.config.name, replica = %replica.address, "replica back in service");
            }
            None => {}
        }
    }

    /// Remembers that `replica` refused a connection.
    pub fn record_connect_failure(&self, replica: &Replica) {
        let until = clock::uptime() + CONNECT_BACKOFF;
        replica
            .refused_until
            .store(millis(until), Ordering::Relaxed);
        replica.failures.fetch_add(1, Ordering::Relaxed);
        self.record_health(replica, false);
    }

    /// The replicas, for people.
    pub fn report(&self) -> Vec<ReplicaReport> {
        self.replicas
            .load()
            .iter()
            .map(|replica| replica.report())
            .collect()
    }
}

impl Drop for OriginPool {
    fn drop(&mut self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

impl Replica {
    fn new(address: SocketAddr, server: OriginServer) -> Self {
        Self {
            address,
            server,
            health: Mutex::default(),
            refused_until: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Counts a request sent to it.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that got no answer.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the checks have it in service.
    pub fn healthy(&self) -> bool {
        lock(&self.health).healthy
    }

    fn candidate(&self, tried: &[SocketAddr], now: Duration) -> Candidate {
        let avoid = if tried.contains(&self.address) {
            Avoid::Tried
        } else if !self.healthy() {
            Avoid::Unhealthy
        } else if self.refused_until.load(Ordering::Relaxed) > millis(now) {
            Avoid::ConnectFailed
        } else {
            Avoid::No
        };
        Candidate {
            weight: self.server.weight,
            avoid,
        }
    }

    fn report(&self) -> ReplicaReport {
        ReplicaReport {
            address: self.address,
            healthy: self.healthy(),
            weight: self.server.weight,
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
