//! From the origin's answer to what is stored and what clients get: what `proxy::fetching` and
//! `proxy::answer` do, on a described answer.

use std::time::{Duration, SystemTime};

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, DATE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Inquiry;
use super::explanation::{ClientFacts, Later, ResponseFacts};
use super::planned::{cache_rule, text};
use super::question::OriginAnswer;
use super::trace::{self, Recorder};
use super::words;
use crate::cache::browser::apply_browser_ttl;
use crate::cache::eligibility::RequestDecision;
use crate::cache::encoding::may_be_compressed;
use crate::cache::freshness::Lifetimes;
use crate::cache::response::{ExchangeTimes, ResponseView};
use crate::cache::reuse::{
    ForwardReason, Found, OriginState, ReuseDecision, StaleMode, StoredTimes, decide_reuse,
};
use crate::cache::settings::{BrowserTtl, RequestCacheControl, RuleId};
use crate::cache::status::{CacheStatus, Forwarded, Outcome, Storing};
use crate::cache::storing::{NoStoreReason, StoreDecision, decide_storing, too_rare};
use crate::config::Zone;
use crate::fields::content_coding::vary_by_encoding;
use crate::fields::hop_by_hop::strip_for_forwarding;
use crate::fields::request_control::RequestControl;
use crate::fields::tags::{CACHE_TAG, SURROGATE_KEY, cache_tags_with};
use crate::fields::targeted::SEAWALL_CDN_CACHE_CONTROL;
use crate::fields::validators::Validators;
use crate::fields::vary::Vary;
use crate::request::RequestView;
use crate::rules::Plan;
use crate::rules::phase::{Phase, ResponseEdits, Trace, apply};

const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");

/// The request behind the answer.
pub(super) struct Asked<'a> {
    pub(super) zone: &'a Zone,
    /// As it went forward.
    pub(super) request: &'a RequestView<'a>,
    pub(super) plan: &'a Plan,
}

/// What becomes of `answer`, and by what of the request it was selected.
pub(super) fn explain(
    asked: &Asked<'_>,
    answer: &OriginAnswer,
    inquiry: &Inquiry<'_>,
    recorder: &mut Recorder,
) -> (ResponseFacts, Vec<u8>) {
    let mut fields = answer.headers.clone();
    strip_for_forwarding(&mut fields);
    if answer.status == StatusCode::NO_CONTENT {
        fields.remove(CONTENT_LENGTH);
    }
    if asked.plan.decision == RequestDecision::Lookup {
        edit(asked, answer.status, &mut fields, recorder);
        complete(asked, &mut fields, inquiry.now);
    }
    let response = ResponseView {
        status: answer.status,
        headers: &fields,
    };
    let control = match asked.plan.settings.request_cache_control.value {
        RequestCacheControl::Respect => RequestControl::of(asked.request.headers),
        RequestCacheControl::Ignore => RequestControl::default(),
    };
    let times = ExchangeTimes {
        requested: inquiry.now,
        received: inquiry.now,
    };
    let settings = &asked.plan.settings;
    let decision = decide_storing(asked.request, &control, &response, settings, &times);
    let storable = match &decision {
        StoreDecision::Store(lifetimes) => {
            let validatable = Validators::of(&fields).any();
            Ok(StoredTimes::new(lifetimes, inquiry.now, validatable))
        }
        StoreDecision::DoNotStore(reason) => Err(*reason),
    };
    let cache = Cache {
        asked,
        control,
        status: answer.status,
        storable,
        now: inquiry.now,
    };
    let mut selecting = Vec::new();
    Vary::of(&fields).write_selecting_key(
        asked.request.headers,
        &settings.vary.value,
        &mut selecting,
    );
    let tags = cache_tags_with(&fields, &settings.tags.value);
    let tags = tags.into_iter().map(String::from).collect();
    let client = client(asked, answer.status, fields, &cache, recorder);
    let facts = facts(asked, &decision, &cache, inquiry, tags, client);
    (facts, selecting)
}

/// What the cache needs or must not see.
fn complete(asked: &Asked<'_>, fields: &mut HeaderMap, now: SystemTime) {
    if asked.plan.settings.strip_set_cookie.value {
        fields.remove(SET_COOKIE);
        fields.remove(SET_COOKIE2);
    }
    if !fields.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now))
    {
        // RFC 9110 §6.6.1.
        fields.insert(DATE, date);
    }
}

