//! Fetches again what was purged, at the pace that the configuration gives: as if a visitor asked for it,
//! one after the other, the hottest first.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Request, Version};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use super::arrival::{self, Downstream};
use super::cached;
use super::exchange::Exchange;
use super::gateway::Gateway;
use super::lookup::Lookup;
use crate::cache::eligibility::RequestDecision;
use crate::cache::key::CacheKey;
use crate::clock;
use crate::fields::vary::requested;
use crate::server::Renewal;

/// Where a visitor of no place comes from.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Takes up what purges leave to be fetched again.
pub struct Renewer {
    pub(super) gateway: Gateway,
}

#[async_trait]
impl BackgroundService for Renewer {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let shared = &self.gateway.shared;
        loop {
            let renewal = tokio::select! {
                renewal = shared.renewals.next() => renewal,
                _ = shutdown.changed() => return,
            };
            let begun = self.renew(&renewal);
            shared.metrics.renewal(begun);
            if begun {
                let purge = shared.runtime().config.purge.clone();
                let rate = purge.map_or(1, |purge| purge.refetch_rate.max(1));
                tokio::time::sleep(Duration::from_secs(1) / rate).await;
            }
        }
    }
}

impl Renewer {
    /// Has it fetched, unless that has been done by now; whether a fetch began.
    fn renew(&self, renewal: &Renewal) -> bool {
        let shared = &self.gateway.shared;
        let Some((mut head, downstream)) = request(renewal) else {
            return false;
        };
        let mut exchange = Exchange::new(shared.runtime(), clock::instant(), clock::now());
        if arrival::receive(shared, &mut head, downstream, &mut exchange).is_err() {
            return false;
        }
        let site = exchange.request.clone().filter(|request| {
            request.decision == RequestDecision::Lookup && exchange.edge.is_none()
        });
        let Some(site) = site else {
            return false;
        };
        let lookup = Lookup::of(site, Arc::new(head));
        // Rules may have changed since, and may make another request of it than they did of the visitor's.
        let same = lookup.key == renewal.key
            && lookup.selecting_key(&renewal.selection.vary) == renewal.selection.key;
        same && cached::renew(&self.gateway, &exchange, lookup, &renewal.selection.vary)
    }
}

/// A request that what was purged would have answered, as far as its key tells.
fn request(renewal: &Renewal) -> Option<(Parts, Downstream)> {
    let key = CacheKey::decode(&renewal.key.0)?;
    let target = crate::rules::target_text(key.path, key.query);
    let request = Request::builder().version(Version::HTTP_11).uri(target);
    let mut head = request.body(()).ok()?.into_parts().0;
    head.headers
        .insert(HOST, HeaderValue::try_from(key.host).ok()?);
    for (name, value) in requested(&renewal.selection.key)? {
        head.headers.append(name, value);
    }
    let downstream = Downstream {
        client: NOWHERE,
        peer: NOWHERE,
        scheme: key.scheme,
        unannounced_body: false,
    };
    Some((head, downstream))
}
