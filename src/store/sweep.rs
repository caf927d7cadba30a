//! Carrying purges out: in force first, then written down, then swept.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::memory::MemoryStore;
use super::stored::{StoreKey, StoredResponse};
use crate::purge::{Generation, Mode, PurgeOutcome, Scope, Target};

impl MemoryStore {
    /// Puts purges in force; when it returns, no older response can be served any more, now or after a
    /// restart. What they reached is counted. It waits for the disk, if there is one.
    ///
    /// # Errors
    /// When the purges are in force but may not outlive this process.
    pub fn purge(&self, scopes: &[Scope], mode: Mode, now: SystemTime) -> io::Result<PurgeOutcome> {
        let (generation, records) = self.purges.record(scopes, mode, now);
        let written = self.purges.write_down(&records);
        let outcome = self.sweep(scopes, generation);
        self.purges.swept(generation);
        written.map(|()| outcome)
    }

    /// Removes what single keys name. It waits for nothing: what is on disk under these keys is gone
    /// when it returns, so that there is nothing to write down.
    pub fn invalidate(&self, scopes: &[Scope], now: SystemTime) {
        let (generation, _) = self.purges.record(scopes, Mode::Hard, now);
        self.sweep(scopes, generation);
        self.purges.swept(generation);
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

fn count(outcome: &mut PurgeOutcome, stored: &StoredResponse) {
    outcome.objects += 1;
    outcome.bytes = outcome.bytes.saturating_add(stored.size());
}
