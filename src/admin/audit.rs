//! The audit log: who purged what, and who tried to. Lines of the process log with the target `audit`.

use std::net::IpAddr;

use crate::purge::{PurgeOutcome, PurgeRequest};

/// A purge was carried out, or counted.
pub(crate) fn purged(
    client: IpAddr,
    zone: Option<&str>,
    request: &PurgeRequest,
    outcome: PurgeOutcome,
) {
    let targets: Vec<String> = request.targets.iter().map(ToString::to_string).collect();
    tracing::info!(
        target: "audit",
        action = "purge",
        %client,
        zone,
        targets = targets.join(" "),
        soft = request.soft,
        dry_run = request.dry_run,
        objects = outcome.objects,
        bytes = outcome.bytes,
        refetched = outcome.refetched,
        broadcast = outcome.told.map(|told| told.is_some()),
        "purged"
    );
}

/// What a zone does was switched on for so many seconds, or off.
pub(crate) fn switched(client: IpAddr, zone: &str, action: &str, seconds: u64) {
    tracing::info!(
        target: "audit",
        action,
        %client,
        zone,
        seconds,
        "switched"
    );
}

/// A replica was drained, put back or weighed.
pub(crate) fn replica(client: IpAddr, pool: &str, replica: &str, drain: Option<bool>, weight: u16) {
    tracing::info!(
        target: "audit",
        action = "replica",
        %client,
        pool,
        replica,
        drain,
        weight,
        "changed"
    );
}

/// A purge, or another change, was refused.
pub(crate) fn refused(client: IpAddr, zone: Option<&str>, status: u16, why: &str) {
    tracing::warn!(
        target: "audit",
        %client,
        zone,
        status,
        reason = why,
        "refused"
    );
}
