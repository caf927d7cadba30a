//! Rule tests: what a request is expected to come to, and whether it does.

use std::time::{Duration, SystemTime};

use http::HeaderName;

use super::explanation::{Explanation, FieldChange, ResponseFacts, RuleRef, Verdict};
use super::question::{OriginAnswer, Question, QuestionError};
use super::text::seconds;
use super::{Inquiry, explain};
use crate::config::Config;
use crate::rules::RuleSource;

/// A `[[test]]` of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTest {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub source: RuleSource,
    /// The request.
    pub request: Question,
    /// What the origin answers.
    pub response: Option<OriginAnswer>,
    /// How much later the same request comes again.
    pub after: Duration,
    /// A request that what is stored must answer as well.
    pub same_key_as: Option<Question>,
    /// A request that what is stored must not answer.
    pub other_key_than: Option<Question>,
    /// What is expected.
    pub expect: Expectation,
}

/// What a test expects; `None` and no entries leave it open, and an empty text stands for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// What becomes of the request.
    pub verdict: Option<Verdict>,
    /// The token of the reason of a bypass.
    pub reason: Option<String>,
    /// Name of the zone.
    pub zone: Option<String>,
    /// Rules that hold.
    pub rules: Vec<String>,
    /// Rules that do not.
    pub not_rules: Vec<String>,
    /// Name of the rule that decides.
    pub decided_by: Option<String>,
    /// The status that the client gets.
    pub status: Option<u16>,
    /// Where the client is sent.
    pub redirect: Option<String>,
    /// Variants by split.
    pub split: Vec<(String, String)>,
    /// Name of the pool.
    pub pool: Option<String>,
    /// The Host that the origin gets.
    pub host: Option<String>,
    /// The path that the origin gets.
    pub path: Option<String>,
    /// The query that the origin gets.
    pub query: Option<String>,
    /// Fields as rules leave them for the origin; empty for those that rules do not set.
    pub origin_header: Vec<(HeaderName, String)>,
    /// Texts that the key has.
    pub key_contains: Vec<String>,
    /// Whether the answer is stored.
    pub stored: Option<bool>,
    /// The token of the reason why not.
    pub store_reason: Option<String>,
    /// For how long it is fresh.
    pub ttl: Option<Duration>,
    /// The word of X-Cache with an empty store.
    pub x_cache: Option<String>,
    /// The word of X-Cache when the same request comes again.
    pub second: Option<String>,
    /// The Cache-Control that the client gets.
    pub browser_cache_control: Option<String>,
    /// Fields that the client gets; empty for those that it does not.
    pub response_header: Vec<(HeaderName, String)>,
}

/// How a test went.
#[derive(Clone, Debug)]
pub struct TestOutcome {
    /// What is otherwise than expected; nothing when it passed.
    pub mismatches: Vec<Mismatch>,
    /// The rule that decided.
    pub decided_by: Option<RuleRef>,
    /// Why it came out as it did, in a sentence.
    pub because: String,
}

/// One expectation that is not met.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mismatch {
    /// Which one.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What it is.
    pub actual: String,
}

impl TestOutcome {
    /// Whether everything is as expected.
    pub fn passed(&self) -> bool {
        self.mismatches.is_empty()
    }
}

/// Runs one test of `config` at `now`.
///
/// # Errors
/// When one of its requests cannot be understood.
pub fn run(
    config: &Config,
    test: &RuleTest,
    now: SystemTime,
) -> Result<TestOutcome, QuestionError> {
    let ask = |question| {
        let inquiry = Inquiry {
            question,
            answer: test.response.as_ref(),
            now,
            after: test.after,
            all: false,
            developing: &[],
            under_attack: &[],
        };
        explain(config, &inquiry)
    };
    let found = ask(&test.request)?;
    let mut comparison = Comparison::default();
    comparison.request(&test.expect, &found);
    comparison.origin(&test.expect, &found);
    comparison.response(&test.expect, &found);
    for (other, what, wanted) in [
        (&test.same_key_as, "same_key_as", true),
        (&test.other_key_than, "other_key_than", false),
    ] {
        if let Some(other) = other {
            comparison.keys(what, wanted, &found, &ask(other)?);
        }
    }
    let decisive = decisive_response(&found);
    Ok(TestOutcome {
        mismatches: comparison.mismatches,
        decided_by: decided_by(&found).cloned(),
        because: match decisive {
            Some(response) => response.because.clone(),
            None => found.because,
        },
    })
}

