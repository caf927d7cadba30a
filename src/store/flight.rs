//! Fetches under way: one for concurrent requests on a key (RFC 9111 §4, collapsed forwarding).
//!
//! The first request leads, the others follow and are told how it landed. What turned out not to be
//! storable is remembered for a while, so that the next herd is not made to wait in vain.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use tokio::sync::watch;

use super::stored::StoreKey;
use crate::purge::Generation;

/// How long an answer that may not be stored is remembered.
const REMEMBER: Duration = Duration::from_secs(30);
/// For how many keys.
const REMEMBERED: usize = 1 << 16;

/// How long a background fetch that failed is not tried again.
const REST: Duration = Duration::from_secs(1);
/// For how many keys.
const RESTING: usize = 1 << 12;

/// What fetches are collapsed by: a resource, and what is known to tell its variants and ranges
/// apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlightKey {
    /// The resource.
    pub key: StoreKey,
    /// What else must be equal for requests to share a fetch.
    pub selecting: Arc<[u8]>,
}

/// All fetches under way. `L` is how they land.
pub struct Flights<L> {
    table: Mutex<HashMap<FlightKey, Arc<Flight<L>>>>,
    /// By digest, so that long keys do not weigh; whoever finds two keys with one digest gains that a
    /// request does not wait for another.
    uncacheable: Cache<u64, Instant>,
    resting: Cache<u64, Instant>,
    digest: RandomState,
}

/// A fetch that others may follow.
#[derive(Debug)]
pub struct Flight<L> {
    /// The last purge before it began.
    pub generation: Generation,
    landing: watch::Sender<Option<Landing<L>>>,
}

/// Held by the one who fetches; the flight is over when it is dropped.
pub struct Lead<L: Clone> {
    flights: Arc<Flights<L>>,
    key: FlightKey,
    flight: Arc<Flight<L>>,
}

/// What a request is to do.
pub enum Boarding<L: Clone> {
    /// Fetch, for all who follow.
    Lead(Lead<L>),
    /// Wait for this fetch.
    Follow(Arc<Flight<L>>),
    /// Fetch for itself: what comes is not expected to be storable.
    Alone,
}

/// How a flight ended.
#[derive(Clone, Debug)]
pub enum Landing<L> {
    /// It landed.
    Landed(L),
    /// Its leader went away without a word: try again.
    Lost,
}

impl<L: Clone> Flights<L> {
    /// No flights.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            uncacheable: Cache::new(REMEMBERED),
            resting: Cache::new(RESTING),
            digest: RandomState::new(),
        })
    }

    /// Joins the flight for `key`, or begins one at `generation`. A flight that began before a purge
    /// that concerns it, as `is_current` tells, is not joined but replaced.
    pub fn board(
        self: &Arc<Self>,
        key: &FlightKey,
        generation: Generation,
        now: Instant,
        is_current: impl FnOnce(Generation) -> bool,
    ) -> Boarding<L> {
        if self
            .uncacheable
            .get(&self.digest.hash_one(key))
            .is_some_and(|until| now < until)
        {
            return Boarding::Alone;
        }
        let mut table = self.lock();
        if let Some(flight) = table.get(key)
            && is_current(flight.generation)
        {
            return Boarding::Follow(flight.clone());
        }
        let flight = Arc::new(Flight {
            generation,
            landing: watch::Sender::new(None),
        });
        table.insert(key.clone(), flight.clone());
        Boarding::Lead(Lead {
            flights: self.clone(),
            key: key.clone(),
            flight,
        })
    }

    /// Remembers that answers for `key` may not be stored.
    pub fn remember_uncacheable(&self, key: &FlightKey, now: Instant) {
        self.uncacheable
            .insert(self.digest.hash_one(key), now + REMEMBER);
    }

    /// Forgets that.
    pub fn forget_uncacheable(&self, key: &FlightKey) {
        self.uncacheable.remove(&self.digest.hash_one(key));
    }

    /// Whether a background fetch for `key` failed a moment ago.
    pub fn is_resting(&self, key: &FlightKey, now: Instant) -> bool {
        self.resting
            .get(&self.digest.hash_one(key))
            .is_some_and(|until| now < until)
    }

    /// A background fetch for `key` failed: the next one waits a little.
    pub fn rest(&self, key: &FlightKey, now: Instant) {
        self.resting.insert(self.digest.hash_one(key), now + REST);
    }

    /// The flight for `key`, if one is under way that `is_current`.
    pub fn find(
        &self,
        key: &FlightKey,
        is_current: impl FnOnce(Generation) -> bool,
    ) -> Option<Arc<Flight<L>>> {
        let flight = self.lock().get(key).cloned()?;
        is_current(flight.generation).then_some(flight)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, Arc<Flight<L>>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Clone> Flight<L> {
    /// Waits until it lands; at once when it has.
    pub async fn landing(&self) -> Landing<L> {
        let mut landing = self.landing.subscribe();
        let landed = landing.wait_for(Option::is_some).await;
        landed
            .ok()
            .and_then(|landed| landed.clone())
            .unwrap_or(Landing::Lost)
    }
}

impl<L: Clone> Lead<L> {
    /// Tells the followers, present and future, how it went.
    pub fn land(&self, landing: L) {
        self.flight
            .landing
            .send_replace(Some(Landing::Landed(landing)));
    }

    /// Tells those who follow already. Nobody joins any more: whoever looks again begins anew.
    pub fn end(self, landing: L) {
        self.leave();
        self.land(landing);
    }

    /// Takes the flight out of the table.
    fn leave(&self) {
        let mut table = self.flights.lock();
        // A purge may have put a newer flight in its place.
        if table
            .get(&self.key)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            table.remove(&self.key);
        }
    }
}

