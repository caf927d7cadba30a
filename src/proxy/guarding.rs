//! The guard, asked about a request that arrives: what it finds is told, what it stops is answered.

use std::net::{IpAddr, Ipv4Addr};

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::arrival::set_target;
use super::challenging;
use super::edge_reply::EdgeReply;
use super::exchange::{Exchange, SiteRequest};
use crate::cache::status::EdgeReason;
use crate::clock;
use crate::guard::access::without;
use crate::guard::limit::{StrictAsk, moment};
use crate::guard::limiter::Counting;
use crate::guard::{Action, Assessment, Finding, Module, Stop, assess, events, template};
use crate::request::arrival::Arrival;
use crate::rules::phase::Phases;
use crate::rules::{RuleSource, target_text};
use crate::server::{Mark, Shared};

/// What the guard makes of a request.
pub(super) enum Guarded {
    /// It goes on.
    Passes,
    /// It gets the answer in `exchange.edge`.
    Stopped,
    /// Nothing yet: all nodes are to be asked first.
    Asks(Vec<StrictAsk>),
}

/// Credentials that are to be checked before the request goes on.
pub(super) struct Pending {
    mark: Mark,
    hash: String,
    known: bool,
    password: Vec<u8>,
    /// The answer if they are wrong.
    refusal: EdgeReply,
    rule: String,
    source: Option<RuleSource>,
}

/// Has the guard assess the request, and takes out of it what was for the guard alone. What it stops is
/// answered with `exchange.edge`, what is still to be found out left in `exchange.pending`.
///
/// # Errors
/// A target that is none any more.
pub(super) fn guard(
    shared: &Shared,
    head: &mut Parts,
    request: &SiteRequest,
    exchange: &mut Exchange,
) -> Arrival<Guarded> {
    let zone = request.site.zone.clone();
    let view = request.view(head);
    let runtime = exchange.runtime.clone();
    let visitor = challenging::visitor(shared, request, &runtime.challenge_keys);
    let limits = exchange.limits.as_ref();
    let counters = Counting {
        limiter: &shared.limits,
        now: moment(exchange.arrived),
        verdicts: limits.map_or(&[][..], |limits| limits.verdicts.as_slice()),
    };
    let mut assessment = assess(&zone.rules, &view, &visitor, &counters, &mut ());
    if !assessment.asks.is_empty() {
        return Ok(Guarded::Asks(assessment.asks));
    }
    keep_limits(&zone.rules, &mut assessment, exchange);
    let id = exchange.request_id;
    if assessment.stop.is_none() && !assessment.checks.is_empty() {
        check(shared, &head.headers, &mut assessment, exchange);
    }
    for finding in &assessment.findings {
        tell(shared, request, head.uri.path(), exchange, finding);
    }
    if let (Some(by), Some(stop)) = (assessment.findings.last(), assessment.stop) {
        let reply = if stop.reason == EdgeReason::Challenge {
            let at = by.source.map(ToString::to_string).unwrap_or_default();
            challenging::demanded(&view, &visitor, (by.rule.to_owned(), at), exchange)
        } else {
            EdgeReply::stopped(stop, by, &head.headers, id.as_str())
        };
        exchange.edge = Some(reply);
    }
    if assessment.takes_authorization {
        head.headers.remove(AUTHORIZATION);
    }
    if let (Some(parameter), Some(query)) = (assessment.takes_parameter, head.uri.query()) {
        let target = target_text(head.uri.path(), without(query, parameter));
        set_target(head, &target)?;
    }
    Ok(match exchange.edge {
        Some(_) => Guarded::Stopped,
        None => Guarded::Passes,
    })
}

