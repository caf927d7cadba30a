//! Fetches that no client waits for.

use std::sync::Arc;

use super::super::exchange::Exchange;
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
