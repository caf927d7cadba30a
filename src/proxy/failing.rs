//! Error pages on Pingora's lane.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{ALLOW, DATE};
use pingora_error::Result;
use pingora_proxy::Session;

use super::exchange::Exchange;
use super::gateway::Gateway;
use super::{answer, passing, tiered, zone_page};
use crate::clock;
use crate::origin::OriginPool;

impl Gateway {
    pub(super) async fn send_error(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        status: StatusCode,
    ) -> Result<()> {
        if exchange.failure.is_none() {
            let from_tier = exchange.request.as_ref().map(|request| &request.lower);
            if let Some(Some(_)) = from_tier {
                exchange.failure = tiered::failure(status);
                exchange.refused_here = exchange.failure.is_none();
            }
        }
        let (mut head, body) = zone_page::page(session.req_header(), exchange, status)?;
        let now = clock::now();
        let told = exchange.status.unwrap_or_else(|| passing::status(exchange));
        exchange.status = exchange.request.is_some().then_some(told);
        head.insert_header(DATE, httpdate::fmt_http_date(now))?;
        let to_bucket = |pool: &Arc<OriginPool>| pool.config.bucket.is_some();
        if status == StatusCode::METHOD_NOT_ALLOWED && exchange.pool().is_some_and(to_bucket) {
            // RFC 9110 §15.5.6.
            head.insert_header(ALLOW, "GET, HEAD")?;
        }
        answer::send(&mut head, session.req_header(), exchange, &told, now);
        let no_body = session.req_header().method == http::Method::HEAD;
        session.set_keepalive(None);
        session
            .write_response_header(Box::new(head), no_body)
            .await?;
        if !no_body {
            session
                .write_response_body(Some(Bytes::from(body)), true)
                .await?;
        }
        Ok(())
    }
}