/// Cache response rules.
fn edit(asked: &Asked<'_>, status: StatusCode, fields: &mut HeaderMap, recorder: &mut Recorder) {
    let mut edits = ResponseEdits::default();
    let response = ResponseView {
        status,
        headers: fields,
    };
    let rules = &asked.zone.rules.cache_response_rules;
    for (id, rule) in rules.matching_response(asked.request, &response) {
        recorder.matched(Phase::CacheResponseRules, id);
        edits.merge(&rule.action);
    }
    edits.apply(fields);
}

/// What the client gets.
fn client(
    asked: &Asked<'_>,
    mut status: StatusCode,
    mut fields: HeaderMap,
    cache: &Cache<'_>,
    recorder: &mut Recorder,
) -> ClientFacts {
    let settings = &asked.plan.settings;
    let rules = &asked.zone.rules;
    let page = page(asked, status, &fields);
    if let Some(rule) = page.and_then(|id| rules.error_rules.get(id)) {
        status = rule.action.status.unwrap_or(status);
        let text = rule.action.page.render(status, "");
        rule.action.take_over(&mut fields, text.len());
    }
    let page = page.and_then(|id| {
        recorder.matched(Phase::ErrorPages, id);
        trace::rule(rules, Phase::ErrorPages, id)
    });
    if cache.storable.is_ok() && varies_by_encoding(asked, status, &fields) {
        vary_by_encoding(&mut fields);
    }
    let ttl = settings.browser_ttl.value;
    let lookup = asked.plan.decision == RequestDecision::Lookup;
    // What may not be kept here for everybody is not for a rule to keep in browsers either.
    if lookup && cache.storable.is_ok() && ttl != BrowserTtl::RespectOrigin {
        apply_browser_ttl(&mut fields, ttl, status);
    }
    if !settings.pass_cache_tags.value {
        fields.remove(CACHE_TAG);
        fields.remove(SURROGATE_KEY);
    }
    fields.remove(SEAWALL_CDN_CACHE_CONTROL);
    for cookie in &asked.plan.cookies {
        fields.append(SET_COOKIE, cookie.clone());
    }
    if asked.plan.by_cookie {
        fields.append(VARY, HeaderValue::from_static("cookie"));
    }
    let response = ResponseView {
        status,
        headers: &fields,
    };
    let edits: Vec<_> = rules
        .response_header_rules
        .matching_response(asked.request, &response)
        .flat_map(|(id, rule)| {
            recorder.matched(Phase::ResponseHeaders, id);
            rule.action.edits(asked.request, Some(&response))
        })
        .collect();
    apply(&edits, &mut fields);
    let lines: Vec<String> = fields.get_all(CACHE_CONTROL).iter().map(text).collect();
    ClientFacts {
        status: status.as_u16(),
        cache_control: (!lines.is_empty()).then(|| lines.join(", ")),
        page,
        headers: fields
            .iter()
            .filter(|(name, _)| **name != DATE && **name != CONTENT_LENGTH)
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
    }
}

/// Whether others may get it compressed.
fn varies_by_encoding(asked: &Asked<'_>, status: StatusCode, fields: &HeaderMap) -> bool {
    let length = fields
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    let response = ResponseView {
        status,
        headers: fields,
    };
    let length = length.and_then(|length| length.parse().ok());
    asked.plan.decision == RequestDecision::Lookup
        && !asked.plan.settings.compression.value.is_empty()
        && may_be_compressed(&response, length)
}

/// The rule whose page takes the place of an error.
fn page(asked: &Asked<'_>, status: StatusCode, fields: &HeaderMap) -> Option<RuleId> {
    let passes = asked.plan.settings.origin_error_page_pass_through.value;
    if status.as_u16() < 400 || passes {
        return None;
    }
    let response = ResponseView {
        status,
        headers: fields,
    };
    let rules = &asked.zone.rules.error_rules;
    let mut matching = rules.matching_response(asked.request, &response);
    matching.next().map(|(id, _)| id)
}

/// An empty store, and what comes into it.
struct Cache<'a> {
    asked: &'a Asked<'a>,
    control: RequestControl,
    status: StatusCode,
    /// With which times it may be stored, or why not.
    storable: Result<StoredTimes, NoStoreReason>,
    now: SystemTime,
}

