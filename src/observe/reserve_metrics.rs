//! Metrics of the reserve, which are there when it is.

use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::disk_metrics::set;
use super::metrics::{counters, gauge, name, register};
use crate::store::ReserveStatistics;

pub(super) struct ReserveMetrics {
    registry: Registry,
    uris: IntGauge,
    ready: IntGauge,
    healthy: IntGauge,
    waiting: IntGauge,
    lookups: IntCounterVec,
    slices: IntCounter,
    written: IntCounter,
    written_bytes: IntCounter,
    dropped: IntCounterVec,
    removed: IntCounter,
    failures: IntCounter,
}

impl ReserveMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let to = &registry;
        let counter = |short: &str, help: &str| register(to, IntCounter::new(name(short), help)?);
        Ok(Self {
            uris: gauge(to, "store_reserve_uris", "URIs known to be in the reserve")?,
            ready: gauge(
                to,
                "store_reserve_ready",
                "1 once what earlier processes kept in the reserve may be used, and is known",
            )?,
            healthy: gauge(
                to,
                "store_reserve_healthy",
                "1 while the reserve answers, 0 while it is left alone",
            )?,
            waiting: gauge(
                to,
                "store_reserve_waiting",
                "What waits to be written to the reserve or removed from it",
            )?,
            lookups: counters(
                to,
                "store_reserve_lookups_total",
                "Looks into the reserve, by how they ended",
                &["result"],
            )?,
            slices: counter(
                "store_reserve_slices_total",
                "Slices of large bodies read from the reserve",
            )?,
            written: counter(
                "store_reserve_written_total",
                "Responses written to the reserve",
            )?,
            written_bytes: counter(
                "store_reserve_written_bytes_total",
                "Bytes written to the reserve",
            )?,
            dropped: counters(
                to,
                "store_reserve_dropped_total",
                "Responses that were not written to the reserve",
                &["reason"],
            )?,
            removed: counter(
                "store_reserve_removed_total",
                "Objects removed from the reserve",
            )?,
            failures: counter(
                "store_reserve_failures_total",
                "Requests to the reserve that failed",
            )?,
            registry,
        })
    }

    /// The figures as they are now.
    pub(super) fn gather(&self, reserve: &ReserveStatistics) -> Vec<MetricFamily> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.uris.set(signed(reserve.uris));
        self.ready.set(i64::from(reserve.ready));
        self.healthy.set(i64::from(reserve.healthy));
        self.waiting.set(signed(reserve.waiting));
        for (counters, counts) in [
            (&self.lookups, &reserve.lookups),
            (&self.dropped, &reserve.dropped),
        ] {
            for (word, count) in counts {
                set(&counters.with_label_values(&[*word]), *count);
            }
        }
        set(&self.slices, reserve.slices);
        set(&self.written, reserve.written);
        set(&self.written_bytes, reserve.written_bytes);
        set(&self.removed, reserve.removed);
        set(&self.failures, reserve.failures);
        self.registry.gather()
    }
}
