//! All counters of rate limits: the table in shards that threads use one at a time, and what is known of other
//! nodes that count as well.

use std::ops::ControlFlow::{self, Continue};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limit::table::{Figures, SHARD_BITS, Shard};
use super::limit::window::unit;
use super::limit::{
    Ask, Counters, Delta, Failing, Key, Known, LimitAction, LimitRule, Moment, Seed, Telling,
    Terms, Verdict,
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
    /// The shard whose counts are told first next time.
    turn: AtomicUsize,
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
            turn: AtomicUsize::new(0),
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

    /// Whether a request is within limits, as [`Counters::arrive`] has it. A shard is kept for all keys in a
    /// row that are in it, which are those of one client for rules about clients.
    fn arrive_at_all(
        &self,
        asks: &[Ask<'_>],
        now: Moment,
        verdicts: &[(Key, Verdict)],
        mut each: impl FnMut(usize, Verdict) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut held: Option<(usize, MutexGuard<'_, Shard>)> = None;
        for (position, ask) in asks.iter().enumerate() {
            let verdict = match known(verdicts, ask) {
                Some(verdict) => verdict,
                None => match self.terms(ask.rule) {
                    Err(verdict) => verdict,
                    Ok(terms) => {
                        let at = shard_of(ask.key);
                        // One at a time.
                        let kept = held.take().filter(|(number, _)| *number == at);
                        let (_, shard) = held.insert(kept.unwrap_or_else(|| {
                            let shard = self.shard(ask.key);
                            let rest = asks.get(position..).unwrap_or_default().iter();
                            let here = rest.take_while(|ask| shard_of(ask.key) == at);
                            shard.warm(here.map(|ask| ask.key));
                            (at, shard)
                        }));
                        shard.arrive(ask.key, ask.counts, &terms, now)
                    }
                },
            };
            if verdict.is_over() {
                held = None;
            }
            each(position, verdict)?;
        }
        Continue(())
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
                    // Whether that is too much is what all nodes say.
                    let terms = Terms {
                        mitigation: 0,
                        ..terms
                    };
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

    /// What other nodes do not know of yet. When there is too much, all shards come in turn.
    pub fn take_untold(&self, most: usize) -> Vec<Delta> {
        let mut out = Vec::new();
        let count = self.shards.len() + 1;
        let first = self.turn.load(Ordering::Relaxed) % count;
        for (position, shard) in self.shards().enumerate().cycle().skip(first).take(count) {
            let left = most.saturating_sub(out.len());
            if left == 0 {
                self.turn.store(position, Ordering::Relaxed);
                break;
            }
            lock(shard).take_untold(left, &mut out);
        }
        out
    }

    /// Takes over what all nodes know of a key.
    pub fn know(&self, delta: &Delta, known: &Known, now: Moment) {
        self.shard(delta.key).know(delta, known, now);
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
            telling: Telling::From((rule.limit / among).max(1)),
            ..Self::local_terms(rule, rule.limit)
        })
    }

    /// How they count while nodes cannot tell each other.
    fn failing(&self, rule: &LimitRule) -> Result<Terms, Verdict> {
        match rule.on_failure {
            Failing::Local => {
                let share = rule.limit.div_ceil(self.nodes());
                let telling = if rule.strict {
                    Telling::Alone
                } else {
                    Telling::Later
                };
                Ok(Terms {
                    telling,
                    ..Self::local_terms(rule, share)
                })
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
            unit: unit(rule.limit),
            period: nanos(rule.period),
            mitigation: nanos(rule.mitigation_timeout),
            burst,
            stops: rule.stops(),
            telling: Telling::Alone,
        }
    }

    fn shards(&self) -> impl Iterator<Item = &Mutex<Shard>> + Clone {
        self.shards.iter().chain([&self.last])
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        lock(self.shards.get(shard_of(key)).unwrap_or(&self.last))
    }
}

fn shard_of(key: Key) -> usize {
    usize::try_from(key & ((1 << SHARD_BITS) - 1)).unwrap_or_default()
}

/// What came of asking all nodes about a request for a strict rule.
fn known(verdicts: &[(Key, Verdict)], ask: &Ask<'_>) -> Option<Verdict> {
    let mut known = verdicts.iter().filter(|(key, _)| *key == ask.key);
    let (_, verdict) = known.next().filter(|_| ask.rule.strict)?;
    Some(*verdict)
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

    fn is_over(&self, rule: &LimitRule, key: Key) -> bool {
        let counts = false;
        let ask = Ask { rule, key, counts };
        let verdict = known(self.verdicts, &ask);
        verdict
            .unwrap_or_else(|| self.limiter.arrive(rule, key, counts, self.now))
            .is_over()
    }

    fn arrive(
        &self,
        asks: &[Ask<'_>],
        each: impl FnMut(usize, Verdict) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.limiter
            .arrive_at_all(asks, self.now, self.verdicts, each)
    }

    fn count(&self, rule: &LimitRule, key: Key) {
        self.limiter.count(rule, key, 1, self.now);
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