impl Cache<'_> {
    /// What becomes of the answer to the request of this number, from 1.
    fn storing(&self, uses: u32) -> Storing {
        let rare = || too_rare(uses, &self.asked.plan.settings);
        match self.storable {
            Ok(_) => rare().map_or(Storing::Stored, Storing::NotStored),
            Err(reason) => Storing::NotStored(reason),
        }
    }

    /// What the request of this number, from 1, is told at `time`, and something to say about it.
    fn told(&self, uses: u32, time: SystemTime) -> (CacheStatus, Option<&'static str>) {
        let before = uses.checked_sub(1).filter(|before| *before > 0);
        let is_stored = before.is_some_and(|uses| self.storing(uses) == Storing::Stored);
        let found = match &self.storable {
            Ok(times) if is_stored => Found::Complete(times),
            _ => Found::Nothing,
        };
        if let RequestDecision::Bypass(reason) = self.asked.plan.decision {
            let status = Some(self.status);
            let outcome = Outcome::Bypassed { reason, status };
            return (CacheStatus { outcome, ttl: None }, None);
        }
        match decide_reuse(&self.control, found, OriginState::Unasked, time) {
            ReuseDecision::Reuse { ttl } => (CacheStatus::hit(ttl), None),
            ReuseDecision::ReuseStale { ttl, mode } => {
                let note = match mode {
                    StaleMode::WhileRevalidating => Some("fetched anew in the background"),
                    StaleMode::IfError | StaleMode::WhenOverloaded | StaleMode::ClientAccepts => {
                        None
                    }
                };
                (CacheStatus::stale_hit(ttl, mode), note)
            }
            ReuseDecision::Validate(reason) => {
                let note = "REVALIDATED where the origin confirms what is stored";
                (self.forwarded(reason, uses), Some(note))
            }
            ReuseDecision::Forward(reason) => (self.forwarded(reason, uses), None),
            ReuseDecision::GatewayTimeout => (CacheStatus::gateway_timeout(), None),
        }
    }

    /// The origin is asked and answers as described.
    fn forwarded(&self, reason: ForwardReason, uses: u32) -> CacheStatus {
        let storing = self.storing(uses);
        let times = self.storable.as_ref().ok();
        let times = times.filter(|_| storing == Storing::Stored);
        let outcome = Outcome::Forwarded(Forwarded {
            reason,
            status: Some(self.status),
            storing,
            collapsed: false,
        });
        let ttl = times.map(|times| times.ttl(self.now));
        CacheStatus { outcome, ttl }
    }
}

fn facts(
    asked: &Asked<'_>,
    decision: &StoreDecision,
    cache: &Cache<'_>,
    inquiry: &Inquiry<'_>,
    tags: Vec<String>,
    client: ClientFacts,
) -> ResponseFacts {
    let lifetimes = match decision {
        StoreDecision::Store(lifetimes) => Some(lifetimes),
        StoreDecision::DoNotStore(_) => None,
    };
    let (reason, because, rule) = match (cache.storing(1), lifetimes) {
        (Storing::NotStored(reason), _) => {
            (reason.as_str(), words::not_stored(reason), reason.rule())
        }
        (_, Some(Lifetimes { source, .. })) => {
            (source.as_str(), words::lifetime(*source), source.rule())
        }
        (_, None) => ("", "", None),
    };
    let (first, _) = cache.told(1, inquiry.now);
    let again = inquiry.now.checked_add(inquiry.after);
    let (second, note) = cache.told(2, again.unwrap_or(inquiry.now));
    let window = |time: Duration| (!time.is_zero()).then_some(time.as_secs());
    ResponseFacts {
        status: cache.status.as_u16(),
        stored: cache.storing(1) == Storing::Stored,
        reason: reason.to_owned(),
        because: because.to_owned(),
        decided_by: rule.and_then(|id| cache_rule(asked.zone, id)),
        ttl: lifetimes.map(|times| times.fresh_for().as_secs()),
        validate_always: lifetimes.is_some_and(|times| times.validate_always),
        stale_while_revalidate: lifetimes.and_then(|times| window(times.stale_while_revalidate)),
        stale_if_error: lifetimes.and_then(|times| window(times.stale_if_error)),
        stale_when_overloaded: lifetimes.and_then(|times| window(times.stale_when_overloaded)),
        tags,
        first: first.into(),
        second: Later {
            after: inquiry.after.as_secs(),
            told: second.into(),
            note,
        },
        client,
    }
}
