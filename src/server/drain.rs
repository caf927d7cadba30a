//! Ending without cutting anyone off: counts requests in flight and ends the process once they are
//! done, at the latest when the drain time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use super::Shared;
use crate::clock;
use crate::edge::LINGER;

/// How long the end of the process waits for the last lines of the access log to be read.
pub(super) const LAST_LINES: Duration = Duration::from_secs(5);

/// Requests being served.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    count: Arc<AtomicU64>,
}

/// One request being served, until dropped.
#[derive(Debug)]
pub struct InFlightGuard {
    count: Arc<AtomicU64>,
}

impl InFlight {
    /// Counts a request.
    pub fn enter(&self) -> InFlightGuard {
        self.count.fetch_add(1, Ordering::AcqRel);
        InFlightGuard {
            count: self.count.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Ends the process after a shutdown signal.
pub(super) struct Drain {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        while !*shutdown.borrow_and_update() {
            if shutdown.changed().await.is_err() {
                return;
            }
        }
        let started = clock::instant();
        let limit = self.shared.runtime().config.server.drain_timeout;
        while self.is_busy(started.elapsed()) && started.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let cut_off = self.shared.in_flight.count.load(Ordering::Acquire);
        tracing::info!(
            cut_off,
            after_ms = started.elapsed().as_millis(),
            "drained, ending"
        );
        if let Some(state) = &self.shared.shared_state {
            state.close().await;
        }
        self.shared.store.close_reserve().await;
        self.shared.store.close_disk();
        self.shared.access_log.flush(LAST_LINES);
        std::process::exit(0);
    }
}

impl Drain {
    /// Requests are being answered, or connections may still send the one they were kept for.
    fn is_busy(&self, elapsed: Duration) -> bool {
        let lingering = elapsed < LINGER && self.shared.metrics.open_connections() > 0;
        lingering || !self.shared.in_flight.is_empty()
    }
}
