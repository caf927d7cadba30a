//! `[[test]]`: what requests are expected to come to.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::diagnostics::position;
use super::reader::{Located, Section};
use super::rule::RuleFile;
use crate::cache::eligibility::BYPASS_REASONS;
use crate::cache::status::XCache;
use crate::cache::storing::NO_STORE_REASONS;
use crate::explain::{self, Expectation, OriginAnswer, Question, QuestionError, RuleTest, Verdict};
use crate::rules::RuleSource;

/// Expectations that speak of the origin's answer.
const OF_RESPONSE: &[&str] = &[
    "stored",
    "store_reason",
    "ttl",
    "x_cache",
    "second",
    "browser_cache_control",
    "response_header",
];

/// Reads all tests of a file.
pub(super) fn read_tests(root: &Section<'_>, from: RuleFile<'_>) -> Vec<RuleTest> {
    let sections = root.sections("test").into_iter().enumerate();
    sections
        .filter_map(|(index, section)| read_test(section, index, from))
        .collect()
}

fn read_test(section: Section<'_>, index: usize, from: RuleFile<'_>) -> Option<RuleTest> {
    let name = section.string("name");
    let name = name.map_or_else(|| format!("test {}", index + 1), |name| name.value);
    if !section.has("request") {
        let help = "write for example `request = \"/catalog/\"`".to_owned();
        let message = format!("the test \"{name}\" has no `request`");
        section
            .reader
            .fault(section.span.clone(), message, Some(help));
    }
    let request = read_request(&section, "request");
    let response = section.section("response").and_then(read_response);
    let after = section.duration("after").map(|after| after.value);
    let same_key_as = read_request(&section, "same_key_as");
    let other_key_than = read_request(&section, "other_key_than");
    let answered = section.has("response");
    let expect = section
        .section("expect")
        .map(|expect| read_expectation(expect, answered));
    if !["expect", "same_key_as", "other_key_than"]
        .iter()
        .any(|key| section.has(key))
    {
        let help = "write for example `expect = { verdict = \"bypass\" }`".to_owned();
        let message = format!("the test \"{name}\" expects nothing");
        section
            .reader
            .fault(section.span.clone(), message, Some(help));
    }
    let source = RuleSource {
        file: from.name.into(),
        line: position(from.source, section.span.start).0,
    };
    section.finish();
    Some(RuleTest {
        name,
        source,
        request: request?,
        response,
        after: after.unwrap_or(Duration::ZERO),
        same_key_as,
        other_key_than,
        expect: expect.unwrap_or_default(),
    })
}

/// A request: a URL alone, or a table.
fn read_request(section: &Section<'_>, key: &'static str) -> Option<Question> {
    if !section.is_table(key) {
        return section.string(key).map(|url| Question::get(&url.value));
    }
    let table = section.section(key)?;
    let url = table.required_string("url", "\"/catalog/\"");
    let mut question = Question::get("");
    let read = &mut question;
    put(
        &table,
        table.string("method"),
        explain::method,
        &mut read.method,
    );
    put(
        &table,
        table.string("client"),
        explain::client,
        &mut read.client,
    );
    put(
        &table,
        table.string("version"),
        explain::version,
        &mut read.version,
    );
    if let Some(text) = table.string("country") {
        read.country = understood(&table, text, explain::country);
    }
    read.asn = table
        .integer("asn", 0..=u64::from(u32::MAX))
        .and_then(|asn| u32::try_from(asn.value).ok());
    read.time = table.date_time("time").map(|time| time.value);
    let chance = table.integer("chance", 0..=u64::MAX);
    read.chance = chance.map_or(0, |chance| chance.value);
    read.headers = read_fields(&table);
    table.finish();
    question.url = url?.value;
    Some(question)
}

fn read_response(section: Section<'_>) -> Option<OriginAnswer> {
    let status = section.integer("status", 200..=599);
    let status = status.map_or(200, |status| status.value);
    let length = section.size("length").map(|length| length.value);
    let headers = read_fields(&section);
    section.finish();
    let status = http::StatusCode::from_u16(u16::try_from(status).ok()?).ok()?;
    Some(OriginAnswer { status, headers }.with_length(length))
}

