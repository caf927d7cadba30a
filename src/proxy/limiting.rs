//! Rate limits in the life of a request: what it waits for before it goes on, and what counts once it is
//! answered.

use std::net::IpAddr;
use std::sync::OnceLock;

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::arrival::Suspended;
use super::edge_reply::EdgeReply;
use super::exchange::{Exchange, SiteRequest};
use super::record::Finished;
use crate::cache::response::ResponseView;
use crate::cache::status::EdgeReason;
use crate::clock;
use crate::guard::connections::Refused;
use crate::guard::limit::{Key, Pending, StrictAsk, Verdict, moment};
use crate::guard::{Action, Finding, Module, Stop};
use crate::request::RequestView;
use crate::server::Shared;

/// What rate limits have to do with a request; most have nothing.
#[derive(Default)]
pub(super) struct Limits {
    /// What all nodes are asked, and the request that waits for it.
    pub(super) waiting: Option<Box<(Vec<StrictAsk>, Suspended)>>,
    /// What came of that.
    pub(super) verdicts: Vec<(Key, Verdict)>,
    /// Fields that its answer gets.
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    /// Where it counts once it is answered.
    pub(super) pending: Vec<Pending>,
    /// Whether the fields of the answer matter for that.
    pub(super) reads_fields: bool,
    /// The fields of the answer, in that case.
    pub(super) answered: OnceLock<HeaderMap>,
}

impl Exchange {
    /// Puts on an answer what limits have it say, and remembers what they count by.
    pub(super) fn limit_fields(&self, fields: &mut HeaderMap) {
        let Some(limits) = &self.limits else { return };
        if limits.reads_fields {
            limits.answered.get_or_init(|| fields.clone());
        }
        for (name, value) in &limits.fields {
            fields.append(name.clone(), value.clone());
        }
    }

    /// Whether limits have something to do with the fields of the answer.
    pub(super) fn limits_touch_fields(&self) -> bool {
        let limits = self.limits.as_ref();
        limits.is_some_and(|limits| limits.reads_fields || !limits.fields.is_empty())
    }
}

/// What a client gets that sends more requests than it may by way of proxies. `connections` is whose connection it
/// is; where that is the client itself, it was counted there. The connection is of many, and stays.
pub(super) fn by_proxy(
    shared: &Shared,
    head: &Parts,
    request: &SiteRequest,
    connections: IpAddr,
    exchange: &Exchange,
) -> Option<EdgeReply> {
    let (client, limits) = (request.client, &exchange.runtime.config.client.limits);
    let rate = limits.request_rate?;
    if client == connections.to_canonical() || request.lower.is_some() {
        return None;
    }
    match shared.clients.request(client, rate, clock::uptime()) {
        Some(true) => return None,
        Some(false) => {}
        None => {
            shared.metrics.guard.uncounted();
            return None;
        }
    }
    shared.refused_connection(client, Refused::Requests);
    let finding = Finding {
        module: Module::Connections,
        rule: Refused::Requests.as_str(),
        source: None,
        action: Action::Block,
        dry_run: false,
    };
    let stop = Stop {
        reason: EdgeReason::RateLimited,
        fields: vec![(RETRY_AFTER, HeaderValue::from_static("1"))],
        ..Stop::refusal(StatusCode::TOO_MANY_REQUESTS)
    };
    let id = exchange.request_id;
    Some(EdgeReply::stopped(
        stop,
        &finding,
        &head.headers,
        id.as_str(),
    ))
}

/// Asks all nodes about a request that waits for them; gives it back, to go on.
pub(super) async fn ask(shared: &Shared, exchange: &mut Exchange) -> Option<Suspended> {
    let (asks, suspended) = *exchange.limits.as_mut()?.waiting.take()?;
    let rules = &suspended.request.site.zone.rules.rate_limits.rules;
    let now = moment(exchange.arrived);
    let mut verdicts = Vec::with_capacity(asks.len());
    for ask in asks {
        let Some(rule) = rules.get(ask.rule) else {
            continue;
        };
        let asked = match &shared.shared_limits {
            Some(limits) => limits.ask(&rule.action, ask).await,
            None => None,
        };
        let limit = &rule.action;
        let verdict = shared
            .limits
            .after_asking(limit, ask.key, ask.counts, asked, now);
        verdicts.push((ask.key, verdict));
        if verdict.is_over() && limit.refuses() {
            // What is stopped counts nowhere else.
            break;
        }
    }
    exchange.limits.get_or_insert_default().verdicts = verdicts;
    Some(suspended)
}

/// Counts an answered request where it counts by its answer.
pub(super) fn count(shared: &Shared, exchange: &Exchange, finished: &Finished<'_>) {
    let (Some(limits), Some(request)) = (&exchange.limits, &exchange.request) else {
        return;
    };
    if limits.pending.is_empty() {
        return;
    }
    // Who left before the answer has had it as far as it got.
    let status = finished.status.or(exchange.origin.status);
    let none = HeaderMap::new();
    let response = ResponseView {
        status: status.unwrap_or(StatusCode::REQUEST_TIMEOUT),
        headers: limits.answered.get().unwrap_or(&none),
    };
    let reached_origin = exchange.origin.attempts > 0;
    let now = moment(exchange.arrived + finished.duration);
    let view = as_it_came(request, request.view(finished.head));
    for pending in &limits.pending {
        let rules = &request.site.zone.rules.rate_limits.rules;
        let Some(rule) = rules.get(pending.rule) else {
            continue;
        };
        let limit = &rule.action;
        let weight = limit.counting.weight(&view, &response, reached_origin);
        shared.limits.count(limit, pending.key, weight, now);
    }
}

/// The request with the target that it had before rules rewrote it.
fn as_it_came<'r>(request: &'r SiteRequest, view: RequestView<'r>) -> RequestView<'r> {
    let Some(raw) = request.applied.raw_target.as_deref() else {
        return view;
    };
    let (path, query) = match raw.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (raw, None),
    };
    RequestView {
        path,
        query,
        ..view
    }
}
