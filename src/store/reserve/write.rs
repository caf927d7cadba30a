//! Into the reserve, behind everybody's back: what is stored, what is freshened, what is renewed; and
//! out of it, what was purged, replaced or has become too old.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::path::Path;
use tokio::sync::mpsc;

use super::client::Failed;
use super::name::{self, Folder};
use super::object::{self, Place, Term};
use super::{Apart, Reserve, Why, add};
use crate::clock;
use crate::fields::vary::Vary;
use crate::purge::{Generation, Mode, Record, Scope, Target};
use crate::store::memory::MemoryStore;
use crate::store::purge::{Begun, Purges};
use crate::store::record;
use crate::store::slices::{SLICE, positions};
use crate::store::stored::{Content, StoreKey, StoredResponse};

/// Bytes that may wait to be written.
const MOST_BYTES: u64 = 64 << 20;
/// Responses that may wait, and what is to be removed.
const MOST_WRITES: u64 = 10_000;
const MOST_JOBS: u64 = 30_000;
/// Slices written in one request; parts have at least 5 MiB.
const PART: usize = 8;
/// How often all objects are listed, at most and at least.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));
/// How soon after listing failed.
const AGAIN: Duration = Duration::from_secs(10);
/// Objects removed in one request.
const AT_ONCE: usize = 1000;
/// The clocks of two machines differ by less.
const SKEW: Duration = Duration::from_mins(5);

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
    place: Place,
    what: Task,
    _waiting: Waiting,
}

