//! A pool at run time: its replicas as resolved, their health, whose turn it is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::upstreams::peer::HttpPeer;
use serde::Serialize;
use tokio::task::JoinHandle;

use super::adaptive::Adaptive;
use super::admission::{self, Admission, Refusal};
use super::breaker::{Breaker, Change, Leave};
use super::health::{Health, Transition};
use super::peer::{Trust, http_peer};
use super::retry::RetryBudget;
use super::select::{Avoid, Candidate, RoundRobin};
use super::{checks, discovery};
use crate::clock;
use crate::config::{OriginServer, Pool};
use crate::rules::phase::{OriginPatch, Priority};

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
    admission: Arc<Admission>,
    breaker: Mutex<Breaker>,
    adaptive: Option<Mutex<Adaptive>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Leave to have one request outstanding; given back when dropped.
pub struct Permit {
    pool: Arc<OriginPool>,
    /// Whether it is one of those that find out how the pool is.
    probe: bool,
    told: bool,
    _place: admission::Permit,
}

/// A request is not sent to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shed {
    /// Too many wait for their turn.
    QueueFull,
    /// It waited for its turn for too long.
    QueueTimeout,
    /// The pool is left alone after failures.
    BreakerOpen,
}

impl Shed {
    /// The reason as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::BreakerOpen => "breaker-open",
        }
    }
}

/// What a pool has to do, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests that may be outstanding.
    pub limit: usize,
    /// Those that are.
    pub outstanding: usize,
    /// Those that wait for their turn.
    pub waiting: usize,
    /// Whether the pool is left alone.
    pub breaker_open: bool,
}

/// A request's place at a replica; given up when dropped.
pub struct Turn {
    replica: Arc<Replica>,
}

impl std::ops::Deref for Turn {
    type Target = Arc<Replica>;

