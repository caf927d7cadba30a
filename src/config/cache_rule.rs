//! `[[zones.NAME.cache_rules]]`: what a cache rule says.

use std::sync::Arc;

use super::key::read_key;
use super::reader::Section;
use super::rule::{RuleFile, RuleKind, read_rules};
use super::ttl::{read_browser_ttl, read_edge_ttl, read_read_timeout, read_serve_stale};
use super::vary::read_vary;
use crate::cache::settings::{CredentialPolicy, Eligibility, RequestCacheControl};
use crate::fields::content_coding::{Coding, Codings};
use crate::fields::tags::{MOST_TAGS, normalised};
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
        disk: section.boolean("disk").map(|disk| disk.value),
        reserve: section.boolean("reserve").map(|reserve| reserve.value),
        reserve_min_size: section.size("reserve_min_size").map(|size| size.value),
        min_uses: section
            .integer("min_uses", 1..=1000)
            .and_then(|uses| u32::try_from(uses.value).ok()),
        tags: read_tags(section, "tags"),
        request_cache_control: section
            .word("request_cache_control", REQUEST_CACHE_CONTROL)
            .map(|word| word.value),
        cache_client_errors: section
            .boolean("cache_client_errors")
            .map(|cache| cache.value),
        cache_post: section.boolean("cache_post").map(|cache| cache.value),
        cache_deception_armor: section
            .boolean("cache_deception_armor")
            .map(|armor| armor.value),
        key: read_key(section).map(Arc::new),
        vary: read_vary(section).map(Arc::new),
        compression: read_compression(section),
        pass_cache_tags: section.boolean("pass_cache_tags").map(|pass| pass.value),
        origin_range_requests: section
            .boolean("origin_range_requests")
            .map(|ranges| ranges.value),
        early_revalidation: section
            .duration("early_revalidation")
            .map(|window| window.value),
        read_timeout: read_read_timeout(section),
        origin_error_page_pass_through: section
            .boolean("origin_error_page_pass_through")
            .map(|pass| pass.value),
    }
}

/// `true` for all codings, `false` for none, or those named.
fn read_compression(section: &Section<'_>) -> Option<Codings> {
    if section.is_boolean("compression") {
        let all = section.boolean("compression")?;
        return Some(if all.value {
            Codings::ALL
        } else {
            Codings::NONE
        });
    }
    let known = Coding::ALL.map(Coding::as_str);
    let mut codings = Codings::NONE;
    for name in section.strings("compression")? {
        let coding = Coding::ALL
            .into_iter()
            .find(|coding| coding.as_str() == name.value);
        match coding {
            Some(coding) => codings = codings.with(coding),
            None => section.unknown_word("compression", &name, known.into_iter()),
        }
    }
    Some(codings)
}

/// Tags under `key` in the form in which they are compared: lower case, each once, sorted.
pub(super) fn read_tags(section: &Section<'_>, key: &'static str) -> Option<Arc<[Box<str>]>> {
    let written = section.strings(key)?;
    if written.len() > MOST_TAGS {
        let message = format!("{} tags are more than {MOST_TAGS}", written.len());
        section.reader.fault(section.place_of(key), message, None);
    }
    let mut tags = Vec::new();
    for text in written {
        match normalised(text.value.as_bytes()).filter(|_| !text.value.contains(',')) {
            Some(tag) => tags.push(tag),
            None => section.reader.fault(
                text.span,
                format!("\"{}\" is no cache tag", text.value),
                Some("printable ASCII without a comma, such as \"catalog\"".to_owned()),
            ),
        }
    }
    tags.sort();
    tags.dedup();
    Some(tags.into())
}
