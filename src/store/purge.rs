//! Purges in force.
//!
//! A purge is in force as soon as it is in the journal, whatever the store's size: every lookup asks
//! it. The sweep that follows makes the journal's entry needless for what is in memory, once no fetch
//! is under way that began before it. For what is on disk it is needed until nothing there is older,
//! and it is written down, so that it holds after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::purge_log::{Earlier, Known, PurgeLog};
use super::stored::{StoreKey, StoredId, StoredResponse};
use crate::cache::reuse::StoredTimes;
use crate::purge::{Announcement, Generation, Journal, Mode, Record, Scope, Verdict};

/// With more purges in force than this, the older half of what is on disk is given up for the older
/// half of the purges: every purge costs time in proportion to those in force.
const MOST_RECORDS: usize = 20_000;

/// The purges in force.
#[derive(Debug, Default)]
pub struct Purges {
    /// Identities of stored responses, in the order in which their heads came.
    pub(super) ids: Arc<AtomicU64>,
    journal: ArcSwap<Journal>,
    /// The last purge recorded.
    current: AtomicU64,
    progress: Mutex<Progress>,
    /// Whether purges of other nodes are still to come that may concern what is on disk.
    behind: AtomicBool,
    /// Where purges are written down, when there is a disk.
    log: OnceLock<PurgeLog>,
}

/// What may still meet a purge: fetches that began before it, its own sweep, and what is on disk.
#[derive(Debug, Default)]
struct Progress {
    /// Purges in force, at most.
    records: usize,
    /// Up to where purges were last forgotten: those that fetches and sweeps have met, and those that
    /// the disk has.
    forgotten: (Generation, Generation),
    disk: Option<OnDisk>,
    /// Fetches under way, counted by the last purge before they began.
    fetches: BTreeMap<Generation, usize>,
    /// Purges whose sweep is not done.
    sweeps: BTreeSet<Generation>,
}

/// What purges have to do with the disk.
#[derive(Clone, Copy, Debug, Default)]
struct OnDisk {
    /// Nothing there began before this purge.
    oldest: Generation,
    /// The same for the reserve, where there is one.
    reserve: Option<Generation>,
    /// What there began before this purge is not to be served.
    floor: Generation,
    /// The last purge before this process had the disk, and from where on sweeps reach it; `None`
    /// before that.
    taken: Option<Generation>,
}

/// The generations of purges that were put in force together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: Generation,
    pub(super) last: Generation,
}

/// A fetch under way, or a response being read from disk: purges that come after it began are kept in
/// mind until this is dropped, which must be after its answer is stored.
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
        self.purges.forget(&mut progress);
    }
}

impl Purges {
    /// Has purges written down in `directory` from now on. Before there are any.
    ///
    /// # Errors
    /// When that is not possible.
    pub(super) fn write_to(&self, directory: &Path, now: SystemTime) -> io::Result<()> {
        let start = after(self.current(), now);
        let log = PurgeLog::create(directory, start)?;
        // Identities are not used again by another process, as one is needed less often than every
        // nanosecond.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(0);
        self.ids.fetch_max(nanos, Ordering::Relaxed);
        let mut progress = self.progress();
        self.current.store(start.0, Ordering::Release);
        progress.disk = Some(OnDisk::default());
        let _ = self.log.set(log);
        Ok(())
    }

    /// A sweep has left something on disk.
    pub(super) fn unfollowed(&self) {
        let mut progress = self.progress();
        let current = self.current();
        if let Some(taken) = progress.disk.as_mut().and_then(|disk| disk.taken.as_mut()) {
            *taken = current;
        }
    }

