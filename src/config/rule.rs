//! What rules of every phase have: a name, an expression, whether and until when they hold.

use super::diagnostics::{did_you_mean, position};
use super::reader::{Located, Section};
use super::secret::Secret;
use crate::guard::token::Tokens;
use crate::lint::{CODES, Code};
use crate::rules::expression::{Environment, Expression, ExpressionError, ValueExpression};
use crate::rules::{Lists, Rule, RuleSource, Value};

/// Where the rules being read are written, and what they may name.
#[derive(Clone, Copy)]
pub(super) struct RuleFile<'a> {
    /// The whole source.
    pub(super) source: &'a str,
    /// The file's name, or `preset NAME`.
    pub(super) name: &'a str,
    pub(super) lists: &'a Lists,
    /// Names of the pools.
    pub(super) pools: &'a [String],
    /// Kinds of tokens.
    pub(super) tokens: &'a Tokens,
    /// Signs what clients keep.
    pub(super) secret: Option<&'a Secret>,
}

/// The rules of one phase.
pub(super) struct RuleKind {
    /// The key of their tables.
    pub(super) key: &'static str,
    /// Whether expressions may name fields of the response.
    pub(super) response: bool,
    /// Whether a rule without an expression is for everything.
    pub(super) for_all: bool,
    /// Something that such a rule may set.
    pub(super) example: &'static str,
}

/// What every rule may have.
const COMMON: &[&str] = &["name", "enabled", "expression", "expires", "lint_allow"];

/// Reads the rules of one phase.
pub(super) fn read_rules<A>(
    section: &Section<'_>,
    kind: &RuleKind,
    from: RuleFile<'_>,
    read_action: impl Fn(&Section<'_>, &Context<'_>) -> Option<A>,
) -> Vec<Rule<A>> {
    let context = Context {
        from,
        environment: Environment {
            lists: Some(from.lists),
            response: kind.response,
            tokens: Some(from.tokens),
        },
    };
    section
        .sections(kind.key)
        .into_iter()
        .enumerate()
        .filter_map(|(index, rule)| {
            let action = read_action(&rule, &context);
            read_rule(rule, index, kind, &context, action)
        })
        .collect()
}

/// What reading one rule takes.
pub(super) struct Context<'a> {
    pub(super) from: RuleFile<'a>,
    environment: Environment<'a>,
}

impl Context<'_> {
    /// What was compiled from `text`; otherwise its faults are told.
    pub(super) fn compiled<T>(
        &self,
        section: &Section<'_>,
        text: &Located<String>,
        compiled: Result<T, Vec<ExpressionError>>,
    ) -> Option<T> {
        compiled_or_faults(section, text, self.from.source, compiled)
    }
}

fn read_rule<A>(
    section: Section<'_>,
    index: usize,
    kind: &RuleKind,
    context: &Context<'_>,
    action: Option<A>,
) -> Option<Rule<A>> {
    let name = section
        .string("name")
        .map_or_else(|| format!("rule {}", index + 1), |name| name.value);
    let enabled = section
        .boolean("enabled")
        .is_none_or(|enabled| enabled.value);
    let expires = section.date_time("expires").map(|expires| expires.value);
    let lint_allow = read_lint_allow(&section);
    let expression = read_expression(&section, kind, context);
    let span = section.span.clone();
    if !section.has_beside(COMMON) {
        let message = format!("the rule \"{name}\" sets nothing");
        let help = format!("write for example `{}`", kind.example);
        section.reader.fault(span.clone(), message, Some(help));
    }
    section.finish();
    let source = RuleSource {
        file: context.from.name.into(),
        line: position(context.from.source, span.start).0,
    };
    Some(Rule {
        name,
        source,
        expression: expression?,
        expires,
        lint_allow,
        action: action?,
    })
    .filter(|_| enabled)
}

/// Names of findings that are meant so.
pub(super) fn read_lint_allow(section: &Section<'_>) -> Vec<&'static str> {
    let written = section.strings("lint_allow").unwrap_or_default();
    let known = |name: &Located<String>| {
        let code = Code::named(&name.value);
        if code.is_none() {
            let names = CODES.iter().map(|code| code.name);
            let help = did_you_mean(&name.value, names.clone()).unwrap_or_else(|| {
                let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
                format!(
                    "known are {}; `seawall check --explain` tells of each",
                    names.join(", ")
                )
            });
            let message = format!("`seawall check` has no finding \"{}\"", name.value);
            section.reader.fault(name.span.clone(), message, Some(help));
        }
        code.map(|code| code.name)
    };
    written.iter().filter_map(known).collect()
}

fn read_expression(
    section: &Section<'_>,
    kind: &RuleKind,
    context: &Context<'_>,
) -> Option<Expression> {
    if kind.for_all && !section.has("expression") {
        return Expression::compile("true", &context.environment).ok();
    }
    let text =
        section.required_string("expression", "'http.request.uri.path wildcard \"/a/*\"'")?;
    let compiled = Expression::compile(&text.value, &context.environment);
    compiled_or_faults(section, &text, context.from.source, compiled)
}

/// Text that a rule writes: a string, or `{ expression = '…' }`.
pub(super) fn read_value(
    section: &Section<'_>,
    key: &'static str,
    context: &Context<'_>,
) -> Option<Value> {
    if !section.is_table(key) {
        return section.string(key).map(|text| Value::Text(text.value));
    }
    read_computed(section.section(key)?, context).map(Value::Computed)
}

/// `{ expression = '…' }`.
pub(super) fn read_computed(table: Section<'_>, context: &Context<'_>) -> Option<ValueExpression> {
    let value = table
        .required_string("expression", "'concat(\"/en\", http.request.uri.path)'")
        .and_then(|text| {
            let compiled = ValueExpression::compile(&text.value, &context.environment);
            compiled_or_faults(&table, &text, context.from.source, compiled)
        });
    table.finish();
    value
}

/// The text of `key`, an expression for a value outside of rules.
pub(super) fn read_value_expression(
    section: &Section<'_>,
    text: &Located<String>,
    from: RuleFile<'_>,
) -> Option<ValueExpression> {
    let environment = Environment {
        lists: Some(from.lists),
        response: false,
        tokens: Some(from.tokens),
    };
    let compiled = ValueExpression::compile(&text.value, &environment);
    compiled_or_faults(section, text, from.source, compiled)
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
