//! How long: `edge_ttl`, `browser_ttl`, `serve_stale` and `read_timeout` of a cache rule.

use std::time::Duration;

use super::diagnostics::did_you_mean;
use super::file::{SHORTEST, put, put_number};
use super::reader::Section;
use super::units::parse_duration;
use crate::cache::settings::{
    BrowserTtl, EdgeTtl, EdgeTtlMode, Heuristic, ReadTimeout, StaleWindows, StatusTtl, TtlValue,
};

const EDGE_MODES: &[(&str, EdgeTtlMode)] = &[
    ("respect_origin", EdgeTtlMode::RespectOrigin),
    ("override_origin", EdgeTtlMode::OverrideOrigin),
    ("bypass_by_default", EdgeTtlMode::BypassByDefault),
];

pub(super) fn read_edge_ttl(section: &Section<'_>) -> Option<EdgeTtl> {
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
    let wrote_lifetime = table.has_beside(&["mode", "heuristic"]);
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
    let heuristic = read_heuristic(&table, mode);
    table.finish();
    Some(EdgeTtl {
        mode,
        default,
        status,
        heuristic,
    })
}

fn read_heuristic(table: &Section<'_>, mode: EdgeTtlMode) -> Option<Heuristic> {
    let section = table.section_or(
        "heuristic",
        "write `heuristic = {}`, or `heuristic = { percent = 10, longest = \"1 day\" }`",
    )?;
    let mut heuristic = Heuristic {
        percent: 10,
        longest: Duration::from_hours(24),
    };
    put_number(&mut heuristic.percent, section.integer("percent", 1..=100));
    put(&mut heuristic.longest, section.duration("longest"));
    if mode != EdgeTtlMode::RespectOrigin {
        let help = "add `mode = \"respect_origin\"`: only there a lifetime may be estimated";
        section.reader.fault(
            section.span.clone(),
            "`heuristic` needs the mode `respect_origin`",
            Some(help.to_owned()),
        );
    }
    section.finish();
    Some(heuristic)
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

pub(super) fn read_browser_ttl(section: &Section<'_>) -> Option<BrowserTtl> {
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

pub(super) fn read_serve_stale(section: &Section<'_>) -> Option<StaleWindows> {
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
            when_overloaded: never,
            with_s_maxage: None,
        });
    }
    let table = section.section("serve_stale")?;
    let windows = StaleWindows {
        while_revalidating: table
            .duration("while_revalidating")
            .map(|window| window.value),
        if_error: table.duration("if_error").map(|window| window.value),
        when_overloaded: table.duration("when_overloaded").map(|window| window.value),
        with_s_maxage: table.boolean("with_s_maxage").map(|with| with.value),
    };
    table.finish();
    Some(windows)
}

pub(super) fn read_read_timeout(section: &Section<'_>) -> Option<ReadTimeout> {
    let expected = "a duration such as \"20s\", or \"pool\" for the pool's";
    let read = section.parsed("read_timeout", expected, |text| match text {
        "pool" => Ok(ReadTimeout::OfPool),
        _ => match parse_duration(text)? {
            time if time < SHORTEST => Err(format!("is less than {}ms", SHORTEST.as_millis())),
            time => Ok(ReadTimeout::After(time)),
        },
    })?;
    Some(read.value)
}
