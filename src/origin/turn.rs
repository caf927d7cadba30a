//! Whose turn it is: a replica for a request, by the pool's method, the client's session and what was tried.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::affinity;
use super::failure::FetchFailure;
use super::pool::{OriginPool, lock};
use super::replica::Replica;
use super::select::{self, Avoid, Candidate, Draw, Policy, RoundRobin, choose};
use crate::cache::key::short_hash;
use crate::clock;
use crate::config::{AffinityBy, Balance, Failover};
use crate::request::RequestView;

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

fn is_full(replica: &Replica, ask: &Ask<'_>) -> bool {
    !ask.stays_open && replica.is_full()
}

fn undrained(all: &[Arc<Replica>]) -> impl Iterator<Item = &Arc<Replica>> {
    all.iter().filter(|replica| !replica.by_hand().drain)
}

/// Why no replica of `all` may be asked.
fn no_turn(all: &[Arc<Replica>], ask: &Ask<'_>) -> FetchFailure {
    busy_or_gone(undrained(all).any(|replica| is_full(replica, ask)))
}

const fn busy_or_gone(full: bool) -> FetchFailure {
    if full {
        FetchFailure::Busy
    } else {
        FetchFailure::NoReplica
    }
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
    /// Whether the connection stays open: it would keep a place for hours, so it takes none.
    pub stays_open: bool,
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
    takes_place: bool,
}

impl Turn {
    /// A turn at `replica`. The pool's turns are locked meanwhile, so that no replica has more than it may.
    fn of(replica: Arc<Replica>, ask: &Ask<'_>, _: &RoundRobin) -> Self {
        replica.state.outstanding.fetch_add(1, Ordering::Relaxed);
        let takes_place = !ask.stays_open;
        if takes_place {
            replica.state.places.fetch_add(1, Ordering::AcqRel);
        }
        Self {
            replica,
            cookie: None,
            takes_place,
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
        if self.takes_place {
            self.replica.state.places.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl OriginPool {
    /// The hash of the value by which `request` is kept together with others, if this pool does so.
    pub fn hash(&self, request: &RequestView<'_>) -> Option<u64> {
        let Balance::Hash { by: Some(by), .. } = &self.config.balance else {
            return None;
        };
        let value = by.evaluate(request, None)?;
        (!value.is_empty()).then(|| short_hash(&value))
    }

    /// Whose turn it is, among those not tried if possible.
    ///
    /// # Errors
    /// Why no replica may be asked: all are drained or full, or the client's own is and it may have no other.
    pub fn turn(&self, ask: &Ask<'_>) -> Result<Turn, FetchFailure> {
        let now = clock::uptime();
        let all = self.replicas.load();
        for replica in all.iter().filter(|replica| replica.comes_back(now)) {
            tracing::info!(pool = self.config.name, replica = %replica.address, "replica returned after its ejection");
            self.update_limit();
        }
        let mut turns = lock(&self.turns);
        let session = ask.client.map(|client| self.session(client));
        if let Some(Session::At(id)) = &session
            && let Some(home) = all.iter().find(|replica| self.id_of(replica) == *id)
        {
            // Sessions of a drained replica stay until their cookies' time is over.
            let available = home.candidate(&self.config, now).avoid == Avoid::No;
            let full = is_full(home, ask);
            if available && !full && !ask.tried.contains(&home.address) {
                return Ok(Turn::of(home.clone(), ask, &turns));
            }
            let turn = match self.failover() {
                Failover::None => return Err(busy_or_gone(available && full)),
                // A session does not move because its replica is full for a moment.
                Failover::Sticky if available && full => {
                    self.any(&mut turns, &all, ask, now, ask.hash)
                }
                Failover::Temporary => self.any(&mut turns, &all, ask, now, ask.hash),
                Failover::Sticky => {
                    self.settle(self.any(&mut turns, &all, ask, now, ask.hash), ask)
                }
            };
            return turn.ok_or_else(|| no_turn(&all, ask));
        }
        let turn = match session {
            Some(Session::Of(hash)) => {
                let turn = self.any(&mut turns, &all, ask, now, Some(hash));
                let turn = turn.ok_or_else(|| no_turn(&all, ask))?;
                if self.failover() == Failover::None {
                    let home = self.home(&all, hash, now);
                    if home != Some(turn.replica.address) {
                        let home = all.iter().find(|replica| Some(replica.address) == home);
                        return Err(busy_or_gone(home.is_some_and(|home| is_full(home, ask))));
                    }
                }
                Some(turn)
            }
            Some(Session::At(_) | Session::New) => {
                self.settle(self.any(&mut turns, &all, ask, now, ask.hash), ask)
            }
            Some(Session::No) | None => self.any(&mut turns, &all, ask, now, ask.hash),
        };
        turn.ok_or_else(|| no_turn(&all, ask))
    }

    /// A turn at one of the replicas that are not drained; with a `session`, at the one that its hash
    /// says.
    fn any(
        &self,
        turns: &mut RoundRobin,
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
            if is_full(replica, ask) {
                candidate.avoid = Avoid::Full;
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
        let index = choose(&candidates, policy, turns, draw)?;
        let replica = replicas.get(index)?;
        // Then all of them are.
        (!is_full(replica, ask)).then(|| Turn::of(Arc::clone(replica), ask, turns))
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
                affinity::id(&self.config, secret, replica.address)
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
}
