//! The phases of a zone beside its cache rules: what each kind of rule says.

mod access;
mod bulk;
mod custom;
mod headers;
mod page;
mod rate_limit;
mod room;
mod split;

use std::time::Duration;

use http::StatusCode;

use super::cache_rule::read_tags;
use super::reader::Section;
use super::rule::{Context, RuleFile, RuleKind, read_rules, read_value};
use crate::guard::access::AccessRule;
use crate::guard::{CustomRule, LimitRule};
use crate::rules::phase::{
    BulkItem, DirectiveEdit, HeaderTransform, OriginPatch, PageRule, Priority, Redirect,
    ResponsePatch, Rewrite, Split, TagEdit, WaitingRoom,
};
use crate::rules::{CacheRule, Rule};

/// The rules of a zone or a preset, as written.
#[derive(Default)]
pub(super) struct PhasesFile {
    pub(super) custom_rules: Vec<Rule<CustomRule>>,
    pub(super) access_rules: Vec<Rule<AccessRule>>,
    pub(super) rate_limits: Vec<Rule<LimitRule>>,
    pub(super) maintenance: Vec<Rule<PageRule>>,
    pub(super) redirects: Vec<Rule<Redirect>>,
    pub(super) bulk_redirects: Vec<BulkItem>,
    pub(super) waiting_rooms: Vec<Rule<WaitingRoom>>,
    pub(super) splits: Vec<Rule<Split>>,
    pub(super) rewrites: Vec<Rule<Rewrite>>,
    pub(super) request_headers: Vec<Rule<HeaderTransform>>,
    pub(super) origin_rules: Vec<Rule<OriginPatch>>,
    pub(super) cache_rules: Vec<CacheRule>,
    pub(super) cache_response_rules: Vec<Rule<ResponsePatch>>,
    pub(super) error_pages: Vec<Rule<PageRule>>,
    pub(super) response_headers: Vec<Rule<HeaderTransform>>,
}

impl PhasesFile {
    /// Puts `later` rules after these.
    pub(super) fn append(&mut self, mut later: Self) {
        self.custom_rules.append(&mut later.custom_rules);
        self.access_rules.append(&mut later.access_rules);
        self.rate_limits.append(&mut later.rate_limits);
        self.maintenance.append(&mut later.maintenance);
        self.redirects.append(&mut later.redirects);
        self.bulk_redirects.append(&mut later.bulk_redirects);
        self.waiting_rooms.append(&mut later.waiting_rooms);
        self.splits.append(&mut later.splits);
        self.rewrites.append(&mut later.rewrites);
        self.request_headers.append(&mut later.request_headers);
        self.origin_rules.append(&mut later.origin_rules);
        self.cache_rules.append(&mut later.cache_rules);
        self.cache_response_rules
            .append(&mut later.cache_response_rules);
        self.error_pages.append(&mut later.error_pages);
        self.response_headers.append(&mut later.response_headers);
    }

    /// Rules of the phase that has most.
    pub(super) fn most(&self) -> usize {
        [
            self.custom_rules.len(),
            self.access_rules.len(),
            self.rate_limits.len(),
            self.redirects.len(),
            self.splits.len(),
            self.rewrites.len(),
            self.request_headers.len(),
            self.origin_rules.len(),
            self.cache_rules.len(),
            self.cache_response_rules.len(),
            self.error_pages.len(),
            self.response_headers.len(),
        ]
        .into_iter()
        .max()
        .unwrap_or_default()
    }
}

/// Reads all phases.
pub(super) fn read_phases(section: &Section<'_>, from: RuleFile<'_>) -> PhasesFile {
    PhasesFile {
        custom_rules: custom::read_custom_rules(section, from),
        access_rules: access::read_access_rules(section, from),
        rate_limits: rate_limit::read_rate_limit_rules(section, from),
        maintenance: page::read_maintenance(section, from),
        redirects: read_redirects(section, from),
        bulk_redirects: bulk::read_bulk_redirects(section, from),
        waiting_rooms: room::read_waiting_rooms(section, from),
        splits: split::read_splits(section, from),
        rewrites: read_rewrites(section, from),
        request_headers: headers::read_request_headers(section, from),
        origin_rules: read_origin_rules(section, from),
        cache_rules: super::cache_rule::read_cache_rules(section, from),
        cache_response_rules: read_cache_response_rules(section, from),
        error_pages: page::read_error_pages(section, from),
        response_headers: headers::read_response_headers(section, from),
    }
}

fn read_redirects(section: &Section<'_>, from: RuleFile<'_>) -> Vec<Rule<Redirect>> {
    let kind = RuleKind {
        key: "redirect_rules",
        response: false,
        for_all: false,
        example: "target = \"/new\"",
    };
    read_rules(section, &kind, from, |rule, context| {
        if !rule.has("target") {
            let help = "write for example `target = \"/new\"`, or `target = { expression = \
                        'concat(\"https://www.example.com\", http.request.uri.path)' }`";
            rule.reader.fault(
                rule.span.clone(),
                "the redirect has no `target`",
                Some(help.to_owned()),
            );
        }
        let target = read_value(rule, "target", context);
        let status = read_redirect_status(rule);
        let preserve_query = rule.boolean("preserve_query");
        let target = target?;
        if let crate::rules::Value::Text(text) = &target {
            check_target(rule, "target", text);
        }
        Some(Redirect {
            target,
            status: status.unwrap_or(StatusCode::FOUND),
            preserve_query: preserve_query.is_some_and(|preserve| preserve.value),
        })
    })
}

