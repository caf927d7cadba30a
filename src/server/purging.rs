//! Carries purges out: checks who asks, puts them in force in the store, writes the audit log.

use std::net::IpAddr;
use std::sync::PoisonError;

use super::Shared;
use crate::admin::audit;
use crate::clock;
use crate::config::Zone;
use crate::purge::{
    Mode, PurgeOutcome, PurgeRequest, PurgeTarget, Purger, Refusal, UrlTarget, admit, scopes,
};

impl Shared {
    /// Purges one URL with all its variants, for the PURGE method.
    ///
    /// # Errors
    /// Why not.
    pub fn purge_url(
        &self,
        token: Option<&[u8]>,
        client: IpAddr,
        zone: &Zone,
        url: &UrlTarget,
        soft: bool,
    ) -> Result<PurgeOutcome, Refusal> {
        let request = PurgeRequest {
            targets: vec![PurgeTarget::Url(url.clone())],
            soft,
            dry_run: false,
        };
        let runtime = self.runtime();
        let admitted = {
            let limiter = self.purge_limiter.lock();
            let mut limiter = limiter.unwrap_or_else(PoisonError::into_inner);
            let config = runtime.config.purge.as_ref();
            admit(config, &mut limiter, token, client, clock::uptime())
        };
        if let Err(refusal) = admitted {
            self.metrics.purge_refused();
            audit::refused(
                client,
                Some(&zone.name),
                refusal.status(),
                &refusal.to_string(),
            );
            return Err(refusal);
        }
        let outcome = self.purge(Some(&zone.name), &request);
        audit::purged(client, Some(&zone.name), &request, outcome);
        Ok(outcome)
    }
}

impl Purger for Shared {
    fn purge(&self, zone: Option<&str>, request: &PurgeRequest) -> PurgeOutcome {
        // What names nothing here was refused before.
        let scopes = scopes(request, zone, &self.runtime().config.zones).unwrap_or_default();
        if request.dry_run {
            return self.store.preview(&scopes);
        }
        let outcome = self.store.purge(&scopes, mode(request.soft), clock::now());
        self.metrics.purged(outcome.objects);
        outcome
    }
}

const fn mode(soft: bool) -> Mode {
    if soft { Mode::Soft } else { Mode::Hard }
}
