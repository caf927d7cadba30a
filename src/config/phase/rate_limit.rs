//! `rate_limit_rules`: what the guard stops when there is too much of it.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::super::reader::{Located, Section};
use super::super::rule::{Context, RuleFile, RuleKind, read_rules, read_value_expression};
use super::custom::refuse_keys;
use super::page::{read_page, read_status};
use crate::guard::Action;
use crate::guard::limit::{
    Characteristic, CharacteristicSource, Counting, Failing, LimitAction, LimitRule, Refusal,
};
use crate::rules::Rule;
use crate::rules::expression::{Environment, Expression};

const ACTIONS: &[(&str, Action)] = &[
    ("block", Action::Block),
    ("challenge", Action::Challenge),
    ("throttle", Action::Throttle),
    ("log", Action::Log),
];
const FAILING: &[(&str, Failing)] = &[
    ("local", Failing::Local),
    ("open", Failing::Open),
    ("closed", Failing::Closed),
];
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);
const LONGEST_PERIOD: Duration = Duration::from_hours(1);
const LONGEST_MITIGATION: Duration = Duration::from_hours(24);
const MOST: u64 = 1_000_000_000;
/// What belongs to an answer.
const OF_ANSWERS: [&str; 4] = ["status", "content", "file", "content_type"];

pub(super) fn read_rate_limit_rules(
    section: &Section<'_>,
    from: RuleFile<'_>,
) -> Vec<Rule<LimitRule>> {
    let kind = RuleKind {
        key: "rate_limit_rules",
        response: false,
        for_all: true,
        example: "requests_per_period = 100",
    };
    read_rules(section, &kind, from, read_rule)
}

fn read_rule(rule: &Section<'_>, context: &Context<'_>) -> Option<LimitRule> {
    let counting = read_counting(rule, context);
    let characteristics = read_characteristics(rule, context);
    let limit = read_limit(rule);
    let period = read_period(rule);
    let mitigation_timeout = read_mitigation(rule);
    let action = rule.word("action", ACTIONS);
    let action = action.map_or_else(
        || (!rule.has("action")).then_some(Action::Block),
        |word| Some(word.value),
    );
    let refusal = read_refusal(rule);
    let burst = rule.integer("burst", 1..=MOST);
    let dry_run = rule.boolean("dry_run").is_some_and(|dry| dry.value);
    let tells = rule.boolean("ratelimit_headers");
    let strict = rule.boolean("strict").is_some_and(|strict| strict.value);
    let on_failure = rule.word("on_failure", FAILING);
    let action = action?;
    if matches!(action, Action::Log | Action::Challenge) {
        refuse_keys(rule, &OF_ANSWERS, "block");
    }
    if action != Action::Throttle {
        refuse_keys(rule, &["burst"], "throttle");
    } else if rule.has("mitigation_timeout") {
        let help = "remove it, or write `action = \"block\"`";
        fault(
            rule,
            "mitigation_timeout",
            "what is throttled is not stopped for longer than it must be",
            help,
        );
    }
    let (counting, limit) = (counting?, limit?);
    check_strict(rule, strict, action, &counting, on_failure.as_ref());
    Some(LimitRule {
        counting,
        characteristics: characteristics?,
        limit,
        period: period?,
        mitigation_timeout: mitigation_timeout?,
        action: match action {
            Action::Log => LimitAction::Log,
            Action::Challenge => LimitAction::Challenge,
            Action::Throttle => LimitAction::Throttle {
                burst: burst
                    .and_then(|burst| u32::try_from(burst.value).ok())
                    .unwrap_or(limit),
                refusal,
            },
            _ => LimitAction::Block(refusal),
        },
        dry_run,
        tells: tells.is_some_and(|tells| tells.value),
        strict,
        on_failure: on_failure.map(|word| word.value).unwrap_or_default(),
        identity: 0,
    })
}

fn fault(rule: &Section<'_>, key: &'static str, message: &str, help: &str) {
    let span = rule.place_of(key);
    rule.reader.fault(span, message, Some(help.to_owned()));
}

/// What counts.
fn read_counting(rule: &Section<'_>, context: &Context<'_>) -> Option<Counting> {
    let expression = rule.string("counting_expression");
    let compiled = expression.as_ref().map(|text| {
        let lists = Some(context.from.lists);
        let of_request = Environment {
            lists,
            response: false,
            tokens: Some(context.from.tokens),
        };
        if let Ok(expression) = Expression::compile(&text.value, &of_request) {
            return Some((expression, false));
        }
        let of_response = Environment {
            lists,
            response: true,
            tokens: Some(context.from.tokens),
        };
        let compiled = Expression::compile(&text.value, &of_response);
        let compiled = context.compiled(rule, text, compiled)?;
        Some((compiled, true))
    });
    let to_origin = rule.boolean("requests_to_origin");
    let score = rule.parsed("score_response_header", "the name of a field", |text| {
        HeaderName::try_from(text).map_err(|_| "is not the name of a field".to_owned())
    });
    let (expression, by_response) = match compiled {
        None => (None, false),
        Some(compiled) => {
            let (expression, by_response) = compiled?;
            (Some(expression), by_response)
        }
    };
    Some(Counting {
        expression,
        by_response,
        to_origin: to_origin.is_some_and(|to_origin| to_origin.value),
        score: score.map(|name| name.value),
    })
}

