//! Connections that wait for their next request.
//!
//! They have no task each. Whether one is still good is looked at when it is taken; one sweep a second, while
//! there are any, closes those that waited long enough or that the other side closed.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Connection;
use crate::clock;

/// How often they are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// The idle connections to all replicas. A thread finds its own first, as each belongs to the event loop of
/// the thread that opened it.
pub(in super::super) struct IdleConnections {
    shards: Box<[Mutex<Shard>]>,
    /// Most of a shard.
    most: usize,
    /// Whether there is a task that sweeps.
    swept: AtomicBool,
}

#[derive(Default)]
struct Shard {
    by_key: HashMap<u64, VecDeque<Idle>>,
    count: usize,
}

struct Idle {
    connection: Box<Connection>,
    until: Instant,
}

thread_local! {
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
}
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// This thread's number.
fn number() -> usize {
    NUMBER.with(|number| {
        let own = number.get();
        let own = own.unwrap_or_else(|| THREADS.fetch_add(1, Ordering::Relaxed));
        number.set(Some(own));
        own
    })
}

impl IdleConnections {
    /// None yet, for as many threads, of which each keeps `most`.
    pub(in super::super) fn new(threads: usize, most: usize) -> Arc<Self> {
        let shards = (0..threads.max(1)).map(|_| Mutex::default()).collect();
        Arc::new(Self {
            shards,
            most,
            swept: AtomicBool::new(false),
        })
    }

    /// The shards, this thread's own first.
    fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        let (before, own) = self.shards.split_at(number() % self.shards.len());
        let shards = own.iter().chain(before);
        shards.map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One for `key` that is good.
    pub(in super::super) fn take(&self, key: u64) -> Option<Box<Connection>> {
        let now = clock::instant();
        for mut shard in self.shards() {
            while let Some(mut idle) = shard.take(key) {
                if idle.until > now && idle.connection.is_quiet() {
                    return Some(idle.connection);
                }
            }
        }
        None
    }

    /// Keeps `connection` if it can be used again.
    pub(in super::super) fn put(self: &Arc<Self>, mut connection: Box<Connection>) {
        if !connection.is_reusable() || self.most == 0 {
            return;
        }
        // An idle connection takes no memory for what it may read some day.
        connection.buffer = bytes::BytesMut::new();
        let until = clock::instant() + connection.rest;
        let idle = Idle { connection, until };
        if let Some(mut shard) = self.shards().next() {
            let closed = (shard.count >= self.most).then(|| shard.take_oldest());
            shard.put(idle);
            drop(shard);
            drop(closed);
        }
        if !self.swept.load(Ordering::Relaxed) && !self.swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what is not to be kept; whether any are left.
    fn sweep(&self, now: Instant) -> bool {
        let mut left = false;
        for mut shard in self.shards() {
            shard.retain(|idle| idle.until > now && idle.connection.is_quiet());
            left |= shard.count > 0;
        }
        left
    }
}

/// Sweeps as long as there is something to sweep.
async fn sweep(connections: Weak<IdleConnections>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(connections) = connections.upgrade() else {
            return;
        };
        if !connections.sweep(clock::instant()) {
            connections.swept.store(false, Ordering::Release);
            // One may have come in between, whose thread saw that there is a task.
            let more = connections.shards().any(|shard| shard.count > 0);
            if !more || connections.swept.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }
}

impl Shard {
    /// The one that was used last.
    fn take(&mut self, key: u64) -> Option<Idle> {
        let idle = self.by_key.get_mut(&key)?.pop_back()?;
        self.count -= 1;
        Some(idle)
    }

    fn take_oldest(&mut self) -> Option<Idle> {
        let waiting = self.by_key.values_mut();
        let oldest = waiting
            .filter(|idle| !idle.is_empty())
            .min_by_key(|idle| idle.front().map(|idle| idle.until))?;
        let idle = oldest.pop_front();
        self.count -= usize::from(idle.is_some());
        idle
    }

    fn put(&mut self, idle: Idle) {
        let waiting = self.by_key.entry(idle.connection.key).or_default();
        waiting.push_back(idle);
        self.count += 1;
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Idle) -> bool) {
        for idle in self.by_key.values_mut() {
            idle.retain_mut(&mut keep);
        }
        self.by_key.retain(|_, idle| !idle.is_empty());
        self.count = self.by_key.values().map(VecDeque::len).sum();
    }
}
