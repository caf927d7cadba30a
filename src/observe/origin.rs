//! Metrics of the origin pools.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::metrics::{counters, histograms, name, register};
use crate::clock;
use crate::origin::{OriginPool, STATES};

/// Requests as the origin sees them.
pub(super) struct Origin {
    pub(super) requests: IntCounterVec,
    pub(super) failures: IntCounterVec,
    pub(super) retries: IntCounterVec,
    pub(super) seconds: HistogramVec,
    pub(super) replicas: IntGaugeVec,
    pub(super) outstanding: IntGaugeVec,
    pub(super) panic: IntGaugeVec,
    pub(super) ejections: IntCounterVec,
    pub(super) shed: IntCounterVec,
    pub(super) load: IntGaugeVec,
}

impl Origin {
    pub(super) fn new(to: &Registry) -> Result<Self, prometheus::Error> {
        let head = "Time from the request sent to the origin to its response head";
        let replicas = Opts::new(name("origin_replicas"), "Replicas by state");
        let outstanding = "Requests that replicas have not answered yet";
        let outstanding = Opts::new(name("origin_outstanding"), outstanding);
        let panic = "Whether all replicas are used because too few are healthy";
        let panic = Opts::new(name("origin_panic"), panic);
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
            outstanding: register(to, IntGaugeVec::new(outstanding, &["pool"])?)?,
            panic: register(to, IntGaugeVec::new(panic, &["pool"])?)?,
            ejections: counters(
                to,
                "origin_ejections_total",
                "Replicas taken out of service for their answers",
                &["pool"],
            )?,
            shed: counters(
                to,
                "shed_requests_total",
                "Requests that were not sent to the origin, so as not to give it more to do",
                &["pool", "reason", "priority"],
            )?,
            load: register(to, IntGaugeVec::new(load, &["pool", "of"])?)?,
        })
    }

    /// Pools that are gone leave no series.
    pub(super) fn forget(&self) {
        self.replicas.reset();
        self.outstanding.reset();
        self.panic.reset();
        self.ejections.reset();
        self.load.reset();
    }

    pub(super) fn measure(&self, pool: &OriginPool) {
        let now = clock::uptime();
        let name = pool.config.name.as_str();
        for state in STATES {
            self.replicas.with_label_values(&[name, state]);
        }
        for replica in pool.replicas().iter() {
            let state = replica.state(now);
            self.replicas.with_label_values(&[name, state]).inc();
            let outstanding = i64::from(replica.outstanding());
            self.outstanding.with_label_values(&[name]).add(outstanding);
        }
        let panic = self.panic.with_label_values(&[name]);
        panic.set(i64::from(pool.is_panicking()));
        let ejections = self.ejections.with_label_values(&[name]);
        ejections.inc_by(pool.ejections());
        self.show_load(pool);
    }

    /// What a pool has to do now.
    fn show_load(&self, pool: &OriginPool) {
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
