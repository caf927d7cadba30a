//! What was purged and is to be fetched again, before a visitor waits for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::{Selection, StoreKey};

/// Most that wait; the hottest come first, and what is asked for beyond these is not.
const MOST_WAITING: usize = 10_000;

/// A response as a purge found it.
#[derive(Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Its key.
    pub key: StoreKey,
    /// The requests that it answers.
    pub selection: Selection,
}

/// Renewals that wait for their turn.
#[derive(Debug, Default)]
pub struct Renewals {
    waiting: Mutex<VecDeque<Renewal>>,
    added: Notify,
}

impl Renewals {
    /// Adds them behind those that wait; how many there was room for.
    pub fn add(&self, renewals: Vec<Renewal>) -> usize {
        let mut waiting = self.waiting();
        let before = waiting.len();
        for renewal in renewals {
            if waiting.len() >= MOST_WAITING {
                break;
            }
            if !waiting.contains(&renewal) {
                waiting.push_back(renewal);
            }
        }
        let added = waiting.len() - before;
        drop(waiting);
        self.added.notify_one();
        added
    }

    /// The next one, once there is one. For one who asks at a time.
    pub async fn next(&self) -> Renewal {
        loop {
            if let Some(renewal) = self.waiting().pop_front() {
                return renewal;
            }
            self.added.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Renewal>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
