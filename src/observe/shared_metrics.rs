//! Metrics of what nodes share, which are there when they do.

use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntGauge, Registry};

use super::disk_metrics::set;
use super::metrics::{gauge, name, register};
use crate::shared_state::SharedStatistics;

pub(super) struct SharedMetrics {
    registry: Registry,
    connected: IntGauge,
    lag: Gauge,
    applied: IntCounter,
    sent: IntCounter,
    unreadable: IntCounter,
    gaps: IntCounter,
    waiting: IntGauge,
}

impl SharedMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let to = &registry;
        let counter = |short: &str, help: &str| register(to, IntCounter::new(name(short), help)?);
        let lag = Gauge::new(
            name("shared_lag_seconds"),
            "From a purge elsewhere until it was in force here, the last time",
        )?;
        Ok(Self {
            connected: gauge(to, "shared_connected", "1 while purges come and go")?,
            lag: register(to, lag)?,
            applied: counter(
                "shared_purges_applied_total",
                "Purges of other nodes put in force",
            )?,
            sent: counter("shared_purges_sent_total", "Purges told to other nodes")?,
            unreadable: counter(
                "shared_unreadable_total",
                "Entries that could not be read, each a purge of everything",
            )?,
            gaps: counter(
                "shared_gaps_total",
                "How often purges may have been missed, so that everything was purged",
            )?,
            waiting: gauge(to, "shared_purges_waiting", "Purges that wait to be told")?,
            registry,
        })
    }

    /// The figures as they are now.
    pub(super) fn gather(&self, shared: &SharedStatistics) -> Vec<MetricFamily> {
        self.connected.set(i64::from(shared.connected));
        self.lag.set(shared.lag.as_secs_f64());
        self.waiting
            .set(i64::try_from(shared.queued).unwrap_or(i64::MAX));
        set(&self.applied, shared.applied);
        set(&self.sent, shared.sent);
        set(&self.unreadable, shared.unreadable);
        set(&self.gaps, shared.gaps);
        self.registry.gather()
    }
}