    /// This process has the disk from now on: the purges of earlier ones hold for what is there. Tells
    /// why nothing that is there can be used, if so.
    ///
    /// # Errors
    /// When the purges of earlier processes cannot be read, or cannot be written again: the disk must
    /// not be used then.
    pub(super) fn take_disk(&self) -> io::Result<Option<&'static str>> {
        let Some(log) = self.log.get() else {
            return Ok(None);
        };
        let earlier = log.earlier()?;
        let untrusted = {
            let mut progress = self.progress();
            let (records, floor, highest, untrusted) = match earlier {
                Earlier::Trusted(known) => (known.records, known.floor, known.highest, None),
                // Nothing that was stored before this process began.
                Earlier::Untrusted(why) => {
                    (Vec::new(), self.current(), Generation::default(), Some(why))
                }
            };
            // When only the writing has failed before, the purges here are not this process's alone.
            let before = progress.disk.filter(|disk| disk.taken.is_some());
            let own = match before {
                None => self.journal.load().records(),
                Some(_) => Vec::new(),
            };
            let floor = before.map_or(floor, |disk| disk.floor);
            // The clock may have been set back: what this process purged is the latest all the same.
            let later = Generation(highest.0.max(self.current().0) + 1);
            self.journal.rcu(|journal| {
                let mut journal = Journal::clone(journal);
                for record in &records {
                    record_in(&mut journal, record, record.generation);
                }
                for record in own.iter().filter(|own| own.generation <= highest) {
                    record_in(&mut journal, record, later);
                }
                journal
            });
            self.current.store(later.0, Ordering::Release);
            progress.records = self.journal.load().records().len();
            progress.forgotten = (Generation::default(), Generation::default());
            progress.disk = Some(OnDisk {
                oldest: Generation::default(),
                reserve: None,
                floor,
                taken: Some(later),
            });
            untrusted
        };
        log.take_over(|| self.known())?;
        Ok(untrusted)
    }

    /// Nothing on disk began before the purge `oldest`, and nothing in the reserve before `reserve`, if
    /// there is one.
    pub(super) fn disk_begins_at(
        &self,
        oldest: impl FnOnce() -> Generation,
        reserve: Option<Generation>,
    ) {
        // Before the disk is looked at: what gets there meanwhile began at one of these.
        let on_its_way = {
            let progress = self.progress();
            let fetch = progress.fetches.keys().next().copied();
            fetch.map_or(self.current(), |fetch| fetch.min(self.current()))
        };
        let oldest = oldest().min(on_its_way);
        let mut progress = self.progress();
        if let Some(disk) = &mut progress.disk {
            disk.oldest = oldest.min(reserve.unwrap_or(oldest));
            disk.reserve = reserve;
        }
        self.forget(&mut progress);
        drop(progress);
        if let Some(log) = self.log.get() {
            log.heal(|| self.known());
        }
    }

    /// Whether what is on disk from a fetch that began at `generation` is beyond what purges can say
    /// about it: too old, or from before the clock was set back.
    pub(super) fn disown(&self, generation: Generation) -> bool {
        let floor = self.progress().disk.map(|disk| disk.floor);
        floor.is_none_or(|floor| generation < floor) || generation > self.current()
    }

    /// What there is to write down.
    fn known(&self) -> Known {
        let progress = self.progress();
        Known {
            records: self.journal.load().records(),
            floor: progress
                .disk
                .map_or(Generation::default(), |disk| disk.floor),
            highest: self.current(),
            whole: progress.disk.is_some_and(|disk| disk.taken.is_some()),
        }
    }

    /// Writes purges down that are in force.
    ///
    /// # Errors
    /// When they may not outlive this process.
    pub(super) fn write_down(&self, records: &[Record]) -> io::Result<()> {
        let Some(log) = self.log.get() else {
            return Ok(());
        };
        log.append(records, || self.known())
    }

    /// A response is being read whose fetch began at `generation`.
    pub(super) fn begin_reading(self: &Arc<Self>, generation: Generation) -> Begun {
        let mut progress = self.progress();
        *progress.fetches.entry(generation).or_default() += 1;
        Begun {
            purges: self.clone(),
            generation,
            id: StoredId(0),
        }
    }

    /// The response as the purges so far leave it, and as if its fetch began now; `None` when it must
    /// not be served. Purges that come later are kept in mind while the second part is held.
    pub(super) fn stamp(
        self: &Arc<Self>,
        key: &StoreKey,
        stored: &StoredResponse,
    ) -> Option<(StoredResponse, Begun)> {
        let begun = {
            let mut progress = self.progress();
            let generation = self.current();
            *progress.fetches.entry(generation).or_default() += 1;
            Begun {
                purges: self.clone(),
                generation,
                id: StoredId(0),
            }
        };
        let mut stamped = StoredResponse::clone(stored);
        stamped.times = self.times(key, stored)?.into();
        stamped.generation = begun.generation;
        Some((stamped, begun))
    }

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
    pub(super) fn current(&self) -> Generation {
        Generation(self.current.load(Ordering::Acquire))
    }

    /// The times of a stored response after all purges; `None` when it must not be served.
    pub fn times(&self, key: &StoreKey, stored: &StoredResponse) -> Option<StoredTimes> {
        let journal = self.journal.load();
        if journal.is_empty() {
            return Some(stored.times.into());
        }
        let subject = key.subject(&stored.tags);
        match journal.verdict(&subject, stored.generation) {
            Verdict::Keep => Some(stored.times.into()),
            Verdict::Stale(since) => Some(StoredTimes::from(stored.times).expire(since)),
            Verdict::Gone => None,
        }
    }

    /// The response as the purges leave it.
    pub(super) fn apply(
        &self,
        key: &StoreKey,
        stored: &Arc<StoredResponse>,
    ) -> Option<Arc<StoredResponse>> {
        let times = self.times(key, stored)?.into();
        if times == stored.times {
            return Some(stored.clone());
        }
        let mut expired = StoredResponse::clone(stored);
        expired.times = times;
        Some(Arc::new(expired))
    }

    /// Whether a fetch for `key` that began at `generation` is as good as one that begins now.
    /// Its tags are not known yet, so every later purge by tag counts against it.
    pub fn spare(&self, key: &StoreKey, generation: Generation) -> bool {
        generation >= self.current() || self.journal.load().spares(&key.subject(&[]), generation)
    }

    /// Puts purges in force.
    pub(super) fn record(
        &self,
        scopes: &[Scope],
        mode: Mode,
        now: SystemTime,
    ) -> (Generation, Vec<Record>) {
        let purge = Announcement {
            at: now,
            mode,
            scopes: scopes.to_vec(),
        };
        let (Span { first, .. }, records) = self.record_all(&[purge], now);
        (first, records)
    }

    /// Puts purges in force in their order, each with a generation of its own. Until the first of them
    /// is [`Self::swept`], none is.
    pub(super) fn record_all(&self, made: &[Announcement], now: SystemTime) -> (Span, Vec<Record>) {
        let mut progress = self.progress();
        let first = after(self.current(), now);
        let mut last = first;
        let mut records = Vec::new();
        for (number, purge) in (first.0..).zip(made) {
            last = Generation(number);
            records.extend(purge.scopes.iter().map(|scope| Record {
                generation: last,
                at: purge.at,
                mode: purge.mode,
                scope: scope.clone(),
            }));
        }
        self.journal.rcu(|journal| {
            let mut journal = Journal::clone(journal);
            for record in &records {
                record_in(&mut journal, record, record.generation);
            }
            journal
        });
        self.current.store(last.0, Ordering::Release);
        progress.sweeps.insert(first);
        progress.records += records.len();
        (Span { first, last }, records)
    }

    /// What is on disk from earlier processes may have been purged by other nodes: it is not served
    /// until [`Self::catch_up`].
    pub(super) fn fall_behind(&self) {
        self.behind.store(true, Ordering::Release);
    }

    /// All purges of other nodes are in force.
    pub(super) fn catch_up(&self) {
        self.behind.store(false, Ordering::Release);
    }

    /// Whether other nodes may have made purges that are not known here.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    /// Everything stored has met the purge.
    pub(super) fn swept(&self, generation: Generation) {
        let mut progress = self.progress();
        progress.sweeps.remove(&generation);
        self.forget(&mut progress);
    }

    /// Drops the entries that nothing can meet any more: swept, older than every fetch under way, and
    /// than everything on disk.
    fn forget(&self, progress: &mut Progress) {
        if progress.records == 0 {
            return;
        }
        let oldest = progress.fetches.keys().next().copied();
        let unswept = progress.sweeps.first();
        let unswept = unswept.map(|generation| Generation(generation.0.saturating_sub(1)));
        let met = [oldest, unswept].into_iter().flatten().min();
        let met = met.unwrap_or_else(|| self.current());
        if progress.records > MOST_RECORDS
            && let Some(disk) = &mut progress.disk
        {
            let records = self.journal.load().records();
            let middle = records
                .get(records.len() / 2)
                .map(|record| record.generation);
            disk.floor = disk.floor.max(middle.unwrap_or_default());
        }
        let disk = progress.disk;
        let upto = disk.map_or(met, |disk| met.min(disk.oldest.max(disk.floor)));
        // A sweep has removed from disk what a purge names by its key.
        let keys_after = disk.map_or(met, |disk| disk.taken.unwrap_or(met));
        let (met_before, upto_before) = progress.forgotten;
        if met <= met_before && upto <= upto_before {
            return;
        }
        progress.forgotten = (met.max(met_before), upto.max(upto_before));
        if upto > upto_before {
            self.give_up_reserve(progress, upto);
        }
        self.journal.rcu(|journal| {
            let mut journal = Journal::clone(journal);
            journal.forget(upto);
            journal.forget_keys(keys_after, met);
            journal
        });
        progress.records = self.journal.load().records().len();
    }

    /// Purges up to `upto` are about to be forgotten: what the reserve has from before is too old to be
    /// used, and stays so if objects are kept for longer one day.
    fn give_up_reserve(&self, progress: &mut Progress, upto: Generation) {
        let Some(disk) = progress.disk.as_mut().filter(|disk| disk.reserve.is_some()) else {
            return;
        };
        let records = self.journal.load().records();
        let mut generations = records.iter().rev().map(|record| record.generation);
        let last = generations.find(|generation| *generation <= upto);
        disk.floor = disk.floor.max(last.unwrap_or_default());
    }

    /// How many purges are in force.
    #[cfg(test)]
    pub(super) fn in_force(&self) -> usize {
        self.journal.load().records().len()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next purge's generation: of the clock where that goes forward, so that those of different
/// processes are in order.
fn after(last: Generation, now: SystemTime) -> Generation {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock = u64::try_from(since.as_micros()).unwrap_or(0);
    Generation(clock.max(last.0.saturating_add(1)))
}

fn record_in(journal: &mut Journal, record: &Record, generation: Generation) {
    journal.record(record.scope.clone(), record.mode, generation, record.at);
}
