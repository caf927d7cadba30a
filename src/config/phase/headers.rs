//! `request_header_rules` and `response_header_rules`.

use http::HeaderName;

use super::super::reader::{Section, StringOrSection};
use super::super::rule::{Context, RuleFile, RuleKind, read_computed, read_rules};
use crate::rules::phase::{HeaderOperation, HeaderTransform};
use crate::rules::{Rule, Value};

const FRAMING: &str = "it belongs to the connection and the framing of the message";
const CONDITIONS: &str = "the cache asks its own conditions and ranges with it";

/// Request fields that rules cannot change, and why.
const NOT_TO_THE_ORIGIN: &[(&str, &str)] = &[
    ("host", "write an origin rule: `host_header = \"…\"`"),
    ("if-match", CONDITIONS),
    ("if-none-match", CONDITIONS),
    ("if-modified-since", CONDITIONS),
    ("if-unmodified-since", CONDITIONS),
    ("if-range", CONDITIONS),
    ("range", CONDITIONS),
    ("expect", FRAMING),
];
/// Response fields that rules cannot change, and why.
const NOT_TO_THE_CLIENT: &[(&str, &str)] = &[
    ("content-encoding", "it tells how the content is coded"),
    ("content-range", "it tells which part is sent"),
    ("age", "it tells how old the response is"),
    ("date", "it tells how old the response is"),
];
const NEVER: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

pub(super) fn read_request_headers(
    section: &Section<'_>,
    from: RuleFile<'_>,
) -> Vec<Rule<HeaderTransform>> {
    let kind = RuleKind {
        key: "request_header_rules",
        response: false,
        for_all: false,
        example: "set = { \"X-Forwarded-Country\" = { expression = 'ip.src.country' } }",
    };
    read_rules(section, &kind, from, |rule, context| {
        let keyed = rule.boolean("keyed").is_none_or(|keyed| keyed.value);
        Some(HeaderTransform {
            operations: read_operations(rule, context, NOT_TO_THE_ORIGIN),
            keyed,
        })
    })
}

pub(super) fn read_response_headers(
    section: &Section<'_>,
    from: RuleFile<'_>,
) -> Vec<Rule<HeaderTransform>> {
    let kind = RuleKind {
        key: "response_header_rules",
        response: true,
        for_all: false,
        example: "set = { \"X-Frame-Options\" = \"DENY\" }",
    };
    read_rules(section, &kind, from, |rule, context| {
        Some(HeaderTransform {
            operations: read_operations(rule, context, NOT_TO_THE_CLIENT),
            keyed: true,
        })
    })
}

/// Removals first, so that a field can be removed and added anew.
fn read_operations(
    rule: &Section<'_>,
    context: &Context<'_>,
    refused: &[(&str, &str)],
) -> Vec<HeaderOperation> {
    let mut operations = Vec::new();
    for name in rule.strings("remove").unwrap_or_default() {
        let parsed = field_name(rule, &name.value, name.span, refused);
        operations.extend(parsed.map(HeaderOperation::Remove));
    }
    for (key, operation) in [
        (
            "set",
            HeaderOperation::Set as fn(HeaderName, Value) -> HeaderOperation,
        ),
        ("add", HeaderOperation::Add),
    ] {
        let help = format!("write for example `{key} = {{ \"X-Name\" = \"value\" }}`");
        let Some(table) = rule.section_or(key, &help) else {
            continue;
        };
        for (name, value) in table.texts_or_tables() {
            let parsed = field_name(rule, &name.value, name.span, refused);
            let value = match value {
                StringOrSection::String(text) => field_value(rule, text.value, text.span),
                StringOrSection::Section(computed) => {
                    read_computed(computed, context).map(Value::Computed)
                }
            };
            if let (Some(name), Some(value)) = (parsed, value) {
                operations.push(operation(name, value));
            }
        }
    }
    operations
}

fn field_name(
    rule: &Section<'_>,
    name: &str,
    span: std::ops::Range<usize>,
    refused: &[(&str, &str)],
) -> Option<HeaderName> {
    let Ok(parsed) = HeaderName::try_from(name) else {
        let message = format!("\"{name}\" is not a field name");
        rule.reader.fault(span, message, None);
        return None;
    };
    let why = if NEVER.contains(&parsed.as_str()) {
        Some(FRAMING)
    } else {
        let mut refused = refused.iter();
        refused
            .find(|(refused, _)| *refused == parsed.as_str())
            .map(|(_, why)| *why)
    };
    let Some(why) = why else {
        return Some(parsed);
    };
    let message = format!("rules cannot change `{parsed}`: {why}");
    rule.reader.fault(span, message, None);
    None
}

fn field_value(rule: &Section<'_>, text: String, span: std::ops::Range<usize>) -> Option<Value> {
    if http::HeaderValue::try_from(&text).is_ok() {
        return Some(Value::Text(text));
    }
    let message = "the value has a character that no field may hold".to_owned();
    rule.reader.fault(span, message, None);
    None
}
