//! Tells of security events that no line of the log has told of.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use super::Shared;
use crate::clock;

/// How long events may go untold.
const EVERY: Duration = Duration::from_secs(5);

/// Sweeps the events until the process ends.
pub(super) struct Telling {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for Telling {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = shutdown.changed() => break,
            }
            self.tell();
        }
        self.tell();
    }
}

impl Telling {
    fn tell(&self) {
        let lines = self.shared.security.sweep(clock::now());
        if self.shared.runtime().config.log.security_events {
            for line in &lines {
                self.shared.tell(line);
            }
        }
    }
}
