//! `vary` of a cache rule: the form in which fields that a response varies by count.

use http::HeaderName;
use http::header::{ACCEPT, ACCEPT_LANGUAGE};

use super::key::HOP_BY_HOP;
use super::reader::{Entry, Located, Section};
use crate::cache::settings::{VaryForm, VarySettings};
use crate::fields::vary::is_list;

const WORDS: &[&str] = &["pass_through", "normalize", "bypass"];

/// Fields whose spelling is not the client's taste but part of what it asks.
pub(super) const NO_SPELLING: &[&str] = &[
    "host",
    "if-match",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
];

/// Reads `vary = { accept-language = …, default = … }`.
pub(super) fn read_vary(rule: &Section<'_>) -> Option<VarySettings> {
    let section = rule.section_or(
        "vary",
        "write for example `vary = { accept-language = [\"en\", \"de\"] }`",
    )?;
    let bypass_others = section
        .word("default", &[("pass_through", false), ("bypass", true)])
        .is_some_and(|bypass| bypass.value);
    let validate_variants = section
        .boolean("validate_variants")
        .is_some_and(|validate| validate.value);
    let mut fields: Vec<(HeaderName, VaryForm)> = Vec::new();
    for (name, entry) in section.entries(&["default", "validate_variants"]) {
        let Some(field) = read_name(&section, &name) else {
            continue;
        };
        if fields.iter().any(|(known, _)| *known == field) {
            let message = format!("`vary` names {field} twice");
            section.reader.fault(name.span, message, None);
            continue;
        }
        let form = match entry {
            Entry::String(word) => read_word(&section, &field, &word),
            Entry::List(list) => read_choices(&section, &field, &name, list),
        };
        fields.extend(form.map(|form| (field, form)));
    }
    fields.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    Some(VarySettings {
        fields,
        bypass_others,
        validate_variants,
    })
}

fn read_name(section: &Section<'_>, name: &Located<String>) -> Option<HeaderName> {
    let (why, help) = match HeaderName::from_bytes(name.value.as_bytes()) {
        Err(_) => ("it is no field name", None),
        Ok(field) if HOP_BY_HOP.contains(&field.as_str()) => {
            ("it speaks of one connection and is not forwarded", None)
        }
        Ok(field) if field.as_str().contains('_') => (
            "fields with an underscore are removed from every request",
            super::diagnostics::did_you_mean(&name.value, ["validate_variants"]),
        ),
        Ok(field) => return Some(field),
    };
    let message = format!("`vary` cannot name \"{}\": {why}", name.value);
    section.reader.fault(name.span.clone(), message, help);
    None
}

fn read_word(
    section: &Section<'_>,
    field: &HeaderName,
    word: &Located<String>,
) -> Option<VaryForm> {
    match word.value.as_str() {
        "pass_through" => Some(VaryForm::PassThrough),
        "bypass" => Some(VaryForm::Bypass),
        "normalize" if is_list(field) && !NO_SPELLING.contains(&field.as_str()) => {
            Some(VaryForm::Normalize)
        }
        "normalize" => {
            let message = format!("`{field}` cannot be \"normalize\": it is no list of words");
            let help = "\"pass_through\" or \"bypass\"".to_owned();
            section.reader.fault(word.span.clone(), message, Some(help));
            None
        }
        _ => {
            let known = WORDS.iter().copied();
            section.unknown_word(field.as_str(), word, known);
            None
        }
    }
}

/// The media types of Accept or the languages of Accept-Language, each once.
fn read_choices(
    section: &Section<'_>,
    field: &HeaderName,
    name: &Located<String>,
    list: Vec<Located<String>>,
) -> Option<VaryForm> {
    let (what, example, is_legal): (_, _, fn(&str) -> bool) = if *field == ACCEPT {
        (
            "media type",
            "\"text/html\" or \"image/avif\"",
            is_media_type,
        )
    } else if *field == ACCEPT_LANGUAGE {
        ("language tag", "\"en\" or \"pt-BR\"", is_language)
    } else {
        let message = format!("`{field}` takes a word: lists are for accept and accept-language");
        let help = "\"normalize\", \"pass_through\" or \"bypass\"".to_owned();
        section.reader.fault(name.span.clone(), message, Some(help));
        return None;
    };
    if list.is_empty() {
        let message = format!("`{field}` lists no {what}");
        let help = format!("list what the site has, its default first, such as {example}");
        section.reader.fault(name.span.clone(), message, Some(help));
    }
    let mut choices: Vec<String> = Vec::new();
    for Located { value, span } in list {
        if !is_legal(&value) {
            let message = format!("\"{value}\" is no {what}");
            let help = format!("write for example {example}");
            section.reader.fault(span, message, Some(help));
        } else if !choices
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&value))
        {
            choices.push(value);
        }
    }
    Some(VaryForm::Best(choices))
}

/// RFC 9110 §8.3.1, without parameters and wildcards.
fn is_media_type(text: &str) -> bool {
    let is_token =
        |text: &str| !text.contains('*') && HeaderName::from_bytes(text.as_bytes()).is_ok();
    text.split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// RFC 4647 §2.1, without `*`.
fn is_language(tag: &str) -> bool {
    tag.split('-').enumerate().all(|(index, part)| {
        let legal = |byte: u8| byte.is_ascii_alphabetic() || index > 0 && byte.is_ascii_digit();
        (1..=8).contains(&part.len()) && part.bytes().all(legal)
    })
}
