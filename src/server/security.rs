//! Tells of security events: those of connections as they happen, and those that no line of the log has told of.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use super::Shared;
use crate::clock;
use crate::guard::connections::Refused;
use crate::guard::events::{Group, Line, network};
use crate::guard::{Action, Finding, Module};
use crate::observe::SecurityRecord;

/// Stands for a zone where there is none.
const NO_ZONE: &str = "-";

/// How long events may go untold.
const EVERY: Duration = Duration::from_secs(5);

impl Shared {
    /// Writes a line about what the guard found.
    pub fn tell(&self, line: &Line) {
        if !self.access_log.write(&SecurityRecord::of(line)) {
            self.metrics.log_dropped();
        }
    }

    /// Tells that the connection guard refused a connection of `client`, or ended it.
    pub fn refused_connection(&self, client: IpAddr, why: Refused) {
        let finding = Finding {
            module: Module::Connections,
            rule: why.as_str(),
            source: None,
            action: Action::Block,
            dry_run: false,
        };
        self.metrics.guard.found(NO_ZONE, &finding);
        let group = Group {
            zone: NO_ZONE.into(),
            module: finding.module,
            rule: finding.rule.into(),
            rule_at: "".into(),
            action: finding.action,
            dry_run: false,
            client: network(client),
            path: "".into(),
        };
        let line = self.security.add(group, "", clock::now());
        let told = self.runtime.load().config.log.security_events;
        if let Some(line) = line.filter(|_| told) {
            self.tell(&line);
        }
    }
}

/// Sweeps the events until the process ends.
pub(super) struct Telling {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for Telling {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = shutdown.changed() => break,
            }
            self.tell();
        }
        while self.tell() {}
    }
}

impl Telling {
    /// Whether there may be more to tell.
    fn tell(&self) -> bool {
        let lines = self.shared.security.sweep(clock::now());
        if self.shared.runtime().config.log.security_events {
            for line in &lines {
                self.shared.tell(line);
            }
        }
        !lines.is_empty()
    }
}
