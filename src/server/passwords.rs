//! Passwords, checked where no request waits for it, and remembered for a while: a check takes as long as a
//! thousand hits.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use quick_cache::sync::Cache;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use tokio::sync::Semaphore;

use crate::guard::access::Credentials;
use crate::guard::events::network;

/// What was found out holds for so long.
const REMEMBERED: Duration = Duration::from_mins(5);
/// Credentials that are remembered.
const MOST: usize = 4096;
/// Checks at the same time.
const AT_ONCE: usize = 2;
/// Checks that wait; more are refused at once.
const WAITING: usize = 64;
/// And of one network of clients, so that none keeps the others out.
const WAITING_OF_ONE: usize = 8;

/// A name for credentials that tells nobody what they are.
pub type Mark = [u8; 32];

/// Knows which credentials are right.
pub struct Passwords {
    /// Another one in each process.
    key: hmac::Key,
    known: Cache<Mark, (bool, SystemTime)>,
    checks: Semaphore,
    /// What waits to be found out. Requests with the same credentials wait for the same.
    waiting: Mutex<Vec<Waiting>>,
}

impl Default for Passwords {
    fn default() -> Self {
        let mut key = [0; digest::SHA256_OUTPUT_LEN];
        // Without a random number the marks are as good as hashes.
        let _ = SystemRandom::new().fill(&mut key);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            known: Cache::new(MOST),
            checks: Semaphore::new(AT_ONCE),
            waiting: Mutex::default(),
        }
    }
}

impl Passwords {
    /// The mark of credentials.
    pub fn mark(&self, credentials: &Credentials<'_>) -> Mark {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[u8::from(credentials.known)]);
        context.update(credentials.hash.as_bytes());
        context.update(&credentials.password);
        let tag = context.sign();
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// What was found out about credentials, where it was.
    pub fn known(&self, mark: &Mark, now: SystemTime) -> Option<bool> {
        let (right, since) = self.known.get(mark)?;
        let age = now.duration_since(since).unwrap_or_default();
        (age < REMEMBERED).then_some(right)
    }

    /// Finds out whether credentials of `client` are right; `None` when there is too much to find out, for
    /// all or for the client's network.
    pub async fn check(
        &self,
        mark: Mark,
        hash: String,
        known: bool,
        password: Vec<u8>,
        client: IpAddr,
        now: SystemTime,
    ) -> Option<bool> {
        let _place = self.place(network(client), mark)?;
        let _turn = self.checks.acquire().await.ok()?;
        // Somebody else may have asked meanwhile.
        if let Some(right) = self.known(&mark, now) {
            return Some(right);
        }
        let verified =
            tokio::task::spawn_blocking(move || bcrypt::verify(&password, &hash).unwrap_or(false));
        let right = verified.await.unwrap_or(false) && known;
        self.known.insert(mark, (right, now));
        Some(right)
    }

    /// A place among those who wait, until dropped.
    fn place(&self, network: Option<IpNet>, mark: Mark) -> Option<Place<'_>> {
        let mut waiting = self.waiting();
        let same = |one: &&mut Waiting| one.mark == mark && one.network == network;
        if let Some(one) = waiting.iter_mut().find(same) {
            one.requests += 1;
        } else {
            let of_one = waiting.iter().filter(|other| other.network == network);
            if waiting.len() >= WAITING || of_one.count() >= WAITING_OF_ONE {
                return None;
            }
            waiting.push(Waiting {
                network,
                mark,
                requests: 1,
            });
        }
        Some(Place {
            passwords: self,
            network,
            mark,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Credentials that wait to be found out.
struct Waiting {
    network: Option<IpNet>,
    mark: Mark,
    /// How many requests have them.
    requests: usize,
}

struct Place<'p> {
    passwords: &'p Passwords,
    network: Option<IpNet>,
    mark: Mark,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.passwords.waiting();
        for one in waiting.iter_mut() {
            let same = one.mark == self.mark && one.network == self.network;
            one.requests -= usize::from(same);
        }
        waiting.retain(|one| one.requests > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_does_not_take_all_places_and_the_same_credentials_take_one() {
        let passwords = Passwords::default();
        let of = |address: &str| network(address.parse().unwrap());
        let place = |host: u8| passwords.place(of(&format!("203.0.113.{host}")), [host; 32]);
        let places: Vec<_> = (0..20).filter_map(place).collect();
        assert_eq!(places.len(), WAITING_OF_ONE);
        let again: Vec<_> = (0..100).filter_map(|_| place(1)).collect();
        assert_eq!(again.len(), 100);
        assert!(passwords.place(of("198.51.100.1"), [0; 32]).is_some());
        drop((places, again));
        assert!(place(20).is_some());
        assert!(passwords.waiting().is_empty());
        let all: Vec<_> = (0..=255)
            .filter_map(|net| passwords.place(of(&format!("10.0.{net}.1")), [net; 32]))
            .collect();
        assert_eq!(all.len(), WAITING);
    }
}