/// The response, where it is what the store makes of it that matters.
fn decisive_response(found: &Explanation) -> Option<&ResponseFacts> {
    let response = found.response.as_ref();
    response.filter(|_| found.verdict == Verdict::Lookup)
}

fn decided_by(found: &Explanation) -> Option<&RuleRef> {
    match decisive_response(found) {
        Some(response) => response.decided_by.as_ref(),
        None => found.decided_by.as_ref(),
    }
}

/// Stands for what is not there.
const NONE: &str = "none";

#[derive(Default)]
struct Comparison {
    mismatches: Vec<Mismatch>,
}

impl Comparison {
    fn compare(&mut self, what: &str, expected: Option<&str>, actual: Option<&str>) {
        if let Some(expected) = expected {
            let actual = actual.unwrap_or_default();
            self.must(what, or_none(expected), or_none(actual));
        }
    }

    fn must(&mut self, what: &str, expected: &str, actual: &str) {
        if expected != actual {
            self.mismatches.push(Mismatch {
                what: what.to_owned(),
                expected: expected.to_owned(),
                actual: actual.to_owned(),
            });
        }
    }

    fn request(&mut self, expect: &Expectation, found: &Explanation) {
        let verdict = expect.verdict.map(Verdict::as_str);
        self.compare("verdict", verdict, Some(found.verdict.as_str()));
        self.compare("reason", expect.reason.as_deref(), found.reason.as_deref());
        let zone = found.zone.as_ref().map(|zone| &*zone.name);
        self.compare("zone", expect.zone.as_deref(), zone);
        let held: Vec<&str> = found
            .rules
            .iter()
            .filter(|step| step.held && step.without_effect.is_none())
            .map(|step| &*step.rule.name)
            .collect();
        for rule in &expect.rules {
            if !held.contains(&rule.as_str()) {
                self.must("rules", rule, &list(&held));
            }
        }
        for rule in &expect.not_rules {
            if held.contains(&rule.as_str()) {
                self.must("not_rules", &format!("without {rule}"), &list(&held));
            }
        }
        let decided_by = decided_by(found).map(|rule| &*rule.name);
        self.compare("decided_by", expect.decided_by.as_deref(), decided_by);
        let by_edge = found.answer.as_ref();
        let location = by_edge.and_then(|answer| answer.location.as_deref());
        self.compare("redirect", expect.redirect.as_deref(), location);
        let status = by_edge.map(|answer| answer.status);
        let status = status.or(found
            .response
            .as_ref()
            .map(|response| response.client.status));
        if let Some(expected) = expect.status {
            let status = status.map(|status| status.to_string());
            self.compare("status", Some(&expected.to_string()), status.as_deref());
        }
        for (split, variant) in &expect.split {
            let chosen = found.splits.get(split).map(String::as_str);
            self.compare(&format!("split.{split}"), Some(variant), chosen);
        }
    }

