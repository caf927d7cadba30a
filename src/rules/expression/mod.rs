//! Expressions which select requests, in the language of Cloudflare's Rules ("wirefilter").
//!
//! ```text
//! http.request.method eq "GET" and http.request.uri.path wildcard "/static/*"
//! http.request.uri.path.extension in {"css" "js"} or starts_with(http.request.uri.path, "/img/")
//! any(lower(http.request.uri.args.names[*])[*] contains "token") and not ip.src in {10.0.0.0/8}
//! ```
//!
//! **Operators.** `eq` `==`, `ne` `!=`, `lt` `<`, `le` `<=`, `gt` `>`, `ge` `>=`, `contains`,
//! `matches` `~`, `wildcard` (ignores case), `strict wildcard`, `in {…}`, `in $list`; then `not` `!`,
//! `and` `&&`, `xor` `^^`, `or` `||`, binding in this order, and parentheses. A boolean stands alone
//! or before `eq true` and the like.
//!
//! **Fields and functions** are listed by [`fields`] and [`functions`]. Fields of the response may be
//! named where there is one ([`Environment::response`]).
//!
//! **Strings** are bytes, and ordered and compared as such; letter case means ASCII letters, and
//! a regular expression matches bytes too (`(?u:…)` turns Unicode on). `"…"` knows the escapes
//! `\"` `\\` `\n` `\r` `\t` `\xHH`, but after `matches` only `\"`; `r"…"` and `r#"…"#` know none.
//!
//! **Arrays and maps.** `["name"]` selects the entry of a map, `[0]` the element of an array.
//! `[*]` stands for each element inside `any(…)` and `all(…)`, which do not nest; `all` of no
//! elements is true. A function applied to each element is followed by `[*]` again when its result
//! is compared. Query arguments and cookies are as sent, header names in lower case.
//!
//! **Lists.** `$name` is one of the configuration's [`Lists`], of addresses, numbers or strings.
//!
//! **Missing values.** A comparison with an entry or element which is not there is false, except
//! `ne`, which is true; a function of what is missing is missing itself. A header field with a field
//! of its own, such as `http.user_agent`, is never missing but empty, and so is an unknown country.
//!
//! **Values.** A [`ValueExpression`] is any expression but an array or a map, literals too; numbers,
//! booleans and addresses give their text.
//!
//! **Limits.** Sources of 16 KiB, 64 levels of nesting, 1 MiB for a compiled regular expression,
//! 64 KiB for what a function builds and for a JSON document (beyond it there is no value), 128
//! parts of a split string. Evaluation is total, and linear in the request for each operator.
//!
//! A source goes through `lexer`, `parser` and `check`, which also compiles it; `eval` is all that
//! runs for a request.

mod access;
mod analysis;
mod argument;
mod array;
pub(super) mod ast;
mod call;
mod check;
#[cfg(test)]
mod cloudflare_tests;
mod comparison;
mod country;
mod decode;
#[cfg(test)]
mod environment_tests;
mod error;
mod eval;
mod field;
mod function;

mod json;
mod lexer;
pub(super) mod literal;
mod parser;
mod pattern;
pub(super) mod read;
mod replace;
mod requirement;
pub(super) mod set;
mod substring;
#[cfg(test)]
mod tests;
mod text;
mod value;
mod wildcard;

use std::sync::Arc;

pub use self::analysis::{CLIENTS_OWN, Contradiction, Simpler};
pub use self::error::ExpressionError;
use self::eval::{Context, Predicate};
pub use self::field::{FieldInfo, fields};
pub use self::function::{FunctionInfo, functions};
pub use self::requirement::{Part, Requirement};
use self::text::Text;
pub use self::value::MAX_LENGTH;
use self::value::StringValue;
pub use self::wildcard::{Wildcard, WildcardError};
use crate::cache::response::ResponseView;
use crate::guard::token::Tokens;
use crate::request::RequestView;
use crate::rules::Lists;

