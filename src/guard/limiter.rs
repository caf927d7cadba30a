//! All counters of rate limits: the table in shards that threads use one at a time, and what is known of other
//! nodes that count as well.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limit::table::{Figures, SHARD_BITS, Shard};
use super::limit::{
    Counters, Delta, Failing, Key, LimitAction, LimitRule, Moment, Seed, Terms, Verdict,
};

/// When nothing is let through, so long until another try.
const CLOSED: Duration = Duration::from_secs(1);
/// What all nodes together may count before they tell each other, as a part of the limit: one in so many.
const UNTOLD: u32 = 25;

/// The counters of the process.
#[derive(Debug)]
pub struct RateLimiter {
    shards: Box<[Mutex<Shard>]>,
    /// One more.
    last: Mutex<Shard>,
    seed: [AtomicU64; 2],
    /// Whether other nodes may count as well.
    shared: bool,
    /// Whether they tell each other now.
    connected: AtomicBool,
    /// How many there are, this one included.
    nodes: AtomicU32,
}

impl RateLimiter {
    /// Counters in at most `memory` bytes.
    pub fn new(memory: u64, seed: Seed, shared: bool) -> Self {
        let shards = 1 << SHARD_BITS;
        let each = usize::try_from(memory).unwrap_or(usize::MAX) / shards;
        Self {
            shards: (1..shards).map(|_| Mutex::new(Shard::new(each))).collect(),
            last: Mutex::new(Shard::new(each)),
            seed: [AtomicU64::new(seed.0), AtomicU64::new(seed.1)],
            shared,
            connected: AtomicBool::new(false),
            nodes: AtomicU32::new(1),
        }
    }

    /// What keys are hashed with.
    pub fn seed(&self) -> Seed {
        let [first, second] = &self.seed;
        Seed(
            first.load(Ordering::Relaxed),
            second.load(Ordering::Relaxed),
        )
    }

    /// Hashes keys with `seed` from now on: what was counted is forgotten.
    pub fn reseed(&self, seed: Seed) {
        let [first, second] = &self.seed;
        first.store(seed.0, Ordering::Relaxed);
        second.store(seed.1, Ordering::Relaxed);
    }

    /// Whether nodes tell each other now.
    pub fn connect(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
    }

    /// Whether they do.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// So many nodes count, this one included.
    pub fn set_nodes(&self, nodes: u32) {
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
    }

    /// How many do, as far as is known.
    pub fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// Whether a request is within the limit of `rule`.
    pub fn arrive(&self, rule: &LimitRule, key: Key, counts: bool, now: Moment) -> Verdict {
        match self.terms(rule) {
            Ok(terms) => self.shard(key).arrive(key, counts, &terms, now),
            Err(verdict) => verdict,
        }
    }

    /// Counts an answered request of `key`; whether that is over the limit.
    pub fn count(&self, rule: &LimitRule, key: Key, weight: u32, now: Moment) -> bool {
        match self.terms(rule) {
            Ok(terms) if weight > 0 => self.shard(key).count(key, weight, &terms, now),
            _ => false,
        }
    }

    /// The verdict about a request of a strict rule that all nodes were asked about, which counts here as
    /// well; `None` where they could not be asked.
    pub fn after_asking(
        &self,
        rule: &LimitRule,
        key: Key,
        counts: bool,
        asked: Option<Verdict>,
        now: Moment,
    ) -> Verdict {
        let terms = Self::local_terms(rule, rule.limit);
        match asked {
            Some(verdict @ Verdict::Over { retry_after }) => {
                if terms.mitigation > 0 {
                    self.shard(key).mitigate(key, retry_after, &terms, now);
                }
                verdict
            }
            Some(verdict) => {
                if counts {
                    self.shard(key).count(key, 1, &terms, now);
                }
                verdict
            }
            None => match self.failing(rule) {
                Ok(terms) => self.shard(key).arrive(key, counts, &terms, now),
                Err(verdict) => verdict,
            },
        }
    }

