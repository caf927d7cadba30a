//! `[zones.NAME]`: a site.

use super::access::{read_ip_access_rules, read_lockdown_rules};
use super::filters::read_request_filters;
use super::phase::{PhasesFile, read_phases};
use super::reader::{Located, Section};
use super::rule::RuleFile;
use crate::guard::{IpAccessRule, LockdownRule, RequestFilters};
use crate::zone::HostPattern;

/// A zone as written.
pub(super) struct ZoneFile {
    pub(super) name: Located<String>,
    pub(super) hosts: Vec<Located<HostPattern>>,
    pub(super) pool: Option<Located<String>>,
    pub(super) upper_tiers: Vec<Located<String>>,
    pub(super) origin_fallback_max_requests: Option<usize>,
    pub(super) presets: Vec<Located<String>>,
    pub(super) merge_slashes: bool,
    pub(super) under_attack: bool,
    pub(super) session_cookies: Vec<Located<String>>,
    pub(super) development_mode_until: Option<i64>,
    pub(super) lockdown_rules: Vec<LockdownRule>,
    pub(super) ip_access_rules: Vec<IpAccessRule>,
    pub(super) request_filters: RequestFilters,
    pub(super) phases: PhasesFile,
}

pub(super) fn read_zone(
    name: Located<String>,
    section: Section<'_>,
    from: RuleFile<'_>,
) -> ZoneFile {
    let hosts = section.strings("hosts").unwrap_or_default();
    if hosts.is_empty() {
        let help = "write `hosts = [\"*\"]` to answer for every host".to_owned();
        let message = format!("[zones.{}] names no `hosts`", name.value);
        section
            .reader
            .fault(section.span.clone(), message, Some(help));
    }
    let hosts: Vec<_> = hosts
        .into_iter()
        .filter_map(|host| read_host(&section, host))
        .collect();
    let zone = ZoneFile {
        lockdown_rules: read_lockdown_rules(&section, from),
        ip_access_rules: read_ip_access_rules(&section, from),
        request_filters: read_request_filters(&section, &hosts),
        hosts,
        pool: section.required_string("pool", "\"app\""),
        upper_tiers: section.strings("upper_tiers").unwrap_or_default(),
        origin_fallback_max_requests: section
            .integer("origin_fallback_max_requests", 1..=100_000)
            .and_then(|most| usize::try_from(most.value).ok()),
        presets: section.strings("presets").unwrap_or_default(),
        merge_slashes: section
            .boolean("merge_slashes")
            .is_some_and(|merge| merge.value),
        under_attack: section
            .boolean("under_attack")
            .is_some_and(|attacked| attacked.value),
        session_cookies: section.strings("session_cookies").unwrap_or_default(),
        development_mode_until: section
            .date_time("development_mode_until")
            .map(|until| until.value),
        phases: read_phases(&section, from),
        name,
    };
    section.finish();
    zone
}

pub(super) fn read_host(
    section: &Section<'_>,
    text: Located<String>,
) -> Option<Located<HostPattern>> {
    match HostPattern::parse(&text.value) {
        Ok(value) => Some(Located {
            value,
            span: text.span,
        }),
        Err(why) => {
            section.reader.fault(
                text.span,
                format!("the host \"{}\" {why}", text.value),
                None,
            );
            None
        }
    }
}
