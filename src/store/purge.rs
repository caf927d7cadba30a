//! Purges in force, and the sweeps that remove the bytes they reach.
//!
//! A purge is in force as soon as it is in the journal, whatever the store's size: every lookup asks
//! it. The sweep that follows makes the journal's entry needless, once no fetch is under way that
//! began before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::memory::MemoryStore;
use super::stored::{StoreKey, StoredId, StoredResponse, Subject};
use crate::cache::reuse::StoredTimes;
use crate::purge::{Generation, Journal, Mode, PurgeOutcome, Scope, Target, Verdict, journal};

/// The purges in force.
#[derive(Debug, Default)]
pub struct Purges {
    /// Identities of stored responses, in the order in which their heads came.
    pub(super) ids: Arc<AtomicU64>,
    journal: ArcSwap<Journal>,
    /// The last purge recorded.
    current: AtomicU64,
    progress: Mutex<Progress>,
}

/// What may still meet a purge: fetches that began before it, and its own sweep.
#[derive(Debug, Default)]
struct Progress {
    /// Fetches under way, counted by the last purge before they began.
    fetches: BTreeMap<Generation, usize>,
    /// Purges whose sweep is not done.
    sweeps: BTreeSet<Generation>,
}

/// A fetch under way: purges that come after it began are kept in mind until this is dropped, which
/// must be after its answer is stored.
#[derive(Debug)]
pub struct Begun {
    purges: Arc<Purges>,
    generation: Generation,
    id: StoredId,
}

impl Begun {
    /// The last purge before it began.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What came later has an identity above this one.
    pub(super) fn id(&self) -> StoredId {
        self.id
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut progress = self.purges.progress();
        if let Some(count) = progress.fetches.get_mut(&self.generation) {
            *count -= 1;
            if *count == 0 {
                progress.fetches.remove(&self.generation);
            }
        }
        self.purges.forget(&progress);
    }
}

