//! Deadlines of a request that Pingora has no timer for: the origin's first byte, and the whole.
//!
//! Pingora times single reads. When a deadline passes, the socket to the origin is shut down:
//! Pingora's read then fails in the ordinary way, and its error handling takes over. The timer and
//! the request are one task, so the socket cannot have become another request's in between. On a
//! connection that other requests share, the request is given up instead.

use std::future::Future;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::sys::socket::{Shutdown, shutdown};
use tokio::sync::Notify;

tokio::task_local! {
    static CURRENT: Arc<Deadline>;
}

#[derive(Debug, Default)]
struct Deadline {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<Armed>,
    passed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    /// `None` on a connection that is shared.
    socket: Option<RawFd>,
    at: Instant,
}

/// Runs `request` under the deadlines it arms. `None` when it was given up.
pub(super) async fn watch<T>(request: impl Future<Output = T>) -> Option<T> {
    let deadline = Arc::new(Deadline::default());
    CURRENT.scope(deadline.clone(), deadline.run(request)).await
}

/// From now on the request has until `at`; then `socket` is shut down, or without one the request ends.
pub(super) fn arm(socket: Option<RawFd>, at: Instant) {
    change(|state| state.armed = Some(Armed { socket, at }));
}

/// Moves the deadline of the socket armed before.
pub(super) fn extend(at: Instant) {
    change(|state| {
        if let Some(armed) = &mut state.armed {
            armed.at = at;
        }
    });
}

/// The same, for a deadline that comes before what a pause on a shared connection is watched by.
pub(super) fn hasten(at: Instant) {
    change(|state| {
        if let Some(armed) = &mut state.armed
            && armed.socket.is_some()
        {
            armed.at = at;
        }
    });
}

/// The socket is no longer this request's to watch.
pub(super) fn disarm() {
    change(|state| state.armed = None);
}

/// Whether a deadline of this request has passed.
pub(super) fn passed() -> bool {
    CURRENT
        .try_with(|deadline| deadline.lock().passed)
        .unwrap_or(false)
}

fn change(change: impl FnOnce(&mut State)) {
    // Background validations run in tasks of their own, with Pingora's read timeout alone.
    let _ = CURRENT.try_with(|deadline| {
        change(&mut deadline.lock());
        deadline.changed.notify_one();
    });
}

impl Deadline {
    async fn run<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(request);
        loop {
            let armed = self.lock().armed;
            tokio::select! {
                biased;
                done = &mut request => return Some(done),
                () = self.changed.notified() => {}
                () = sleep_until(armed) => {
                    if self.pass().is_none() {
                        tracing::warn!("a request over HTTP/2 took longer than its pool's `total`");
                        return None;
                    }
                }
            }
        }
    }

    /// The socket that was shut down.
    fn pass(&self) -> Option<RawFd> {
        let armed = {
            let mut state = self.lock();
            state.passed = true;
            state.armed.take()
        };
        let socket = armed?.socket?;
        // A socket that is closed already needs no shutting down.
        let _ = shutdown(socket, Shutdown::Both);
        Some(socket)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until(armed: Option<Armed>) {
    match armed {
        Some(armed) => tokio::time::sleep_until(armed.at.into()).await,
        None => std::future::pending().await,
    }
}
