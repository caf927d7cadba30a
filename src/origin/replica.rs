//! One address of a server, and what is known of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use super::health::Health;
use super::outlier::{self, Record};
use super::pool::lock;
use super::select::{Avoid, Candidate};
use crate::cache::key::short_hash;
use crate::config::{OriginServer, Pool};

/// One address of a configured server.
#[derive(Debug)]
pub struct Replica {
    /// Where it listens.
    pub address: SocketAddr,
    /// The server it was resolved from.
    pub server: OriginServer,
    id: u64,
    pub(super) state: Arc<State>,
}

/// What stays with an address when the configuration changes. Times are [`crate::clock::uptime`] in
/// milliseconds.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) outstanding: AtomicU32,
    /// Those of them that take a place. Grows only under the lock of the pool's turns.
    pub(super) places: AtomicUsize,
    pub(super) health: Mutex<Health>,
    /// Until when it is passed over because it refused a connection.
    pub(super) refused_until: AtomicU64,
    /// Until when it is out for its answers; 0 when it is not.
    pub(super) ejected_until: AtomicU64,
    pub(super) record: Mutex<Record>,
    /// Since when it is in service; 0 for what was there from the start.
    pub(super) since: AtomicU64,
    pub(super) by_hand: Mutex<ByHand>,
    requests: AtomicU64,
    /// When it answered the last time.
    pub(super) answered: AtomicU64,
    pub(super) failures: AtomicU64,
}

/// What operators set for an address while the process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByHand {
    /// It gets no new requests.
    pub drain: bool,
    /// Takes the place of the configured weight.
    pub weight: Option<u16>,
}

/// A replica as `/readyz` and `/pools` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaReport {
    /// Where it listens.
    pub address: SocketAddr,
    /// In service: healthy, not ejected, not drained.
    pub healthy: bool,
    /// What it is, in a word.
    pub state: &'static str,
    /// Share of the requests.
    pub weight: u16,
    /// Asked when none with a lower number is available.
    pub priority: u8,
    /// Requests it has not answered yet.
    pub outstanding: u32,
    /// Requests sent to it.
    pub requests: u64,
    /// Of those, without an answer.
    pub failures: u64,
}

/// The states of a replica, as reports and metrics name them.
pub const STATES: [&str; 4] = ["healthy", "unhealthy", "ejected", "drained"];

impl Replica {
    pub(super) fn new(address: SocketAddr, server: OriginServer, state: Arc<State>) -> Self {
        Self {
            id: short_hash(address.to_string().as_bytes()),
            address,
            server,
            state,
        }
    }

    /// Counts a request sent to it.
    pub fn count_request(&self) {
        self.state.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests it has not answered yet.
    pub fn outstanding(&self) -> u32 {
        self.state.outstanding.load(Ordering::Relaxed)
    }

    /// Requests that may be at it at once.
    pub(super) fn cap(&self) -> usize {
        self.server.max_requests.unwrap_or(usize::MAX)
    }

    /// Whether it has as many requests as it may have.
    pub(super) fn is_full(&self) -> bool {
        self.state.places.load(Ordering::Acquire) >= self.cap()
    }

    pub(super) fn has_answered_since(&self, then: Duration) -> bool {
        self.state.answered.load(Ordering::Relaxed) > millis(then)
    }

    /// What operators set for it.
    pub fn by_hand(&self) -> ByHand {
        *lock(&self.state.by_hand)
    }

    /// What it is at `now`, in one of the words of [`STATES`].
    pub fn state(&self, now: Duration) -> &'static str {
        if self.by_hand().drain {
            "drained"
        } else if !lock(&self.state.health).healthy {
            "unhealthy"
        } else if self.is_ejected(now) {
            "ejected"
        } else {
            "healthy"
        }
    }

    pub(super) fn is_ejected(&self, now: Duration) -> bool {
        self.state.ejected_until.load(Ordering::Relaxed) > millis(now)
    }

    /// Whether its ejection has just ended; true once.
    pub(super) fn comes_back(&self, now: Duration) -> bool {
        let until = self.state.ejected_until.load(Ordering::Relaxed);
        let ended = until != 0 && until <= millis(now);
        let first = ended
            && self
                .state
                .ejected_until
                .compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if first {
            self.enters_service(Duration::from_millis(until));
        }
        first
    }

    pub(super) fn enters_service(&self, now: Duration) {
        self.state.since.store(millis(now), Ordering::Relaxed);
    }

    /// Its weight once it has been in service for long, on the scale of candidates.
    pub(super) fn full_weight(&self) -> u32 {
        u32::from(self.weight()) * 100
    }

    fn weight(&self) -> u16 {
        self.by_hand().weight.unwrap_or(self.server.weight)
    }

    /// As selection sees it; a request's own reasons to avoid it come later.
    pub(super) fn candidate(&self, pool: &Pool, now: Duration) -> Candidate {
        let avoid = if self.is_ejected(now) || !lock(&self.state.health).healthy {
            Avoid::Unhealthy
        } else if self.state.refused_until.load(Ordering::Relaxed) > millis(now) {
            Avoid::ConnectFailed
        } else {
            Avoid::No
        };
        let ramp = match self.state.since.load(Ordering::Relaxed) {
            0 => 100,
            since => outlier::ramp(
                now.saturating_sub(Duration::from_millis(since)),
                pool.slow_start,
            ),
        };
        Candidate {
            id: self.id,
            weight: u32::from(self.weight()) * ramp,
            outstanding: self.outstanding(),
            avoid,
            priority: self.server.priority,
            local: pool.locality.is_some() && pool.locality == self.server.locality,
        }
    }

    pub(super) fn report(&self, now: Duration) -> ReplicaReport {
        let state = self.state(now);
        ReplicaReport {
            address: self.address,
            healthy: state == "healthy",
            state,
            weight: self.weight(),
            priority: self.server.priority,
            outstanding: self.outstanding(),
            requests: self.state.requests.load(Ordering::Relaxed),
            failures: self.state.failures.load(Ordering::Relaxed),
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
