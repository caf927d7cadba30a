//! `key` of a cache rule: what tells stored responses apart.

use http::HeaderName;

use super::file::put;
use super::reader::{Located, Section};
use super::vary::NO_SPELLING;
use crate::cache::settings::{HostKey, KeySettings, QueryKey};

const CREDENTIALS: &str = "answers to credentials are not shared, whatever the key: see `authorization` and `session_cookie`";
/// Fields that speak of one connection and are not forwarded.
pub(super) const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Request fields that cannot be in the key, and why.
const NO_KEYS: &[(&str, &str)] = &[
    ("authorization", CREDENTIALS),
    (
        "cookie",
        "name the cookies that count: `cookies = [\"currency\"]`",
    ),
    ("set-cookie", "it is a field of responses"),
    ("host", "host and port are in every key: see `host`"),
    ("x-country", "write `country = true`"),
    ("x-device-class", "write `device = true`"),
];

/// Reads `key = { query = …, headers = […], … }`.
pub(super) fn read_key(rule: &Section<'_>) -> Option<KeySettings> {
    let section = rule.section_or(
        "key",
        "write for example `key = { query = { exclude = [\"utm_*\"] } }`",
    )?;
    let mut key = KeySettings {
        query: read_query(&section),
        headers: names(&section, "headers", header_name),
        header_presence: names(&section, "header_presence", header_name),
        cookies: names(&section, "cookies", cookie_name),
        cookie_presence: names(&section, "cookie_presence", cookie_name),
        ..KeySettings::default()
    };
    key.header_contains = read_contains(&section, &key);
    put(&mut key.sort_query, section.boolean("sort_query"));
    put(&mut key.device, section.boolean("device"));
    put(&mut key.country, section.boolean("country"));
    let hosts = [
        ("as_sent", HostKey::AsSent),
        ("resolved", HostKey::Resolved),
    ];
    put(&mut key.host, section.word("host", &hosts));
    section.finish();
    Some(key)
}

fn read_query(key: &Section<'_>) -> QueryKey {
    if !key.is_table("query") {
        let words = [("all", false), ("none", true)];
        return match key.word("query", &words) {
            Some(Located { value: true, .. }) => QueryKey::None,
            _ => QueryKey::All,
        };
    }
    let Some(section) = key.section("query") else {
        return QueryKey::All;
    };
    let written = (section.has("include"), section.has("exclude"));
    let names_nothing = section
        .strings("include")
        .is_none_or(|names| names.is_empty());
    let include = names(&section, "include", parameter_name);
    let exclude = names(&section, "exclude", parameter_name);
    let (why, help) = match (written, names_nothing) {
        ((true, true), _) => (
            "`query` has both `include` and `exclude`",
            "what is not included is excluded: keep one of the two",
        ),
        ((true, false), true) => (
            "`include` names no parameter",
            "write `query = \"none\"` to drop them all",
        ),
        ((true, false), false) => {
            section.finish();
            return QueryKey::Include(include);
        }
        ((false, true), _) => {
            section.finish();
            return QueryKey::Exclude(exclude);
        }
        ((false, false), _) => (
            "`query` names no parameters",
            "write `include = [\"page\"]` or `exclude = [\"utm_*\"]`",
        ),
    };
    let span = section.span.clone();
    section.reader.fault(span, why, Some(help.to_owned()));
    section.finish();
    QueryKey::All
}