    fn deref(&self) -> &Arc<Replica> {
        &self.replica
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.replica.outstanding.fetch_sub(1, Ordering::AcqRel);
    }
}

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
    /// Requests that are at it. Grows only under the lock of the pool's turns.
    outstanding: AtomicUsize,
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
    /// When the file of certificate authorities cannot be read.
    pub fn new(config: Arc<Pool>) -> Result<Arc<Self>, String> {
        let trust = Trust::load(&config.tls)?;
        let pool = Self {
            retries: RetryBudget::new(config.retries.budget_percent),
            trust,
            replicas: ArcSwap::default(),
            turns: Mutex::default(),
            admission: Admission::new(config.queue, config.timeouts.queue, config.max_requests),
            breaker: Mutex::default(),
            adaptive: config
                .adaptive_concurrency
                .map(|settings| Mutex::new(Adaptive::new(&settings, clock::uptime()))),
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
        self.update_limit();
    }

    /// The replicas as they are now.
    pub fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        self.replicas.load_full()
    }

    /// Leave to have a request outstanding at the pool, when it is its turn.
    ///
    /// # Errors
    /// Why it is not to be sent.
    pub async fn permit(self: &Arc<Self>, priority: Priority) -> Result<Permit, Shed> {
        let now = clock::uptime();
        if self.config.breaker.is_some() && lock(&self.breaker).refuses(now).is_some() {
            return Err(Shed::BreakerOpen);
        }
        let place = self.admission.permit(priority).await;
        let place = place.map_err(|refusal| match refusal {
            Refusal::QueueFull => Shed::QueueFull,
            Refusal::QueueTimeout => Shed::QueueTimeout,
        })?;
        let leave = self.config.breaker.map_or(Leave::Granted, |settings| {
            lock(&self.breaker).leave(&settings, clock::uptime())
        });
        let probe = match leave {
            Leave::Granted => false,
            Leave::Probe => true,
            Leave::Refused(_) => return Err(Shed::BreakerOpen),
        };
        Ok(Permit {
            pool: Arc::clone(self),
            probe,
            told: false,
            _place: place,
        })
    }

    /// Whether one more request would have to wait, or would be refused.
    pub fn is_limited(&self) -> bool {
        let open =
            self.config.breaker.is_some() && lock(&self.breaker).refuses(clock::uptime()).is_some();
        open || self.admission.is_overloaded()
    }

    /// After which time a request is likely to get its turn; `None` when nothing stands in its way.
    pub fn retry_after(&self) -> Option<Duration> {
        let left_alone = lock(&self.breaker).refuses(clock::uptime());
        left_alone.max(self.admission.drained_after())
    }

    /// What it has to do.
    pub fn load(&self) -> Load {
        let (limit, outstanding, waiting) = self.admission.load();
        Load {
            limit,
            outstanding,
            waiting,
            breaker_open: lock(&self.breaker).is_open(),
        }
    }

    /// Takes into account how long a request took to be answered, or that it was not.
    pub fn record_latency(&self, sent: std::time::Instant, success: bool) {
        let (Some(adaptive), Some(settings)) = (&self.adaptive, &self.config.adaptive_concurrency)
        else {
            return;
        };
        let now = clock::uptime();
        let took = clock::instant().saturating_duration_since(sent);
        let (_, outstanding, _) = self.admission.load();
        let times = (now.saturating_sub(took), now);
        lock(adaptive).record(settings, times, success, outstanding);
        self.update_limit();
    }

    /// As many places as the pool has, the replicas in service have together, and were learnt.
    fn update_limit(&self) {
        let replicas = self.replicas.load();
        let places = |healthy: bool| -> usize {
            let counted = replicas
                .iter()
                .filter(|replica| !healthy || replica.healthy());
            let caps = counted.map(|replica| replica.cap());
            caps.fold(0, usize::saturating_add)
        };
        let together = match (places(true), places(false)) {
            (0, 0) => usize::MAX,
            (0, all) => all,
            (healthy, _) => healthy,
        };
        let learnt = match (&self.adaptive, &self.config.adaptive_concurrency) {
            (Some(adaptive), Some(settings)) => lock(adaptive).limit(settings),
            _ => usize::MAX,
        };
        self.admission
            .set_limit(self.config.max_requests.min(together).min(learnt).max(1));
    }

    /// Whose turn it is, among those not in `tried` if possible. `None` without any replica that may have
    /// one more request. It counts as one of its requests until the turn is dropped.
    pub fn turn(&self, tried: &[SocketAddr]) -> Option<Turn> {
        let mut turns = lock(&self.turns);
        let replica = self.choose(&mut turns, tried, |replica| {
            replica.outstanding.load(Ordering::Acquire) < replica.cap()
        })?;
        replica.outstanding.fetch_add(1, Ordering::AcqRel);
        Some(Turn { replica })
    }

    /// Whose turn it is for a connection that stays open, which does not count.
    pub fn pick(&self, tried: &[SocketAddr]) -> Option<Arc<Replica>> {
        self.choose(&mut lock(&self.turns), tried, |_| true)
    }

    fn choose(
        &self,
        turns: &mut RoundRobin,
        tried: &[SocketAddr],
        may: impl Fn(&Replica) -> bool,
    ) -> Option<Arc<Replica>> {
        let replicas = self.replicas.load();
        let now = clock::uptime();
        let candidates: Vec<Candidate> = replicas
            .iter()
            .map(|replica| {
                let candidate = replica.candidate(tried, now);
                let full = !may(replica);
                Candidate {
                    avoid: if full { Avoid::Full } else { candidate.avoid },
                    ..candidate
                }
            })
            .collect();
        let index = turns.pick(&candidates)?;
        let full = candidates
            .get(index)
            .is_some_and(|chosen| chosen.avoid == Avoid::Full);
        replicas.get(index).filter(|_| !full).cloned()
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
        if transition.is_some() {
            self.update_limit();
        }
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

impl Permit {
    /// Takes the outcome of the request into account: whether the pool answered, in its last attempt.
    pub fn tell(&mut self, success: bool) {
        let Some(settings) = &self.pool.config.breaker else {
            return;
        };
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let change = lock(&self.pool.breaker).record(settings, success, clock::uptime());
        let pool = self.pool.config.name.as_str();
        match change {
            Some(Change::Opened(pause)) => {
                let pause = pause.as_secs_f64();
                tracing::warn!(
                    pool,
                    pause,
                    "circuit breaker opened: too many requests failed"
                );
            }
            Some(Change::Closed) => tracing::info!(pool, "circuit breaker closed"),
            None => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.told {
            lock(&self.pool.breaker).withdraw();
        }
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
            outstanding: AtomicUsize::new(0),
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

    /// Requests that may be at it at once.
    fn cap(&self) -> usize {
        self.server.max_requests.unwrap_or(usize::MAX)
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
