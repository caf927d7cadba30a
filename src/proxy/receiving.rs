//! Heads that come from Pingora, those of HTTP/2, on their way into the evaluation and back.

use http::request::Parts;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::arrival::{self, Suspended};
use super::downstream::downstream;
use super::exchange::Exchange;
use super::gateway::Gateway;

impl Gateway {
    /// Evaluates a request that comes from Pingora: one of HTTP/2.
    pub(super) fn receive(&self, session: &mut Session, exchange: &mut Exchange, has_body: bool) {
        let downstream = match downstream(session, exchange, has_body) {
            Ok(downstream) => downstream,
            Err(refusal) => {
                exchange.refusal = Some(refusal);
                return;
            }
        };
        Self::with_head(session, |head| {
            exchange.refusal = arrival::receive(&self.shared, head, downstream, exchange).err();
        });
    }

    /// Goes on with a request that waited.
    pub(super) fn resume(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        request: Suspended,
    ) {
        Self::with_head(session, |head| {
            exchange.refusal = arrival::resume(&self.shared, head, request, exchange).err();
        });
    }

    /// Shows the head of the request as plain values.
    fn with_head(session: &mut Session, change: impl FnOnce(&mut Parts)) {
        let head = session.req_header_mut();
        let taken = std::mem::replace(
            head,
            RequestHeader::from(http::Request::new(()).into_parts().0),
        );
        let mut parts = Parts::from(taken);
        change(&mut parts);
        *head = parts.into();
    }
}