impl Purges {
    /// A fetch begins.
    pub fn begin(self: &Arc<Self>) -> Begun {
        // Under the lock, so that no purge comes between and is forgotten at once.
        let mut progress = self.progress();
        let generation = self.current();
        *progress.fetches.entry(generation).or_default() += 1;
        Begun {
            purges: self.clone(),
            generation,
            id: StoredId(self.ids.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// The last purge so far.
    fn current(&self) -> Generation {
        Generation(self.current.load(Ordering::Acquire))
    }

    /// The times of a stored response after all purges; `None` when it must not be served.
    pub fn times(&self, key: &StoreKey, stored: &StoredResponse) -> Option<StoredTimes> {
        let journal = self.journal.load();
        if journal.is_empty() {
            return Some(stored.times);
        }
        let subject = stored.subject.of(key, &stored.tags);
        match journal.verdict(&subject, stored.generation) {
            Verdict::Keep => Some(stored.times),
            Verdict::Stale(since) => Some(stored.times.expire(since)),
            Verdict::Gone => None,
        }
    }

    /// The response as the purges leave it.
    pub(super) fn apply(
        &self,
        key: &StoreKey,
        stored: &Arc<StoredResponse>,
    ) -> Option<Arc<StoredResponse>> {
        let times = self.times(key, stored)?;
        if times == stored.times {
            return Some(stored.clone());
        }
        let mut expired = StoredResponse::clone(stored);
        expired.times = times;
        Some(Arc::new(expired))
    }

    /// Whether a fetch for `subject` that began at `generation` is as good as one that begins now.
    /// Its tags are not known yet, so every later purge by tag counts against it.
    pub fn spare(&self, key: &StoreKey, subject: &Subject, generation: Generation) -> bool {
        if generation >= self.current() {
            return true;
        }
        let subject = subject.of(key, &[]);
        let records = self.journal.load().records();
        let mut later = records
            .iter()
            .filter(|record| record.generation > generation);
        !later.any(|record| {
            matches!(record.scope.target, Target::Tag(_)) || record.scope.covers(&subject)
        })
    }

    /// Puts purges in force.
    fn record(&self, scopes: &[Scope], mode: Mode, now: SystemTime) -> Generation {
        let mut progress = self.progress();
        let generation = Generation(self.current().0 + 1);
        self.journal.rcu(|journal| {
            let mut journal = Journal::clone(journal);
            for scope in scopes {
                journal.record(scope.clone(), mode, generation, now);
            }
            journal
        });
        self.current.store(generation.0, Ordering::Release);
        progress.sweeps.insert(generation);
        generation
    }

    /// Everything stored has met the purge.
    fn swept(&self, generation: Generation) {
        let mut progress = self.progress();
        progress.sweeps.remove(&generation);
        self.forget(&progress);
    }

    /// Drops the entries that nothing can meet any more: swept, and older than every fetch under way.
    fn forget(&self, progress: &Progress) {
        if self.journal.load().is_empty() {
            return;
        }
        let oldest = progress.fetches.keys().next().copied();
        let unswept = progress.sweeps.first();
        let unswept = unswept.map(|generation| Generation(generation.0.saturating_sub(1)));
        let upto = [oldest, unswept].into_iter().flatten().min();
        let upto = upto.unwrap_or_else(|| self.current());
        self.journal.rcu(|journal| {
            let mut journal = Journal::clone(journal);
            journal.forget(upto);
            journal
        });
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryStore {
    /// Puts purges in force; when it returns, no older response can be served any more. What they
    /// reached is counted.
    pub fn purge(&self, scopes: &[Scope], mode: Mode, now: SystemTime) -> PurgeOutcome {
        let generation = self.purges.record(scopes, mode, now);
        let outcome = self.sweep(scopes, generation);
        self.purges.swept(generation);
        outcome
    }

    /// Counts what purges would reach.
    pub fn preview(&self, scopes: &[Scope]) -> PurgeOutcome {
        let mut outcome = PurgeOutcome::default();
        for key in self.reached(scopes) {
            let Some(resource) = self.find(&key) else {
                continue;
            };
            for stored in resource.variants() {
                let subject = stored.subject.of(&key, &stored.tags);
                if self.purges.times(&key, stored).is_some()
                    && scopes.iter().any(|scope| scope.covers(&subject))
                {
                    count(&mut outcome, stored);
                }
            }
        }
        outcome
    }

    /// Removes, or makes stale, what the purge `generation` reaches.
    fn sweep(&self, scopes: &[Scope], generation: Generation) -> PurgeOutcome {
        let mut outcome = PurgeOutcome::default();
        for key in self.reached(scopes) {
            self.change(&key, |resource| {
                resource.change(|stored| {
                    if stored.generation >= generation {
                        return Some(stored.clone());
                    }
                    let left = self.purges.apply(&key, stored);
                    if left.as_ref().is_none_or(|left| left.times != stored.times) {
                        count(&mut outcome, stored);
                    }
                    left
                });
            });
        }
        outcome
    }

    /// The keys under which something may be reached: those named, or all.
    fn reached(&self, scopes: &[Scope]) -> Vec<StoreKey> {
        let named: Option<Vec<StoreKey>> = scopes
            .iter()
            .map(|scope| match &scope.target {
                Target::Key(key) => Some(StoreKey(Arc::from(&**key))),
                _ => None,
            })
            .collect();
        named.unwrap_or_else(|| self.resources().map(|(key, _)| key).collect())
    }
}

impl Subject {
    /// For the journal.
    fn of<'a>(&'a self, key: &'a StoreKey, tags: &'a [Box<str>]) -> journal::Subject<'a> {
        journal::Subject {
            zone: &self.zone,
            host: &self.host,
            path: &self.path,
            key: &key.0,
            tags,
        }
    }
}

fn count(outcome: &mut PurgeOutcome, stored: &StoredResponse) {
    outcome.objects += 1;
    outcome.bytes = outcome.bytes.saturating_add(stored.size());
}
