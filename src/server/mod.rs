//! The process: what is shared, how it is put together, how it reloads and ends.

mod assemble;
mod connections;
mod development;
mod drain;
mod encoder;
mod key_sets;
mod passwords;
mod purging;
mod reload;
mod renewals;
mod rooms;
mod runtime;
mod security;
mod sharing;
mod signals;
mod tiers;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

pub use assemble::{StartError, serve};
pub use connections::{Admitted, Connections};
pub use development::DevelopmentMode;
pub use drain::InFlightGuard;
pub use passwords::{Mark, Passwords};
pub use reload::load_config;
pub use renewals::{Renewal, Renewals};
pub use rooms::{OpenRoom, Rooms, Totals};
pub use runtime::{Runtime, Site};
pub use tiers::{Fallback, Node, SiteTiers, Tiers, UpperTier};

use crate::guard::events::Line;
use crate::observe::{AccessLog, Metrics, SecurityEvents, SecurityRecord};
use crate::purge::Limiter;
use crate::shared_state::SharedState;
use crate::store::MemoryStore;
use drain::InFlight;
use encoder::Encoder;

/// What every part of the process sees.
pub struct Shared {
    runtime: ArcSwap<Runtime>,
    /// All metrics.
    pub metrics: Metrics,
    /// The store.
    pub store: Arc<MemoryStore>,
    /// Where stored responses are compressed.
    pub encoder: Encoder,
    /// How often purges may come.
    pub purge_limiter: Mutex<Limiter>,
    /// What is shared with other nodes, where anything is.
    pub shared_state: Option<Arc<SharedState>>,
    /// What was purged and is to be fetched again.
    pub renewals: Renewals,
    /// Zones whose cache is switched off for a while.
    pub development: DevelopmentMode,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// Which passwords are right.
    pub passwords: Passwords,
    /// What the guard found.
    pub security: SecurityEvents,
    /// Requests being served.
    pub in_flight: InFlight,
    /// Connections of clients.
    pub connections: Connections,
}

impl Shared {
    /// The configuration in force. A request keeps the one it began with.
    pub fn runtime(&self) -> Arc<Runtime> {
        self.runtime.load_full()
    }

    /// Writes a line about what the guard found.
    pub fn tell(&self, line: &Line) {
        if !self.access_log.write(&SecurityRecord::of(line)) {
            self.metrics.log_dropped();
        }
    }

    /// Room for one more connection of a client, or none.
    pub fn admit(&self) -> Option<Admitted<'_>> {
        let most = self.runtime.load().config.client.max_connections;
        self.connections.admit(most, &self.metrics)
    }
}
