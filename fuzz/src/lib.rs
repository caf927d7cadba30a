//! What is fuzzed: every parser of what strangers send, and the canonical forms that keys rest on.
//!
//! Each target is a function of bytes that must not panic; most also assert what holds for every
//! input. `cargo fuzz` drives them from `fuzz_targets/`, and `tests/fuzz_smoke.rs` runs them all
//! for a moment with the stable toolchain.

mod clients;
mod config;
mod expressions;
mod fields;
mod guard;
mod keys;
mod requests;
mod store;

use http::{HeaderMap, HeaderName, HeaderValue};

/// A target.
pub type Target = fn(&[u8]);

/// Every target with its name, which is also that of its seeds and of its binary.
pub const TARGETS: &[(&str, Target)] = &[
    ("accept", fields::accept),
    ("accept_encoding", fields::accept_encoding),
    ("accept_language", fields::accept_language),
    ("age", fields::age),
    ("authority", requests::authority),
    ("cache_control", fields::cache_control),
    ("cache_key", keys::cache_key),
    ("cache_tags", fields::cache_tags),
    ("canonical_path", requests::canonical_path),
    ("client", clients::client),
    ("challenge", guard::challenge),
    ("config", config::config),
    ("connection", fields::connection),
    ("content_range", fields::content_range),
    ("cookies", requests::cookies),
    ("dates", fields::dates),
    ("entity_tags", fields::entity_tags),
    ("expression", expressions::expression),
    ("frames", clients::frames),
    ("handover", requests::handover),
    ("head", requests::head),
    ("list", config::list),
    ("proxy_header", clients::proxy_header),
    ("purge_json", requests::purge_json),
    ("query", keys::query),
    ("range", fields::range),
    ("record", store::record),
    ("reference", keys::reference),
    ("request_control", fields::request_control),
    ("response_head", requests::response_head),
    ("segment", store::segment),
    ("targeted", fields::targeted),
    ("value_expression", expressions::value_expression),
    ("vary", keys::vary),
];

/// Runs the target of this name; what a binary does.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.expect("the target is listed").1(data);
}

/// Every line as a value of the field; lines that cannot be one are passed over.
fn lines_of(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}

/// Lines of `name: value`; others are passed over.
fn message(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.trim_ascii()),
        ) {
            headers.append(name, value);
        }
    }
    headers
}

/// The first line, and what follows it.
fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = data.splitn(2, |byte| *byte == b'\n');
    let first = halves.next().unwrap_or_default();
    (first, halves.next().unwrap_or_default())
}

/// The text, when it is one.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
