//! What the rules make of one request: an answer from the edge, or a plan for the cache and the
//! origin. Everything that decides is here, in the order of the phases; `explain` and the proxy ask
//! the same function.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::phase::{
    BulkItem, HeaderEdit, OriginPatch, PageRule, Phase, Phases, RedirectTarget, Rewrite, Split,
    SplitBy, Trace,
};
use crate::cache::eligibility::{RequestDecision, eligibility};
use crate::cache::key::write_bytes;
use crate::cache::settings::{CacheSettings, Eligibility, RuleId, Setting};
use crate::request::{Facts, RequestView, SplitChoice};
use crate::zone::Slashes;

/// What the rules make of a request.
#[derive(Debug)]
pub enum Planned<'z> {
    /// The edge answers itself.
    Answer(EdgeAnswer<'z>),
    /// It goes on to the cache and the origin.
    Forward(Box<Plan>),
}

/// An answer of the edge itself.
#[derive(Debug)]
pub enum EdgeAnswer<'z> {
    /// `maintenance`
    Maintenance(RuleId, &'z PageRule),
    /// `redirect_rules`
    Redirect(RuleId, RedirectTarget),
    /// `bulk_redirects`
    BulkRedirect(&'z BulkItem, RedirectTarget),
}

/// What becomes of a request that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Path and query after rewriting; `None` when no rule changed them.
    pub target: Option<String>,
    /// The variants chosen.
    pub splits: Vec<SplitChoice>,
    /// Cookies by which the client keeps them.
    pub cookies: Vec<HeaderValue>,
    /// Whether a cookie made any of the choices.
    pub by_cookie: bool,
    /// Changes of the fields that the origin gets, variants included.
    pub headers: Vec<HeaderEdit>,
    /// Fields of the client's that count in the key, since rules set them for other requests.
    pub sent: Vec<(HeaderName, HeaderValue)>,
    /// Which origin is asked, and how.
    pub origin: OriginPatch,
    /// What the cache rules set.
    pub settings: Arc<CacheSettings>,
    /// Whether the cache is asked.
    pub decision: RequestDecision,
    /// The waiting room that it meets.
    pub room: Option<RuleId>,
    /// What counts in the key beside what the cache settings name: all by which the rules make the
    /// origin's answer depend on more of the request than its URI.
    pub key: Vec<u8>,
}

impl Plan {
    /// Those of [`Self::headers`] that count in [`Self::key`].
    pub fn keyed_headers(&self) -> impl Iterator<Item = &HeaderEdit> {
        // They are in the key in the same order.
        let mut rest = self.key.as_slice();
        self.headers.iter().filter(move |edit| {
            let mut written = Vec::new();
            write_edit(edit, &mut written);
            let after = rest.strip_prefix(written.as_slice());
            rest = after.unwrap_or(rest);
            after.is_some()
        })
    }
}

/// What a plan depends on beside request and rules.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// A random number, for splits.
    pub chance: u64,
    /// What is one slash in a rewritten path.
    pub slashes: Slashes,
    /// Whether an operator has switched the cache off for a while.
    pub development_mode: bool,
}

/// Evaluates the phases for `request`, which is in canonical form.
pub fn plan<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    circumstances: &Circumstances,
    trace: &mut impl Trace,
) -> Planned<'z> {
    if let Some(answer) = edge_answer(phases, request, trace) {
        return Planned::Answer(answer);
    }
    let room = waiting_room(phases, request, trace);
    let mut key = Vec::new();
    let (splits, cookies, chosen) = choose(phases, request, circumstances.chance, trace);
    for edit in &chosen {
        write_edit(edit, &mut key);
    }
    let mut headers = forged_variants(phases, request);
    headers.extend(chosen);
    let request = &RequestView {
        facts: Facts {
            splits: &splits,
            ..request.facts
        },
        ..*request
    };
    let target = rewritten_target(phases, request, circumstances.slashes, trace);
    let raw = target
        .as_ref()
        .map(|_| target_text(request.path, request.query));
    let request = &rewritten(request, target.as_deref(), raw.as_deref());
    for (id, rule) in phases.request_header_rules.matching(request) {
        trace.matched(Phase::RequestHeaders, id);
        for edit in rule.action.edits(request, None) {
            if rule.action.keyed {
                write_edit(&edit, &mut key);
            }
            headers.push(edit);
        }
    }
    let mut origin = OriginPatch::default();
    for (id, rule) in phases.origin_rules.matching(request) {
        trace.matched(Phase::OriginRules, id);
        origin.merge(&rule.action);
    }
    let sent = sent(phases, request.headers, &headers);
    for (name, value) in &sent {
        write_field(SENT, name, Some(value), &mut key);
    }
    write_origin(&origin, &mut key);
    let settings = settings(phases, request, circumstances.development_mode, trace);
    let decision = eligibility(request, &settings);
    Planned::Forward(Box::new(Plan {
        target,
        by_cookie: splits_by_cookie(phases, &splits),
        cookies,
        headers,
        sent,
        origin,
        settings,
        decision,
        room,
        key,
        splits,
    }))
}

