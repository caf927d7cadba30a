//! Metrics of the counters of rate limits.

use std::time::Duration;

use prometheus::{IntCounter, IntGauge, Registry};

use super::disk_metrics::set;
use super::metrics::{gauge, name, register};
use crate::guard::limit::Moment;
use crate::guard::limit::table::Figures;
use crate::shared_state::SharedLimitsStatistics;

/// For so long after a key got no room there are too many.
const DEGRADED: Duration = Duration::from_secs(10);

/// What there is to know about the counters.
pub struct LimitMetrics {
    keys: IntGauge,
    bytes: IntGauge,
    degraded: IntGauge,
    displaced: IntCounter,
    turned_away: IntCounter,
    connected: IntGauge,
    nodes: IntGauge,
    asked: IntCounter,
    unanswered: IntCounter,
}

impl LimitMetrics {
    pub(super) fn new(to: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |short: &str, help: &str| register(to, IntCounter::new(name(short), help)?);
        Ok(Self {
            keys: gauge(to, "rate_limit_keys", "Keys of rate limits in memory")?,
            bytes: gauge(to, "rate_limit_bytes", "Bytes that their counters take")?,
            degraded: gauge(
                to,
                "rate_limit_degraded",
                "1 while there are more keys than room, and only those seen often are counted",
            )?,
            displaced: counter(
                "rate_limit_displaced_total",
                "Keys that made room for others, more often seen",
            )?,
            turned_away: counter(
                "rate_limit_uncounted_total",
                "Requests that were not counted for want of room",
            )?,
            connected: gauge(
                to,
                "rate_limit_shared",
                "1 while nodes count together; 0 for a node on its own",
            )?,
            nodes: gauge(to, "rate_limit_nodes", "Nodes that count together")?,
            asked: counter(
                "rate_limit_strict_total",
                "Requests for which all nodes were asked",
            )?,
            unanswered: counter(
                "rate_limit_strict_unanswered_total",
                "Those of them that got no answer in time, or for which nobody was asked",
            )?,
        })
    }

    /// The figures as they are now.
    pub fn measure(&self, figures: &Figures, nodes: Option<&SharedLimitsStatistics>, now: Moment) {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.keys.set(signed(figures.keys));
        self.bytes.set(signed(figures.bytes));
        let since = Duration::from_nanos(now.saturating_sub(figures.turned_away_at));
        self.degraded.set(i64::from(since < DEGRADED));
        set(&self.displaced, figures.displaced);
        set(&self.turned_away, figures.turned_away);
        if let Some(nodes) = nodes {
            self.connected.set(i64::from(nodes.connected));
            self.nodes.set(i64::from(nodes.nodes));
            set(&self.asked, nodes.asked);
            set(&self.unanswered, nodes.unanswered);
        }
    }
}
