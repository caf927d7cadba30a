//! The connection guard: how many connections a client may have and open, how many requests it may send on them,
//! and what is done with those who make a connection cost more than it carries.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::bucket::SharedBucket;
use super::client::client_key;

/// Clients are spread over so many tables, so that threads seldom meet.
const SHARDS: usize = 16;
/// Most clients kept in one of them: all take a few MiB at most.
const MOST: usize = 4096;
/// A table that is full is looked through at most once in so long.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(100);
/// How many connections' worth of resets a client may have over all of its connections.
const RESETS_OF_ALL: u32 = 5;

/// Why a connection, or a request on it, was refused or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many connections as there may be.
    TooMany,
    /// As many TLS handshakes are in progress as may be.
    Handshakes,
    /// A TLS handshake takes too long.
    SlowHandshake,
    /// A peer that must send a PROXY header did not, or not a good one, or not in time.
    ProxyProtocol,
    /// The client has as many connections as it may.
    OfOneClient,
    /// The client opens connections faster than it may.
    TooFast,
    /// The client sends requests faster than it may.
    Requests,
    /// Too many streams of HTTP/2 were reset.
    Resets,
    /// Too many frames of HTTP/2 brought nothing.
    EmptyFrames,
    /// A body comes too slowly.
    SlowBody,
    /// An answer is read too slowly.
    SlowRead,
}

impl Refused {
    /// Its name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "max_connections",
            Self::Handshakes => "max_tls_handshakes",
            Self::SlowHandshake => "tls_handshake_timeout",
            Self::ProxyProtocol => "proxy_protocol",
            Self::OfOneClient => "max_connections_per_client",
            Self::TooFast => "connection_rate_per_client",
            Self::Requests => "request_rate_per_client",
            Self::Resets => "http2_max_resets",
            Self::EmptyFrames => "http2_empty_frames",
            Self::SlowBody => "min_body_rate",
            Self::SlowRead => "min_read_rate",
        }
    }
}

/// What one client may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections at a time.
    pub connections: Option<u32>,
    /// New ones a second; as many may come at once.
    pub connection_rate: Option<u32>,
    /// Requests a second on all its connections; as many may come at once.
    pub request_rate: Option<u32>,
}

/// What one client does.
#[derive(Debug, Default)]
struct State {
    open: AtomicU32,
    opened: SharedBucket,
    requests: SharedBucket,
    resets: SharedBucket,
}

impl State {
    /// Whether forgetting it would change nothing.
    fn is_idle(&self, now: Duration) -> bool {
        let buckets = [&self.opened, &self.requests, &self.resets];
        self.open.load(Ordering::Relaxed) == 0 && buckets.iter().all(|bucket| bucket.is_full(now))
    }
}

#[derive(Debug, Default)]
struct Shard {
    clients: HashMap<IpAddr, Arc<State>>,
    swept: Duration,
}

/// All clients with a connection, and those whose connections ended a moment ago.
#[derive(Debug, Default)]
pub struct Clients {
    shards: [Mutex<Shard>; SHARDS],
    hasher: std::hash::RandomState,
}

/// A connection's place among those of its client, which it gives up when dropped.
#[derive(Debug)]
pub struct Place {
    client: Arc<State>,
}

impl Clients {
    /// A place for one more connection of `client`; `None` when there is no room to remember it, which nobody is
    /// refused for. `now` is the uptime.
    ///
    /// # Errors
    /// Why the client may not have another one.
    pub fn connect(
        &self,
        client: IpAddr,
        limits: &ClientLimits,
        now: Duration,
    ) -> Result<Option<Place>, Refused> {
        let Some(client) = self.state(client_key(client), now) else {
            return Ok(None);
        };
        let most = limits.connections.unwrap_or(u32::MAX);
        let one_more = |open: u32| (open < most).then(|| open.saturating_add(1));
        client
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .map_err(|_| Refused::OfOneClient)?;
        let place = Place { client };
        match limits.connection_rate {
            Some(rate) if !place.client.opened.take(now, rate, rate) => Err(Refused::TooFast),
            _ => Ok(Some(place)),
        }
    }

    /// Whether `client`, whose requests come by the connections of proxies, may send another one; `None` when there
    /// is no room to remember it.
    pub fn request(&self, client: IpAddr, rate: u32, now: Duration) -> Option<bool> {
        let state = self.state(client_key(client), now)?;
        Some(state.requests.take(now, rate, rate))
    }

    fn state(&self, key: IpAddr, now: Duration) -> Option<Arc<State>> {
        let hash = self.hasher.hash_one(key);
        let shard = usize::try_from(hash).unwrap_or(0) % SHARDS;
        let mut shard = self
            .shards
            .get(shard)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.clients.get(&key) {
            return Some(known.clone());
        }
        if shard.clients.len() >= MOST && now >= shard.swept + BETWEEN_SWEEPS {
            shard.swept = now;
            // Who holds one may be about to count with it.
            let is_needed =
                |state: &Arc<State>| Arc::strong_count(state) > 1 || !state.is_idle(now);
            shard.clients.retain(|_, state| is_needed(state));
        }
        if shard.clients.len() >= MOST {
            return None;
        }
        let state = Arc::<State>::default();
        shard.clients.insert(key, state.clone());
        Some(state)
    }
}

