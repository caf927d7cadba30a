//! What compressing stored responses comes to.

use prometheus::{IntCounterVec, Registry};

use super::metrics::counters;

/// Counters of compression; clones count together.
#[derive(Clone)]
pub struct CompressionMetrics {
    jobs: IntCounterVec,
    bytes: IntCounterVec,
}

impl CompressionMetrics {
    pub(super) fn new(to: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            jobs: counters(
                to,
                "compressions_total",
                "Compressions of stored responses, by what became of them",
                &["coding", "result"],
            )?,
            bytes: counters(
                to,
                "compression_bytes_total",
                "Bytes before and after compressions that were kept",
                &["coding", "direction"],
            )?,
        })
    }

    /// Counts a compression; `result` is one of a closed set.
    pub fn ended(&self, coding: &'static str, result: &'static str) {
        self.jobs.with_label_values(&[coding, result]).inc();
    }

    /// Counts the bytes of a compression that was kept.
    pub fn saved(&self, coding: &'static str, before: u64, after: u64) {
        for (direction, bytes) in [("in", before), ("out", after)] {
            let counter = self.bytes.with_label_values(&[coding, direction]);
            counter.inc_by(bytes);
        }
    }
}