/// `requests_per_period`, or `score_per_period` where answers say how much they count.
fn read_limit(rule: &Section<'_>) -> Option<u32> {
    let requests = rule.integer("requests_per_period", 1..=MOST);
    let score = rule.integer("score_per_period", 1..=MOST);
    let has = |key| rule.has(key);
    match (has("requests_per_period"), has("score_per_period")) {
        (true, true) => {
            let help = "keep one of the two";
            let message = "the rule counts requests and scores";
            fault(rule, "score_per_period", message, help);
        }
        (false, false) => {
            let help = "write for example `requests_per_period = 100`".to_owned();
            let message = "the rule has no `requests_per_period`";
            rule.reader.fault(rule.span.clone(), message, Some(help));
        }
        _ => {}
    }
    match (has("score_per_period"), has("score_response_header")) {
        (true, false) => {
            let help = "write for example `score_response_header = \"x-score\"`";
            let message = "the rule does not say which field of answers has the score";
            fault(rule, "score_per_period", message, help);
        }
        (false, true) => {
            let help = "write for example `score_per_period = 100`";
            let message = "the rule has a score and no limit of it";
            fault(rule, "score_response_header", message, help);
        }
        _ => {}
    }
    let limit = requests.or(score)?;
    u32::try_from(limit.value).ok()
}

fn read_period(rule: &Section<'_>) -> Option<Duration> {
    if !rule.required("period", "\"1m\"") {
        return None;
    }
    let period = rule.duration("period")?;
    if !(SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&period.value) {
        let message = "`period` must be from 1s to 1h";
        rule.reader.fault(period.span, message, None);
        return None;
    }
    Some(period.value)
}

fn read_mitigation(rule: &Section<'_>) -> Option<Duration> {
    let Some(timeout) = rule.duration("mitigation_timeout") else {
        return (!rule.has("mitigation_timeout")).then_some(Duration::ZERO);
    };
    if timeout.value > LONGEST_MITIGATION {
        let message = "`mitigation_timeout` must be at most 1d";
        rule.reader.fault(timeout.span, message, None);
        return None;
    }
    Some(timeout.value)
}

fn read_refusal(rule: &Section<'_>) -> Refusal {
    let status = read_status(rule);
    let has_page = rule.has("content") || rule.has("file");
    let page = has_page.then(|| read_page(rule)).flatten();
    if !has_page && rule.has("content_type") {
        let help = "write the page as `content` or `file`";
        fault(rule, "content_type", "`content_type` without a page", help);
    }
    Refusal {
        status: status.unwrap_or(StatusCode::TOO_MANY_REQUESTS),
        page,
    }
}

/// What requests have in common; by default the client.
fn read_characteristics(rule: &Section<'_>, context: &Context<'_>) -> Option<Vec<Characteristic>> {
    if !rule.has("characteristics") {
        return Some(vec![Characteristic {
            text: "ip.src".to_owned(),
            source: CharacteristicSource::Client,
        }]);
    }
    let written = rule.strings("characteristics")?;
    if written.is_empty() {
        let help = "write for example `characteristics = [\"ip.src\"]`, or [\"http.host\"] for all \
                    requests of a host together";
        let message = "the rule has no characteristics";
        fault(rule, "characteristics", message, help);
    }
    let read = |text: Located<String>| {
        let source = read_characteristic(rule, &text, context)?;
        Some(Characteristic {
            text: text.value,
            source,
        })
    };
    written.into_iter().map(read).collect()
}

fn read_characteristic(
    rule: &Section<'_>,
    text: &Located<String>,
    context: &Context<'_>,
) -> Option<CharacteristicSource> {
    if text.value == "ip.src" {
        return Some(CharacteristicSource::Client);
    }
    if let Some(name) = entry_of(&text.value, "http.request.headers") {
        if let Ok(name) = HeaderName::try_from(name) {
            return Some(CharacteristicSource::Header(name));
        }
        let message = format!("`{name}` is not a header name");
        rule.reader.fault(text.span.clone(), message, None);
        return None;
    }
    let first = format!("{}[0]", text.value);
    let value = if entry_of(&text.value, "http.request.cookies").is_some() {
        first
    } else if entry_of(&text.value, "http.request.uri.args").is_some() {
        // Applications read it decoded: other escapes are not another value.
        format!("url_decode({first})")
    } else {
        text.value.clone()
    };
    let text = Located {
        value,
        span: text.span.clone(),
    };
    read_value_expression(rule, &text, context.from).map(CharacteristicSource::Value)
}

/// The name in `map["name"]`.
fn entry_of<'t>(text: &'t str, map: &str) -> Option<&'t str> {
    let name = text.strip_prefix(map)?.strip_prefix("[\"")?;
    let name = name.strip_suffix("\"]")?;
    (!name.contains(['"', '\\'])).then_some(name)
}

/// A strict rule asks all nodes when a request arrives.
fn check_strict(
    rule: &Section<'_>,
    strict: bool,
    action: Action,
    counting: &Counting,
    on_failure: Option<&Located<Failing>>,
) {
    if strict && action == Action::Throttle {
        let help = "write `action = \"block\"`, or leave `strict` out";
        fault(rule, "strict", "a strict rule cannot throttle", help);
    }
    if strict && counting.is_after() {
        let help = "count by fields of the request, or leave `strict` out";
        let message = "a strict rule counts requests when they arrive, not by their answers";
        fault(rule, "strict", message, help);
    }
    if !strict && on_failure.is_some_and(|word| word.value == Failing::Closed) {
        let help = "write `on_failure = \"local\"`, or `strict = true` as well";
        let message = "only a strict rule can let nothing through when it cannot ask";
        fault(rule, "on_failure", message, help);
    }
}