/// The same for a request of a lower tier, which has evaluated all phases up to the origin's: `request` is
/// as it came from there, and `lower_key` what the rules there added to the key.
pub fn plan_for_tier(
    phases: &Phases,
    request: &RequestView<'_>,
    lower_key: Vec<u8>,
    development_mode: bool,
    trace: &mut impl Trace,
) -> Plan {
    let mut origin = OriginPatch::default();
    for (id, rule) in phases.origin_rules.matching(request) {
        trace.matched(Phase::OriginRules, id);
        origin.merge(&rule.action);
    }
    let mut key = lower_key;
    let mut of_origin = Vec::new();
    write_origin(&origin, &mut of_origin);
    // With the same rules, it is there already.
    if !key.ends_with(&of_origin) {
        key.append(&mut of_origin);
    }
    let settings = settings(phases, request, development_mode, trace);
    let decision = eligibility(request, &settings);
    Plan {
        target: None,
        splits: request.facts.splits.to_vec(),
        cookies: Vec::new(),
        by_cookie: false,
        headers: Vec::new(),
        sent: Vec::new(),
        origin,
        settings,
        decision,
        // The node that sees the client has asked it there.
        room: None,
        key,
    }
}

/// The request as it is after rewriting to `target`; `raw` is what it was before.
pub fn rewritten<'a>(
    request: &RequestView<'a>,
    target: Option<&'a str>,
    raw: Option<&'a str>,
) -> RequestView<'a> {
    let Some(target) = target else {
        return *request;
    };
    let (path, query) = split_target(target);
    RequestView {
        path,
        query,
        facts: Facts {
            raw_target: raw,
            ..request.facts
        },
        ..*request
    }
}

/// Path and query of a target.
pub fn split_target(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// Path and query as one text.
pub fn target_text(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

fn edge_answer<'z>(
    phases: &'z Phases,
    request: &RequestView<'_>,
    trace: &mut impl Trace,
) -> Option<EdgeAnswer<'z>> {
    let closed = phases.maintenance.matching(request).next();
    if let Some((id, rule)) = closed {
        trace.matched(Phase::Maintenance, id);
        return Some(EdgeAnswer::Maintenance(id, &rule.action));
    }
    for (id, rule) in phases.redirect_rules.matching(request) {
        match rule.action.resolve(request) {
            Ok(target) => {
                trace.matched(Phase::Redirects, id);
                return Some(EdgeAnswer::Redirect(id, target));
            }
            Err(why) => trace.without_effect(Phase::Redirects, id, why),
        }
    }
    let found = phases.bulk_redirects.find(request)?;
    trace.matched(Phase::BulkRedirects, RuleId(0));
    Some(EdgeAnswer::BulkRedirect(found.item, found.target))
}

/// The waiting room for the URL as it came.
fn waiting_room(
    phases: &Phases,
    request: &RequestView<'_>,
    trace: &mut impl Trace,
) -> Option<RuleId> {
    let id = phases
        .waiting_rooms
        .matching(request)
        .map(|(id, _)| id)
        .next()?;
    trace.matched(Phase::WaitingRooms, id);
    Some(id)
}

/// Takes away what a client says of its variants: where a split does not hold, nothing else would.
fn forged_variants(phases: &Phases, request: &RequestView<'_>) -> Vec<HeaderEdit> {
    let splits = phases.splits.rules().iter();
    splits
        .map(|rule| &rule.action.header)
        .filter(|name| request.headers.contains_key(*name))
        .map(|name| HeaderEdit::Remove(name.clone()))
        .collect()
}

/// The variants, the cookies that keep them, and the fields for the origin.
fn choose(
    phases: &Phases,
    request: &RequestView<'_>,
    chance: u64,
    trace: &mut impl Trace,
) -> (Vec<SplitChoice>, Vec<HeaderValue>, Vec<HeaderEdit>) {
    let mut choices = Vec::new();
    let mut cookies = Vec::new();
    let mut headers = Vec::new();
    for (position, (id, rule)) in (0..).zip(phases.splits.matching(request)) {
        // Each split gets a chance of its own.
        let chance = chance.rotate_left(position * 17);
        let Some((choice, cookie)) = rule.action.choose(request, chance) else {
            continue;
        };
        trace.matched(Phase::Splits, id);
        if let Ok(value) = HeaderValue::from_str(&choice.variant) {
            headers.push(HeaderEdit::Set(rule.action.header.clone(), value));
        }
        choices.push(choice);
        cookies.extend(cookie);
    }
    (choices, cookies, headers)
}

