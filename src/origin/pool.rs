//! A pool at run time: its replicas as resolved, their health, whose turn it is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue};
use pingora_core::upstreams::peer::HttpPeer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::health::Transition;
use super::outlier::{Outcome, Reason, may_eject};
use super::peer::{Trust, http_peer};
use super::replica::{ByHand, Replica, ReplicaReport, millis};
use super::retry::RetryBudget;
use super::select::{self, Avoid, Candidate, Draw, Policy, RoundRobin, choose};
use super::{affinity, checks, discovery};
use crate::cache::key::short_hash;
use crate::clock;
use crate::config::{AffinityBy, Balance, Failover, OriginServer, Outliers, Pool};
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
    panicking: AtomicBool,
    ejecting: Mutex<()>,
    ejections: AtomicU64,
    outstanding: Arc<Semaphore>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Leave to have one request outstanding; given back when dropped.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// How sessions that a field names are spread.
const SESSIONS: Balance = Balance::Hash {
    by: None,
    bound: None,
};

/// What is known of a client's session.
enum Session {
    /// The pool keeps no sessions, or this client has none.
    No,
    /// It begins.
    New,
    /// It is at home at the replica of this name.
    At(String),
    /// It has this hash.
    Of(u64),
}

fn undrained(all: &[Arc<Replica>]) -> impl Iterator<Item = &Arc<Replica>> {
    all.iter().filter(|replica| !replica.by_hand().drain)
}

/// What matters for the choice of a replica.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Replicas that this request was tried on.
    pub tried: &'a [SocketAddr],
    /// The hash of the value by which requests are kept together: [`OriginPool::hash`].
    pub hash: Option<u64>,
    /// Who asks, if the request goes past the cache: its session may be at home at a replica.
    pub client: Option<Client<'a>>,
}

/// A client whose session may be at home at a replica.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The fields of its request.
    pub headers: &'a HeaderMap,
    /// Whether it came over TLS.
    pub secure: bool,
}

/// A replica whose turn it is. Until this is dropped, the request counts as outstanding there.
#[derive(Debug)]
pub struct Turn {
    replica: Arc<Replica>,
    cookie: Option<HeaderValue>,
}

impl Turn {
    fn of(replica: Arc<Replica>) -> Self {
        replica.state.outstanding.fetch_add(1, Ordering::Relaxed);
        Self {
            replica,
            cookie: None,
        }
    }

    /// The cookie by which the client's session stays there, when it begins or moves.
    pub fn cookie(&self) -> Option<&HeaderValue> {
        self.cookie.as_ref()
    }

