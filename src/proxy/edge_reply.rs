//! Answers of the edge itself: of the guard, redirects, the maintenance page and pages of waiting rooms.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::exchange::Exchange;
use super::hit::Found;
use super::{answer, error_page};
use crate::cache::status::{CacheStatus, EdgeReason};
use crate::guard::{Finding, Stop};
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

impl EdgeReply {
    /// What a request gets that the guard stops, in which `by` was found.
    pub(super) fn stopped(
        stop: Stop<'_>,
        by: &Finding<'_>,
        accept: &HeaderMap,
        request_id: &str,
    ) -> Self {
        let mut fields = stop.fields;
        fields.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        let body = if let Some(page) = stop.page {
            fields.push((CONTENT_TYPE, page.content_type.clone()));
            page.render(stop.status, request_id)
        } else {
            let (content_type, body) = error_page::content(stop.status, accept, request_id);
            fields.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
            fields.push((VARY, HeaderValue::from_static("accept")));
            body
        };
        Self {
            reason: stop.reason,
            rule: (
                by.rule.to_owned(),
                by.source.map(ToString::to_string).unwrap_or_default(),
            ),
            status: stop.status,
            fields,
            body,
        }
    }
}

impl EdgeReply {
    /// What has to do with challenges, by `rule`.
    pub(super) fn of_challenge(
        status: StatusCode,
        mut fields: Vec<(HeaderName, HeaderValue)>,
        body: String,
        rule: (String, String),
    ) -> Self {
        fields.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        Self {
            reason: EdgeReason::Challenge,
            rule,
            status,
            fields,
            body,
        }
    }
}

/// What the edge answers itself, where it does, as either lane writes it.
pub(super) fn found(exchange: &mut Exchange, asked: &Parts) -> Option<Found> {
    let reply = exchange.edge.as_ref()?;
    let told = CacheStatus::answered_at_edge(reply.reason);
    let (status, now) = (reply.status, exchange.arrived);
    let mut fields: HeaderMap = reply.fields.iter().cloned().collect();
    fields.insert(CONTENT_LENGTH, reply.body.len().into());
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
        fields.insert(DATE, date);
    }
    let bodiless = asked.method == Method::HEAD || reply.body.is_empty();
    let body = (!bodiless).then(|| Bytes::from(reply.body.clone()));
    answer::dress(
        &mut fields,
        status,
        Version::HTTP_11,
        asked,
        exchange,
        &told,
        now,
    );
    exchange.status = Some(told);
    Some(Found::dressed(status, fields, body, told, now))
}

pub(super) fn name_and_place<A>(rule: Option<&Rule<A>>) -> (String, String) {
    rule.map(|rule| (rule.name.clone(), rule.source.to_string()))
        .unwrap_or_default()
}
