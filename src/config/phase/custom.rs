//! `custom_rules`: what the guard stops.

use http::StatusCode;

use super::super::diagnostics::did_you_mean;
use super::super::reader::Section;
use super::super::rule::{RuleFile, RuleKind, read_rules};
use super::page::{read_page, read_status};
use crate::guard::{Action, CustomAction, CustomRule, Skips};
use crate::rules::Rule;

const ACTIONS: &[(&str, Action)] = &[
    ("block", Action::Block),
    ("challenge", Action::Challenge),
    ("log", Action::Log),
    ("skip", Action::Skip),
    ("allow", Action::Allow),
];

/// What belongs to which action.
const OF_BLOCK: [&str; 4] = ["status", "content", "file", "content_type"];

pub(super) fn read_custom_rules(
    section: &Section<'_>,
    from: RuleFile<'_>,
) -> Vec<Rule<CustomRule>> {
    let kind = RuleKind {
        key: "custom_rules",
        response: false,
        for_all: false,
        example: "action = \"block\"",
    };
    read_rules(section, &kind, from, |rule, _| {
        let written = rule.word("action", ACTIONS);
        let status = read_status(rule);
        let has_page = rule.has("content") || rule.has("file");
        let page = has_page.then(|| read_page(rule)).flatten();
        let content_type = (!has_page && rule.has("content_type")).then_some("content_type");
        let skips = read_skips(rule);
        let dry_run = rule.boolean("dry_run").is_some_and(|dry| dry.value);
        let Some(action) = written else {
            if !rule.has("action") {
                let help =
                    "write `action = \"block\"`, \"challenge\", \"log\", \"skip\" or \"allow\""
                        .to_owned();
                let message = "the rule has no `action`";
                rule.reader.fault(rule.span.clone(), message, Some(help));
            }
            return None;
        };
        if let Some(key) = content_type {
            let help = "write the page as `content` or `file`".to_owned();
            let span = rule.place_of(key);
            rule.reader
                .fault(span, "`content_type` without a page", Some(help));
        }
        if action.value != Action::Block {
            refuse_keys(rule, &OF_BLOCK, "block");
        }
        if action.value != Action::Skip {
            refuse_keys(rule, &["skip"], "skip");
        }
        let action = match action.value {
            Action::Block => CustomAction::Block {
                status: status.unwrap_or(StatusCode::FORBIDDEN),
                page,
            },
            Action::Challenge => CustomAction::Challenge,
            // There is no word for the others.
            Action::Log | Action::Throttle => CustomAction::Log,
            Action::Allow => CustomAction::Allow,
            Action::Skip => CustomAction::Skip(skips.unwrap_or_else(|| {
                if !rule.has("skip") {
                    let help = "write `skip = [\"custom_rules\"]`".to_owned();
                    let message = "the rule does not say what to `skip`";
                    rule.reader.fault(rule.span.clone(), message, Some(help));
                }
                Skips::default()
            })),
        };
        Some(CustomRule { action, dry_run })
    })
}

/// Faults for keys that mean nothing with another action than `with`.
pub(super) fn refuse_keys(rule: &Section<'_>, keys: &[&'static str], with: &str) {
    for key in keys.iter().filter(|key| rule.has(key)) {
        let message = format!("`{key}` does nothing without `action = \"{with}\"`");
        let help = Some("remove it, or change the action".to_owned());
        rule.reader.fault(rule.place_of(key), message, help);
    }
}

fn read_skips(rule: &Section<'_>) -> Option<Skips> {
    let mut skips = Skips::default();
    for name in rule.strings("skip")? {
        let part = Skips::WORDS.iter().find(|(word, _)| *word == name.value);
        if let Some((_, part)) = part {
            skips.insert(*part);
            continue;
        }
        let words = Skips::WORDS.iter().map(|(word, _)| *word);
        let known: Vec<String> = words.clone().map(|word| format!("\"{word}\"")).collect();
        let help = did_you_mean(&name.value, words)
            .unwrap_or_else(|| format!("there are {}", known.join(", ")));
        let message = format!("the guard has no part \"{}\"", name.value);
        rule.reader.fault(name.span, message, Some(help));
    }
    Some(skips)
}
