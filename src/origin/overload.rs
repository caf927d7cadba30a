//! What keeps a pool from having too much to do: its places, its breaker, and the limit that is learnt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::{self, Refusal};
use super::breaker::{Change, Leave};
use super::pool::{OriginPool, lock};
use super::replica::Replica;
use crate::clock;
use crate::rules::phase::Priority;

/// Leave to have one request outstanding; given back when dropped.
pub struct Permit {
    pool: Arc<OriginPool>,
    /// Whether it is one of those that find out how the pool is.
    probe: bool,
    told: bool,
    _place: admission::Permit,
}

/// A request is not sent to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shed {
    /// Too many wait for their turn.
    QueueFull,
    /// It waited for its turn for too long.
    QueueTimeout,
    /// The pool is left alone after failures.
    BreakerOpen,
}

impl Shed {
    /// The reason as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::BreakerOpen => "breaker-open",
        }
    }
}

/// What a pool has to do, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests that may be outstanding.
    pub limit: usize,
    /// Those that are.
    pub outstanding: usize,
    /// Those that wait for their turn.
    pub waiting: usize,
    /// Whether the pool is left alone.
    pub breaker_open: bool,
}

impl OriginPool {
    /// Leave to have a request outstanding at the pool, when it is its turn. The request began at `started`, and
    /// waits no longer than it may take as a whole.
    ///
    /// # Errors
    /// Why it is not to be sent.
    pub async fn permit(
        self: &Arc<Self>,
        priority: Priority,
        started: Instant,
    ) -> Result<Permit, Shed> {
        let now = clock::uptime();
        if self.config.breaker.is_some() && lock(&self.breaker).refuses(now).is_some() {
            return Err(Shed::BreakerOpen);
        }
        let timeouts = &self.config.timeouts;
        let left = (started + timeouts.total).saturating_duration_since(clock::instant());
        let place = self.admission.permit(priority, timeouts.queue.min(left));
        let place = place.await;
        let place = place.map_err(|refusal| match refusal {
            Refusal::QueueFull => Shed::QueueFull,
            Refusal::QueueTimeout => Shed::QueueTimeout,
        })?;
        let leave = self.config.breaker.map_or(Leave::Granted, |settings| {
            lock(&self.breaker).leave(&settings, clock::uptime())
        });
        let probe = match leave {
            Leave::Granted => false,
            Leave::Probe => true,
            Leave::Refused(_) => return Err(Shed::BreakerOpen),
        };
        Ok(Permit {
            pool: Arc::clone(self),
            probe,
            told: false,
            _place: place,
        })
    }

    /// Whether one more request would have to wait, or would be refused.
    pub fn is_limited(&self) -> bool {
        let open =
            self.config.breaker.is_some() && lock(&self.breaker).refuses(clock::uptime()).is_some();
        open || self.admission.is_overloaded()
    }

    /// After which time a request is likely to get its turn; `None` when nothing stands in its way.
    pub fn retry_after(&self) -> Option<Duration> {
        let left_alone = lock(&self.breaker).refuses(clock::uptime());
        left_alone.max(self.admission.drained_after())
    }

    /// What it has to do.
    pub fn load(&self) -> Load {
        let (limit, outstanding, waiting) = self.admission.load();
        Load {
            limit,
            outstanding,
            waiting,
            breaker_open: lock(&self.breaker).is_open(),
        }
    }

    /// Takes into account how long a request took to be answered, or that it was not.
    pub fn record_latency(&self, sent: Instant, success: bool) {
        let (Some(adaptive), Some(settings)) = (&self.adaptive, &self.config.adaptive_concurrency)
        else {
            return;
        };
        let now = clock::uptime();
        let took = clock::instant().saturating_duration_since(sent);
        let (_, outstanding, _) = self.admission.load();
        let times = (now.saturating_sub(took), now);
        lock(adaptive).record(settings, times, success, outstanding);
        self.update_limit();
    }

    /// Whether a safe request without an answer in time, sent to `replica` at `sent` or later, is to be sent to
    /// another one (RFC 9110 §9.2.2). A slow page would be slow there as well: only when the replica has answered
    /// nobody since, as if it hangs, others are there, and the pool has no more to do than it can.
    pub fn may_replace(&self, replica: &Replica, sent: Instant, tried: &[SocketAddr]) -> bool {
        let now = clock::uptime();
        let ago = clock::instant().saturating_duration_since(sent);
        let replicas = self.replicas.load();
        let mut others = replicas
            .iter()
            .filter(|other| !tried.contains(&other.address));
        self.config.retries.on_timeout
            && !replica.has_answered_since(now.saturating_sub(ago))
            && others.any(|other| other.state(now) == "healthy")
            && !self.is_limited()
    }

    /// As many places as the pool has, the replicas in service have together, and were learnt.
    pub(super) fn update_limit(&self) {
        let replicas = self.replicas.load();
        let now = clock::uptime();
        let places = |in_service: bool| -> usize {
            let counted = replicas
                .iter()
                .filter(|replica| !in_service || replica.state(now) == "healthy");
            let caps = counted.map(|replica| replica.cap());
            caps.fold(0, usize::saturating_add)
        };
        let together = match (places(true), places(false)) {
            (0, 0) => usize::MAX,
            (0, all) => all,
            (in_service, _) => in_service,
        };
        let learnt = match (&self.adaptive, &self.config.adaptive_concurrency) {
            (Some(adaptive), Some(settings)) => lock(adaptive).limit(settings),
            _ => usize::MAX,
        };
        self.admission
            .set_limit(self.config.max_requests.min(together).min(learnt).max(1));
    }
}

impl Permit {
    /// Takes the outcome of the request into account: whether the pool answered, in its last attempt.
    pub fn tell(&mut self, success: bool) {
        let Some(settings) = &self.pool.config.breaker else {
            return;
        };
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let change = lock(&self.pool.breaker).record(settings, success, clock::uptime());
        let pool = self.pool.config.name.as_str();
        match change {
            Some(Change::Opened(pause)) => {
                let pause = pause.as_secs_f64();
                tracing::warn!(
                    pool,
                    pause,
                    "circuit breaker opened: too many requests failed"
                );
            }
            Some(Change::Closed) => tracing::info!(pool, "circuit breaker closed"),
            None => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.told {
            lock(&self.pool.breaker).withdraw();
        }
    }
}