/// A target that is written out must be one that clients can follow.
fn check_target(section: &Section<'_>, key: &'static str, text: &str) {
    let local = text.starts_with('/') && !text.starts_with("//");
    if local || text.starts_with("http://") || text.starts_with("https://") {
        return;
    }
    let message = format!("`{key} = \"{text}\"` is neither an http(s) URL nor a path");
    let help = format!(
        "write `\"https://{}\"` or `\"/…\"`",
        text.trim_start_matches('/')
    );
    let span = section.place_of(key);
    section.reader.fault(span, message, Some(help));
}

/// 301, 302, 303, 307 or 308 (RFC 9110 §15.4).
fn read_redirect_status(section: &Section<'_>) -> Option<StatusCode> {
    let written = section.integer("status", 200..=599)?;
    let status = u16::try_from(written.value).ok()?;
    if matches!(status, 301 | 302 | 303 | 307 | 308) {
        return StatusCode::from_u16(status).ok();
    }
    let message = format!("{status} does not redirect");
    let help = "301 and 308 are for good, 302, 303 and 307 for now".to_owned();
    section.reader.fault(written.span, message, Some(help));
    None
}

fn read_rewrites(section: &Section<'_>, from: RuleFile<'_>) -> Vec<Rule<Rewrite>> {
    let kind = RuleKind {
        key: "rewrite_rules",
        response: false,
        for_all: false,
        example: "path = \"/new\"",
    };
    read_rules(section, &kind, from, |rule, context| {
        Some(Rewrite {
            path: read_value(rule, "path", context),
            query: read_value(rule, "query", context),
        })
    })
}

const PRIORITIES: &[(&str, Priority)] = &[
    ("high", Priority::High),
    ("normal", Priority::Normal),
    ("low", Priority::Low),
];

fn read_origin_rules(section: &Section<'_>, from: RuleFile<'_>) -> Vec<Rule<OriginPatch>> {
    let kind = RuleKind {
        key: "origin_rules",
        response: false,
        for_all: false,
        example: "pool = \"app\"",
    };
    read_rules(section, &kind, from, |rule, context| {
        let port = rule.integer("port", 1..=65535);
        Some(OriginPatch {
            pool: read_pool_name(rule, context).map(Into::into),
            host_header: super::pool::read_host_header(rule).map(Into::into),
            sni: rule.string("sni").map(|sni| sni.value.into()),
            port: port.and_then(|port| u16::try_from(port.value).ok()),
            priority: rule.word("priority", PRIORITIES).map(|word| word.value),
        })
    })
}

fn read_pool_name(rule: &Section<'_>, context: &Context<'_>) -> Option<String> {
    let pool = rule.string("pool")?;
    let pools = context.from.pools;
    if pools.contains(&pool.value) {
        return Some(pool.value);
    }
    let names = pools.iter().map(String::as_str);
    let help = super::diagnostics::did_you_mean(&pool.value, names);
    let message = format!("there is no pool \"{}\"", pool.value);
    let help = help.or_else(|| Some(format!("add `[pools.{}]` with its `servers`", pool.value)));
    rule.reader.fault(pool.span, message, help);
    None
}

fn read_cache_response_rules(
    section: &Section<'_>,
    from: RuleFile<'_>,
) -> Vec<Rule<ResponsePatch>> {
    let kind = RuleKind {
        key: "cache_response_rules",
        response: true,
        for_all: false,
        example: "strip_set_cookie = true",
    };
    read_rules(section, &kind, from, |rule, _| {
        let mut tags = Vec::new();
        for (key, edit) in [
            ("set_tags", TagEdit::Set as fn(Vec<String>) -> TagEdit),
            ("add_tags", TagEdit::Add),
            ("remove_tags", TagEdit::Remove),
        ] {
            let named = read_tags(rule, key);
            tags.extend(named.map(|tags| edit(tags.iter().map(ToString::to_string).collect())));
        }
        Some(ResponsePatch {
            strip_set_cookie: rule.boolean("strip_set_cookie").map(|strip| strip.value),
            strip_etag: rule.boolean("strip_etag").map(|strip| strip.value),
            strip_last_modified: rule.boolean("strip_last_modified").map(|strip| strip.value),
            tags,
            cache_control: read_cache_control(rule),
        })
    })
}

const FLAGS: &[&str] = &[
    "public",
    "private",
    "no-store",
    "no-cache",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "no-transform",
    "immutable",
];
const SECONDS: &[&str] = &[
    "max-age",
    "s-maxage",
    "stale-while-revalidate",
    "stale-if-error",
];

/// `cache_control = { max-age = "60s", no-store = false }`.
fn read_cache_control(rule: &Section<'_>) -> Vec<(String, DirectiveEdit)> {
    let help = "write for example `cache_control = { max-age = \"60s\", no-store = false }`";
    let Some(section) = rule.section_or("cache_control", help) else {
        return Vec::new();
    };
    let mut edits = Vec::new();
    for name in FLAGS {
        let edit = section.boolean(name).map(|set| {
            if set.value {
                DirectiveEdit::Flag
            } else {
                DirectiveEdit::Remove
            }
        });
        edits.extend(edit.map(|edit| ((*name).to_owned(), edit)));
    }
    for name in SECONDS {
        let removed =
            section.is_boolean(name) && section.boolean(name).is_some_and(|set| !set.value);
        let edit = if removed {
            Some(DirectiveEdit::Remove)
        } else {
            let seconds = section.duration(name).map(|time| time.value);
            seconds
                .as_ref()
                .map(Duration::as_secs)
                .map(DirectiveEdit::Seconds)
        };
        edits.extend(edit.map(|edit| ((*name).to_owned(), edit)));
    }
    section.finish();
    edits
}
