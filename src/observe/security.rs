//! What the guard found: counters, events by group, and lines for the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ipnet::IpNet;
use prometheus::{IntCounter, IntCounterVec, Registry};
use serde::Serialize;

use super::access_log::{self, Time};
use super::metrics::{counters, name, register};
use crate::guard::Finding;
use crate::guard::events::{Events, Figures, Group, Line};

/// Counters of the guard.
pub struct GuardMetrics {
    found: IntCounterVec,
    uncounted: IntCounter,
    redeemed: IntCounterVec,
}

impl GuardMetrics {
    pub(super) fn new(to: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            found: counters(
                to,
                "guard_total",
                "What the guard found, by part, rule and what was done, or would be in a dry run",
                &["zone", "module", "rule", "action"],
            )?,
            uncounted: register(
                to,
                IntCounter::new(
                    name("guard_uncounted_connections_total"),
                    "Connections of clients that there was no room to remember",
                )?,
            )?,
            redeemed: counters(
                to,
                "challenges_total",
                "Challenges that were solved, waited out or refused",
                &["zone", "outcome"],
            )?,
        })
    }

    /// Counts a connection that no limit of its client is held against.
    pub fn uncounted(&self) {
        self.uncounted.inc();
    }

    /// Counts what became of a challenge in `zone`.
    pub fn redeemed(&self, zone: &str, outcome: &str) {
        self.redeemed.with_label_values(&[zone, outcome]).inc();
    }

    /// Counts a finding in `zone`.
    pub fn found(&self, zone: &str, finding: &Finding<'_>) {
        let action = if finding.dry_run {
            "dry_run"
        } else {
            finding.action.as_str()
        };
        let labels = [zone, finding.module.as_str(), finding.rule, action];
        self.found.with_label_values(&labels).inc();
    }
}

/// Events of all zones.
#[derive(Debug, Default)]
pub struct SecurityEvents(Mutex<Events>);

impl SecurityEvents {
    /// Adds one; the line to be written about it, when there is room.
    pub fn add(&self, group: Group, request_id: &str, now: SystemTime) -> Option<Line> {
        self.events().add(group, request_id, now)
    }

    /// Lines about what no line has told of.
    pub fn sweep(&self, now: SystemTime) -> Vec<Line> {
        self.events().sweep(now)
    }

    /// All groups, those with the most events first.
    pub fn all(&self) -> Vec<(Group, Figures)> {
        self.events().all()
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A group of events, for the log and the admin listener.
#[derive(Serialize)]
#[allow(
    missing_docs,
    reason = "the names are their documentation; docs/guard.md lists them"
)]
pub struct SecurityRecord<'a> {
    pub time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    pub event: &'static str,
    pub zone: &'a str,
    pub module: &'static str,
    pub rule: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub rule_at: &'a str,
    pub action: &'static str,
    pub dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpNet>,
    pub path: &'a str,
    pub count: u64,
    pub request_id: &'a str,
}

impl access_log::Line for SecurityRecord<'_> {
    fn append(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.push(b'\n');
        Ok(())
    }
}

impl<'a> SecurityRecord<'a> {
    /// As the log has it.
    pub fn of(line: &'a Line) -> Self {
        Self {
            time: Time(line.last),
            since: None,
            count: line.count,
            request_id: &line.request_id,
            ..Self::blank(&line.group)
        }
    }

    /// As the admin listener has it.
    pub fn of_group((group, figures): &'a (Group, Figures)) -> Self {
        Self {
            time: Time(figures.last),
            since: Some(Time(figures.first)),
            count: figures.count,
            request_id: &figures.request_id,
            ..Self::blank(group)
        }
    }

    fn blank(group: &'a Group) -> Self {
        Self {
            time: Time(SystemTime::UNIX_EPOCH),
            since: None,
            event: "security",
            zone: &group.zone,
            module: group.module.as_str(),
            rule: &group.rule,
            rule_at: &group.rule_at,
            action: group.action.as_str(),
            dry_run: group.dry_run,
            client: group.client,
            path: &group.path,
            count: 0,
            request_id: "",
        }
    }
}
