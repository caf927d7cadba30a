//! Metrics of the disk tier, which are there when it is.

use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::metrics::{counters, gauge, name, register};
use crate::store::DiskStatistics;

/// All states, so that each is a series that can be 0.
const STATES: [&str; 4] = ["healthy", "waiting", "read_only", "failed"];

pub(super) struct DiskMetrics {
    registry: Registry,
    records: IntGauge,
    bytes: IntGauge,
    capacity: IntGauge,
    index_bytes: IntGauge,
    state: IntGaugeVec,
    written_bytes: IntCounter,
    loads: IntCounter,
    dropped: IntCounterVec,
    read_errors: IntCounter,
    write_errors: IntCounter,
    corrupt: IntCounter,
    recovery: Gauge,
}

impl DiskMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let to = &registry;
        let counter = |short: &str, help: &str| register(to, IntCounter::new(name(short), help)?);
        let state = Opts::new(name("store_disk_state"), "1 for the state of the disk tier");
        let found = "Seconds it took to find what was on disk at the start; 0 until that is done";
        Ok(Self {
            records: gauge(to, "store_disk_records", "Responses and slices on disk")?,
            bytes: gauge(to, "store_disk_bytes", "Bytes of the disk tier's files")?,
            capacity: gauge(to, "store_disk_capacity_bytes", "Bytes they may take")?,
            index_bytes: gauge(
                to,
                "store_disk_index_bytes",
                "Memory for the index of what is on disk",
            )?,
            state: register(to, IntGaugeVec::new(state, &["state"])?)?,
            written_bytes: counter("store_disk_written_bytes_total", "Bytes written to disk")?,
            loads: counter(
                "store_disk_loads_total",
                "Responses read from disk into memory",
            )?,
            dropped: counters(
                to,
                "store_disk_dropped_total",
                "Responses and slices that were not written to disk",
                &["reason"],
            )?,
            read_errors: counter(
                "store_disk_read_errors_total",
                "Reads from disk that failed",
            )?,
            write_errors: counter(
                "store_disk_write_errors_total",
                "Writes to disk that failed",
            )?,
            corrupt: counter(
                "store_disk_corrupt_total",
                "Records on disk that were not what had been written",
            )?,
            recovery: register(to, Gauge::new(name("store_disk_recovery_seconds"), found)?)?,
            registry,
        })
    }

    /// The figures as they are now.
    pub(super) fn gather(&self, disk: &DiskStatistics) -> Vec<MetricFamily> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.records.set(signed(disk.records));
        self.bytes.set(signed(disk.bytes));
        self.capacity.set(signed(disk.capacity));
        self.index_bytes.set(signed(disk.index_bytes));
        for state in STATES {
            let is = i64::from(state == disk.state);
            self.state.with_label_values(&[state]).set(is);
        }
        set(&self.written_bytes, disk.written_bytes);
        set(&self.loads, disk.loaded);
        for (reason, count) in &disk.dropped {
            set(&self.dropped.with_label_values(&[*reason]), *count);
        }
        set(&self.read_errors, disk.read_errors);
        set(&self.write_errors, disk.write_errors);
        set(&self.corrupt, disk.corrupt);
        let recovery = disk.recovery.unwrap_or_default();
        self.recovery.set(recovery.as_secs_f64());
        self.registry.gather()
    }
}

/// Counted elsewhere.
pub(super) fn set(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
