//! What the rules make of a request, and what follows for edge, cache and origin.

use std::fmt::Write as _;

use http::HeaderValue;

use super::explanation::{
    EdgeFacts, Explanation, FieldChange, Identity, KeyFacts, OriginFacts, RuleRef, SettingFact,
    Told, Verdict,
};
use super::question::Url;
use super::request::{Arrived, refuse};
use super::trace::{self, Recorder};
use super::{Inquiry, response, words};
use crate::cache::eligibility::{BypassReason, RequestDecision, post_may_fill};
use crate::cache::extras::{readable_key, reduce, write_extras};
use crate::cache::key::{CacheKey, keyed_host, short_hash};
use crate::cache::query::keyed_query;
use crate::cache::settings::RuleId;
use crate::cache::status::{CacheStatus, EdgeReason};
use crate::config::{Config, Pool, Zone};
use crate::guard::challenge::Visitor;
use crate::guard::{Assessment, Module, NoCounters, Stop, assess};
use crate::request::arrival::{Refusal, check_body};
use crate::request::object::{Fate, fate, object_path, strip_credentials};
use crate::request::{Facts, RequestView};
use crate::rules::phase::{Guards, HeaderEdit, Phase, Phases, RedirectTarget};
use crate::rules::{Circumstances, EdgeAnswer, Plan, Planned, plan, rewritten, target_text};

/// Fills in all that follows from the rules.
pub(super) fn explain(
    config: &Config,
    inquiry: &Inquiry<'_>,
    url: &Url<'_>,
    arrived: &Arrived<'_>,
    explanation: &mut Explanation,
) {
    let phases = &arrived.zone.rules;
    let request = arrived.view(inquiry.question, url);
    let circumstances = Circumstances {
        chance: inquiry.question.chance,
        slashes: arrived.slashes,
        development_mode: inquiry.developing.contains(&arrived.zone.name),
    };
    let mut recorder = Recorder::default();
    let Some(let_in) = guarded(inquiry, &request, arrived, &mut recorder, explanation) else {
        return;
    };
    let arrived = &let_in;
    let request = arrived.view(inquiry.question, url);
    match plan(phases, &request, &circumstances, &mut recorder) {
        Planned::Answer(answer) => {
            let most = config.client.max_body_size;
            if let Err(refusal) = check_body(&arrived.headers, most) {
                return refuse(&refusal, explanation);
            }
            answer_facts(phases, &answer, explanation);
            let reached = match answer {
                EdgeAnswer::Maintenance(..) => Phase::Maintenance,
                EdgeAnswer::Redirect(..) => Phase::Redirects,
                EdgeAnswer::BulkRedirect(..) => Phase::BulkRedirects,
            };
            let mut rules = recorder.steps(phases, inquiry.all, reached);
            if let EdgeAnswer::BulkRedirect(item, _) = answer {
                rules.push(trace::row_step(item));
            }
            explanation.rules = rules;
        }
        Planned::Forward(mut plan) => {
            let raw = target_text(request.path, request.query);
            let raw = plan.target.as_ref().map(|_| raw.as_str());
            let view = RequestView {
                facts: Facts {
                    splits: &plan.splits,
                    ..request.facts
                },
                ..rewritten(&request, plan.target.as_deref(), raw)
            };
            let mut headers = arrived.headers.clone();
            let object = match for_pool(config, arrived, &plan, &view) {
                Ok(None) => false,
                Ok(Some((decision, object))) => {
                    plan.decision = decision;
                    object
                }
                Err(refusal) => {
                    refuse(&refusal, explanation);
                    explanation.rules = recorder.steps(phases, inquiry.all, Phase::CacheRules);
                    return;
                }
            };
            if object {
                strip_credentials(&mut headers);
            }
            let query = view.query.filter(|_| !object);
            let shared =
                plan.decision == RequestDecision::Lookup || post_may_fill(&view, &plan.settings);
            // What does not count in the key does not reach the origin either.
            let keyed = shared.then(|| keyed_query(query, &plan.settings.key.value));
            let query = match &keyed {
                Some(query) => query.as_deref(),
                None => query,
            };
            if shared {
                reduce(&mut headers, &plan.settings.key.value);
            }
            let view = RequestView {
                query,
                headers: &headers,
                session_cookie: view.session_cookie && !object,
                ..view
            };
            plan_facts(config, arrived, &plan, &view, explanation);
            let mut reached = Phase::CacheRules;
            if let Some(answer) = inquiry.answer {
                reached = Phase::ResponseHeaders;
                let asked = response::Asked {
                    zone: arrived.zone,
                    request: &view,
                    plan: &plan,
                };
                let (facts, selecting) = response::explain(&asked, answer, inquiry, &mut recorder);
                if let Some(key) = &mut explanation.key {
                    key.identity.selecting = selecting;
                }
                explanation.response = Some(facts);
            }
            explanation.rules = recorder.steps(phases, inquiry.all, reached);
        }
    }
}

