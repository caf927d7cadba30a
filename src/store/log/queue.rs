//! What waits to be written: bounded in bytes, so that a slow disk costs memory up to a limit.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Record;
use super::index::Id;
use super::state::Why;

/// Tells when a record is written.
#[derive(Clone)]
pub struct Receipt(Arc<Settled>);

#[derive(Default)]
struct Settled {
    outcome: Mutex<Option<Result<(), Why>>>,
    known: Condvar,
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Receipt").field(&self.outcome()).finish()
    }
}

impl Receipt {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<(), Why>>> {
        let outcome = &self.0.outcome;
        outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settle(&self, outcome: Result<(), Why>) {
        *self.lock() = Some(outcome);
        self.0.known.notify_all();
    }

    /// What became of the record, if that is known.
    pub fn outcome(&self) -> Option<Result<(), Why>> {
        *self.lock()
    }

    /// Waits until the record is written, and a restart would find it, or until it is known that
    /// it is not going to be.
    pub fn wait(&self) -> Result<(), Why> {
        let mut outcome = self.lock();
        loop {
            if let Some(outcome) = *outcome {
                return outcome;
            }
            let waited = self.0.known.wait(outcome);
            outcome = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A record on its way.
pub(super) struct Queued {
    pub(super) id: Id,
    /// Distinguishes it from others of the same id.
    pub(super) ticket: u64,
    pub(super) record: Record,
    /// The bytes that it takes in a segment.
    pub(super) length: u64,
    pub(super) receipt: Receipt,
}

/// What the append thread is to do.
pub(super) struct Work {
    pub(super) records: Vec<Queued>,
    /// Nothing came for as long as it waited, or somebody wants it to look around.
    pub(super) idle: bool,
    pub(super) closing: bool,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Queued>,
    /// Of the records here and of those in hand.
    bytes: u64,
    /// The smallest purge generation in hand.
    in_hand: Option<u64>,
    next_ticket: u64,
    poked: bool,
    closing: bool,
}

pub(super) struct Queue {
    limit: u64,
    waiting: Mutex<Waiting>,
    work: Condvar,
    room: Condvar,
}

impl Queue {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            waiting: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record in and gives its ticket.
    pub(super) fn push(&self, id: Id, record: Record, length: u64) -> Result<(u64, Receipt), Why> {
        let mut waiting = self.lock();
        if waiting.closing {
            return Err(Why::Closed);
        }
        if waiting.bytes > 0 && waiting.bytes.saturating_add(length) > self.limit {
            return Err(Why::QueueFull);
        }
        waiting.next_ticket += 1;
        waiting.bytes += length;
        let ticket = waiting.next_ticket;
        let receipt = Receipt::new();
        waiting.records.push_back(Queued {
            id,
            ticket,
            record,
            length,
            receipt: receipt.clone(),
        });
        self.work.notify_one();
        Ok((ticket, receipt))
    }

    /// Waits for work: records of about `bytes`, or a reason to look around.
    pub(super) fn take(&self, bytes: u64, patience: Duration) -> Work {
        let waiting = self.lock();
        let (mut waiting, timeout) = self
            .work
            .wait_timeout_while(waiting, patience, |waiting| {
                waiting.records.is_empty() && !waiting.poked && !waiting.closing
            })
            .unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        let mut records = Vec::new();
        while taken < bytes
            && let Some(record) = waiting.records.pop_front()
        {
            taken += record.length;
            records.push(record);
        }
        let generations = records.iter().map(|queued| queued.record.generation);
        waiting.in_hand = generations.min();
        let idle = std::mem::take(&mut waiting.poked) || timeout.timed_out();
        Work {
            idle,
            closing: waiting.closing && waiting.records.is_empty(),
            records,
        }
    }

    /// Makes room for others once the records in hand are written or dropped.
    pub(super) fn done(&self, bytes: u64) {
        let mut waiting = self.lock();
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        waiting.in_hand = None;
        self.room.notify_all();
    }

    /// Whether a record of `bytes` would be taken in.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let waiting = self.lock();
        waiting.bytes == 0 || waiting.bytes.saturating_add(bytes) <= self.limit
    }

    pub(super) fn wait_for_room(&self, bytes: u64, patience: Duration) -> bool {
        let full = |waiting: &mut Waiting| {
            !waiting.closing
                && waiting.bytes > 0
                && waiting.bytes.saturating_add(bytes) > self.limit
        };
        let (guard, timeout) = self
            .room
            .wait_timeout_while(self.lock(), patience, full)
            .unwrap_or_else(PoisonError::into_inner);
        drop(guard);
        !timeout.timed_out()
    }

    /// Sleeps, though not beyond the log's end.
    pub(super) fn pause(&self, duration: Duration) {
        drop(
            self.work
                .wait_timeout_while(self.lock(), duration, |waiting| !waiting.closing),
        );
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The smallest purge generation of what is on its way.
    pub(super) fn generation(&self) -> u64 {
        let waiting = self.lock();
        let queued = waiting.records.iter().map(|q| q.record.generation);
        queued.chain(waiting.in_hand).min().unwrap_or(u64::MAX)
    }

    /// Has the append thread look around.
    pub(super) fn poke(&self) {
        self.lock().poked = true;
        self.work.notify_one();
    }

    /// Takes nothing in any more.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }
}