/// Goes by what is known of credentials, and leaves the rest to be found out.
fn check(
    shared: &Shared,
    fields: &HeaderMap,
    assessment: &mut Assessment<'_>,
    exchange: &mut Exchange,
) {
    let mut pending = Vec::new();
    for check in assessment.checks.drain(..) {
        let mark = shared.passwords.mark(&check.credentials);
        match shared.passwords.known(&mark, exchange.arrived) {
            Some(true) => {}
            Some(false) => {
                assessment.findings.push(check.finding);
                assessment.stop = Some(check.stop);
                // Nothing else is worth finding out.
                return;
            }
            None => {
                let id = exchange.request_id;
                pending.push(Pending {
                    mark,
                    hash: check.credentials.hash.to_owned(),
                    known: check.credentials.known,
                    password: check.credentials.password,
                    refusal: EdgeReply::stopped(check.stop, &check.finding, fields, id.as_str()),
                    rule: check.finding.rule.to_owned(),
                    source: check.finding.source.cloned(),
                });
            }
        }
    }
    exchange.pending = pending;
}

/// Keeps what rate limits want to know of the answer, and to add to it.
fn keep_limits(rules: &Phases, assessment: &mut Assessment<'_>, exchange: &mut Exchange) {
    if assessment.pending.is_empty() && assessment.fields.is_empty() {
        return;
    }
    let rules = &rules.rate_limits.rules;
    let counting = assessment.pending.iter();
    let mut counting = counting.filter_map(|pending| rules.get(pending.rule));
    let limits = exchange.limits.get_or_insert_default();
    limits.reads_fields = counting.any(|rule| rule.action.counting.reads_fields());
    limits.pending = std::mem::take(&mut assessment.pending);
    limits.fields = std::mem::take(&mut assessment.fields);
}

/// Tells of a finding in metrics, events and log.
fn tell(
    shared: &Shared,
    request: &SiteRequest,
    path: &str,
    exchange: &Exchange,
    finding: &Finding<'_>,
) {
    let zone = &request.site.zone.name;
    shared.metrics.guard.found(zone, finding);
    let rule_at = finding.source.map(ToString::to_string);
    let group = events::Group {
        zone: zone.as_str().into(),
        module: finding.module,
        rule: finding.rule.into(),
        rule_at: rule_at.unwrap_or_default().into(),
        action: finding.action,
        dry_run: finding.dry_run,
        client: events::network(request.client),
        path: template::template(path).into(),
    };
    let id = exchange.request_id.as_str();
    let line = shared.security.add(group, id, exchange.arrived);
    if let Some(line) = line.filter(|_| exchange.runtime.config.log.security_events) {
        shared.tell(&line);
    }
}

/// Finds out what was left to be found out, and refuses the request if it is to be refused.
pub(super) async fn settle(shared: &Shared, asked: &Parts, exchange: &mut Exchange) {
    for pending in std::mem::take(&mut exchange.pending) {
        if !is_right(shared, asked, exchange, pending).await {
            return;
        }
    }
}

/// Whether credentials are right; if not, the request is refused.
async fn is_right(
    shared: &Shared,
    asked: &Parts,
    exchange: &mut Exchange,
    pending: Pending,
) -> bool {
    let client = exchange.request.as_ref().map(|request| request.client);
    let Pending {
        mark,
        hash,
        known,
        password,
        refusal,
        rule,
        source,
    } = pending;
    let asked_by = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let checked = shared
        .passwords
        .check(mark, hash, known, password, asked_by, clock::now());
    let finding = Finding {
        module: Module::AccessRules,
        rule: &rule,
        source: source.as_ref(),
        action: Action::Block,
        dry_run: false,
    };
    let reply = match checked.await {
        Some(true) => return true,
        Some(false) => refusal,
        None => {
            let busy = Stop {
                reason: EdgeReason::Unauthorized,
                status: StatusCode::SERVICE_UNAVAILABLE,
                page: None,
                fields: Vec::new(),
            };
            let id = exchange.request_id;
            EdgeReply::stopped(busy, &finding, &asked.headers, id.as_str())
        }
    };
    if let Some(request) = exchange.request.clone() {
        tell(shared, &request, asked.uri.path(), exchange, &finding);
    }
    exchange.edge = Some(reply);
    false
}
