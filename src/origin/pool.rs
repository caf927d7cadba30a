//! A pool at run time: its replicas as resolved, their health, whose turn it is.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::upstreams::peer::HttpPeer;
use tokio::task::JoinHandle;

use super::adaptive::Adaptive;
use super::admission::Admission;
use super::breaker::Breaker;
use super::health::Transition;
use super::outlier::{Outcome, Reason, may_eject};
use super::peer::{Trust, http_peer};
use super::replica::{ByHand, Replica, ReplicaReport, millis};
use super::retry::RetryBudget;
use super::select::RoundRobin;
use super::{checks, discovery};
use crate::clock;
use crate::config::{OriginServer, Outliers, Pool, parse_servers};
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
    pub(super) replicas: ArcSwap<Vec<Arc<Replica>>>,
    /// The servers of the pool's file, as they were last good.
    from_file: ArcSwap<Vec<OriginServer>>,
    file_fault: Mutex<Option<String>>,
    pub(super) turns: Mutex<RoundRobin>,
    panicking: AtomicBool,
    ejecting: Mutex<()>,
    ejections: AtomicU64,
    pub(super) admission: Arc<Admission>,
    pub(super) breaker: Mutex<Breaker>,
    pub(super) adaptive: Option<Mutex<Adaptive>>,
    /// [`clock::uptime`] in seconds before which no further refusal of a bucket is told.
    pub(super) complaints: AtomicU64,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The servers of the pool's file; of one that cannot be read, those from before the reload.
fn read_servers(config: &Pool, previous: Option<&OriginPool>) -> Result<Vec<OriginServer>, String> {
    let Some(path) = &config.servers_file else {
        return Ok(Vec::new());
    };
    let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let read = read.and_then(|text| parse_servers(&text));
    let kept = previous.map(|previous| previous.from_file.load().as_ref().clone());
    match (read, kept) {
        (Ok(servers), _) => Ok(servers),
        (Err(_), Some(kept)) if !kept.is_empty() => Ok(kept),
        (Err(why), _) => Err(format!("{}: {why}", path.display())),
    }
}

impl OriginPool {
    /// A pool whose literal addresses are ready; names follow once [`Self::start`] resolved them. What
    /// `previous`, the pool of this name before a reload, knows of an address is kept.
    ///
    /// # Errors
    /// When a file of certificates cannot be read.
    pub fn new(config: Arc<Pool>, previous: Option<&Self>) -> Result<Arc<Self>, String> {
        let trust = ArcSwap::from_pointee(Trust::load(&config.tls)?);
        let known = previous.map(Self::replicas).unwrap_or_default();
        let from_file = read_servers(&config, previous)?;
        let pool = Self {
            retries: RetryBudget::new(config.retries.budget_percent),
            trust,
            replicas: ArcSwap::new(known.clone()),
            from_file: ArcSwap::from_pointee(from_file),
            file_fault: Mutex::default(),
            turns: Mutex::default(),
            panicking: AtomicBool::new(false),
            ejecting: Mutex::default(),
            ejections: AtomicU64::new(previous.map_or(0, Self::ejections)),
            admission: Admission::new(config.queue, config.max_requests),
            breaker: Mutex::default(),
            adaptive: config
                .adaptive_concurrency
                .map(|settings| Mutex::new(Adaptive::new(&settings, clock::uptime()))),
            complaints: AtomicU64::new(0),
            tasks: Mutex::default(),
            config,
        };
        let servers = pool.servers();
        let found = servers.iter().flat_map(|server| {
            let literal = server.host.parse().ok();
            match literal.map(|address| SocketAddr::new(address, server.port)) {
                Some(address) => vec![(address, server.clone())],
                // Until a name is resolved anew, it is where it was.
                None => pool.known_of(server),
            }
        });
        let found: Vec<_> = found.collect();
        pool.set_replicas(found);
        Ok(Arc::new(pool))
    }

    /// The servers of the configuration and of the file.
    pub(super) fn servers(&self) -> Vec<OriginServer> {
        let from_file = self.from_file.load();
        let own = self.config.servers.iter();
        let each = self.config.max_requests_per_replica;
        let with_cap = |server: &OriginServer| OriginServer {
            max_requests: server.max_requests.or(each),
            ..server.clone()
        };
        own.chain(from_file.iter()).map(with_cap).collect()
    }

    /// Takes over what came of reading the pool's file again; a fault is told once.
    pub(super) fn take_file(&self, servers: Result<Vec<OriginServer>, String>, path: &str) {
        let mut fault = lock(&self.file_fault);
        match servers {
            Ok(servers) => {
                *fault = None;
                self.from_file.store(Arc::new(servers));
            }
            Err(why) if fault.as_ref() != Some(&why) => {
                let pool = &self.config.name;
                tracing::warn!(
                    pool,
                    path,
                    why,
                    "servers_file is not usable: the servers stay as they are"
                );
                *fault = Some(why);
            }
            Err(_) => {}
        }
    }