/// The request without what was for the guard alone; nothing when the guard stops it, which is told then.
fn guarded<'c>(
    inquiry: &Inquiry<'_>,
    request: &RequestView<'_>,
    arrived: &Arrived<'c>,
    recorder: &mut Recorder,
    explanation: &mut Explanation,
) -> Option<Arrived<'c>> {
    let zone = arrived.zone;
    // Nobody has passed a challenge here.
    let visitor = Visitor {
        under_attack: zone.under_attack || inquiry.under_attack.contains(&zone.name),
        ..Visitor::default()
    };
    let assessment = assess(&zone.rules, request, &visitor, &NoCounters, recorder);
    let Some(stop) = &assessment.stop else {
        return Some(arrived.without(&assessment));
    };
    stopped(stop, &assessment, explanation);
    let reached = match assessment.findings.last().map(|by| by.module) {
        Some(Module::AccessRules) => Phase::AccessRules,
        Some(Module::RateLimitRules) => Phase::RateLimitRules,
        _ => Phase::CustomRules,
    };
    explanation.rules = recorder.steps(&zone.rules, inquiry.all, reached);
    None
}

/// Says that the guard stops it.
fn stopped(stop: &Stop<'_>, assessment: &Assessment<'_>, explanation: &mut Explanation) {
    let by = assessment.findings.last();
    explanation.verdict = match stop.reason {
        EdgeReason::Challenge => Verdict::Challenged,
        _ => Verdict::Blocked,
    };
    explanation.reason = Some(stop.reason.as_str().to_owned());
    explanation.because = format!("stopped by the guard with {}", stop.status.as_u16());
    explanation.decided_by = by.map(|by| RuleRef {
        name: by.rule.to_owned(),
        // What is no rule of the file has a part of the guard to be found in.
        at: by
            .source
            .map_or_else(|| by.module.as_str().to_owned(), ToString::to_string),
    });
    explanation.answer = Some(EdgeFacts {
        status: stop.status.as_u16(),
        location: None,
        retry_after: None,
        told: Some(told(stop.reason)),
    });
}

fn pool_of<'c>(config: &'c Config, arrived: &'c Arrived<'_>, plan: &'c Plan) -> Option<&'c Pool> {
    let name = plan.origin.pool.as_deref().unwrap_or(&arrived.zone.pool);
    let pool = config.pools.iter().find(|pool| pool.name == name);
    pool.map(AsRef::as_ref)
}

/// What the pool makes of the request: whether it is for the cache where that is a bucket's matter, and
/// whether it is for an object.
fn for_pool(
    config: &Config,
    arrived: &Arrived<'_>,
    plan: &Plan,
    view: &RequestView<'_>,
) -> Result<Option<(RequestDecision, bool)>, Refusal> {
    let pool = pool_of(config, arrived, plan);
    let most = pool.and_then(|pool| pool.max_body_size);
    check_body(
        &arrived.headers,
        most.unwrap_or(config.client.max_body_size),
    )?;
    let Some(bucket) = pool.and_then(|pool| pool.bucket.as_ref()) else {
        return Ok(None);
    };
    match fate(bucket, view, &plan.settings) {
        Fate::Refused(refusal) => Err(refusal),
        Fate::Object(decision) => Ok(Some((decision, true))),
        Fate::Presigned => Ok(Some((
            RequestDecision::Bypass(BypassReason::Presigned),
            false,
        ))),
    }
}