    /// What other nodes do not know of yet.
    pub fn take_untold(&self, most: usize) -> Vec<Delta> {
        let mut out = Vec::new();
        for shard in self.shards() {
            let left = most.saturating_sub(out.len());
            if left == 0 {
                break;
            }
            lock(shard).take_untold(left, &mut out);
        }
        out
    }

    /// Takes over what all nodes have counted of a key.
    pub fn know(&self, delta: &Delta, sum: u32, now: Moment) {
        self.shard(delta.key).know(delta, sum, now);
    }

    /// What there is to know about the table.
    pub fn figures(&self) -> Figures {
        let mut all = Figures::default();
        for shard in self.shards() {
            let figures = lock(shard).figures();
            all.keys += figures.keys;
            all.bytes += figures.bytes;
            all.displaced += figures.displaced;
            all.turned_away += figures.turned_away;
            all.turned_away_at = all.turned_away_at.max(figures.turned_away_at);
        }
        all
    }

    /// How requests count now; a verdict where that does not matter.
    fn terms(&self, rule: &LimitRule) -> Result<Terms, Verdict> {
        if !self.shared || rule.strict {
            return Ok(Self::local_terms(rule, rule.limit));
        }
        if !self.is_connected() {
            return self.failing(rule);
        }
        let among = self.nodes().saturating_mul(UNTOLD);
        Ok(Terms {
            told_from: Some((rule.limit / among).max(1)),
            ..Self::local_terms(rule, rule.limit)
        })
    }

    /// How they count while nodes cannot tell each other.
    fn failing(&self, rule: &LimitRule) -> Result<Terms, Verdict> {
        match rule.on_failure {
            Failing::Local => {
                let share = rule.limit.div_ceil(self.nodes());
                Ok(Self::local_terms(rule, share))
            }
            Failing::Open => Err(Verdict::within(rule)),
            Failing::Closed => Err(Verdict::Over {
                retry_after: CLOSED,
            }),
        }
    }

    fn local_terms(rule: &LimitRule, limit: u32) -> Terms {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let burst = match rule.action {
            LimitAction::Throttle { burst, .. } => Some(burst.min(limit.max(1))),
            LimitAction::Block(_) | LimitAction::Challenge | LimitAction::Log => None,
        };
        Terms {
            limit,
            period: nanos(rule.period),
            mitigation: nanos(rule.mitigation_timeout),
            burst,
            stops: rule.stops(),
            told_from: None,
        }
    }

    fn shards(&self) -> impl Iterator<Item = &Mutex<Shard>> {
        self.shards.iter().chain([&self.last])
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let at = usize::try_from(key & ((1 << SHARD_BITS) - 1)).unwrap_or_default();
        lock(self.shards.get(at).unwrap_or(&self.last))
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The counters at a moment, for one request.
pub struct Counting<'l> {
    /// The counters.
    pub limiter: &'l RateLimiter,
    /// When the request arrived.
    pub now: Moment,
    /// What came of asking all nodes.
    pub verdicts: &'l [(Key, Verdict)],
}

impl Counters for Counting<'_> {
    fn seed(&self) -> Seed {
        self.limiter.seed()
    }

    fn must_ask(&self, rule: &LimitRule, key: Key) -> bool {
        let asked = || self.verdicts.iter().any(|(known, _)| *known == key);
        rule.strict && self.limiter.shared && !asked() && {
            let terms = RateLimiter::local_terms(rule, rule.limit);
            let shard = self.limiter.shard(key);
            shard.mitigated(key, &terms, self.now).is_none()
        }
    }

    fn arrive(&self, rule: &LimitRule, key: Key, counts: bool) -> Verdict {
        let mut asked = self.verdicts.iter().filter(|(known, _)| *known == key);
        match asked.next() {
            Some((_, verdict)) if rule.strict => *verdict,
            _ => self.limiter.arrive(rule, key, counts, self.now),
        }
    }

    fn count(&self, rule: &LimitRule, key: Key) {
        self.limiter.count(rule, key, 1, self.now);
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
