//! Passwords, checked where no request waits for it, and remembered for a while: a check takes as long as a
//! thousand hits.

use std::time::{Duration, SystemTime};

use quick_cache::sync::Cache;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use tokio::sync::Semaphore;

use crate::guard::access::Credentials;

/// What was found out holds for so long.
const REMEMBERED: Duration = Duration::from_mins(5);
/// Credentials that are remembered.
const MOST: usize = 4096;
/// Checks at the same time.
const AT_ONCE: usize = 2;
/// Checks that wait; more are refused at once.
const WAITING: usize = 64;

/// A name for credentials that tells nobody what they are.
pub type Mark = [u8; 32];

/// Knows which credentials are right.
pub struct Passwords {
    /// Another one in each process.
    key: hmac::Key,
    known: Cache<Mark, (bool, SystemTime)>,
    checks: Semaphore,
    waiting: Semaphore,
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
            waiting: Semaphore::new(WAITING),
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

    /// Finds out whether credentials are right; `None` when there is too much to find out.
    pub async fn check(
        &self,
        mark: Mark,
        hash: String,
        known: bool,
        password: Vec<u8>,
        now: SystemTime,
    ) -> Option<bool> {
        let _waiting = self.waiting.try_acquire().ok()?;
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
}