fn answer_facts(phases: &Phases, answer: &EdgeAnswer<'_>, explanation: &mut Explanation) {
    let (verdict, rule, facts) = match answer {
        EdgeAnswer::Maintenance(id, page) => {
            let facts = EdgeFacts {
                status: page.status.map_or(503, |status| status.as_u16()),
                location: None,
                retry_after: page.retry_after,
                told: Some(told(EdgeReason::Maintenance)),
            };
            let rule = trace::rule(phases, Phase::Maintenance, *id);
            (Verdict::Maintenance, rule, facts)
        }
        EdgeAnswer::Redirect(id, target) => {
            let rule = trace::rule(phases, Phase::Redirects, *id);
            (
                Verdict::Redirect,
                rule,
                redirect_facts(target, EdgeReason::Redirect),
            )
        }
        EdgeAnswer::BulkRedirect(item, target) => {
            let rule = Some(trace::row(item));
            (
                Verdict::Redirect,
                rule,
                redirect_facts(target, EdgeReason::BulkRedirect),
            )
        }
    };
    explanation.because = match &facts.location {
        Some(location) => format!("{} to {location}", facts.status),
        None => format!("answered with {} and the page of a rule", facts.status),
    };
    explanation.verdict = verdict;
    explanation.decided_by = rule;
    explanation.answer = Some(facts);
}

fn told(reason: EdgeReason) -> Told {
    CacheStatus::answered_at_edge(reason).into()
}

fn redirect_facts(target: &RedirectTarget, reason: EdgeReason) -> EdgeFacts {
    EdgeFacts {
        status: target.status.as_u16(),
        location: Some(text(&target.location)),
        retry_after: None,
        told: Some(told(reason)),
    }
}

fn plan_facts(
    config: &Config,
    arrived: &Arrived<'_>,
    plan: &Plan,
    view: &RequestView<'_>,
    explanation: &mut Explanation,
) {
    let zone = arrived.zone;
    let rule = |id| trace::rule(&zone.rules, Phase::CacheRules, id);
    explanation.splits = plan
        .splits
        .iter()
        .map(|choice| (choice.split.to_string(), choice.variant.to_string()))
        .collect();
    explanation.settings = plan
        .settings
        .describe()
        .into_iter()
        .map(|(key, value, id)| SettingFact {
            key,
            value,
            rule: id.and_then(rule),
        })
        .collect();
    let origin = origin_facts(config, arrived, plan, view);
    match plan.decision {
        RequestDecision::Lookup => {
            let settings = &plan.settings;
            let decisive = settings.edge_ttl.rule.or(settings.eligibility.rule);
            explanation.verdict = Verdict::Lookup;
            "looked up in the cache".clone_into(&mut explanation.because);
            explanation.decided_by = decisive.and_then(rule);
            explanation.key = Some(key_facts(arrived, plan, view, &origin.host));
        }
        RequestDecision::Bypass(reason) => {
            explanation.verdict = Verdict::Bypass;
            explanation.reason = Some(reason.as_str().to_owned());
            explanation.because =
                bypass_words(reason, explanation.request.session_cookie.as_deref());
            explanation.decided_by = reason.rule().and_then(rule);
        }
    }
    if let Some(room) = plan.room.and_then(|id| zone.rules.waiting_rooms.get(id)) {
        let past = plan.decision != RequestDecision::Lookup;
        let meets = if past || room.action.guards == Guards::All {
            "meets"
        } else {
            "unless it is there, meets"
        };
        let words = format!("; {meets} the waiting room \"{}\"", room.name);
        explanation.because.push_str(&words);
    }
    explanation.origin = Some(origin);
}

fn bypass_words(reason: BypassReason, cookie: Option<&str>) -> String {
    let words = words::bypass(reason);
    match (reason, cookie) {
        (BypassReason::SessionCookie(_), Some(name)) => format!("{words}, {name}"),
        _ => words.to_owned(),
    }
}

