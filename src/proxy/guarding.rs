//! The guard, asked about a request that arrives: what it finds is told, what it stops is answered.

use http::request::Parts;

use super::challenging;
use super::edge_reply::EdgeReply;
use super::exchange::{Exchange, SiteRequest};
use crate::cache::status::EdgeReason;
use crate::guard::{assess, events, template};
use crate::server::Shared;

/// The answer to a request that the guard stops.
pub(super) fn guard(
    shared: &Shared,
    head: &Parts,
    request: &SiteRequest,
    exchange: &Exchange,
) -> Option<EdgeReply> {
    let zone = &request.site.zone;
    let view = request.view(head);
    let visitor = challenging::visitor(shared, request, exchange);
    let assessment = assess(&zone.rules, &view, &visitor, &mut ());
    if assessment.findings.is_empty() {
        return None;
    }
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
    let by = assessment.findings.last()?;
    let stop = assessment.stop?;
    if stop.reason == EdgeReason::Challenge {
        let at = by.source.map(ToString::to_string).unwrap_or_default();
        let rule = (by.rule.to_owned(), at);
        return Some(challenging::demanded(&view, &visitor, rule, exchange));
    }
    Some(EdgeReply::stopped(
        stop,
        by,
        &head.headers,
        exchange.request_id.as_str(),
    ))
}
