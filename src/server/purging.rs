//! Carries purges out: checks who asks, puts them in force in the store, writes the audit log.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::SystemTime;

use super::Shared;
use super::renewals::Renewal;
use crate::admin::audit;
use crate::clock;
use crate::config::Zone;
use crate::purge::{
    Announcement, Mode, PurgeOutcome, PurgeRequest, PurgeTarget, Purger, Refusal, Scope, UrlTarget,
    admit, scopes,
};

impl Shared {
    /// Whether `client`, who shows `token`, may change what runs: by the rules for purges.
    ///
    /// # Errors
    /// Why not.
    pub fn admit_operator(&self, token: Option<&[u8]>, client: IpAddr) -> Result<(), Refusal> {
        let runtime = self.runtime();
        let limiter = self.purge_limiter.lock();
        let mut limiter = limiter.unwrap_or_else(PoisonError::into_inner);
        let config = runtime.config.purge.as_ref();
        admit(config, &mut limiter, token, client, clock::uptime())
    }

    /// Purges one URL with all its variants, for the PURGE method. It may wait for a disk.
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
            refetch: 0,
        };
        let admitted = self.admit_operator(token, client);
        if let Err(refusal) = admitted {
            self.metrics.purge_refused();
            tell_refused(client, zone, refusal);
            return Err(refusal);
        }
        let outcome = self.purge(Some(&zone.name), &request);
        match outcome {
            Ok(outcome) => audit::purged(client, Some(&zone.name), &request, outcome),
            Err(refusal) => {
                self.metrics.purge_refused();
                tell_refused(client, zone, refusal);
            }
        }
        outcome
    }
}

fn tell_refused(client: IpAddr, zone: &Zone, refusal: Refusal) {
    let why = refusal.to_string();
    audit::refused(client, Some(&zone.name), refusal.status(), &why);
}

impl Shared {
    /// Removes what single keys name, here and, a moment later, on other nodes.
    pub fn invalidate(&self, scopes: &[Scope], now: SystemTime) {
        self.store.invalidate(scopes, now);
        if let Some(state) = &self.shared_state {
            state.tell_invalidation(scopes, now);
        }
    }
}

impl Purger for Shared {
    fn purge(&self, zone: Option<&str>, request: &PurgeRequest) -> Result<PurgeOutcome, Refusal> {
        // What names nothing here was refused before.
        let scopes = scopes(request, zone, &self.runtime().config.zones).unwrap_or_default();
        if request.dry_run {
            return Ok(self.store.preview(&scopes));
        }
        let hottest = match request.refetch {
            0 => Vec::new(),
            most => self.store.hottest(&scopes, most),
        };
        let (mode, at) = (mode(request.soft), clock::now());
        let purged = self.store.purge(&scopes, mode, at);
        // What is in force here is told to others, whether it can be written down here or not.
        let told = self.shared_state.as_ref().map(|state| {
            let position = state.tell(Announcement {
                at,
                mode,
                scopes: scopes.clone(),
            });
            if position.is_some() && self.runtime().tiers.is_some() {
                // What was fetched from an upper tier meanwhile may be what that had before.
                let _ = self.store.purge(&scopes, mode, at);
            }
            position
        });
        let renewals = hottest.into_iter();
        let renewals = renewals.map(|(key, selection)| Renewal { key, selection });
        let refetched = self.renewals.add(renewals.collect());
        let outcome = PurgeOutcome {
            refetched,
            told,
            ..purged.map_err(|_| Refusal::Unwritten)?
        };
        self.metrics.purged(outcome.objects);
        Ok(outcome)
    }
}

const fn mode(soft: bool) -> Mode {
    if soft { Mode::Soft } else { Mode::Hard }
}
