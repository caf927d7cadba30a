//! The guard, asked about a request that arrives: what it finds is told, what it stops is answered.

use http::request::Parts;

use super::edge_reply::EdgeReply;
use super::exchange::{Exchange, SiteRequest};
use crate::guard::limit::{StrictAsk, moment};
use crate::guard::limiter::Counting;
use crate::guard::{Assessment, assess, events, template};
use crate::request::RequestView;
use crate::server::Shared;

/// What the guard makes of a request.
pub(super) enum Guarded {
    /// It goes on.
    Passes,
    /// It gets this answer.
    Stopped(EdgeReply),
    /// Nothing yet: all nodes are to be asked first.
    Asks(Vec<StrictAsk>),
}

/// Asks the guard about a request.
pub(super) fn guard(
    shared: &Shared,
    head: &Parts,
    request: &SiteRequest,
    exchange: &mut Exchange,
) -> Guarded {
    let zone = &request.site.zone;
    let view = request.view(head);
    let limits = exchange.limits.as_ref();
    let counters = Counting {
        limiter: &shared.limits,
        now: moment(exchange.arrived),
        verdicts: limits.map_or(&[][..], |limits| limits.verdicts.as_slice()),
    };
    let mut assessment = assess(&zone.rules, &view, &counters, &mut ());
    if !assessment.asks.is_empty() {
        return Guarded::Asks(assessment.asks);
    }
    if !assessment.pending.is_empty() || !assessment.fields.is_empty() {
        let rules = &zone.rules.rate_limits.rules;
        let counting = assessment.pending.iter();
        let mut counting = counting.filter_map(|pending| rules.get(pending.rule));
        let limits = exchange.limits.get_or_insert_default();
        limits.reads_fields = counting.any(|rule| rule.action.counting.reads_fields());
        limits.pending = std::mem::take(&mut assessment.pending);
        limits.fields = std::mem::take(&mut assessment.fields);
    }
    if assessment.findings.is_empty() {
        return Guarded::Passes;
    }
    tell(shared, request, &view, &assessment, exchange);
    match (assessment.findings.last(), assessment.stop) {
        (Some(by), Some(stop)) => {
            let id = exchange.request_id.as_str();
            Guarded::Stopped(EdgeReply::stopped(stop, by, &head.headers, id))
        }
        _ => Guarded::Passes,
    }
}

/// Tells what was found.
fn tell(
    shared: &Shared,
    request: &SiteRequest,
    view: &RequestView<'_>,
    assessment: &Assessment<'_>,
    exchange: &Exchange,
) {
    let zone = &request.site.zone;
    let path = template::template(view.path);
    let told = exchange.runtime.config.log.security_events;
    for finding in &assessment.findings {
        shared.metrics.guard.found(&zone.name, finding);
        let group = events::Group {
            zone: zone.name.as_str().into(),
            module: finding.module,
            rule: finding.rule.into(),
            rule_at: finding
                .source
                .map(ToString::to_string)
                .unwrap_or_default()
                .into(),
            action: finding.action,
            dry_run: finding.dry_run,
            client: events::network(view.client),
            path: path.as_str().into(),
        };
        let id = exchange.request_id.as_str();
        let line = shared.security.add(group, id, exchange.arrived);
        if let Some(line) = line.filter(|_| told) {
            shared.tell(&line);
        }
    }
}
