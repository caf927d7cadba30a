//! What the threads of a log share, and the changes that are made of it.
//!
//! Three rules hold at every moment, whoever is killed:
//! - A record can be found by a restart from when it is marked alive until it is marked dead; both
//!   marks are one byte, written in place.
//! - Every change of an id is made under the lock of its stripe, the writing of its mark included,
//!   so that marks are written in the order of the changes.
//! - A record is marked alive only while it is still the newest one that was put, and dead before
//!   anything replaces it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::device::Device;
use super::format::{self, IndexEntry, Location};
use super::index::{Id, Index, Known, SHARDS, shard};
use super::journal::{Journal, Retraction};
use super::queue::{Queue, Receipt};
use super::segment::Segment;
use super::state::{Counters, Health, Why, count};
use super::types::{Hot, Put, Record, Recovery, largest_record, segment_size};

/// Changes of the ids that share a lock.
#[derive(Default)]
pub(super) struct Stripe {
    /// Records on their way: the ticket of the newest of each id.
    pending: HashMap<Id, u64>,
    /// What recovery must not bring back; nothing once it is done.
    barred: Option<Barred>,
}

#[derive(Default)]
pub(super) struct Barred {
    /// With the segment from which on it does not hold.
    ids: HashMap<Id, u32>,
    digests: HashMap<u64, u32>,
}

impl Barred {
    /// Adds a retraction; false if it was there.
    fn insert(&mut self, retraction: Retraction) -> bool {
        let below = if retraction.all {
            self.digests.entry(retraction.id.digest).or_default()
        } else {
            self.ids.entry(retraction.id).or_default()
        };
        let new = *below < retraction.below;
        *below = retraction.below.max(*below);
        new
    }

    fn contains(&self, id: Id, segment: u32) -> bool {
        let below = [self.ids.get(&id), self.digests.get(&id.digest)];
        below.into_iter().flatten().any(|below| segment < *below)
    }
}

/// Where a record that is about to be found comes from.
pub(super) enum Origin {
    Put {
        ticket: u64,
        receipt: Receipt,
    },
    /// Reclaim moves it.
    Moved(Known),
}

pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) seed: u64,
    pub(super) device: Arc<dyn Device>,
    pub(super) hot: Box<Hot>,
    pub(super) now: Arc<dyn Fn() -> Duration + Send + Sync>,
    pub(super) retry: Duration,
    pub(super) write_rate: Option<u64>,
    /// The configured size of a segment.
    pub(super) segment: Option<u64>,
    pub(super) capacity: AtomicU64,
    pub(super) index: Index,
    pub(super) stripes: Vec<Mutex<Stripe>>,
    pub(super) segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    pub(super) next_segment: AtomicU32,
    /// The first segment of this process, once it has the directory.
    pub(super) first_own: AtomicU32,
    /// Segments that are to be removed as soon as that works.
    pub(super) condemned: Mutex<Vec<Arc<Segment>>>,
    pub(super) queue: Queue,
    pub(super) health: Health,
    pub(super) counters: Counters,
    pub(super) journal: Journal,
    pub(super) recovery: Mutex<Recovery>,
    pub(super) recovered: Condvar,
    pub(super) newest_generation: AtomicU64,
    pub(super) newest_fill: AtomicU64,
    pub(super) closed: AtomicBool,
}

impl Shared {
    pub(super) fn new_stripes() -> Vec<Mutex<Stripe>> {
        let stripe = || Stripe {
            pending: HashMap::new(),
            barred: Some(Barred::default()),
        };
        (0..SHARDS).map(|_| Mutex::new(stripe())).collect()
    }

    pub(super) fn digest(&self, primary: &[u8]) -> u64 {
        format::checksum(self.seed, primary)
    }

