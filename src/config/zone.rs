//! `[[zones.NAME.cache_rules]]`: what a cache rule says.

use std::sync::Arc;
use std::time::Duration;

use super::diagnostics::{did_you_mean, position};
use super::file::put;
use super::reader::{Located, Section};
use super::units::parse_duration;
use crate::cache::settings::{
    BrowserTtl, CredentialPolicy, EdgeTtl, EdgeTtlMode, Eligibility, StaleWindows, StatusTtl,
    TtlValue,
};
use crate::rules::expression::Expression;
use crate::rules::{CachePatch, CacheRule, RuleSource};

const CREDENTIALS: &[(&str, CredentialPolicy)] = &[
    ("bypass", CredentialPolicy::Bypass),
    ("ignore", CredentialPolicy::Ignore),
];
const EDGE_MODES: &[(&str, EdgeTtlMode)] = &[
    ("respect_origin", EdgeTtlMode::RespectOrigin),
    ("override_origin", EdgeTtlMode::OverrideOrigin),
    ("bypass_by_default", EdgeTtlMode::BypassByDefault),
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
        max_object_size: section.size("max_object_size").map(|size| size.value),
        ..CachePatch::default()
    }
}

fn read_edge_ttl(section: &Section<'_>) -> Option<EdgeTtl> {
    if !section.is_table("edge_ttl") {
        if let Some(ttl) = section.duration_in_place_of_a_word("edge_ttl") {
            let help = format!("write `edge_ttl = {{ default = \"{}\" }}`", ttl.value);
            section
                .reader
                .fault(ttl.span, "`edge_ttl` must be a mode or a table", Some(help));
            return None;
        }
        let mode = section.word("edge_ttl", EDGE_MODES)?;
        if mode.value == EdgeTtlMode::OverrideOrigin {
            let help =
                "write `edge_ttl = { mode = \"override_origin\", default = \"60s\" }`".to_owned();
            section
                .reader
                .fault(mode.span, "`override_origin` needs a lifetime", Some(help));
        }
        return Some(EdgeTtl {
            mode: mode.value,
            default: None,
            status: Vec::new(),
            heuristic: None,
        });
    }
    let table = section.section("edge_ttl")?;
    let wrote_lifetime = table.has_beside(&["mode"]);
    let mode = table.word("mode", EDGE_MODES);
    let default = table.duration("default").map(|ttl| ttl.value);
    let status = table
        .section("status")
        .map(|status| read_status_ttls(&status))
        .unwrap_or_default();
    let mode = mode.map_or(
        // A lifetime without a mode is meant as an order.
        if default.is_some() {
            EdgeTtlMode::OverrideOrigin
        } else {
            EdgeTtlMode::RespectOrigin
        },
        |mode| mode.value,
    );
    if mode == EdgeTtlMode::OverrideOrigin && !wrote_lifetime {
        let help = Some("add `default = \"60s\"`".to_owned());
        table.reader.fault(
            table.span.clone(),
            "`override_origin` needs a lifetime",
            help,
        );
    }
    table.finish();
    Some(EdgeTtl {
        mode,
        default,
        status,
        heuristic: None,
    })
}

/// The narrowest range first: one status speaks before a range that contains it, however they are
/// written down.
fn read_status_ttls(section: &Section<'_>) -> Vec<StatusTtl> {
    let mut ttls: Vec<StatusTtl> = section
        .string_entries()
        .into_iter()
        .filter_map(|(statuses, ttl)| {
            let range = parse_statuses(&statuses.value);
            let value = match ttl.value.as_str() {
                "no-store" => Ok(TtlValue::NoStore),
                "no-cache" => Ok(TtlValue::For(Duration::ZERO)),
                text => parse_duration(text).map(TtlValue::For),
            };
            if let Err(why) = &range {
                section.reader.fault(
                    statuses.span,
                    format!("the status \"{}\" {why}", statuses.value),
                    None,
                );
            }
            if let Err(why) = &value {
                let help = did_you_mean(&ttl.value, ["no-store", "no-cache"])
                    .unwrap_or_else(|| "a duration, \"no-store\" or \"no-cache\"".to_owned());
                section.reader.fault(
                    ttl.span,
                    format!("the lifetime \"{}\" {why}", ttl.value),
                    Some(help),
                );
            }
            let (from, to) = range.ok()?;
            Some(StatusTtl {
                from,
                to,
                ttl: value.ok()?,
            })
        })
        .collect();
    ttls.sort_by_key(|ttl| ttl.to - ttl.from);
    ttls
}

fn parse_statuses(text: &str) -> Result<(u16, u16), &'static str> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        text.trim()
            .parse::<u16>()
            .ok()
            .filter(|s| (200..=599).contains(s))
    };
    match (status(from), status(to)) {
        (Some(from), Some(to)) if from <= to => Ok((from, to)),
        (Some(_), Some(_)) => Err("ends before it begins"),
        _ => Err("must be a status from 200 to 599, or a range such as \"500-599\""),
    }
}

fn read_browser_ttl(section: &Section<'_>) -> Option<BrowserTtl> {
    if !section.is_table("browser_ttl") {
        let text = section.string("browser_ttl")?;
        return match text.value.as_str() {
            "respect_origin" => Some(BrowserTtl::RespectOrigin),
            "bypass" => Some(BrowserTtl::Bypass),
            duration => {
                if let Ok(ttl) = parse_duration(duration) {
                    Some(BrowserTtl::Override {
                        ttl,
                        immutable: false,
                    })
                } else {
                    let message = format!("`browser_ttl` cannot be \"{duration}\"");
                    let help = did_you_mean(duration, ["respect_origin", "bypass"]).unwrap_or_else(|| {
                        "\"respect_origin\", \"bypass\", a duration such as \"60s\", or { default = \"1 year\", immutable = true }".to_owned()
                    });
                    section.reader.fault(text.span, message, Some(help));
                    None
                }
            }
        };
    }
    let table = section.section("browser_ttl")?;
    table.word("mode", &[("override_origin", ())]);
    let mut ttl = Duration::ZERO;
    if !table.has_beside(&["mode", "immutable"]) {
        table.reader.fault(
            table.span.clone(),
            "`default` is missing in `browser_ttl`",
            Some("write for example `default = \"1 year\"`".to_owned()),
        );
    }
    put(&mut ttl, table.duration("default"));
    let immutable = table
        .boolean("immutable")
        .is_some_and(|immutable| immutable.value);
    table.finish();
    Some(BrowserTtl::Override { ttl, immutable })
}

fn read_serve_stale(section: &Section<'_>) -> Option<StaleWindows> {
    if section.is_boolean("serve_stale") {
        let wanted = section.boolean("serve_stale")?;
        if wanted.value {
            let help = "write `serve_stale = { while_revalidating = \"30s\", if_error = \"1h\" }`"
                .to_owned();
            section
                .reader
                .fault(wanted.span, "`serve_stale` needs its windows", Some(help));
        }
        let never = Some(Duration::ZERO);
        return Some(StaleWindows {
            while_revalidating: never,
            if_error: never,
            with_s_maxage: None,
        });
    }
    let table = section.section("serve_stale")?;
    let windows = StaleWindows {
        while_revalidating: table
            .duration("while_revalidating")
            .map(|window| window.value),
        if_error: table.duration("if_error").map(|window| window.value),
        with_s_maxage: None,
    };
    table.finish();
    Some(windows)
}