    fn origin(&mut self, expect: &Expectation, found: &Explanation) {
        let origin = found.origin.as_ref();
        let pool = origin.map(|origin| &*origin.pool);
        self.compare("pool", expect.pool.as_deref(), pool);
        let host = origin.map(|origin| &*origin.host);
        self.compare("host", expect.host.as_deref(), host);
        let path = origin.map(|origin| &*origin.path);
        self.compare("path", expect.path.as_deref(), path);
        let query = origin.and_then(|origin| origin.query.as_deref());
        self.compare("query", expect.query.as_deref(), query);
        for (name, expected) in &expect.origin_header {
            let changes = origin.map_or(&[][..], |origin| &origin.headers);
            let value = by_rules(changes, name);
            let what = format!("origin_header.{name}");
            self.compare(&what, Some(expected), value.as_deref());
        }
        for text in &expect.key_contains {
            let key = found.key.as_ref().map(|key| &*key.text);
            if !key.is_some_and(|key| key.contains(text)) {
                self.compare("key_contains", Some(text), key);
            }
        }
    }

    fn response(&mut self, expect: &Expectation, found: &Explanation) {
        let response = found.response.as_ref();
        if let Some(expected) = expect.stored {
            let stored = response.map(|response| response.stored.to_string());
            self.compare("stored", Some(&expected.to_string()), stored.as_deref());
        }
        let reason = response.filter(|response| !response.stored);
        let reason = reason.map(|response| &*response.reason);
        self.compare("store_reason", expect.store_reason.as_deref(), reason);
        let ttl = response.filter(|response| response.stored);
        let ttl = ttl.and_then(|response| response.ttl).map(seconds);
        let expected = expect.ttl.map(|ttl| seconds(ttl.as_secs()));
        self.compare("ttl", expected.as_deref(), ttl.as_deref());
        let first = response.map(|response| response.first.x_cache);
        self.compare("x_cache", expect.x_cache.as_deref(), first);
        let second = response.map(|response| response.second.told.x_cache);
        self.compare("second", expect.second.as_deref(), second);
        let client = response.map(|response| &response.client);
        let control = client.and_then(|client| client.cache_control.as_deref());
        let expected = expect.browser_cache_control.as_deref();
        self.compare("browser_cache_control", expected, control);
        for (name, expected) in &expect.response_header {
            let headers = client.map_or(&[][..], |client| &client.headers);
            let lines: Vec<&str> = headers
                .iter()
                .filter(|(known, _)| known == name.as_str())
                .map(|(_, value)| value.as_str())
                .collect();
            let value = (!lines.is_empty()).then(|| lines.join(", "));
            let what = format!("response_header.{name}");
            self.compare(&what, Some(expected), value.as_deref());
        }
    }

    /// Whether one stored response would answer both.
    fn keys(&mut self, what: &str, wanted: bool, one: &Explanation, other: &Explanation) {
        let keyless = [one, other].into_iter().find(|found| found.key.is_none());
        if let Some(found) = keyless {
            let reason = found.reason.as_deref().unwrap_or(NONE);
            let actual = format!("no key: {} ({reason})", found.verdict.as_str());
            return self.must(what, "a key", &actual);
        }
        let identity = |found: &Explanation| found.key.as_ref().map(|key| key.identity.clone());
        if (identity(one) == identity(other)) == wanted {
            return;
        }
        let text = |found: &Explanation| {
            let key = found.key.as_ref();
            key.map(|key| key.text.clone()).unwrap_or_default()
        };
        let but_fields = text(one) == text(other);
        let actual = match (wanted, but_fields) {
            (true, true) => "other fields that the response varies by".to_owned(),
            (true, false) => text(other),
            (false, _) => format!("the same, {}", text(one)),
        };
        let expected = if wanted {
            text(one)
        } else {
            "another key".to_owned()
        };
        self.must(what, &expected, &actual);
    }
}

/// What rules leave of a field for the origin.
fn by_rules(changes: &[FieldChange], name: &HeaderName) -> Option<String> {
    let mut lines = Vec::new();
    for change in changes.iter().filter(|change| change.name == name.as_str()) {
        if change.change != "add" {
            lines.clear();
        }
        lines.extend(change.value.clone());
    }
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

fn list(names: &[&str]) -> String {
    or_none(&names.join(", ")).to_owned()
}

#[cfg(test)]
#[path = "expectation_tests.rs"]
mod tests;
