//! Carries purges out: checks who asks, puts them in force in the store, writes the audit log.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use super::Shared;
use crate::clock;
use crate::config::Zone;
use crate::purge::{
    Mode, PurgeOutcome, PurgeRequest, Purger, Refusal, Scope, Target, UrlTarget, authorise, scopes,
    url_keys,
};

/// Why a purge is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeRefusal {
    /// The status that says so.
    pub status: u16,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// For the client.
    pub message: String,
}

impl Shared {
    /// Checks that `client`, which sent `token`, may purge now; `what` goes into the audit log when
    /// not.
    ///
    /// # Errors
    /// Why not.
    pub fn may_purge(
        &self,
        token: Option<&[u8]>,
        client: IpAddr,
        what: &str,
    ) -> Result<(), PurgeRefusal> {
        let runtime = self.runtime();
        let refused = |status, retry_after, message: String| {
            tracing::warn!(target: "audit", %client, what, reason = message, "purge refused");
            self.metrics.purge_refused();
            Err(PurgeRefusal {
                status,
                retry_after,
                message,
            })
        };
        let Some(config) = &runtime.config.purge else {
            return refused(Refusal::Off.status(), None, Refusal::Off.to_string());
        };
        if let Err(refusal) = authorise(config, token, client) {
            return refused(refusal.status(), None, refusal.to_string());
        }
        let mut limiter = self.purge_limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = limiter.take(config.rate, clock::uptime());
        match taken {
            Ok(()) => Ok(()),
            Err(wait) => refused(429, Some(wait), "too many purges".to_owned()),
        }
    }

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
    ) -> Result<PurgeOutcome, PurgeRefusal> {
        let what = format!("{}{}", url.authority.as_str(), url.path);
        self.may_purge(token, client, &what)?;
        let scopes: Vec<Scope> = url_keys(url, zone)
            .into_iter()
            .map(|key| Scope {
                zone: None,
                target: Target::Key(key),
            })
            .collect();
        let outcome = self.store.purge(&scopes, mode(soft), clock::now());
        self.metrics.purged(outcome.objects);
        tracing::info!(
            target: "audit", %client, what, soft, objects = outcome.objects, bytes = outcome.bytes,
            "purged"
        );
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
