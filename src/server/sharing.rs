//! What nodes tell each other, as long as the process serves.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use super::Shared;

/// Counts requests together with other nodes.
pub(super) struct Counting {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for Counting {
    async fn start(&self, _: ShutdownWatch) {
        if let Some(limits) = &self.shared.shared_limits {
            let wanted = || {
                let runtime = self.shared.runtime();
                let mut zones = runtime.config.zones.iter();
                zones.any(|zone| !zone.rules.rate_limits.is_empty())
            };
            match limits.run(&wanted).await {}
        }
    }
}

/// Keeps this node and others together.
pub(super) struct Sharing {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for Sharing {
    async fn start(&self, _: ShutdownWatch) {
        // While requests are drained, purges still come and go; the process ends it.
        if let Some(state) = &self.shared.shared_state {
            match state.run(&self.shared.store).await {}
        }
    }
}
