//! Carrying purges out: in force first, then written down, then swept.

use std::cmp::Reverse;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::disk::Follow;
use super::memory::MemoryStore;
use super::purge::Span;
use super::stored::{Selection, StoreKey, StoredId, StoredResponse};
use crate::purge::{Announcement, Generation, Mode, PurgeOutcome, Scope, Target};

impl MemoryStore {
    /// Puts purges in force; when it returns, no older response can be served any more, now or after a
    /// restart. What they reached is counted. It waits for the disk, if there is one.
    ///
    /// # Errors
    /// When the purges are in force but may not outlive this process.
    pub fn purge(&self, scopes: &[Scope], mode: Mode, now: SystemTime) -> io::Result<PurgeOutcome> {
        let (generation, records) = self.purges.record(scopes, mode, now);
        let written = self.purges.write_down(&records);
        let outcome = self.sweep(scopes, mode, generation);
        self.purge_reserve(scopes, mode, generation, &[]);
        written.map(|()| outcome)
    }

    /// Removes what single keys name. It waits for nothing: what is on disk under these keys is gone
    /// when it returns, so that there is nothing to write down. Where the reserve may have something of
    /// them, that is written down before it is removed.
    pub fn invalidate(&self, scopes: &[Scope], now: SystemTime) {
        let (generation, records) = self.purges.record(scopes, Mode::Hard, now);
        self.sweep(scopes, Mode::Hard, generation);
        self.purge_reserve(scopes, Mode::Hard, generation, &records);
    }

    /// Puts purges in force that other nodes have made, in their order. When it returns, no older response
    /// can be served any more, now or after a restart. It waits for the disk, if there is one.
    ///
    /// # Errors
    /// When the purges are in force but may not outlive this process.
    pub fn purge_as_told(&self, told: &[Announcement], now: SystemTime) -> io::Result<()> {
        if told.is_empty() {
            return Ok(());
        }
        let (Span { first, last }, records) = self.purges.record_all(told, now);
        let written = self.purges.write_down(&records);
        let of = |mode| {
            let purges = told.iter().filter(move |purge| purge.mode == mode);
            let scopes = purges.flat_map(|purge| &purge.scopes);
            scopes.cloned().collect::<Vec<Scope>>()
        };
        let (hard, soft) = (of(Mode::Hard), of(Mode::Soft));
        if !hard.is_empty() {
            self.sweep(&hard, Mode::Hard, last);
        }
        if !soft.is_empty() {
            self.sweep(&soft, Mode::Soft, last);
        }
        self.purge_reserve(&hard, Mode::Hard, first, &[]);
        written
    }

    /// Serves nothing from disk or the reserve that earlier processes have stored, until
    /// [`Self::caught_up`]: other nodes may have purged it meanwhile.
    pub fn wait_for_purges(&self) {
        self.purges.fall_behind();
    }

    /// The purges that other nodes have made are in force.
    pub fn caught_up(&self) {
        self.purges.catch_up();
    }

    /// Counts what purges would reach.
    pub fn preview(&self, scopes: &[Scope]) -> PurgeOutcome {
        let mut outcome = PurgeOutcome::default();
        let (named, others) = named(scopes);
        let latest = Generation(u64::MAX);
        for key in &named {
            self.count_on_disk(key, latest, &mut outcome);
        }
        for key in if others { self.keys() } else { named } {
            let Some(resource) = self.find(&key) else {
                continue;
            };
            for stored in resource.variants() {
                let subject = key.subject(&stored.tags);
                if self.purges.times(&key, stored).is_some()
                    && scopes.iter().any(|scope| scope.covers(&subject))
                {
                    count(&mut outcome, stored);
                }
            }
        }
        outcome
    }

    /// Of what purges would reach, what was served most often, at most `most`, the most often first. What
    /// was never served, or is not in memory, is not among it.
    pub fn hottest(&self, scopes: &[Scope], most: usize) -> Vec<(StoreKey, Selection)> {
        let mut found = Vec::new();
        let (named, others) = named(scopes);
        for key in if others { self.keys() } else { named } {
            let Some(resource) = self.peek(&key) else {
                continue;
            };
            for stored in resource.variants() {
                let subject = key.subject(&stored.tags);
                if stored.uses.get() > 0
                    && self.purges.times(&key, stored).is_some()
                    && scopes.iter().any(|scope| scope.covers(&subject))
                {
                    found.push((stored.uses.get(), key.clone(), stored.selection.clone()));
                }
            }
        }
        found.sort_by_key(|(uses, ..)| Reverse(*uses));
        found.truncate(most);
        found
            .into_iter()
            .map(|(_, key, selection)| (key, selection))
            .collect()
    }

    /// Removes, or makes stale, what the purge `generation` reaches.
    fn sweep(&self, scopes: &[Scope], mode: Mode, generation: Generation) -> PurgeOutcome {
        let mut outcome = PurgeOutcome::default();
        let mut followed = true;
        let (named, others) = named(scopes);
        for key in &named {
            let how = match mode {
                // These purges are forgotten once they are swept, so the disk must be rid of it.
                Mode::Hard => {
                    self.count_on_disk(key, generation, &mut outcome);
                    Follow::PurgeOfKey
                }
                Mode::Soft => Follow::Purge,
            };
            followed &= self.sweep_key(key, how, generation, &mut outcome);
        }
        for key in others.then(|| self.keys()).iter().flatten() {
            followed &= self.sweep_key(key, Follow::Purge, generation, &mut outcome);
        }
        if !followed {
            self.purges.unfollowed();
        }
        outcome
    }

    fn sweep_key(
        &self,
        key: &StoreKey,
        how: Follow,
        generation: Generation,
        outcome: &mut PurgeOutcome,
    ) -> bool {
        self.change_as(key, how, |resource| {
            resource.change(|stored| {
                if stored.generation >= generation {
                    return Some(stored.clone());
                }
                let left = self.purges.apply(key, stored);
                if left.as_ref().is_none_or(|left| left.times != stored.times) {
                    count(outcome, stored);
                }
                left
            });
        })
    }

    /// Counts what is on disk alone, and older than the purge `generation`.
    fn count_on_disk(&self, key: &StoreKey, generation: Generation, outcome: &mut PurgeOutcome) {
        let Some(disk) = self.disk() else {
            return;
        };
        let known = self.peek(key);
        for entry in disk.log.find(&key.0) {
            let id = StoredId(entry.fill);
            let in_memory = known.as_ref().is_some_and(|known| known.holds(id));
            if !in_memory && entry.generation < generation.0 {
                outcome.objects += 1;
                let bytes = entry.head_len.saturating_add(entry.body_len);
                outcome.bytes = outcome.bytes.saturating_add(bytes);
            }
        }
    }

    fn keys(&self) -> Vec<StoreKey> {
        self.resources().map(|(key, _)| key).collect()
    }
}

/// The keys that scopes name, and whether they name anything else.
fn named(scopes: &[Scope]) -> (Vec<StoreKey>, bool) {
    let keys = scopes.iter().filter_map(|scope| match &scope.target {
        Target::Key(key) => Some(StoreKey(Arc::from(&**key))),
        _ => None,
    });
    let keys: Vec<StoreKey> = keys.collect();
    let others = keys.len() < scopes.len();
    (keys, others)
}

fn count(outcome: &mut PurgeOutcome, stored: &StoredResponse) {
    outcome.objects += 1;
    outcome.bytes = outcome.bytes.saturating_add(stored.size());
}
