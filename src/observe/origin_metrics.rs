//! Metrics of requests as the origins see them.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::metrics::{counters, histograms, name, register};
use crate::origin::OriginPool;

/// Requests as the origin sees them.
pub(super) struct Origin {
    pub(super) requests: IntCounterVec,
    pub(super) failures: IntCounterVec,
    pub(super) retries: IntCounterVec,
    pub(super) seconds: HistogramVec,
    pub(super) replicas: IntGaugeVec,
    pub(super) shed: IntCounterVec,
    pub(super) load: IntGaugeVec,
}

impl Origin {
    pub(super) fn new(to: &Registry) -> Result<Self, prometheus::Error> {
        let head = "Time from the request sent to the origin to its response head";
        let replicas = Opts::new(name("origin_replicas"), "Replicas by health");
        let load = Opts::new(
            name("origin_load"),
            "Requests that may be outstanding, are, and wait; whether the breaker is open",
        );
        Ok(Self {
            requests: counters(
                to,
                "origin_requests_total",
                "Requests sent to the origin",
                &["pool"],
            )?,
            failures: counters(
                to,
                "origin_failures_total",
                "Requests to the origin that failed",
                &["pool", "kind"],
            )?,
            retries: counters(
                to,
                "origin_retries_total",
                "Requests tried on another replica",
                &["pool"],
            )?,
            seconds: histograms(to, "origin_response_seconds", head, &["pool"])?,
            replicas: register(to, IntGaugeVec::new(replicas, &["pool", "state"])?)?,
            shed: counters(
                to,
                "shed_requests_total",
                "Requests that were not sent to the origin, so as not to give it more to do",
                &["pool", "reason", "priority"],
            )?,
            load: register(to, IntGaugeVec::new(load, &["pool", "of"])?)?,
        })
    }

    /// What a pool has to do now.
    pub(super) fn show_load(&self, pool: &OriginPool) {
        let load = pool.load();
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        for (of, figure) in [
            ("limit", count(load.limit)),
            ("outstanding", count(load.outstanding)),
            ("waiting", count(load.waiting)),
            ("breaker_open", i64::from(load.breaker_open)),
        ] {
            let labels = [pool.config.name.as_str(), of];
            self.load.with_label_values(&labels).set(figure);
        }
    }
}
