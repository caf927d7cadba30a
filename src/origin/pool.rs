//! A pool at run time: its replicas as resolved, their health, whose turn it is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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
use super::select::{Avoid, Candidate, Draw, Policy, RoundRobin, choose};
use super::{checks, discovery};
use crate::cache::key::short_hash;
use crate::clock;
use crate::config::{Balance, OriginServer, Pool};
use crate::request::RequestView;
use crate::rules::phase::OriginPatch;

/// How long a replica that refused a connection is passed over.
const CONNECT_BACKOFF: Duration = Duration::from_secs(1);

/// A pool at run time.
pub struct OriginPool {
    /// Its configuration.
    pub config: Arc<Pool>,
    /// Retries left.
    pub retries: RetryBudget,
    trust: Trust,
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    turns: Mutex<RoundRobin>,
    outstanding: Arc<Semaphore>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Leave to have one request outstanding; given back when dropped.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What matters for the choice of a replica.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Replicas that this request was tried on.
    pub tried: &'a [SocketAddr],
    /// The hash of the value by which requests are kept together: [`OriginPool::hash`].
    pub hash: Option<u64>,
}

/// A replica whose turn it is. Until this is dropped, the request counts as outstanding there.
#[derive(Debug)]
pub struct Turn {
    replica: Arc<Replica>,
}

impl Turn {
    fn of(replica: Arc<Replica>) -> Self {
        replica.outstanding.fetch_add(1, Ordering::Relaxed);
        Self { replica }
    }

    /// The replica.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.replica.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One address of a configured server.
#[derive(Debug)]
pub struct Replica {
    /// Where it listens.
    pub address: SocketAddr,
    /// The server it was resolved from.
    pub server: OriginServer,
    id: u64,
    outstanding: AtomicU32,
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
    /// Requests it has not answered yet.
    pub outstanding: u32,
    /// Requests sent to it.
    pub requests: u64,
    /// Of those, without an answer.
    pub failures: u64,
}

impl OriginPool {
    /// A pool whose literal addresses are ready; names follow once [`Self::start`] resolved them.
    ///
    /// # Errors
    /// When the file of certificate authorities cannot be read.
    pub fn new(config: Arc<Pool>) -> Result<Arc<Self>, String> {
        let trust = Trust::load(&config.tls)?;
        let pool = Self {
            retries: RetryBudget::new(config.retries.budget_percent),
            trust,
            replicas: ArcSwap::default(),
            turns: Mutex::default(),
            outstanding: Arc::new(Semaphore::new(config.max_requests)),
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

    /// The hash of the value by which `request` is kept together with others, if this pool does so.
    pub fn hash(&self, request: &RequestView<'_>) -> Option<u64> {
        let Balance::Hash { by: Some(by), .. } = &self.config.balance else {
            return None;
        };
        let value = by.evaluate(request, None)?;
        (!value.is_empty()).then(|| short_hash(&value))
    }

    /// Whose turn it is, among those not tried if possible. `None` without any replica.
    pub fn turn(&self, ask: &Ask<'_>) -> Option<Turn> {
        let replicas = self.replicas.load();
        let now = clock::uptime();
        let candidates: Vec<Candidate> = replicas
            .iter()
            .map(|replica| replica.candidate(&self.config, ask.tried, now))
            .collect();
        let policy = Policy {
            balance: &self.config.balance,
            local_percent: self.config.local_percent,
        };
        let draw = Draw {
            hash: ask.hash,
            chance: clock::chance(),
        };
        let index = choose(&candidates, policy, &mut lock(&self.turns), draw)?;
        replicas.get(index).cloned().map(Turn::of)
    }

    /// How to reach `replica`, as rules want it; `upgraded` for a connection that stays open after its response head.
    pub fn peer(&self, replica: &Replica, upgraded: bool, patch: &OriginPatch) -> HttpPeer {
        http_peer(
            &self.config,
            &self.trust,
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
            id: short_hash(address.to_string().as_bytes()),
            outstanding: AtomicU32::new(0),
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

    /// Requests it has not answered yet.
    pub fn outstanding(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Whether the checks have it in service.
    pub fn healthy(&self) -> bool {
        lock(&self.health).healthy
    }

    fn candidate(&self, pool: &Pool, tried: &[SocketAddr], now: Duration) -> Candidate {
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
            id: self.id,
            weight: u32::from(self.server.weight),
            outstanding: self.outstanding(),
            avoid,
            priority: self.server.priority,
            local: pool.locality.is_some() && pool.locality == self.server.locality,
        }
    }

    fn report(&self) -> ReplicaReport {
        ReplicaReport {
            address: self.address,
            healthy: self.healthy(),
            weight: self.server.weight,
            outstanding: self.outstanding(),
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
