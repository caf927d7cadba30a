//! Deadlines of a request that Pingora has no timer for: the origin's first byte, the whole, and a body over HTTP/2.
//!
//! Pingora times single reads. When a deadline passes, the socket to the origin is shut down:
//! Pingora's read then fails in the ordinary way, and its error handling takes over. The timer and
//! the request are one task, so the socket cannot have become another request's in between. On a
//! connection that other requests share, the request ends with what comes next, or with the pause that Pingora
//! has a timer for; that failing, it is given up.

use std::future::Future;
use std::ops::ControlFlow;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// Until when more of the client's body must have come.
    body: Option<Instant>,
    body_is_late: bool,
}

/// What is done when a deadline passes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watched {
    /// The socket is this request's, and is shut down.
    Socket(RawFd),
    /// It is shared. Nothing happens by itself for as long as a pause may be, and a little longer.
    Shared(Duration),
    /// That is over as well.
    Overdue,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    watched: Watched,
    at: Instant,
}

/// Runs `request` under the deadlines it arms. `None` when it was given up.
pub(super) async fn watch<T>(request: impl Future<Output = T>) -> Option<T> {
    let deadline = Arc::new(Deadline::default());
    CURRENT.scope(deadline.clone(), deadline.run(request)).await
}

/// From now on the request has until `at`.
pub(super) fn arm(watched: Watched, at: Instant) {
    change(|state| state.armed = Some(Armed { watched, at }));
}

/// The deadline that has passed was that of an attempt, and there is another one.
pub(super) fn forget() {
    change(|state| state.passed = false);
}

/// Moves the deadline armed before.
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
            && matches!(armed.watched, Watched::Socket(_))
        {
            armed.at = at;
        }
    });
}

/// More of the client's body must have come by then; `None` when all of it has.
pub(super) fn await_body(until: Option<Instant>) {
    change(|state| state.body = until);
}

/// Whether the client's body did not come in time.
pub(super) fn body_is_late() -> bool {
    CURRENT
        .try_with(|deadline| deadline.lock().body_is_late)
        .unwrap_or(false)
}

/// The socket is no longer this request's to watch.
pub(super) fn disarm() {
    change(|state| (state.armed, state.body) = (None, None));
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
            let (armed, body) = {
                let state = self.lock();
                (state.armed, state.body)
            };
            tokio::select! {
                biased;
                done = &mut request => return Some(done),
                () = self.changed.notified() => {}
                () = sleep_until(body) => {
                    if self.miss_body().is_break() {
                        tracing::debug!("a body over HTTP/2 stopped, and the request did not end");
                        return None;
                    }
                }
                () = sleep_until(armed.map(|armed| armed.at)) => {
                    if self.pass().is_break() {
                        tracing::warn!("a request over HTTP/2 took longer than its pool's `total`, and did not end");
                        return None;
                    }
                }
            }
        }
    }

    /// The client's body has stopped. Only the origin's side of the request can be ended from here; whether the
    /// request is to be given up, as that is shared.
    fn miss_body(&self) -> ControlFlow<()> {
        let mut state = self.lock();
        (state.body, state.body_is_late) = (None, true);
        match state.armed.take() {
            Some(Armed {
                watched: Watched::Socket(socket),
                ..
            }) => {
                let _ = shutdown(socket, Shutdown::Both);
                ControlFlow::Continue(())
            }
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    /// A deadline passes; whether the request is to be given up.
    fn pass(&self) -> ControlFlow<()> {
        let mut state = self.lock();
        state.passed = true;
        match state.armed.take() {
            Some(Armed {
                watched: Watched::Socket(socket),
                ..
            }) => {
                // A socket that is closed already needs no shutting down.
                let _ = shutdown(socket, Shutdown::Both);
            }
            Some(Armed {
                watched: Watched::Shared(pause),
                at,
            }) => {
                let (watched, at) = (Watched::Overdue, at + pause);
                state.armed = Some(Armed { watched, at });
            }
            Some(_) => return ControlFlow::Break(()),
            None => {}
        }
        ControlFlow::Continue(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
