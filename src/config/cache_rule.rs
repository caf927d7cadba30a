//! `[[zones.NAME.cache_rules]]`: what a cache rule says.

use std::sync::Arc;

use super::key::{read_key, read_vary};
use super::reader::Section;
use super::rule::{RuleFile, RuleKind, read_rules};
use super::ttl::{read_browser_ttl, read_edge_ttl, read_serve_stale};
use crate::cache::settings::{CredentialPolicy, Eligibility, RequestCacheControl};
use crate::rules::{CachePatch, CacheRule};

const CREDENTIALS: &[(&str, CredentialPolicy)] = &[
    ("bypass", CredentialPolicy::Bypass),
    ("ignore", CredentialPolicy::Ignore),
];
const REQUEST_CACHE_CONTROL: &[(&str, RequestCacheControl)] = &[
    ("ignore", RequestCacheControl::Ignore),
    ("respect", RequestCacheControl::Respect),
];

/// Reads the cache rules of a zone or a preset.
pub(super) fn read_cache_rules(section: &Section<'_>, from: RuleFile<'_>) -> Vec<CacheRule> {
    let kind = RuleKind {
        key: "cache_rules",
        response: false,
        for_all: false,
        example: "cache = \"bypass\"",
    };
    read_rules(section, &kind, from, |rule, _| Some(read_patch(rule)))
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