    /// The replica.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.replica
            .state
            .outstanding
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl OriginPool {
    /// A pool whose literal addresses are ready; names follow once [`Self::start`] resolved them. What
    /// `previous`, the pool of this name before a reload, knows of an address is kept.
    ///
    /// # Errors
    /// When the file of certificate authorities cannot be read.
    pub fn new(config: Arc<Pool>, previous: Option<&Self>) -> Result<Arc<Self>, String> {
        let trust = Trust::load(&config.tls)?;
        let known = previous.map(Self::replicas).unwrap_or_default();
        let pool = Self {
            retries: RetryBudget::new(config.retries.budget_percent),
            trust,
            replicas: ArcSwap::new(known.clone()),
            turns: Mutex::default(),
            panicking: AtomicBool::new(false),
            ejecting: Mutex::default(),
            ejections: AtomicU64::new(previous.map_or(0, Self::ejections)),
            outstanding: Arc::new(Semaphore::new(config.max_requests)),
            tasks: Mutex::default(),
            config,
        };
        let found = pool.config.servers.iter().flat_map(|server| {
            let literal = server.host.parse().ok();
            let literal = literal.map(|address| SocketAddr::new(address, server.port));
            // Until a name is resolved anew, it is where it was.
            let resolved = known.iter().filter(|replica| {
                let of = &replica.server;
                (of.https, &of.host, of.port) == (server.https, &server.host, server.port)
            });
            let resolved = resolved.map(|replica| replica.address);
            let addresses: Vec<_> = match literal {
                Some(address) => vec![address],
                None => resolved.collect(),
            };
            addresses
                .into_iter()
                .map(|address| (address, server.clone()))
        });
        pool.set_replicas(found.collect());
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

    /// Takes over what discovery found. Of addresses that stay, what is known is kept.
    pub(super) fn set_replicas(&self, found: Vec<(SocketAddr, OriginServer)>) {
        let known = self.replicas.load();
        let name = &self.config.name;
        let now = clock::uptime();
        let replicas: Vec<Arc<Replica>> = found
            .into_iter()
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

    /// Whose turn it is, among those not tried if possible. `None` when there is no replica that may be asked: all
    /// are drained, or the client's own is not available and it may have no other.
    pub fn turn(&self, ask: &Ask<'_>) -> Option<Turn> {
        let now = clock::uptime();
        let all = self.replicas.load();
        for replica in all.iter().filter(|replica| replica.comes_back(now)) {
            tracing::info!(pool = self.config.name, replica = %replica.address, "replica returned after its ejection");
        }
        let session = ask.client.map(|client| self.session(client));
        if let Some(Session::At(id)) = &session
            && let Some(home) = all.iter().find(|replica| self.id_of(replica) == *id)
        {
            // Sessions of a drained replica stay until their cookies' time is over.
            let available = home.candidate(&self.config, now).avoid == Avoid::No;
            if available && !ask.tried.contains(&home.address) {
                return Some(Turn::of(home.clone()));
            }
            return match self.failover() {
                Failover::None => None,
                Failover::Temporary => self.any(&all, ask, now, ask.hash),
                Failover::Sticky => self.settle(self.any(&all, ask, now, ask.hash), ask),
            };
        }
        match session {
            Some(Session::Of(hash)) => {
                let turn = self.any(&all, ask, now, Some(hash))?;
                let at_home = || self.home(&all, hash, now) == Some(turn.replica.address);
                (self.failover() != Failover::None || at_home()).then_some(turn)
            }
            Some(Session::At(_) | Session::New) => {
                self.settle(self.any(&all, ask, now, ask.hash), ask)
            }
            Some(Session::No) | None => self.any(&all, ask, now, ask.hash),
        }
    }

    /// A turn at one of the replicas that are not drained; with a `session`, at the one that its hash
    /// says.
    fn any(
        &self,
        all: &[Arc<Replica>],
        ask: &Ask<'_>,
        now: Duration,
        hash: Option<u64>,
    ) -> Option<Turn> {
        let replicas: Vec<&Arc<Replica>> = undrained(all).collect();
        let mut candidates: Vec<Candidate> = replicas
            .iter()
            .map(|replica| replica.candidate(&self.config, now))
            .collect();
        self.panics(select::relieve(
            &mut candidates,
            self.config.panic_threshold,
        ));
        for (candidate, replica) in candidates.iter_mut().zip(&replicas) {
            if ask.tried.contains(&replica.address) {
                candidate.avoid = Avoid::Tried;
            }
        }
        let by_session = hash != ask.hash;
        if by_session {
            for (candidate, replica) in candidates.iter_mut().zip(&replicas) {
                // A home does not move because a replica's weight comes back little by little.
                candidate.weight = replica.full_weight();
            }
        }
        let policy = Policy {
            balance: if by_session {
                &SESSIONS
            } else {
                &self.config.balance
            },
            local_percent: self.config.local_percent,
        };
        let draw = Draw {
            hash,
            chance: clock::chance(),
        };
        let index = choose(&candidates, policy, &mut lock(&self.turns), draw)?;
        replicas
            .get(index)
            .map(|replica| Turn::of(Arc::clone(replica)))
    }

    /// Where the sessions with this hash are at home while everything is well.
    fn home(&self, all: &[Arc<Replica>], hash: u64, now: Duration) -> Option<SocketAddr> {
        let replicas: Vec<&Arc<Replica>> = undrained(all).collect();
        let well = |replica: &&Arc<Replica>| Candidate {
            avoid: Avoid::No,
            weight: replica.full_weight(),
            ..replica.candidate(&self.config, now)
        };
        let candidates: Vec<Candidate> = replicas.iter().map(well).collect();
        let policy = Policy {
            balance: &SESSIONS,
            local_percent: self.config.local_percent,
        };
        let draw = Draw {
            hash: Some(hash),
            chance: 0,
        };
        let index = choose(&candidates, policy, &mut RoundRobin::default(), draw)?;
        replicas.get(index).map(|replica| replica.address)
    }

    fn failover(&self) -> Failover {
        let affinity = self.config.affinity.as_ref();
        affinity.map_or(Failover::Temporary, |affinity| affinity.failover)
    }

    fn session(&self, client: Client<'_>) -> Session {
        let Some(affinity) = &self.config.affinity else {
            return Session::No;
        };
        match &affinity.by {
            AffinityBy::Cookie { .. } => {
                let now = clock::unix_seconds_of(clock::now());
                let id = affinity::remembered(&self.config, client.headers, now);
                id.map_or(Session::New, Session::At)
            }
            AffinityBy::Header(name) => client.headers.get(name).map_or(Session::No, |value| {
                Session::Of(short_hash(value.as_bytes()))
            }),
        }
    }

    fn id_of(&self, replica: &Replica) -> String {
        match self.config.affinity.as_ref().map(|affinity| &affinity.by) {
            Some(AffinityBy::Cookie { secret, .. }) => {
                affinity::id(&self.config, secret.reveal(), replica.address)
            }
            _ => String::new(),
        }
    }

    /// Gives the turn the cookie by which the session stays.
    fn settle(&self, turn: Option<Turn>, ask: &Ask<'_>) -> Option<Turn> {
        let mut turn = turn?;
        let secure = ask.client.is_some_and(|client| client.secure);
        let now = clock::unix_seconds_of(clock::now());
        let id = self.id_of(&turn.replica);
        turn.cookie = affinity::cookie(&self.config, &id, secure, now);
        Some(turn)
    }

    /// The name of the cookie that keeps sessions, if one does.
    pub fn affinity_cookie(&self) -> Option<&str> {
        match &self.config.affinity.as_ref()?.by {
            AffinityBy::Cookie { name, .. } => Some(name),
            AffinityBy::Header(_) => None,
        }
    }

    /// Whether so few replicas are healthy that all are used.
    pub fn is_panicking(&self) -> bool {
        self.panicking.load(Ordering::Relaxed)
    }

    fn panics(&self, panicking: bool) {
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
            let mut health = lock(&replica.state.health);
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
                replica.enters_service(clock::uptime());
            }
            None => {}
        }
    }

    /// Takes into account how a request at `replica` went.
    pub fn record(&self, replica: &Replica, outcome: Outcome) {
        let now = clock::uptime();
        if !matches!(outcome, Outcome::Answered(..)) {
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