fn read_fields(section: &Section<'_>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let Some(table) = section.section("headers") else {
        return fields;
    };
    for (name, value) in table.string_entries() {
        match explain::field(&name.value, &value.value) {
            Ok((name, value)) => {
                fields.append(name, value);
            }
            Err(why) => table.reader.fault(name.span, why.to_string(), None),
        }
    }
    fields
}

fn put<T>(
    section: &Section<'_>,
    text: Option<Located<String>>,
    read: impl FnOnce(&str) -> Result<T, QuestionError>,
    target: &mut T,
) {
    if let Some(value) = text.and_then(|text| understood(section, text, read)) {
        *target = value;
    }
}

fn understood<T>(
    section: &Section<'_>,
    text: Located<String>,
    read: impl FnOnce(&str) -> Result<T, QuestionError>,
) -> Option<T> {
    let why = match read(&text.value) {
        Ok(value) => return Some(value),
        Err(why) => why,
    };
    section.reader.fault(text.span, why.to_string(), None);
    None
}

fn read_expectation(section: Section<'_>, answered: bool) -> Expectation {
    for key in OF_RESPONSE
        .iter()
        .filter(|key| !answered && section.has(key))
    {
        let help =
            "add `response = { status = 200, headers = { cache-control = \"max-age=60\" } }`";
        let message = format!("`{key}` speaks of the origin's answer, which the test lacks");
        let span = section.place_of(key);
        section.reader.fault(span, message, Some(help.to_owned()));
    }
    let string = |key| section.string(key).map(|text| text.value);
    let names = |key| {
        let texts = section.strings(key).unwrap_or_default();
        texts.into_iter().map(|text| text.value).collect()
    };
    let reason = |key, known: &[&'static str]| one_of(&section, key, known);
    let expectation = Expectation {
        verdict: section
            .word("verdict", Verdict::WORDS)
            .map(|verdict| verdict.value),
        reason: reason("reason", BYPASS_REASONS),
        zone: string("zone"),
        rules: names("rules"),
        not_rules: names("not_rules"),
        decided_by: string("decided_by"),
        status: section
            .integer("status", 200..=599)
            .and_then(|status| u16::try_from(status.value).ok()),
        redirect: string("redirect"),
        split: section
            .section("split")
            .map(|splits| {
                let entries = splits.string_entries().into_iter();
                entries
                    .map(|(split, variant)| (split.value, variant.value))
                    .collect()
            })
            .unwrap_or_default(),
        pool: string("pool"),
        host: string("host"),
        path: string("path"),
        query: string("query"),
        origin_header: read_header_expectations(&section, "origin_header"),
        key_contains: names("key_contains"),
        stored: section.boolean("stored").map(|stored| stored.value),
        store_reason: reason("store_reason", NO_STORE_REASONS),
        ttl: section.duration("ttl").map(|ttl| ttl.value),
        x_cache: reason("x_cache", XCache::WORDS),
        second: reason("second", XCache::WORDS),
        browser_cache_control: string("browser_cache_control"),
        response_header: read_header_expectations(&section, "response_header"),
    };
    section.finish();
    expectation
}

/// A word of a closed set.
fn one_of(section: &Section<'_>, key: &'static str, known: &[&'static str]) -> Option<String> {
    let text = section.string(key)?;
    if known.contains(&text.value.as_str()) {
        return Some(text.value);
    }
    section.unknown_word(key, &text, known.iter().copied());
    None
}

/// Fields with the value they must have; an empty one stands for none.
fn read_header_expectations(section: &Section<'_>, key: &'static str) -> Vec<(HeaderName, String)> {
    let Some(table) = section.section(key) else {
        return Vec::new();
    };
    let read = |(name, value): (Located<String>, Located<String>)| {
        let Ok(parsed) = HeaderName::try_from(name.value.as_str()) else {
            let message = format!("\"{}\" is not the name of a field", name.value);
            table.reader.fault(name.span, message, None);
            return None;
        };
        Some((parsed, value.value))
    };
    table
        .string_entries()
        .into_iter()
        .filter_map(read)
        .collect()
}