/// Reads `header_contains = { accept = ["image/webp"] }`, sorted by name.
fn read_contains(section: &Section<'_>, key: &KeySettings) -> Vec<(String, Vec<String>)> {
    let example = "write for example `header_contains = { accept = [\"image/webp\"] }`";
    let Some(table) = section.section_or("header_contains", example) else {
        return Vec::new();
    };
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for (name, entry) in table.entries(&[]) {
        let known = match header_name(&name.value) {
            Ok(field) if found.iter().any(|(known, _)| *known == field) => {
                Err(("it is named twice", None))
            }
            Ok(field) if NO_SPELLING.contains(&field.as_str()) => {
                Err(("the origin needs it as it is sent", None))
            }
            Ok(field) if key.headers.contains(&field) || key.header_presence.contains(&field) => {
                Err((
                    "it is in `headers` or `header_presence` as well",
                    Some("the origin gets no more of it than the texts listed here: keep one"),
                ))
            }
            known => known,
        };
        let texts = entry.into_list();
        let fault = |span, why: &str, help: Option<&str>| {
            let message = format!("`header_contains` cannot hold \"{}\": {why}", name.value);
            table.reader.fault(span, message, help.map(str::to_owned));
        };
        let field = match known {
            Ok(_) if texts.is_empty() => {
                let help = "list them in the order in which the origin is to get them";
                fault(name.span.clone(), "it lists no texts", Some(help));
                continue;
            }
            Ok(field) => field,
            Err((why, help)) => {
                fault(name.span.clone(), why, help);
                continue;
            }
        };
        let mut list: Vec<String> = Vec::new();
        for text in texts {
            if !is_plain(&text.value) {
                let why = format!(
                    "the text \"{}\" must be printable ASCII without commas and surrounding spaces",
                    text.value
                );
                fault(text.span, &why, Some("list texts one by one"));
            } else if !list
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&text.value))
            {
                list.push(text.value);
            }
        }
        found.push((field, list));
    }
    found.sort();
    found
}

/// What stays findable, and finds nothing else, between the commas that join it with others.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && text
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b',')
}

/// In one order and once each, so that equal keys have equal settings.
fn names(
    section: &Section<'_>,
    key: &'static str,
    check: impl Fn(&str) -> Result<String, (&'static str, Option<&'static str>)>,
) -> Vec<String> {
    let mut found = Vec::new();
    for text in section.strings(key).unwrap_or_default() {
        match check(&text.value) {
            Ok(name) => found.push(name),
            Err((why, help)) => section.reader.fault(
                text.span,
                format!("`{key}` cannot hold \"{}\": {why}", text.value),
                help.map(str::to_owned),
            ),
        }
    }
    found.sort();
    found.dedup();
    found
}

fn parameter_name(text: &str) -> Result<String, (&'static str, Option<&'static str>)> {
    let name = text.strip_suffix('*').unwrap_or(text);
    if name.is_empty() {
        let help = "`query = \"all\"` is all of them, and `query = \"none\"` none";
        return Err(("it names no parameter", Some(help)));
    }
    if name.contains('*') {
        return Err(("a `*` stands at the end of a name alone", None));
    }
    if name.contains(['&', '=', '%']) {
        let help = "write the name as the application sees it";
        return Err(("it is encoded, or more than a name", Some(help)));
    }
    Ok(text.to_owned())
}

fn header_name(text: &str) -> Result<String, (&'static str, Option<&'static str>)> {
    let name =
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| ("it is no field name", None))?;
    if let Some((_, why)) = NO_KEYS.iter().find(|(known, _)| name == *known) {
        return Err(("this field cannot be part of the key", Some(why)));
    }
    if HOP_BY_HOP.contains(&name.as_str()) {
        let help = "it speaks of one connection and is not forwarded";
        return Err(("this field cannot be part of the key", Some(help)));
    }
    if name.as_str().contains('_') {
        let help = "fields with an underscore are removed from every request";
        return Err(("this field cannot be part of the key", Some(help)));
    }
    Ok(name.as_str().to_owned())
}

fn cookie_name(text: &str) -> Result<String, (&'static str, Option<&'static str>)> {
    // RFC 6265 §4.1.1: a token, as field names are.
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(_) if !text.contains('*') => Ok(text.to_owned()),
        Ok(_) => Err(("cookies are named one by one", None)),
        Err(_) => Err(("it is no cookie name", None)),
    }
}
