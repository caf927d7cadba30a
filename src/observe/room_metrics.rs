//! Metrics of waiting rooms, which are there when a zone has any.

use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::metrics::{counters, name, register};
use crate::clock;
use crate::server::Site;

pub(super) struct RoomMetrics {
    registry: Registry,
    users: IntGaugeVec,
    clients: IntCounterVec,
}

impl RoomMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let users = Opts::new(
            name("waiting_room_users"),
            "Clients inside a waiting room's limits, and clients that wait",
        );
        let labels = &["zone", "room", "state"];
        let help = "Clients that went in, had to wait when they came, or were sent away";
        Ok(Self {
            users: register(&registry, IntGaugeVec::new(users, labels)?)?,
            clients: counters(&registry, "waiting_room_clients_total", help, labels)?,
            registry,
        })
    }

    /// The figures as they are now.
    pub(super) fn gather(&self, sites: &[Site]) -> Vec<MetricFamily> {
        self.users.reset();
        self.clients.reset();
        let now = u64::try_from(clock::unix_seconds_of(clock::now())).unwrap_or_default();
        for site in sites {
            for room in site.rooms.iter() {
                let (figures, totals) = (room.figures(now), room.totals());
                let labels = |state| [site.zone.name.as_str(), &*room.name, state];
                for (state, count) in [("active", figures.active), ("queued", figures.queued)] {
                    let count = i64::try_from(count).unwrap_or(i64::MAX);
                    self.users.with_label_values(&labels(state)).set(count);
                }
                for (state, count) in [
                    ("admitted", totals.admitted),
                    ("queued", totals.queued),
                    ("rejected", totals.rejected),
                ] {
                    let counter = self.clients.with_label_values(&labels(state));
                    counter.inc_by(count);
                }
            }
        }
        self.registry.gather()
    }
}
