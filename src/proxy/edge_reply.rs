//! Answers of the edge itself: redirects, the maintenance page, and pages of waiting rooms.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::exchange::Exchange;
use super::serve;
use crate::cache::status::{CacheStatus, EdgeReason};
use crate::rules::phase::Phases;
use crate::rules::{EdgeAnswer, Rule};

/// An answer of the edge, ready to be sent.
pub(super) struct EdgeReply {
    pub(super) reason: EdgeReason,
    /// The rule, for the log: its name, and its file and line.
    pub(super) rule: (String, String),
    pub(super) status: StatusCode,
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: String,
}

impl EdgeReply {
    /// What `answer` comes to.
    pub(super) fn of(answer: EdgeAnswer<'_>, phases: &Phases, request_id: &str) -> Self {
        match answer {
            EdgeAnswer::Maintenance(id, rule) => {
                let status = rule.status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                let mut fields = vec![
                    (CONTENT_TYPE, rule.page.content_type.clone()),
                    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
                ];
                fields.extend(rule.retry_after.map(|after| (RETRY_AFTER, after.into())));
                let found = phases.maintenance.get(id);
                Self {
                    reason: EdgeReason::Maintenance,
                    rule: name_and_place(found),
                    status,
                    fields,
                    body: rule.page.render(status, request_id),
                }
            }
            EdgeAnswer::Redirect(id, target) => {
                let found = phases.redirect_rules.get(id);
                Self {
                    reason: EdgeReason::Redirect,
                    rule: name_and_place(found),
                    status: target.status,
                    fields: vec![(LOCATION, target.location)],
                    body: String::new(),
                }
            }
            EdgeAnswer::BulkRedirect(item, target) => Self {
                reason: EdgeReason::BulkRedirect,
                // One name for all: it is a metric's label.
                rule: (
                    "bulk redirects".to_owned(),
                    format!("{}:{}", item.file, item.line),
                ),
                status: target.status,
                fields: vec![(LOCATION, target.location)],
                body: String::new(),
            },
        }
    }
}

pub(super) fn name_and_place<A>(rule: Option<&Rule<A>>) -> (String, String) {
    rule.map(|rule| (rule.name.clone(), rule.source.to_string()))
        .unwrap_or_default()
}

/// Sends what the edge answers itself.
///
/// # Errors
/// When the client is gone.
pub(super) async fn send(
    session: &mut Session,
    exchange: &mut Exchange,
    reply: EdgeReply,
) -> Result<()> {
    let told = CacheStatus::answered_at_edge(reply.reason);
    let mut head = ResponseHeader::build(reply.status, Some(10))?;
    for (name, value) in &reply.fields {
        head.insert_header(name.clone(), value.clone())?;
    }
    let body = reply.body.clone();
    exchange.edge = Some(reply);
    serve::whole(session, exchange, head, body, told).await
}
