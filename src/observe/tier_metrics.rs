//! What tiers ask of each other.

use prometheus::{IntCounter, IntCounterVec, Registry};

use super::metrics::{counters, name, register};

/// Counters of tiers.
pub struct TierMetrics {
    asked: IntCounterVec,
    hedges: IntCounterVec,
    fallbacks: IntCounterVec,
    received: IntCounterVec,
    loops: IntCounter,
}

impl TierMetrics {
    pub(super) fn new(to: &Registry) -> Result<Self, prometheus::Error> {
        let loops = IntCounter::new(
            name("tier_loops_total"),
            "Requests refused because they came by this node before",
        )?;
        Ok(Self {
            asked: counters(
                to,
                "tier_requests_total",
                "Requests to nodes of upper tiers, by how they ended",
                &["tier", "result"],
            )?,
            hedges: counters(
                to,
                "tier_hedges_total",
                "Requests to another node because one takes long",
                &["tier"],
            )?,
            fallbacks: counters(
                to,
                "tier_fallbacks_total",
                "Requests to the origin because no upper tier answered",
                &["zone"],
            )?,
            received: counters(
                to,
                "tier_received_total",
                "Requests that say that they are a lower tier's",
                &["result"],
            )?,
            loops: register(to, loops)?,
        })
    }

    /// Counts a request to a node of `tier`; `result` is one of a closed set.
    pub fn asked(&self, tier: &str, result: &'static str) {
        self.asked.with_label_values(&[tier, result]).inc();
    }

    /// Counts a request that is made beside another, which takes long at `tier`.
    pub fn hedged(&self, tier: &str) {
        self.hedges.with_label_values(&[tier]).inc();
    }

    /// Counts a request to the origin of `zone` because no tier answered.
    pub fn fell_back(&self, zone: &str) {
        self.fallbacks.with_label_values(&[zone]).inc();
    }

    /// Counts a request that says that it is a lower tier's; `result` is one of a closed set.
    pub fn received(&self, result: &'static str) {
        self.received.with_label_values(&[result]).inc();
    }

    /// Counts a request that came by before.
    pub fn looped(&self) {
        self.loops.inc();
    }
}