fn key_facts(
    arrived: &Arrived<'_>,
    plan: &Plan,
    view: &RequestView<'_>,
    resolved: &str,
) -> KeyFacts {
    let keyed = &plan.settings.key.value;
    let host = keyed_host(keyed, arrived.authority.as_str(), resolved);
    let key = CacheKey::of(&arrived.zone.name, host, view, view.query);
    let primary = key.encode();
    let mut extras = Vec::new();
    write_extras(view, keyed, &mut extras);
    extras.extend_from_slice(&plan.key);
    let mut text = readable_key(&key, view, keyed);
    // Writing to a string does not fail.
    for edit in plan.keyed_headers() {
        let _ = match edit {
            HeaderEdit::Set(name, value) | HeaderEdit::Add(name, value) => {
                let value = value.as_bytes().escape_ascii();
                write!(text, "; {name} \"{value}\"")
            }
            HeaderEdit::Remove(name) => write!(text, "; without {name}"),
        };
    }
    for (name, value) in &plan.sent {
        let value = value.as_bytes().escape_ascii();
        let _ = write!(text, "; {name} \"{value}\"");
    }
    for (name, value) in plan.origin.describe() {
        let _ = write!(text, "; {name} {value}");
    }
    KeyFacts {
        text,
        hash: format!("{:016x}", short_hash(&primary)),
        identity: Identity {
            primary,
            extras,
            selecting: Vec::new(),
        },
        fields: view.headers.clone(),
        vary: plan.settings.vary.value.clone(),
    }
}

fn origin_facts(
    config: &Config,
    arrived: &Arrived<'_>,
    plan: &Plan,
    view: &RequestView<'_>,
) -> OriginFacts {
    let rules = &plan.origin;
    let name = rules.pool.as_deref().unwrap_or(&arrived.zone.pool);
    let pool = pool_of(config, arrived, plan);
    let bucket = pool.and_then(|pool| pool.bucket.as_ref());
    let by_bucket = pool
        .filter(|_| bucket.is_some())
        .and_then(|pool| Some(pool.bucket_host(pool.servers.first()?)));
    let by_pool = pool.and_then(|pool| pool.host_header.as_deref());
    let by_rule = rules.host_header.as_deref();
    let host = by_bucket.as_deref().or(by_rule).or(by_pool);
    let presigned = plan.decision == RequestDecision::Bypass(BypassReason::Presigned);
    let bucket = bucket.filter(|_| !presigned);
    let tiers = Some(&arrived.zone.upper_tiers);
    // What goes past the cache goes past the tiers.
    let tiers = tiers.filter(|_| plan.decision == RequestDecision::Lookup);
    OriginFacts {
        upper_tiers: tiers.cloned().unwrap_or_default(),
        pool: name.to_owned(),
        balance: pool.map_or("", |pool| pool.balance.word()),
        limits: pool.map(limits).unwrap_or_default(),
        host: host.unwrap_or(arrived.authority.as_str()).to_owned(),
        sni: rules.sni.as_deref().map(str::to_owned),
        port: rules.port,
        path: bucket.map_or_else(
            || view.path.to_owned(),
            |bucket| object_path(bucket, view.path),
        ),
        query: view.query.map(str::to_owned),
        headers: plan.headers.iter().map(field_change).collect(),
    }
}

/// How many requests `pool` may have, in words.
fn limits(pool: &Pool) -> Vec<String> {
    let learnt = pool.adaptive_concurrency.is_some();
    let most = format!("at most {} requests", pool.max_requests);
    let each = pool.max_requests_per_replica;
    let wait = pool.timeouts.queue.as_secs_f64();
    let waiting = format!("{} more wait {wait} s at most", pool.queue.length);
    [
        Some(most),
        each.map(|each| format!("{each} for each replica")),
        learnt.then(|| "a learnt limit".to_owned()),
        Some(waiting),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// An edit in words.
fn field_change(edit: &HeaderEdit) -> FieldChange {
    let (change, name, value) = match edit {
        HeaderEdit::Remove(name) => ("remove", name, None),
        HeaderEdit::Set(name, value) => ("set", name, Some(text(value))),
        HeaderEdit::Add(name, value) => ("add", name, Some(text(value))),
    };
    FieldChange {
        name: name.to_string(),
        change,
        value,
    }
}

/// A field's value for people.
pub(super) fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// A rule of the cache rules.
pub(super) fn cache_rule(zone: &Zone, id: RuleId) -> Option<RuleRef> {
    trace::rule(&zone.rules, Phase::CacheRules, id)
}
