//! Fetches that no client waits for, and purges that a lower tier waits for.

use std::sync::Arc;
use std::time::Duration;

use super::super::exchange::{Exchange, SiteRequest};
use super::super::fetching::Purpose;
use super::super::gateway::Gateway;
use super::super::lookup::{Lookup, Stock};
use super::Request;
use crate::clock;
use crate::fields::vary::Vary;
use crate::store::Boarding;

/// Has what `lookup` asks for fetched in the background, if nothing fresh is there; whether a fetch began.
pub(in crate::proxy) fn renew(
    gateway: &Gateway,
    exchange: &Exchange,
    lookup: Lookup,
    vary: &Vary,
) -> bool {
    let request = Request {
        gateway,
        lookup: Arc::new(lookup),
        vary: Some(vary.clone()),
        failed: false,
    };
    let stock = request.lookup.find(&gateway.shared.store);
    let fresh = stock
        .times()
        .is_some_and(|times| times.is_fresh(clock::now()));
    !fresh && request.revalidate(exchange, &stock)
}

impl Request<'_> {
    /// A background validation (RFC 5861 §3), unless one is under way; whether it began.
    pub(super) fn revalidate(&self, exchange: &Exchange, stock: &Stock) -> bool {
        let key = self.lookup.flight(self.known_vary(stock), None);
        if self.gateway.flights.is_resting(&key, clock::instant()) {
            return false;
        }
        let (Boarding::Lead(lead), begun) = self.board(&key) else {
            return false;
        };
        let purpose = self.in_slices().unwrap_or(Purpose::Whole);
        let fetch = self.fetch(exchange, stock, (key, Some(lead), begun), purpose);
        tokio::spawn(fetch.run());
        true
    }
}

/// How long a lower tier waits for the purges that it knows of to be known here.
const PURGES_IN: Duration = Duration::from_millis(500);

/// Whether the lower tier that asks knows of purges that are not in force here, not even after a wait.
pub(super) async fn is_behind(gateway: &Gateway, site: &SiteRequest) -> bool {
    let shared = &gateway.shared;
    let ahead = site.lower.as_ref().and_then(|lower| lower.ahead(shared));
    match (ahead, &shared.shared_state) {
        (Some(position), Some(state)) => !state.reaches(position, PURGES_IN).await,
        _ => false,
    }
}