impl<L: Clone> Drop for Lead<L> {
    fn drop(&mut self) {
        // First, so that who is told does not find it again.
        self.leave();
        self.flight.landing.send_if_modified(|landing| {
            let lost = landing.is_none();
            landing.get_or_insert(Landing::Lost);
            lost
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FlightKey {
        FlightKey {
            key: StoreKey(b"/a".as_slice().into()),
            selecting: b"".as_slice().into(),
        }
    }

    fn board(flights: &Arc<Flights<u8>>, now: Instant, current: bool) -> Boarding<u8> {
        flights.board(&key(), Generation::default(), now, |_| current)
    }

    #[tokio::test]
    async fn one_leads_and_the_others_are_told() {
        let flights = Flights::<u8>::new();
        let now = crate::clock::instant();
        let Boarding::Lead(lead) = board(&flights, now, true) else {
            panic!("the first leads");
        };
        let Boarding::Follow(flight) = board(&flights, now, true) else {
            panic!("the second follows");
        };
        lead.land(7);
        assert!(matches!(flight.landing().await, Landing::Landed(7)));
        drop(lead);
        assert!(matches!(board(&flights, now, true), Boarding::Lead(_)));
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_leaves_nobody_waiting() {
        let flights = Flights::<u8>::new();
        let now = crate::clock::instant();
        let lead = board(&flights, now, true);
        let Boarding::Follow(flight) = board(&flights, now, true) else {
            panic!("the second follows");
        };
        drop(lead);
        assert!(matches!(flight.landing().await, Landing::Lost));
        assert!(flights.find(&key(), |_| true).is_none());
    }

    #[test]
    fn a_flight_from_before_a_purge_is_replaced() {
        let flights = Flights::<u8>::new();
        let now = crate::clock::instant();
        let old = board(&flights, now, true);
        let new = board(&flights, now, false);
        assert!(matches!(new, Boarding::Lead(_)));
        drop(old);
        assert!(
            flights.find(&key(), |_| true).is_some(),
            "the newer goes on"
        );
    }

    #[test]
    fn what_is_uncacheable_does_not_wait_for_a_while() {
        let flights = Flights::<u8>::new();
        let now = crate::clock::instant();
        flights.remember_uncacheable(&key(), now);
        assert!(matches!(board(&flights, now, true), Boarding::Alone));
        let later = now + REMEMBER;
        assert!(matches!(board(&flights, later, true), Boarding::Lead(_)));
        flights.remember_uncacheable(&key(), later);
        flights.forget_uncacheable(&key());
        assert!(!matches!(board(&flights, later, true), Boarding::Alone));
    }
}
