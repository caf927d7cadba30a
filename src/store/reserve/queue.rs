//! What is to be done to the reserve, behind everybody's back: what is stored is written, what was purged,
//! replaced or is of no use is removed. Who asks for it waits for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use super::name::Folder;
use super::object::{self, Place, Term};
use super::{Reserve, Why};
use crate::clock;
use crate::fields::vary::Vary;
use crate::purge::{Generation, Mode, Record, Scope, Target};
use crate::store::memory::MemoryStore;
use crate::store::purge::{Begun, Purges};
use crate::store::stored::{StoreKey, StoredResponse};

/// Bytes that may wait to be written.
const MOST_BYTES: u64 = 64 << 20;
/// Responses that may wait, and what is to be removed.
const MOST_WRITES: u64 = 10_000;
const MOST_JOBS: u64 = 30_000;

/// What waits, in all queues together.
#[derive(Debug, Default)]
pub(super) struct Queue {
    jobs: AtomicU64,
    bytes: AtomicU64,
}

impl Queue {
    pub(super) fn jobs(&self) -> u64 {
        self.jobs.load(Ordering::Relaxed)
    }

    /// Room for a job, if it is one of at most `most`.
    fn enter(self: &Arc<Self>, bytes: u64, most: u64) -> Option<Waiting> {
        let waits = self.bytes.load(Ordering::Relaxed);
        if self.jobs() >= most || (bytes > 0 && waits.saturating_add(bytes) > MOST_BYTES) {
            return None;
        }
        self.jobs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let queue = self.clone();
        Some(Waiting { queue, bytes })
    }
}

/// A place in the queue.
pub(super) struct Waiting {
    queue: Arc<Queue>,
    bytes: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.queue.jobs.fetch_sub(1, Ordering::Relaxed);
        self.queue.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What there is to do for one URI.
pub(super) struct Job {
    pub(super) place: Place,
    pub(super) what: Task,
    _waiting: Waiting,
}

pub(super) enum Task {
    /// To be written. Purges that come meanwhile are kept in mind.
    Write(Arc<StoredResponse>, Begun),
    /// Objects that are of no use.
    Remove(Vec<String>),
    /// All of its objects, after these purges are written down.
    Empty(Vec<Record>, Option<Arc<Emptying>>),
}

/// A purge that is on its way to the reserve. With the last of its jobs it is done, or what it did not
/// reach is held back by the journal for as long as it may live.
pub(super) struct Emptying {
    purges: Arc<Purges>,
    generation: Generation,
    failed: AtomicBool,
}

impl Emptying {
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }
}

impl Drop for Emptying {
    fn drop(&mut self) {
        if self.failed.load(Ordering::Acquire) {
            self.purges.unfollowed();
        }
        self.purges.swept(self.generation);
    }
}

impl MemoryStore {
    /// Has a response written to the reserve that is stored for the request with this key and
    /// `extras`, if it is fit for that. Waits for nothing.
    pub fn keep(self: &Arc<Self>, key: &StoreKey, extras: &[u8], stored: &StoredResponse) {
        let Some(reserve) = self.reserve() else {
            return;
        };
        let Some(waiting) = reserve.queue.enter(stored.weight(), MOST_WRITES) else {
            reserve.counts.drop(Why::Queue);
            // An older one must not take its place later.
            return self.withdraw(key);
        };
        let begun = self.purges.begin_reading(stored.generation);
        let place = Place {
            key: key.clone(),
            extras: extras.into(),
        };
        reserve.known.add(Folder::of(key));
        let what = Task::Write(Arc::new(stored.clone()), begun);
        reserve.send(Job {
            place,
            what,
            _waiting: waiting,
        });
    }

    /// The same for one that was freshened, and whose object is good but for its age: it is written
    /// again once half of its time is over.
    pub fn keep_up(self: &Arc<Self>, key: &StoreKey, extras: &[u8], stored: &StoredResponse) {
        let Some(reserve) = self.reserve() else {
            return;
        };
        let place = Place {
            key: key.clone(),
            extras: extras.into(),
        };
        let name = reserve.name_of(&place, stored);
        let written = reserve.written.get(&digest(&name));
        let recent = |written| {
            let retention = reserve.retention;
            !Term { written, retention }.is_half_over(clock::now(), retention)
        };
        if !written.is_some_and(recent) {
            self.keep(key, extras, stored);
        }
    }

    /// Has what the reserve holds under `key` removed, as something else is current now.
    pub fn withdraw(&self, key: &StoreKey) {
        if let Some(reserve) = self.reserve() {
            reserve.empty(key, Vec::new(), None);
        }
    }

    /// Carries a purge out in the reserve, where that removes anything: what single keys name. The
    /// rest is held back by the journal. `records` are purges that are not written down yet.
    pub(in crate::store) fn purge_reserve(
        &self,
        scopes: &[Scope],
        mode: Mode,
        generation: Generation,
        records: &[Record],
    ) {
        let emptying = Arc::new(Emptying {
            purges: self.purges.clone(),
            generation,
            failed: AtomicBool::new(false),
        });
        let Some(reserve) = self.reserve().filter(|_| mode == Mode::Hard) else {
            return;
        };
        for scope in scopes {
            if let Target::Key(key) = &scope.target {
                let key = StoreKey(Arc::from(&**key));
                let records = records.iter().filter(|record| record.scope == *scope);
                reserve.empty(&key, records.cloned().collect(), Some(emptying.clone()));
            }
        }
    }
}

impl Reserve {
    pub(super) fn remember(&self, name: &str, written: SystemTime) {
        self.written.insert(digest(name), written);
    }

    pub(super) fn remove(&self, key: &StoreKey, names: Vec<String>) {
        if let Some(waiting) = self.queue.enter(0, MOST_WRITES) {
            self.send(Job {
                place: place_of(key),
                what: Task::Remove(names),
                _waiting: waiting,
            });
        }
    }

    fn empty(&self, key: &StoreKey, records: Vec<Record>, emptying: Option<Arc<Emptying>>) {
        if !self.known.may_come_to_hold(Folder::of(key)) {
            return;
        }
        let Some(waiting) = self.queue.enter(0, MOST_JOBS) else {
            if let Some(emptying) = emptying {
                emptying.fail();
            }
            return self.counts.drop(Why::Queue);
        };
        self.send(Job {
            place: place_of(key),
            what: Task::Empty(records, emptying),
            _waiting: waiting,
        });
    }

    fn send(&self, job: Job) {
        let count = u64::try_from(self.queues.len()).unwrap_or(1).max(1);
        let worker = Folder::of(&job.place.key).short() % count;
        let worker = usize::try_from(worker).unwrap_or(0);
        if let Some(queue) = self.queues.get(worker) {
            let _ = queue.send(job);
        }
    }

    pub(super) fn name_of(&self, place: &Place, stored: &StoredResponse) -> String {
        let (folder, prefix) = (Folder::of(&place.key), self.client.prefix());
        match &stored.selection.vary {
            Vary::None => folder.base(prefix, &place.extras),
            _ => folder.variant(prefix, &place.extras, &stored.selection.key),
        }
    }
}

fn place_of(key: &StoreKey) -> Place {
    Place {
        key: key.clone(),
        extras: Arc::from([]),
    }
}

pub(super) fn digest(text: &str) -> u64 {
    object::sum(text.as_bytes())
}
