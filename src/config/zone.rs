//! `[[zones.NAME.cache_rules]]`: what a cache rule says.

use std::sync::Arc;

use super::diagnostics::position;
use super::key::{read_key, read_vary};
use super::reader::{Located, Section};
use super::ttl::{read_browser_ttl, read_edge_ttl, read_serve_stale};
use crate::cache::settings::{CredentialPolicy, Eligibility, RequestCacheControl};
use crate::rules::expression::Expression;
use crate::rules::{CachePatch, CacheRule, RuleSource};

const CREDENTIALS: &[(&str, CredentialPolicy)] = &[
    ("bypass", CredentialPolicy::Bypass),
    ("ignore", CredentialPolicy::Ignore),
];
const REQUEST_CACHE_CONTROL: &[(&str, RequestCacheControl)] = &[
    ("ignore", RequestCacheControl::Ignore),
    ("respect", RequestCacheControl::Respect),
];

/// Reads the rules of a zone or a preset; `file` is `None` for the file being read.
pub(super) fn read_rules(
    section: &Section<'_>,
    source: &str,
    file: Option<&str>,
) -> Vec<CacheRule> {
    section
        .sections("cache_rules")
        .into_iter()
        .enumerate()
        .filter_map(|(index, rule)| read_rule(rule, index, source, file))
        .collect()
}

fn read_rule(
    section: Section<'_>,
    index: usize,
    source: &str,
    file: Option<&str>,
) -> Option<CacheRule> {
    let name = section
        .string("name")
        .map_or_else(|| format!("rule {}", index + 1), |name| name.value);
    let enabled = section
        .boolean("enabled")
        .is_none_or(|enabled| enabled.value);
    let expression = section
        .required_string("expression", "'http.request.uri.path wildcard \"/a/*\"'")
        .and_then(|text| compile(&section, &text, source));
    let patch = read_patch(&section);
    let span = section.span.clone();
    if !section.has_beside(&["name", "enabled", "expression"]) {
        let message = format!("the rule \"{name}\" sets nothing");
        let help = "write for example `cache = \"bypass\"`".to_owned();
        section.reader.fault(span.clone(), message, Some(help));
    }
    section.finish();
    let source = RuleSource {
        file: file.unwrap_or_default().into(),
        line: position(source, span.start).0,
    };
    Some(CacheRule {
        name,
        source,
        expression: expression?,
        patch,
    })
    .filter(|_| enabled)
}

fn compile(section: &Section<'_>, text: &Located<String>, source: &str) -> Option<Expression> {
    match Expression::compile(&text.value) {
        Ok(expression) => Some(expression),
        Err(errors) => {
            let raw = source.get(text.span.clone()).unwrap_or_default();
            for error in errors {
                // Escapes and references make the text differ from what is written: then only the
                // whole string can be pointed at.
                let span = match raw.find(&text.value) {
                    Some(offset) => {
                        let base = text.span.start + offset;
                        base + error.span.start..base + error.span.end
                    }
                    None => text.span.clone(),
                };
                section.reader.fault(
                    span,
                    format!("in the expression: {}", error.message),
                    error.help,
                );
            }
            None
        }
    }
}

fn read_patch(section: &Section<'_>) -> CachePatch {
    let eligibility = section.word(
        "cache",
        &[
            ("eligible", Eligibility::Eligible),
            ("bypass", Eligibility::Bypass),
        ],
    );
    CachePatch {
        eligibility: eligibility.map(|word| word.value),
        authorization: section
            .word("authorization", CREDENTIALS)
            .map(|word| word.value),
        session_cookie: section
            .word("session_cookie", CREDENTIALS)
            .map(|word| word.value),
        edge_ttl: read_edge_ttl(section).map(Arc::new),
        browser_ttl: read_browser_ttl(section),
        serve_stale: read_serve_stale(section),
        strip_set_cookie: section.boolean("strip_set_cookie").map(|strip| strip.value),
        store_set_cookie: section.boolean("store_set_cookie").map(|store| store.value),
        max_object_size: section.size("max_object_size").map(|size| size.value),
        request_cache_control: section
            .word("request_cache_control", REQUEST_CACHE_CONTROL)
            .map(|word| word.value),
        cache_client_errors: section
            .boolean("cache_client_errors")
            .map(|cache| cache.value),
        cache_post: section.boolean("cache_post").map(|cache| cache.value),
        key: read_key(section).map(Arc::new),
        vary: read_vary(section).map(Arc::new),
        pass_cache_tags: section.boolean("pass_cache_tags").map(|pass| pass.value),
    }
}
