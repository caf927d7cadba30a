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
        "purged"
    );
}

/// A purge was refused.
pub(crate) fn refused(client: IpAddr, zone: Option<&str>, status: u16, why: &str) {
    tracing::warn!(
        target: "audit",
        action = "purge",
        %client,
        zone,
        status,
        reason = why,
        "refused"
    );
}