    /// The replicas there are of a server that goes by a name.
    pub(super) fn known_of(&self, server: &OriginServer) -> Vec<(SocketAddr, OriginServer)> {
        let replicas = self.replicas.load();
        let of = replicas.iter().filter(|replica| {
            let of = &replica.server;
            match &server.srv {
                Some(_) => of.srv == server.srv,
                None => {
                    of.srv.is_none()
                        && (of.https, &of.host, of.port)
                            == (server.https, &server.host, server.port)
                }
            }
        });
        // What the records of a service said of a target is not in the configuration.
        of.map(|replica| match &server.srv {
            Some(_) => (replica.address, replica.server.clone()),
            None => (replica.address, server.clone()),
        })
        .collect()
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

    /// Takes over what discovery found. Of addresses that stay, what is known is kept.
    pub(super) fn set_replicas(&self, found: Vec<(SocketAddr, OriginServer)>) {
        let known = self.replicas.load();
        let name = &self.config.name;
        let now = clock::uptime();
        let mut seen = HashSet::new();
        let replicas: Vec<Arc<Replica>> = found
            .into_iter()
            .filter(|(address, _)| seen.insert(*address))
            .map(|(address, server)| {
                let same = known.iter().find(|replica| replica.address == address);
                match same {
                    Some(same) if same.server == server => same.clone(),
                    Some(same) => Arc::new(Replica::new(address, server, same.state.clone())),
                    None => {
                        let replica = Replica::new(address, server, Arc::default());
                        if !known.is_empty() {
                            tracing::info!(pool = name, replica = %address, "replica discovered");
                            replica.enters_service(now);
                        }
                        Arc::new(replica)
                    }
                }
            })
            .collect();
        for gone in known.iter() {
            if replicas.iter().all(|one| one.address != gone.address) {
                tracing::info!(pool = name, replica = %gone.address, "replica gone");
            }
        }
        self.replicas.store(Arc::new(replicas));
        self.update_limit();
    }

    /// The replicas as they are now.
    pub fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        self.replicas.load_full()
    }

    /// Whether so few replicas are healthy that all are used.
    pub fn is_panicking(&self) -> bool {
        self.panicking.load(Ordering::Relaxed)
    }

    pub(super) fn panics(&self, panicking: bool) {
        if self.is_panicking() == panicking
            || self.panicking.swap(panicking, Ordering::Relaxed) == panicking
        {
            return;
        }
        let pool = &self.config.name;
        if panicking {
            tracing::warn!(
                pool,
                "panic begins: too few replicas are healthy, all are used"
            );
        } else {
            tracing::info!(pool, "panic ends");
        }
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
            let mut health = lock(&replica.state.health);
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
                replica.enters_service(clock::uptime());
            }
            None => {}
        }
    }

    /// Takes into account how a request at `replica` went.
    pub fn record(&self, replica: &Replica, outcome: Outcome) {
        let now = clock::uptime();
        if matches!(outcome, Outcome::Answered(..)) {
            replica.state.answered.store(millis(now), Ordering::Relaxed);
        } else {
            replica.state.failures.fetch_add(1, Ordering::Relaxed);
        }
        if outcome == Outcome::NotConnected {
            let until = millis(now + CONNECT_BACKOFF);
            replica.state.refused_until.store(until, Ordering::Relaxed);
            self.record_health(replica, false);
        }
        let Some(limits) = &self.config.outliers else {
            return;
        };
        if replica.is_ejected(now) {
            return;
        }
        let replicas = self.replicas.load();
        // Before this replica's record is locked: two that look at each other must not wait for ever.
        let means: Vec<Duration> = match limits.latency_factor {
            None => Vec::new(),
            Some(_) => replicas
                .iter()
                .filter(|other| other.address != replica.address)
                .filter_map(|other| lock(&other.state.record).mean())
                .collect(),
        };
        let reason = lock(&replica.state.record).record(outcome, limits, now, || means);
        if let Some(reason) = reason {
            self.eject(replica, reason, limits, now);
        }
    }

    fn eject(&self, replica: &Replica, reason: Reason, limits: &Outliers, now: Duration) {
        let _one_at_a_time = lock(&self.ejecting);
        let replicas = self.replicas.load();
        let ejected = replicas.iter().filter(|one| one.is_ejected(now)).count();
        if replica.is_ejected(now) || !may_eject(ejected, replicas.len(), limits.max_ejected) {
            return;
        }
        let length = lock(&replica.state.record).eject(limits, now);
        let until = millis(now + length).max(1);
        replica.state.ejected_until.store(until, Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        self.update_limit();
        tracing::warn!(
            pool = self.config.name,
            replica = %replica.address,
            reason = reason.as_str(),
            seconds = length.as_secs_f64(),
            "replica ejected"
        );
    }

    /// Ejections since the pool began.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Sets what operators want of the replica at `address`; `None` when there is none.
    pub fn set_by_hand(
        &self,
        address: SocketAddr,
        change: impl FnOnce(&mut ByHand),
    ) -> Option<ReplicaReport> {
        let now = clock::uptime();
        let replicas = self.replicas.load();
        let replica = replicas.iter().find(|one| one.address == address)?;
        let (before, after) = {
            let mut by_hand = lock(&replica.state.by_hand);
            let before = *by_hand;
            change(&mut by_hand);
            (before, *by_hand)
        };
        if before.drain && !after.drain {
            replica.enters_service(now);
        }
        if before.drain != after.drain {
            self.update_limit();
        }
        Some(replica.report(now))
    }

    /// The replicas, for people.
    pub fn report(&self) -> Vec<ReplicaReport> {
        let now = clock::uptime();
        let replicas = self.replicas.load();
        replicas.iter().map(|replica| replica.report(now)).collect()
    }
}

impl Drop for OriginPool {
    fn drop(&mut self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
