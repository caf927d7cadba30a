//! `splits`: choices among variants.

use std::time::Duration;

use http::HeaderName;

use super::super::file::put;
use super::super::reader::Section;
use super::super::rule::{Context, RuleFile, RuleKind, read_computed, read_rules};
use crate::rules::Rule;
use crate::rules::phase::{Split, SplitBy, SplitKey, Variant};

/// How long a client keeps its variant, unless a split says otherwise.
const KEEP: Duration = Duration::from_hours(24 * 30);

pub(super) fn read_splits(section: &Section<'_>, from: RuleFile<'_>) -> Vec<Rule<Split>> {
    let kind = RuleKind {
        key: "splits",
        response: false,
        for_all: true,
        example: "variants = { a = 50, b = 50 }",
    };
    let splits = read_rules(section, &kind, from, read_split);
    for (position, split) in splits.iter().enumerate() {
        let earlier = splits.iter().take(position);
        if earlier.clone().any(|earlier| earlier.name == split.name) {
            let message = format!("there are two splits with the name \"{}\"", split.name);
            section
                .reader
                .fault(section.place_of("splits"), message, None);
        }
    }
    splits
}

fn read_split(rule: &Section<'_>, context: &Context<'_>) -> Option<Split> {
    let name = rule.required_string("name", "\"checkout\"");
    let variants = read_variants(rule);
    let by = read_by(rule, context);
    let name = name?;
    if !is_name(&name.value) {
        let message = format!(
            "the split's name \"{}\" cannot be part of a cookie's",
            name.value
        );
        let help = "use letters, digits, `_` and `-`".to_owned();
        rule.reader.fault(name.span, message, Some(help));
        return None;
    }
    let header = match rule.string("header") {
        None => HeaderName::try_from(format!("x-split-{}", name.value)).ok(),
        Some(written) => {
            let parsed = HeaderName::try_from(&written.value);
            if parsed.is_err() {
                let message = format!("\"{}\" is not a field name", written.value);
                rule.reader.fault(written.span, message, None);
            }
            parsed.ok()
        }
    };
    Some(Split {
        name: name.value.into(),
        variants: variants?,
        by: by?,
        header: header?,
    })
}

fn is_name(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.bytes().all(part)
}

/// `variants = { a = 90, b = 10 }`.
fn read_variants(rule: &Section<'_>) -> Option<Vec<Variant>> {
    let help = "write for example `variants = { a = 50, b = 50 }`";
    if !rule.has("variants") {
        rule.reader.fault(
            rule.span.clone(),
            "the split has no `variants`",
            Some(help.to_owned()),
        );
        return None;
    }
    let section = rule.section_or("variants", help)?;
    let mut variants = Vec::new();
    for (name, weight) in section.integer_entries(0..=1_000_000) {
        if !is_name(&name.value) {
            let message = format!("\"{}\" cannot be the name of a variant", name.value);
            let help = "use letters, digits, `_` and `-`".to_owned();
            section.reader.fault(name.span, message, Some(help));
            continue;
        }
        variants.push(Variant {
            name: name.value.into(),
            weight: u32::try_from(weight.value).unwrap_or(u32::MAX),
        });
    }
    if variants.iter().all(|variant| variant.weight == 0) {
        let message = "no variant has a weight above 0";
        section
            .reader
            .fault(section.span.clone(), message, Some(help.to_owned()));
        return None;
    }
    Some(variants)
}

/// `by = "cookie"`, or `{ expression = '…' }` whose value is hashed.
fn read_by(rule: &Section<'_>, context: &Context<'_>) -> Option<SplitBy> {
    let mut keep = KEEP;
    put(&mut keep, rule.duration("max_age"));
    if rule.is_table("by") {
        return read_computed(rule.section("by")?, context).map(SplitBy::Hash);
    }
    if rule.has("by") {
        rule.word("by", &[("cookie", ())])?;
    }
    let Some(secret) = context.from.secret else {
        let help = "write `secret = \"${SEAWALL_SECRET}\"` at the top of the file: it signs the \
                    cookies that keep a client's variant";
        rule.reader.fault(
            rule.span.clone(),
            "the split needs a `secret`",
            Some(help.to_owned()),
        );
        return None;
    };
    Some(SplitBy::Cookie {
        max_age: keep.as_secs(),
        key: SplitKey::new(secret.reveal().as_bytes()),
    })
}
