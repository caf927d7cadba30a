//! What rules of every phase have: a name, an expression, whether and until when they hold.

use super::diagnostics::position;
use super::reader::{Located, Section};
use crate::rules::expression::{Environment, Expression, ExpressionError, ValueExpression};
use crate::rules::{Lists, Rule, RuleSource, Value};

/// Where the rules being read are written, and what their expressions may name.
#[derive(Clone, Copy)]
pub(super) struct RuleFile<'a> {
    /// The whole source.
    pub(super) source: &'a str,
    /// `preset NAME`; `None` for the configuration file.
    pub(super) preset: Option<&'a str>,
    pub(super) lists: &'a Lists,
}

/// What every rule may have.
const COMMON: &[&str] = &["name", "enabled", "expression", "expires"];

/// Reads the rules of one phase, the tables under `key`. `example` shows what a rule may set, and
/// `response` tells whether expressions may name fields of the response.
pub(super) fn read_rules<A>(
    section: &Section<'_>,
    key: &'static str,
    from: RuleFile<'_>,
    response: bool,
    example: &str,
    read_action: impl Fn(&Section<'_>, &Environment<'_>) -> Option<A>,
) -> Vec<Rule<A>> {
    let environment = Environment {
        lists: Some(from.lists),
        response,
    };
    section
        .sections(key)
        .into_iter()
        .enumerate()
        .filter_map(|(index, rule)| {
            let action = read_action(&rule, &environment);
            read_rule(rule, index, from, &environment, example, action)
        })
        .collect()
}

fn read_rule<A>(
    section: Section<'_>,
    index: usize,
    from: RuleFile<'_>,
    environment: &Environment<'_>,
    example: &str,
    action: Option<A>,
) -> Option<Rule<A>> {
    let name = section
        .string("name")
        .map_or_else(|| format!("rule {}", index + 1), |name| name.value);
    let enabled = section
        .boolean("enabled")
        .is_none_or(|enabled| enabled.value);
    let expires = section.date_time("expires").map(|expires| expires.value);
    let expression = section
        .required_string("expression", "'http.request.uri.path wildcard \"/a/*\"'")
        .and_then(|text| {
            let compiled = Expression::compile(&text.value, environment);
            compiled_or_faults(&section, &text, from.source, compiled)
        });
    let span = section.span.clone();
    if !section.has_beside(COMMON) {
        let message = format!("the rule \"{name}\" sets nothing");
        let help = format!("write for example `{example}`");
        section.reader.fault(span.clone(), message, Some(help));
    }
    section.finish();
    let source = RuleSource {
        file: from.preset.unwrap_or_default().into(),
        line: position(from.source, span.start).0,
    };
    Some(Rule {
        name,
        source,
        expression: expression?,
        expires,
        action: action?,
    })
    .filter(|_| enabled)
}

/// Text that a rule writes: a string, or `{ expression = '…' }`.
pub(super) fn read_value(
    section: &Section<'_>,
    key: &'static str,
    source: &str,
    environment: &Environment<'_>,
) -> Option<Value> {
    if !section.is_table(key) {
        return section.string(key).map(|text| Value::Text(text.value));
    }
    read_computed(section.section(key)?, source, environment)
}

/// `{ expression = '…' }`.
pub(super) fn read_computed(
    table: Section<'_>,
    source: &str,
    environment: &Environment<'_>,
) -> Option<Value> {
    let value = table
        .required_string("expression", "'concat(\"/en\", http.request.uri.path)'")
        .and_then(|text| {
            let compiled = ValueExpression::compile(&text.value, environment);
            compiled_or_faults(&table, &text, source, compiled)
        });
    table.finish();
    value.map(Value::Computed)
}

fn compiled_or_faults<T>(
    section: &Section<'_>,
    text: &Located<String>,
    source: &str,
    compiled: Result<T, Vec<ExpressionError>>,
) -> Option<T> {
    let errors = match compiled {
        Ok(compiled) => return Some(compiled),
        Err(errors) => errors,
    };
    let raw = source.get(text.span.clone()).unwrap_or_default();
    for error in errors {
        // Escapes and references make the text differ from what is written: then only the whole
        // string can be pointed at.
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