fn splits_by_cookie(phases: &Phases, splits: &[SplitChoice]) -> bool {
    let by_cookie = |split: &Split| matches!(split.by, SplitBy::Cookie { .. });
    phases.splits.rules().iter().any(|rule| {
        by_cookie(&rule.action) && splits.iter().any(|one| one.split == rule.action.name)
    })
}

/// The target after all rewrites; the last rule that sets the path, and the last that sets the query,
/// hold. All of them see the URL as it came.
pub fn rewritten_target(
    phases: &Phases,
    request: &RequestView<'_>,
    slashes: Slashes,
    trace: &mut impl Trace,
) -> Option<String> {
    let mut path = None;
    let mut query = None;
    for (id, rule) in phases.rewrite_rules.matching(request) {
        trace.matched(Phase::Rewrites, id);
        let new_path = rule.action.path.as_ref();
        match new_path.map(|value| Rewrite::new_path(value, request, slashes)) {
            Some(Ok(new)) => path = Some(new),
            Some(Err(why)) => trace.without_effect(Phase::Rewrites, id, why),
            None => {}
        }
        let new_query = rule.action.query.as_ref();
        match new_query.map(|value| Rewrite::new_query(value, request)) {
            Some(Ok(new)) => query = Some(new),
            Some(Err(why)) => trace.without_effect(Phase::Rewrites, id, why),
            None => {}
        }
    }
    if path.is_none() && query.is_none() {
        return None;
    }
    let path = path.as_deref().unwrap_or(request.path);
    let query = match &query {
        Some(query) => query.as_deref(),
        None => request.query,
    };
    Some(target_text(path, query))
}

fn settings(
    phases: &Phases,
    request: &RequestView<'_>,
    development_mode: bool,
    trace: &mut impl Trace,
) -> Arc<CacheSettings> {
    let mut settings = phases.cache_rules.no_settings();
    for (id, rule) in phases.cache_rules.rules.matching(request) {
        trace.matched(Phase::CacheRules, id);
        rule.action.apply(id, Arc::make_mut(&mut settings));
    }
    let now = request.facts.unix_seconds;
    let by_file = phases
        .development_mode_until
        .is_some_and(|until| now < until);
    if development_mode || by_file {
        Arc::make_mut(&mut settings).eligibility =
            Setting::default_value(Eligibility::DevelopmentMode);
    }
    settings
}

// Beside the kinds of `cache::key`, none of which is as high.
const SET: u8 = 0x40;
const ADD: u8 = 0x41;
const ORIGIN: u8 = 0x42;
const REMOVE: u8 = 0x43;
const SENT: u8 = 0x44;

/// A field that a rule sets is keyed with its value, one that it removes with its name: two requests
/// that differ in it are two to the origin as well, although Vary sees what the clients sent.
fn write_edit(edit: &HeaderEdit, key: &mut Vec<u8>) {
    match edit {
        HeaderEdit::Set(name, value) => write_field(SET, name, Some(value), key),
        HeaderEdit::Add(name, value) => write_field(ADD, name, Some(value), key),
        HeaderEdit::Remove(name) => write_field(REMOVE, name, None, key),
    }
}

fn write_field(kind: u8, name: &HeaderName, value: Option<&HeaderValue>, key: &mut Vec<u8>) {
    key.push(kind);
    write_bytes(name.as_str().as_bytes(), key);
    if let Some(value) = value {
        write_bytes(value.as_bytes(), key);
    }
}

/// What the client sent of fields that the origin believes, and that no rule takes away.
fn sent(
    phases: &Phases,
    headers: &HeaderMap,
    edits: &[HeaderEdit],
) -> Vec<(HeaderName, HeaderValue)> {
    let is_gone = |name: &HeaderName| {
        let mut edits = edits.iter();
        edits.any(|edit| match edit {
            HeaderEdit::Set(of, _) | HeaderEdit::Remove(of) => of == name,
            HeaderEdit::Add(..) => false,
        })
    };
    let names = phases.believed.iter().filter(|name| !is_gone(name));
    names
        .flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Another origin has other answers.
fn write_origin(origin: &OriginPatch, key: &mut Vec<u8>) {
    // How urgent a request is changes no answer.
    let asked = OriginPatch {
        priority: None,
        ..origin.clone()
    };
    if asked.is_empty() {
        return;
    }
    key.push(ORIGIN);
    for text in [&origin.pool, &origin.host_header, &origin.sni] {
        write_bytes(text.as_deref().unwrap_or_default().as_bytes(), key);
    }
    key.extend_from_slice(&origin.port.unwrap_or_default().to_be_bytes());
}