impl Place {
    /// Whether the client may send another request.
    pub fn request(&self, limits: &ClientLimits, now: Duration) -> bool {
        let Some(rate) = limits.request_rate else {
            return true;
        };
        self.client.requests.take(now, rate, rate)
    }

    /// Whether one more stream of the client may be reset, where one connection may have `most` at once.
    pub fn reset(&self, most: u32, now: Duration) -> bool {
        let most = most.saturating_mul(RESETS_OF_ALL);
        self.client.resets.take(now, (most / 10).max(1), most)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.client.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn requests_by_way_of_proxies_count_with_those_of_the_clients_own_connections() {
        let clients = Clients::default();
        let limits = ClientLimits {
            request_rate: Some(4),
            ..ClientLimits::default()
        };
        let own = clients.connect(ip("192.0.2.1"), &limits, NOW).unwrap();
        let own = own.unwrap();
        assert!(own.request(&limits, NOW) && own.request(&limits, NOW));
        let by_proxy = |client| clients.request(ip(client), 4, NOW);
        assert_eq!(by_proxy("192.0.2.1"), Some(true));
        assert_eq!(by_proxy("192.0.2.1"), Some(true));
        assert_eq!(by_proxy("192.0.2.1"), Some(false));
        assert!(!own.request(&limits, NOW));
        assert_eq!(by_proxy("192.0.2.2"), Some(true));
    }

    #[test]
    fn a_client_has_so_many_connections_and_gets_room_back() {
        let clients = Clients::default();
        let limits = ClientLimits {
            connections: Some(2),
            ..ClientLimits::default()
        };
        let connect = |client| clients.connect(ip(client), &limits, NOW);
        let first = connect("2001:db8::1").unwrap();
        let _second = connect("2001:db8::2").unwrap();
        assert_eq!(connect("2001:db8::3").unwrap_err(), Refused::OfOneClient);
        assert!(connect("2001:db8:0:1::1").is_ok());
        drop(first);
        assert!(connect("2001:db8::3").is_ok());
    }

    #[test]
    fn a_client_opens_so_many_a_second_and_what_is_refused_takes_no_place() {
        let clients = Clients::default();
        let limits = ClientLimits {
            connections: Some(100),
            connection_rate: Some(5),
            request_rate: None,
        };
        let opened = |now| {
            let connect = |_: &usize| clients.connect(ip("192.0.2.1"), &limits, now).is_ok();
            (0..50).filter(connect).count()
        };
        assert_eq!(opened(NOW), 5);
        assert_eq!(opened(NOW + Duration::from_secs(1)), 5);
        let _places: Vec<_> = (0..100)
            .map(|number| {
                let now = NOW + Duration::from_secs(10 + number);
                clients.connect(ip("192.0.2.1"), &limits, now).unwrap()
            })
            .collect();
    }

    #[test]
    fn requests_and_resets_count_over_all_connections() {
        let clients = Clients::default();
        let limits = ClientLimits {
            request_rate: Some(10),
            ..ClientLimits::default()
        };
        let place = || {
            clients
                .connect(ip("192.0.2.1"), &limits, NOW)
                .unwrap()
                .unwrap()
        };
        let (one, other) = (place(), place());
        let sent = |place: &Place| (0..50).filter(|_| place.request(&limits, NOW)).count();
        assert_eq!((sent(&one), sent(&other)), (10, 0));
        let reset = |place: &Place| (0..50).filter(|_| place.reset(4, NOW)).count();
        assert_eq!((reset(&one), reset(&other)), (20, 0));
    }

    #[test]
    fn clients_are_forgotten_and_never_take_more_than_their_room() {
        let clients = Clients::default();
        let limits = ClientLimits {
            connections: Some(1),
            connection_rate: Some(1),
            request_rate: None,
        };
        let kept = clients.connect(ip("10.0.0.1"), &limits, NOW).unwrap();
        let mut uncounted = 0;
        for number in 0..200_000_u32 {
            let client = Ipv4Addr::from(0xc000_0000 + number).into();
            let place = clients.connect(client, &limits, NOW);
            uncounted += u32::from(place.unwrap().is_none());
        }
        let known = || -> usize {
            let shards = clients.shards.iter();
            shards
                .map(|shard| shard.lock().unwrap().clients.len())
                .sum()
        };
        assert_eq!(known(), SHARDS * MOST);
        assert!(uncounted > 100_000);
        let later = NOW + Duration::from_secs(2);
        for number in 0..100_u32 {
            let client = Ipv4Addr::from(0xd000_0000 + number).into();
            assert!(clients.connect(client, &limits, later).unwrap().is_some());
        }
        assert!(known() < SHARDS * MOST);
        // Who was there all along is known still.
        let refused = clients.connect(ip("10.0.0.1"), &limits, later);
        assert_eq!(refused.unwrap_err(), Refused::OfOneClient);
        drop(kept);
    }
}
