//! `[zones.NAME.request_filters]`: which form requests may have.

use super::reader::{Located, Section};
use super::zone::read_host;
use crate::guard::RequestFilters;
use crate::guard::filters::{
    ALLOWED_CONTENT_TYPES, ALLOWED_METHODS, HOTLINK_PROTECTION, Hotlinks, Limit, Reaction, Switch,
};
use crate::zone::HostPattern;

const REACTIONS: &[(&str, Option<Reaction>)] = &[
    ("block", Some(Reaction::Block)),
    ("log", Some(Reaction::Log)),
    ("off", None),
];

/// Larger limits than this are none: heads are smaller.
const MOST: u64 = 1_000_000;

/// The extensions that are protected where none are named.
const PICTURES: &[&str] = &["avif", "gif", "ico", "jpeg", "jpg", "png", "webp"];

/// Reads the filters of a zone that answers for `hosts`.
pub(super) fn read_request_filters(
    zone: &Section<'_>,
    hosts: &[Located<HostPattern>],
) -> RequestFilters {
    let Some(section) = zone.section("request_filters") else {
        return RequestFilters::default();
    };
    let only_told = read_only_told(&section);
    let reaction = |name: &str| {
        if only_told.contains(&name) {
            Reaction::Log
        } else {
            Reaction::Block
        }
    };
    let switches = Switch::ALL.iter().filter_map(|(name, switch, by_default)| {
        let written = section.word(name, REACTIONS).map(|word| word.value);
        Some((*name, *switch, written.unwrap_or(*by_default)?))
    });
    let limits = Limit::ALL
        .iter()
        .filter_map(|(name, limit, by_default, status)| {
            let most = read_most(&section, name, *by_default)?;
            Some((*name, *limit, most, *status, reaction(name)))
        });
    let filters = RequestFilters {
        switches: switches.collect(),
        limits: limits.collect(),
        methods: read_methods(&section).map(|methods| (methods, reaction(ALLOWED_METHODS))),
        content_types: read_content_types(&section)
            .map(|types| (types, reaction(ALLOWED_CONTENT_TYPES))),
        hotlinks: section
            .section_or(
                HOTLINK_PROTECTION,
                "write `hotlink_protection = { allowed_referers = [\"*.example.com\"] }`",
            )
            .map(|hotlinks| (read_hotlinks(hotlinks, hosts), reaction(HOTLINK_PROTECTION))),
    };
    section.finish();
    filters
}

/// Names of filters that have a value in place of a word, and are only to tell.
fn read_only_told(section: &Section<'_>) -> Vec<&'static str> {
    let known = || {
        let limits = Limit::ALL.iter().map(|(name, ..)| *name);
        limits.chain([ALLOWED_METHODS, ALLOWED_CONTENT_TYPES, HOTLINK_PROTECTION])
    };
    let filters: Vec<&'static str> = known().collect();
    let written = section.strings("log_only").unwrap_or_default();
    let named = written.into_iter().filter_map(|name| {
        let found = filters.iter().find(|known| **known == name.value);
        if found.is_none() {
            section.unknown_word("log_only", &name, filters.iter().copied());
        }
        found.copied()
    });
    named.collect()
}

/// A number, or `false` for no limit.
fn read_most(
    section: &Section<'_>,
    name: &'static str,
    by_default: Option<usize>,
) -> Option<usize> {
    if section.is_boolean(name) && section.boolean(name).is_some_and(|limited| !limited.value) {
        return None;
    }
    let written = section.integer(name, 1..=MOST);
    written.map_or(by_default, |most| usize::try_from(most.value).ok())
}

fn read_methods(section: &Section<'_>) -> Option<Vec<String>> {
    let methods = section.strings(ALLOWED_METHODS)?;
    for method in &methods {
        let token = http::Method::from_bytes(method.value.as_bytes());
        let upper = method.value.to_ascii_uppercase();
        if token.is_err() || method.value != upper {
            let message = format!("\"{}\" is not a method", method.value);
            let help = token.is_ok().then(|| format!("write \"{upper}\""));
            section.reader.fault(method.span.clone(), message, help);
        }
    }
    Some(methods.into_iter().map(|method| method.value).collect())
}

fn read_content_types(section: &Section<'_>) -> Option<Vec<String>> {
    let types = section.strings(ALLOWED_CONTENT_TYPES)?;
    for written in &types {
        let (kind, of_it) = written.value.split_once('/').unwrap_or_default();
        let of_all = of_it.strip_suffix('*').unwrap_or(of_it);
        let is_odd = |part: &str| part.contains(['*', ';', ' ']);
        if kind.is_empty() || of_it.is_empty() || is_odd(kind) || is_odd(of_all) {
            let message = format!("\"{}\" is not a media type", written.value);
            let help = Some("write for example \"application/json\" or \"image/*\"".to_owned());
            section.reader.fault(written.span.clone(), message, help);
        }
    }
    Some(types.into_iter().map(|written| written.value).collect())
}

fn read_hotlinks(section: Section<'_>, hosts: &[Located<HostPattern>]) -> Hotlinks {
    let extensions = section.strings("extensions").map(|extensions| {
        let extensions = extensions.iter();
        let extensions =
            extensions.map(|one| one.value.trim_start_matches('.').to_ascii_lowercase());
        extensions.collect()
    });
    let referers = section.strings("allowed_referers").unwrap_or_default();
    let referers = referers
        .into_iter()
        .filter_map(|host| read_host(&section, host));
    // Pages of the zone itself, whose hosts are known unless it answers for all.
    let own = hosts.iter().map(|host| host.value.clone());
    let own = own.filter(|host| *host != HostPattern::Any);
    let hotlinks = Hotlinks {
        allowed: own.chain(referers.map(|host| host.value)).collect(),
        extensions: extensions
            .unwrap_or_else(|| PICTURES.iter().map(|&name| name.to_owned()).collect()),
        without_referer: section
            .boolean("empty_referer")
            .is_none_or(|allowed| allowed.value),
    };
    section.finish();
    hotlinks
}