enum Task {
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
        if !self.known.may_hold(Folder::of(key)) {
            return;
        }
        let Some(waiting) = self.queue.enter(0, MOST_JOBS) else {
            if let Some(emptying) = emptying {
                emptying.failed.store(true, Ordering::Release);
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

    fn name_of(&self, place: &Place, stored: &StoredResponse) -> String {
        let (folder, prefix) = (Folder::of(&place.key), self.client.prefix());
        match &stored.selection.vary {
            Vary::None => folder.base(prefix, &place.extras),
            _ => folder.variant(prefix, &place.extras, &stored.selection.key),
        }
    }

    async fn carry_out(&self, store: &Arc<MemoryStore>, job: Job) {
        match job.what {
            Task::Write(stored, _begun) => {
                let folder = Folder::of(&job.place.key);
                match self.write(store, &job.place, &stored).await {
                    Ok(bytes) => {
                        add(Some(&self.counts.written), 1);
                        add(Some(&self.counts.written_bytes), bytes);
                    }
                    Err(why) => {
                        self.counts.drop(why);
                        if why == Why::Failed {
                            self.known.doubt(folder);
                        }
                        if !matches!(why, Why::Outdated | Why::Resting) {
                            // What was there is older.
                            let _ = self.empty_now(folder).await;
                        }
                    }
                }
            }
            Task::Remove(names) => {
                let paths = names.iter().map(|name| Path::from(name.as_str()));
                if let Ok(count) = self.client.remove(paths.collect()).await {
                    add(Some(&self.counts.removed), count);
                }
            }
            Task::Empty(records, emptying) => {
                let folder = Folder::of(&job.place.key);
                if !records.is_empty() {
                    let purges = store.purges.clone();
                    let write = move || purges.write_down(&records);
                    let _ = tokio::task::spawn_blocking(write).await;
                }
                let emptied = self.empty_now(folder).await.is_ok();
                if let Some(emptying) = emptying
                    && (!emptied || self.known.is_doubtful(folder))
                {
                    emptying.failed.store(true, Ordering::Release);
                }
            }
        }
    }

    async fn empty_now(&self, folder: Folder) -> Result<(), Failed> {
        let path = folder.path(self.client.prefix());
        let count = self.client.empty(&path, |_| true).await?;
        add(Some(&self.counts.removed), count);
        self.known.remove(folder);
        Ok(())
    }

    /// Writes one response; gives the bytes that it took.
    async fn write(
        &self,
        store: &Arc<MemoryStore>,
        place: &Place,
        stored: &StoredResponse,
    ) -> Result<u64, Why> {
        let folder = Folder::of(&place.key);
        let name = self.name_of(place, stored);
        self.known.add(folder);
        // In this order: a purge from before that moment is one that the stamp knows of.
        let term = Term {
            written: clock::now(),
            retention: self.retention,
        };
        let stamped = store.purges.stamp(&place.key, stored);
        let (stored, _reading) = stamped.ok_or(Why::Outdated)?;
        let known = store.peek(&place.key);
        let newer = known.is_some_and(|known| {
            let mut known = known.variants().iter();
            known.any(|known| known.selection == stored.selection && known.id > stored.id)
        });
        if newer {
            return Err(Why::Outdated);
        }
        let Content::Complete(body) = &stored.content else {
            return Err(Why::Unfit);
        };
        let bytes = if body.len() <= SLICE {
            let chunks = body.in_memory(0..body.len()).ok_or(Why::Unfit)?;
            let head = record::encode(&stored, record::Place::Inline).ok_or(Why::Unfit)?;
            let object = object::whole(place, term, &head, &chunks).ok_or(Why::Unfit)?;
            let bytes = length(&object);
            self.put(&name, object).await?;
            bytes
        } else {
            self.write_large(place, term, &name, &stored).await?
        };
        if let Some(told) = object::varies(place, term, &stored.selection.vary) {
            self.tell_vary(place, &stored.selection.vary, term, told)
                .await?;
        }
        self.remember(&name, term.written);
        Ok(bytes)
    }

    /// Tells what responses vary by, unless that was told lately.
    async fn tell_vary(
        &self,
        place: &Place,
        vary: &Vary,
        term: Term,
        told: Bytes,
    ) -> Result<(), Why> {
        let folder = Folder::of(&place.key);
        let base = folder.base(self.client.prefix(), &place.extras);
        let mark = format!("{base} {vary:?}");
        let written = self.written.get(&digest(&mark));
        let recent = |written| {
            let half = Term {
                written,
                retention: term.retention / 2,
            };
            !half.is_half_over(term.written, term.retention)
        };
        if !written.is_some_and(recent) {
            self.put(&base, told).await?;
            self.remember(&mark, term.written);
        }
        Ok(())
    }

    /// The body as an object of its own first, then the head, then what was there before goes.
    async fn write_large(
        &self,
        place: &Place,
        term: Term,
        name: &str,
        stored: &StoredResponse,
    ) -> Result<u64, Why> {
        // Not used before for this name.
        let stamp = clock::chance();
        let path = name::body(name, stamp);
        let id = stored.content.slices().map(|slices| slices.id().0);
        let known = id.and_then(|id| self.apart.get(&id));
        let sums = match known.filter(|known| known.name == name) {
            Some(known) => {
                self.client.copy(&known.path, &path).await.map_err(why)?;
                known.sums.clone()
            }
            None => self.write_body(&path, stored).await?,
        };
        let slices = record::Place::Slices(0);
        let head = record::encode(stored, slices).ok_or(Why::Unfit)?;
        let object = object::without_body(place, term, &head, (stamp, &sums));
        self.put(name, object.ok_or(Why::Unfit)?).await?;
        if let Some(id) = id {
            let apart = Apart {
                name: name.to_owned(),
                path: path.clone(),
                sums,
            };
            self.apart.insert(id, Arc::new(apart));
        }
        let bodies = format!("{name}.");
        let older = |other: &str| other.starts_with(&bodies) && *other != path;
        let folder = Folder::of(&place.key).path(self.client.prefix());
        let _ = self.client.empty(&folder, older).await;
        Ok(stored.content.len())
    }

    /// Writes a body in parts; gives the checksums of its slices.
    async fn write_body(&self, path: &str, stored: &StoredResponse) -> Result<Arc<[u64]>, Why> {
        if !stored.content.is_whole() {
            return Err(Why::Unfit);
        }
        let len = stored.content.len();
        let mut upload = self.client.begin(path).await.map_err(why)?;
        let mut sums = Vec::new();
        let mut part = Vec::new();
        let slices = len.div_ceil(SLICE);
        for number in 0..slices {
            let wanted = positions(number, len);
            let slice = stored.content.read(wanted.start, wanted.end).await;
            let slice = slice.ok().flatten();
            let slice = slice.filter(|slice| length(slice) == wanted.end - wanted.start);
            let Some(slice) = slice else {
                // It has left meanwhile.
                let _ = upload.abort().await;
                return Err(Why::Unfit);
            };
            sums.push(object::sum(&slice));
            part.push(slice);
            if part.len() == PART || number + 1 == slices {
                let part = std::mem::take(&mut part);
                if let Err(failed) = self.client.put_part(&mut *upload, part).await {
                    let _ = upload.abort().await;
                    return Err(why(failed));
                }
            }
        }
        self.client.finish(&mut *upload).await.map_err(why)?;
        Ok(sums.into())
    }

    async fn put(&self, name: &str, object: Bytes) -> Result<(), Why> {
        self.client.put(name, object).await.map_err(why)
    }

    /// Lists all objects, and removes those that are too old to be used.
    async fn list(&self) -> Result<(), Failed> {
        let age = self.retention + SKEW.min(self.retention);
        let oldest = clock::now().checked_sub(age);
        let mut folders = HashSet::new();
        let mut old = Vec::new();
        self.known.begin_listing();
        self.client
            .list(|object| {
                if oldest.is_some_and(|oldest| object.modified < oldest) {
                    old.push(Path::from(object.path));
                } else if let Some(folder) = Folder::holding(&object.path) {
                    folders.insert(folder.short());
                }
            })
            .await?;
        self.known.listed(folders);
        for some in old.chunks(AT_ONCE) {
            let count = self.client.remove(some.to_vec()).await?;
            add(Some(&self.counts.removed), count);
        }
        Ok(())
    }
}

/// Carries out what comes, one after the other.
pub(super) async fn work(store: Weak<MemoryStore>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let Some(store) = store.upgrade() else {
            return;
        };
        if let Some(reserve) = store.reserve() {
            reserve.carry_out(&store, job).await;
        }
    }
}

/// Keeps the index of what is there right, and removes what is too old, as long as there is a store.
pub(super) async fn keep_in_order(store: Weak<MemoryStore>, retention: Duration) {
    let (shortest, longest) = LOOKS;
    loop {
        let listed = {
            let Some(store) = store.upgrade() else {
                return;
            };
            let Some(reserve) = store.reserve() else {
                return;
            };
            reserve.list().await.is_ok()
        };
        let pause = (retention / 4).clamp(shortest, longest);
        tokio::time::sleep(if listed { pause } else { AGAIN.min(pause) }).await;
    }
}

fn place_of(key: &StoreKey) -> Place {
    Place {
        key: key.clone(),
        extras: Arc::from([]),
    }
}

fn why(failed: Failed) -> Why {
    match failed {
        Failed::Resting => Why::Resting,
        Failed::Failed => Why::Failed,
    }
}

fn digest(text: &str) -> u64 {
    object::sum(text.as_bytes())
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
