//! The process: what is shared, how it is put together, how it reloads and ends.

mod assemble;
mod bots;
mod connections;
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
mod switch;
mod tiers;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

pub use assemble::{StartError, serve};
pub use bots::Bots;
pub use connections::{Admitted, Connections, Counted};
pub use drain::InFlightGuard;
pub use passwords::{Mark, Passwords};
pub use reload::load_config;
pub use renewals::{Renewal, Renewals};
pub use rooms::{OpenRoom, Rooms, Totals};
pub use runtime::{Runtime, Site};
pub use switch::ZoneSwitch;
pub use tiers::{Fallback, Node, SiteTiers, Tiers, UpperTier};

use crate::guard::RateLimiter;
use crate::guard::challenge::Spent;
use crate::guard::connections::Clients;
use crate::observe::{AccessLog, Metrics, SecurityEvents};
use crate::purge::Limiter;
use crate::shared_state::{SharedLimits, SharedState};
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
    pub development: ZoneSwitch,
    /// Zones in which everybody is challenged for a while.
    pub under_attack: ZoneSwitch,
    /// Challenges that were passed.
    pub spent: Spent,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// Which passwords are right.
    pub passwords: Passwords,
    /// What the guard found.
    pub security: SecurityEvents,
    /// Counters of rate limits.
    pub limits: Arc<RateLimiter>,
    /// What keeps them together with those of other nodes, where there are any.
    pub shared_limits: Option<Arc<SharedLimits>>,
    /// Requests being served.
    pub in_flight: InFlight,
    /// Connections of clients.
    pub connections: Connections,
    /// What each client does with its own.
    pub clients: Clients,
}

impl Shared {
    /// The configuration in force. A request keeps the one it began with.
    pub fn runtime(&self) -> Arc<Runtime> {
        self.runtime.load_full()
    }
}
