//! `key` and `vary` of a cache rule: what tells stored responses apart.

use http::HeaderName;

use super::file::put;
use super::reader::{Located, Section};
use crate::cache::settings::{KeySettings, LanguageKey, QueryKey, VarySettings};

const CREDENTIALS: &str = "answers to credentials are not shared, whatever the key: see `authorization` and `session_cookie`";
const HOP_BY_HOP: &str = "it speaks of one connection and is not forwarded";
/// Request fields that cannot be in the key, and why.
const NO_KEYS: &[(&str, &str)] = &[
    ("authorization", CREDENTIALS),
    (
        "cookie",
        "name the cookies that count: `cookies = [\"currency\"]`",
    ),
    ("set-cookie", "it is a field of responses"),
    ("host", "host and port are in every key"),
    ("connection", HOP_BY_HOP),
    ("keep-alive", HOP_BY_HOP),
    ("proxy-authenticate", HOP_BY_HOP),
    ("proxy-authorization", HOP_BY_HOP),
    ("proxy-connection", HOP_BY_HOP),
    ("te", HOP_BY_HOP),
    ("trailer", HOP_BY_HOP),
    ("transfer-encoding", HOP_BY_HOP),
    ("upgrade", HOP_BY_HOP),
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
    put(&mut key.sort_query, section.boolean("sort_query"));
    put(&mut key.device, section.boolean("device"));
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

/// Reads `vary = { accept-language = … }`.
pub(super) fn read_vary(rule: &Section<'_>) -> Option<VarySettings> {
    let section = rule.section_or(
        "vary",
        "write for example `vary = { accept-language = [\"en\", \"de\"] }`",
    )?;
    let accept_language = read_languages(&section).unwrap_or_default();
    let validate_variants = section
        .boolean("validate_variants")
        .is_some_and(|validate| validate.value);
    section.finish();
    Some(VarySettings {
        accept_language,
        validate_variants,
    })
}

fn read_languages(vary: &Section<'_>) -> Option<LanguageKey> {
    const KEY: &str = "accept-language";
    if !vary.is_list(KEY) {
        let words = [("pass_through", false), ("normalize", true)];
        return Some(if vary.word(KEY, &words)?.value {
            LanguageKey::Normalize
        } else {
            LanguageKey::PassThrough
        });
    }
    let tags = vary.strings(KEY)?;
    if tags.is_empty() {
        let help = "list what the site has, its default first: [\"en\", \"de\"]".to_owned();
        let place = vary.place_of(KEY);
        vary.reader
            .fault(place, "`accept-language` lists no language", Some(help));
    }
    let mut languages: Vec<String> = Vec::new();
    for Located { value, span } in tags {
        if !is_language(&value) {
            let message = format!("\"{value}\" is no language tag");
            let help = "write for example \"en\" or \"pt-BR\"".to_owned();
            vary.reader.fault(span, message, Some(help));
        } else if !languages
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&value))
        {
            languages.push(value);
        }
    }
    Some(LanguageKey::Languages(languages))
}

/// RFC 4647 §2.1, without `*`.
fn is_language(tag: &str) -> bool {
    tag.split('-').enumerate().all(|(index, part)| {
        let legal = |byte: u8| byte.is_ascii_alphabetic() || index > 0 && byte.is_ascii_digit();
        (1..=8).contains(&part.len()) && part.bytes().all(legal)
    })
}