    /// Whole seconds since the epoch.
    pub(super) fn now(&self) -> u64 {
        (self.now)().as_secs()
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "a stripe's number is a remainder by their count"
    )]
    fn stripe(&self, digest: u64) -> MutexGuard<'_, Stripe> {
        let lock = &self.stripes[shard(digest)];
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.get(&number).cloned()
    }

    pub(super) fn all_segments(&self) -> Vec<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.values().cloned().collect()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.values().map(|segment| segment.length()).sum()
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// How large a new segment is.
    pub(super) fn segment_size(&self) -> u64 {
        segment_size(self.capacity(), self.segment)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    // --- Changes -----------------------------------------------------------------------

    /// Queues a record, after what it replaces can no longer be found.
    pub(super) fn put(&self, record: Record) -> Put {
        let digest = self.digest(&record.primary);
        let id = Id {
            digest,
            slot: record.slot,
        };
        let mut stripe = self.stripe(digest);
        self.withdraw(&mut stripe, id);
        match self.enqueue(&mut stripe, id, record) {
            Ok(receipt) => Put::Queued(receipt),
            Err(why) => {
                self.counters.dropped(why);
                Put::Dropped(why)
            }
        }
    }

    fn enqueue(&self, stripe: &mut Stripe, id: Id, record: Record) -> Result<Receipt, Why> {
        if self.is_closed() {
            return Err(Why::Closed);
        }
        if !self.health.is_healthy() {
            return Err(match self.health.state() {
                super::State::Waiting => Why::Waiting,
                _ => Why::Unwritable,
            });
        }
        let length = record.length().ok_or(Why::TooLarge)?;
        if length > largest_record(self.segment_size()) {
            return Err(Why::TooLarge);
        }
        self.newest_generation
            .fetch_max(record.generation, Ordering::Relaxed);
        self.newest_fill.fetch_max(record.fill, Ordering::Relaxed);
        let (ticket, receipt) = self.queue.push(id, record, length)?;
        stripe.pending.insert(id, ticket);
        Ok(receipt)
    }

    /// Makes sure that nothing stored under `id` is found any more. False when the disk would not
    /// have it, and a restart might still find it.
    pub(super) fn retract(&self, primary: &[u8], slot: u64) -> bool {
        let digest = self.digest(primary);
        let mut stripe = self.stripe(digest);
        self.withdraw(&mut stripe, Id { digest, slot })
    }

    pub(super) fn retract_all(&self, primary: &[u8]) -> bool {
        let digest = self.digest(primary);
        let mut stripe = self.stripe(digest);
        stripe.pending.retain(|id, _| id.digest != digest);
        let mut held = true;
        for known in self.index.find(digest) {
            self.index.remove(known.id);
            held &= self.bury(&known);
        }
        held &= self.bar(&mut stripe, Id { digest, slot: 0 }, true);
        held
    }

    fn withdraw(&self, stripe: &mut Stripe, id: Id) -> bool {
        stripe.pending.remove(&id);
        let mut held = true;
        if let Some(known) = self.index.remove(id) {
            held &= self.bury(&known);
        }
        held & self.bar(stripe, id, false)
    }

    /// Notes what recovery must not bring back, on disk as well.
    fn bar(&self, stripe: &mut Stripe, id: Id, all: bool) -> bool {
        let Some(barred) = &mut stripe.barred else {
            return true;
        };
        let below = self.first_own.load(Ordering::SeqCst);
        let retraction = Retraction { id, all, below };
        if !barred.insert(retraction) {
            return true;
        }
        if self.is_closed() {
            return false;
        }
        let noted = self.journal.note(retraction);
        if noted.is_err() {
            count(&self.counters.write_errors, 1);
        }
        noted.is_ok()
    }

    /// Marks a record dead that is no longer in the index; the caller holds its stripe. Where the
    /// mark cannot be written, the whole segment goes.
    fn bury(&self, known: &Known) -> bool {
        let Some(segment) = self.segment(known.location.segment) else {
            return true;
        };
        segment.dismiss(known);
        if self.is_closed() {
            return false;
        }
        let Err(error) = segment.mark_dead(known) else {
            return true;
        };
        count(&self.counters.write_errors, 1);
        tracing::debug!(%error, segment = segment.number, "could not mark a record dead");
        self.condemn(&segment)
    }

    /// Removes a segment with all that is in it.
    pub(super) fn condemn(&self, segment: &Arc<Segment>) -> bool {
        segment.set_gone();
        match self.device.remove(&segment.path) {
            Ok(()) => {
                self.forget_segment(segment);
                true
            }
            Err(error) => {
                count(&self.counters.write_errors, 1);
                self.health
                    .failed(&self.directory, "could not remove a segment", &error);
                let mut condemned = self
                    .condemned
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if !condemned.iter().any(|c| c.number == segment.number) {
                    condemned.push(Arc::clone(segment));
                }
                false
            }
        }
    }

    /// Drops what is known of a segment whose file is removed. Not before: until then, what
    /// replaces one of its records must find it, to mark it dead. Returns how many were left.
    pub(super) fn forget_segment(&self, segment: &Segment) -> u64 {
        let mut left = 0;
        for known in self.index.in_segment(segment.number) {
            let removed = self.index.remove_at(known.id, known.location);
            left += u64::from(removed.is_some());
        }
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        segments.remove(&segment.number);
        left
    }

    /// Makes a record that is written completely one that is found, if it is still wanted.
    pub(super) fn publish(
        &self,
        segment: &Segment,
        ordinal: u32,
        entry: &IndexEntry,
        origin: &Origin,
    ) -> io::Result<Result<(), Why>> {
        let mut known = Known::new(segment.number, ordinal, entry);
        let mut stripe = self.stripe(entry.digest);
        match origin {
            Origin::Put { ticket, .. } => {
                if stripe.pending.get(&known.id) != Some(ticket) {
                    return Ok(Err(Why::Superseded));
                }
                stripe.pending.remove(&known.id);
            }
            Origin::Moved(old) => {
                let current = self.index.get(known.id);
                let Some(current) = current.filter(|c| c.location == old.location) else {
                    return Ok(Err(Why::Superseded));
                };
                self.index.remove(known.id);
                if !self.bury(&current) {
                    return Ok(Err(Why::Superseded));
                }
                // Once used is enough to stay once.
                known.used = false;
            }
        }
        segment.mark_alive(entry.offset)?;
        segment.admit(&known);
        self.index.insert(&known);
        Ok(Ok(()))
    }

    /// Takes back that a record was on its way.
    pub(super) fn abandon(&self, id: Id, origin: &Origin, why: Why) {
        if let Origin::Put { ticket, receipt } = origin {
            let mut stripe = self.stripe(id.digest);
            if stripe.pending.get(&id) == Some(ticket) {
                stripe.pending.remove(&id);
            }
            drop(stripe);
            self.counters.dropped(why);
            receipt.settle(Err(why));
        }
    }

    /// Whether a queued record is still the newest of its id.
    pub(super) fn is_wanted(&self, id: Id, ticket: u64) -> bool {
        self.stripe(id.digest).pending.get(&id) == Some(&ticket)
    }

    /// Takes back all that waits: nobody is going to write it.
    pub(super) fn abandon_queue(&self) {
        loop {
            let work = self.queue.take(u64::MAX, Duration::ZERO);
            if work.records.is_empty() {
                return;
            }
            for queued in work.records {
                let origin = Origin::Put {
                    ticket: queued.ticket,
                    receipt: queued.receipt,
                };
                self.abandon(queued.id, &origin, Why::Closed);
            }
        }
    }

    /// Removes a record that turned out not to be what it should.
    pub(super) fn discard(&self, id: Id, location: Location) {
        let _stripe = self.stripe(id.digest);
        if let Some(known) = self.index.remove_at(id, location) {
            self.bury(&known);
        }
    }

    // --- Recovery ----------------------------------------------------------------------

    /// Takes in a record that was found alive on disk, unless something newer is known.
    pub(super) fn recover(&self, segment: &Segment, known: &Known) -> bool {
        let stripe = self.stripe(known.id.digest);
        let barred = stripe.barred.as_ref();
        let barred = barred.is_some_and(|barred| barred.contains(known.id, segment.number));
        segment.admit(known);
        if barred || self.index.get(known.id).is_some() {
            self.bury(known);
            return false;
        }
        self.index.insert(known);
        self.newest_generation
            .fetch_max(known.generation, Ordering::Relaxed);
        self.newest_fill.fetch_max(known.fill, Ordering::Relaxed);
        true
    }

    /// Has recovery not bring back what earlier processes retracted.
    pub(super) fn obey(&self, retraction: Retraction) {
        if let Some(barred) = &mut self.stripe(retraction.id.digest).barred {
            barred.insert(retraction);
        }
    }

    /// Everything is in the index: from here on marks are enough.
    pub(super) fn unbar(&self) {
        for stripe in &self.stripes {
            let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            stripe.barred = None;
        }
    }

    pub(super) fn is_recovered(&self) -> bool {
        let recovery = self.recovery.lock().unwrap_or_else(PoisonError::into_inner);
        recovery.done
    }

    /// Waits until recovery is done, the log closes, or patience ends.
    pub(super) fn wait_recovered(&self, patience: Duration) -> bool {
        let recovery = self.recovery.lock().unwrap_or_else(PoisonError::into_inner);
        let (recovery, _) = self
            .recovered
            .wait_timeout_while(recovery, patience, |recovery| {
                !recovery.done && !self.queue.is_closing()
            })
            .unwrap_or_else(PoisonError::into_inner);
        recovery.done
    }
}