/// The longest source accepted, in bytes.
pub const MAX_SOURCE_LENGTH: usize = 16 * 1024;

/// What an expression may name beside the fields of the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment<'e> {
    /// Lists, as `$name`; `None` stands for no lists.
    pub lists: Option<&'e Lists>,
    /// Whether there is a response, so that its fields may be named.
    pub response: bool,
    /// Kinds of tokens, by the names that functions have for them; `None` stands for none.
    pub tokens: Option<&'e Tokens>,
}

/// A compiled expression that gives text; clones share one compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueExpression {
    source: Arc<str>,
    value: Arc<StringValue>,
}

impl ValueExpression {
    /// Compiles `source`, as [`Expression::compile`] does.
    pub fn compile(
        source: &str,
        environment: &Environment<'_>,
    ) -> Result<Self, Vec<ExpressionError>> {
        let syntax = parse(source)?;
        let value = check::check_value(source, &syntax, environment).map_err(in_source_order)?;
        Ok(Self {
            source: source.into(),
            value: Arc::new(value),
        })
    }

    /// The text for `request` and the `response` to it; `None` where a field that it needs has no
    /// value, or where it is longer than [`MAX_LENGTH`].
    pub fn evaluate(
        &self,
        request: &RequestView<'_>,
        response: Option<&ResponseView<'_>>,
    ) -> Option<Vec<u8>> {
        self.value
            .eval(Context::new(request, response))
            .map(Text::into_bytes)
            .filter(|text| text.len() <= MAX_LENGTH)
    }

    /// Shows the text to `take`, which sees none where [`Self::evaluate`] would give none. Nothing is
    /// copied where the request holds the text.
    pub fn read<T>(
        &self,
        request: &RequestView<'_>,
        response: Option<&ResponseView<'_>>,
        take: impl FnOnce(Option<&[u8]>) -> T,
    ) -> T {
        let text = self.value.eval(Context::new(request, response));
        take(
            text.as_ref()
                .map(Text::bytes)
                .filter(|text| text.len() <= MAX_LENGTH),
        )
    }

    /// The text the expression was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// A compiled expression; clones share one compilation. Equality covers the lists that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    source: Arc<str>,
    predicate: Arc<Predicate>,
}

impl Expression {
    /// Compiles `source`, or tells of its first syntax error or else of all its type errors, in
    /// the order of the source.
    pub fn compile(
        source: &str,
        environment: &Environment<'_>,
    ) -> Result<Self, Vec<ExpressionError>> {
        let syntax = parse(source)?;
        let predicate = check::check(source, &syntax, environment).map_err(in_source_order)?;
        Ok(Self {
            source: source.into(),
            predicate: Arc::new(predicate),
        })
    }

    /// Whether the expression is true of `request`.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.predicate.eval(Context::new(request, None))
    }

    /// Whether the expression is true of `request` and the `response` to it.
    pub fn matches_response(&self, request: &RequestView<'_>, response: &ResponseView<'_>) -> bool {
        self.predicate.eval(Context::new(request, Some(response)))
    }

    /// What must hold of a request for the expression to be possibly true: all of these.
    pub fn requirements(&self) -> Vec<Requirement> {
        self.predicate.requirements()
    }

    /// The text the expression was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }
}

fn parse(source: &str) -> Result<ast::Expr<'_>, Vec<ExpressionError>> {
    if source.len() > MAX_SOURCE_LENGTH {
        return Err(vec![too_long(source)]);
    }
    parser::parse(source).map_err(|error| vec![error])
}

fn too_long(source: &str) -> ExpressionError {
    let span = ast::Span {
        start: source.floor_char_boundary(MAX_SOURCE_LENGTH),
        end: source.len(),
    };
    let message = format!("the expression is longer than {MAX_SOURCE_LENGTH} bytes");
    ExpressionError::new(span, message).with_help("split it into several rules")
}

fn in_source_order(mut errors: Vec<ExpressionError>) -> Vec<ExpressionError> {
    errors.sort_by_key(|error| error.span.start);
    errors
}
