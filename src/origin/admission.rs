//! The places at a pool: requests wait here for theirs, in the order of [`queue`](super::queue).
//!
//! A waiting request that is dropped gives its place in the queue back, and a dropped [`Permit`] its place at
//! the pool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::queue::{Arrival, Line, Ticket};
use crate::clock;
use crate::config::QueueSettings;
use crate::rules::phase::Priority;

/// Why a request does not get its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Too many wait, or what matters more came.
    QueueFull,
    /// It waited too long.
    QueueTimeout,
}

/// The places at a pool.
pub(super) struct Admission {
    settings: QueueSettings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    line: Line,
    /// How many places there are.
    limit: usize,
    waiting: HashMap<Ticket, oneshot::Sender<Permit>>,
}

/// Leave to have one request outstanding at the pool; given back when dropped.
pub(super) struct Permit {
    admission: Arc<Admission>,
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

/// A place in the queue; given up when dropped.
struct Place<'a> {
    admission: &'a Admission,
    ticket: Ticket,
}

impl Admission {
    pub(super) fn new(settings: QueueSettings, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            settings,
            state: Mutex::new(State {
                limit,
                ..State::default()
            }),
        })
    }

    /// There are so many places from now on.
    pub(super) fn set_limit(self: &Arc<Self>, limit: usize) {
        let granted = {
            let mut state = self.lock();
            if state.limit == limit {
                return;
            }
            state.limit = limit;
            state.grant(&self.settings)
        };
        self.wake(granted);
    }

    /// A place at the pool, when it is this request's turn, for which it waits `most` at most.
    ///
    /// # Errors
    /// Why it does not get one.
    pub(super) async fn permit(
        self: &Arc<Self>,
        priority: Priority,
        most: Duration,
    ) -> Result<Permit, Refusal> {
        let (place, turn) = {
            let mut state = self.lock();
            let limit = state.limit;
            match state
                .line
                .arrive(limit, &self.settings, priority, clock::uptime())
            {
                Arrival::Granted => return Ok(self.new_permit()),
                Arrival::Refused => return Err(Refusal::QueueFull),
                Arrival::Waits(ticket, displaced) => {
                    // Its receiver learns of it.
                    displaced.and_then(|displaced| state.waiting.remove(&displaced));
                    let (grant, turn) = oneshot::channel();
                    state.waiting.insert(ticket, grant);
                    let admission = self.as_ref();
                    (Place { admission, ticket }, turn)
                }
            }
        };
        let granted = tokio::time::timeout(most, turn).await;
        drop(place);
        match granted {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Refusal::QueueFull),
            Err(_) => Err(Refusal::QueueTimeout),
        }
    }

    /// Whether requests have been waiting for a while, so that one more would wait as well.
    pub(super) fn is_overloaded(&self) -> bool {
        self.lock().line.is_standing(clock::uptime())
    }

    /// How long the queue as it is takes to be served.
    pub(super) fn drained_after(&self) -> Option<Duration> {
        self.lock().line.drained_after()
    }

    /// Places, places taken, and requests that wait.
    pub(super) fn load(&self) -> (usize, usize, usize) {
        let state = self.lock();
        let line = &state.line;
        (state.limit, line.outstanding, line.waiting())
    }

    fn new_permit(self: &Arc<Self>) -> Permit {
        Permit {
            admission: Arc::clone(self),
        }
    }

    /// Not under the lock: a permit that nobody takes is given back at once.
    fn wake(self: &Arc<Self>, granted: Vec<oneshot::Sender<Permit>>) {
        for grant in granted {
            let _ = grant.send(self.new_permit());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives the free places away.
    fn grant(&mut self, settings: &QueueSettings) -> Vec<oneshot::Sender<Permit>> {
        let now = clock::uptime();
        let mut granted = Vec::new();
        while let Some(ticket) = self.line.next(self.limit, settings, now) {
            match self.waiting.remove(&ticket) {
                Some(grant) => granted.push(grant),
                None => self.line.release(now),
            }
        }
        granted
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let granted = {
            let mut state = self.admission.lock();
            state.line.release(clock::uptime());
            state.grant(&self.admission.settings)
        };
        self.admission.wake(granted);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        if state.waiting.remove(&self.ticket).is_some() {
            state.line.leave(self.ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: QueueSettings = QueueSettings {
        length: 100,
        order: crate::config::QueueOrder::Fifo,
    };

    #[tokio::test]
    async fn who_leaves_the_queue_gives_its_place_up() {
        let admission = Admission::new(SETTINGS, 1);
        let most = Duration::from_secs(5);
        let held = admission.permit(Priority::Normal, most).await.unwrap();
        let ask = || {
            let admission = admission.clone();
            tokio::spawn(async move { admission.permit(Priority::Normal, most).await })
        };
        let (leaves, stays) = (ask(), ask());
        while admission.load().2 < 2 {
            tokio::task::yield_now().await;
        }
        leaves.abort();
        assert!(leaves.await.unwrap_err().is_cancelled());
        assert_eq!(admission.load(), (1, 1, 1));
        drop(held);
        let permit = stays.await.unwrap().unwrap();
        assert_eq!(admission.load(), (1, 1, 0));
        drop(permit);
        assert_eq!(admission.load(), (1, 0, 0));
    }
}
