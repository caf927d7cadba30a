//! The type checker: looks up fields and functions, gives every value its type and compiles the
//! syntax tree. It goes on after a mistake, so that all are told at once.

use std::sync::Arc;

use super::Environment;
use super::array::Array;
use super::ast::{Base, Condition, Expr, Literal, LogicalOperator, Span, Spanned, Value};
use super::comparison;
use super::error::{ExpressionError, closest};
use super::eval::Predicate;
use super::field::{self, Field, MapField, Type};
use super::function::Function;
use super::value::{IntValue, IpValue, StringValue};
use crate::rules::List;

/// Compiles `expr`, which was parsed from `source`, to what it selects.
pub(super) fn check(
    source: &str,
    expr: &Expr<'_>,
    environment: &Environment<'_>,
) -> Result<Predicate, Vec<ExpressionError>> {
    let mut checker = Checker::new(source, environment);
    let predicate = checker.predicate(expr);
    checker.finish(predicate)
}

/// Compiles `expr`, which was parsed from `source`, to the text it gives.
pub(super) fn check_value(
    source: &str,
    expr: &Expr<'_>,
    environment: &Environment<'_>,
) -> Result<StringValue, Vec<ExpressionError>> {
    let mut checker = Checker::new(source, environment);
    let text = checker.text(expr);
    checker.finish(text)
}

/// A compiled value of a known type.
#[derive(Debug)]
pub(super) enum Typed {
    Bool(Predicate),
    Int(IntValue),
    Ip(IpValue),
    String(StringValue),
    Array(Array),
    Map(MapField),
}

impl Typed {
    /// The value's type.
    pub(super) const fn ty(&self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Ip(_) => Type::Ip,
            Self::String(_) => Type::String,
            Self::Array(_) => Type::Array,
            Self::Map(_) => Type::Map,
        }
    }

    /// The value as text, unless it is an array or a map.
    pub(super) fn into_text(self) -> Result<StringValue, Self> {
        match self {
            Self::String(value) => Ok(value),
            Self::Int(value) => Ok(StringValue::Int(Box::new(value)).folded()),
            Self::Ip(value) => Ok(StringValue::Ip(Box::new(value)).folded()),
            Self::Bool(value) => Ok(StringValue::Bool(Box::new(value)).folded()),
            Self::Array(_) | Self::Map(_) => Err(self),
        }
    }
}

/// How a value depends on `[*]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One value for the request.
    Single,
    /// One value for each element: the index `[*]` comes last.
    Each,
    /// An array of a function's results for each element, which needs `[*]` again.
    Mapped,
}

/// Where `[*]` may stand.
#[derive(Debug)]
pub(super) enum Scope {
    Outside,
    /// In the argument of `any` or `all`, with the array which `[*]` was applied to so far.
    Quantifier(Option<Array>),
}

/// `None` where the mistake has been recorded already.
pub(super) type Checked<T> = Option<T>;

/// The state of one check.
pub(super) struct Checker<'s> {
    pub(super) source: &'s str,
    pub(super) environment: &'s Environment<'s>,
    errors: Vec<ExpressionError>,
    pub(super) scope: Scope,
}

impl<'s> Checker<'s> {
    const fn new(source: &'s str, environment: &'s Environment<'s>) -> Self {
        Self {
            source,
            environment,
            errors: Vec::new(),
            scope: Scope::Outside,
        }
    }

    fn finish<T>(self, checked: Checked<T>) -> Result<T, Vec<ExpressionError>> {
        match checked {
            Some(compiled) if self.errors.is_empty() => Ok(compiled),
            _ => Err(self.errors),
        }
    }
}

impl Checker<'_> {
    /// An expression in a place where a boolean is needed.
    pub(super) fn predicate(&mut self, expr: &Expr<'_>) -> Checked<Predicate> {
        match expr {
            Expr::Logic(operator, operands) => self.logic(*operator, operands),
            Expr::Not(_, operand) => Some(Predicate::Not(Box::new(self.predicate(operand)?))),
            Expr::Comparison(value, condition) => self.comparison(value, condition),
            Expr::InList(value, list) => self.membership(value, list),
            Expr::Value(value) => self.boolean(value),
        }
    }

    fn logic(&mut self, operator: LogicalOperator, operands: &[Expr<'_>]) -> Checked<Predicate> {
        let checked: Vec<_> = operands
            .iter()
            .map(|operand| self.predicate(operand))
            .collect();
        let operands = checked.into_iter().collect::<Option<Box<[_]>>>()?;
        Some(match operator {
            LogicalOperator::And => Predicate::And(operands),
            LogicalOperator::Or => Predicate::Or(operands),
            LogicalOperator::Xor => Predicate::Xor(operands),
        })
    }

    fn comparison(&mut self, value: &Value<'_>, condition: &Condition<'_>) -> Checked<Predicate> {
        self.refuse_literal(value)?;
        let typed = self.element_value(value)?.0;
        let left = value.span.text(self.source);
        comparison::compile(typed, left, condition)
            .map_err(|errors| self.errors.extend(errors))
            .ok()
    }

    fn membership(&mut self, value: &Value<'_>, name: &Spanned<&str>) -> Checked<Predicate> {
        self.refuse_literal(value)?;
        let typed = self.element_value(value);
        let list = self.list(name);
        let (typed, list) = (typed?.0, list?);
        let (ty, left) = (typed.ty(), value.span.text(self.source));
        comparison::in_list(typed, &list).or_else(|| {
            let kind = list
                .kind()
                .map_or_else(String::new, |kind| kind.to_string());
            let message = format!(
                "`${}` is a list of {kind}, but `{left}` is {}",
                name.node,
                ty.describe()
            );
            let error = ExpressionError::new(name.span, message);
            self.fail(match ty {
                Type::Array | Type::Map => error.with_help(format!(
                    "test every element: `any({left}[*] in ${})`",
                    name.node
                )),
                Type::Bool => error.with_help(format!("a boolean stands alone: `{left}`")),
                _ => error,
            })
        })
    }

    fn list(&mut self, name: &Spanned<&str>) -> Checked<Arc<List>> {
        let lists = self.environment.lists;
        if let Some(list) = lists.and_then(|lists| lists.get(name.node)) {
            return Some(Arc::clone(list));
        }
        let error = ExpressionError::new(name.span, format!("unknown list `${}`", name.node));
        let help = match lists.and_then(|lists| closest(name.node, lists.names())) {
            Some(similar) => format!("did you mean `${similar}`?"),
            None => format!(
                "lists stand below `[lists]`, such as `{} = [\"…\"]`",
                name.node
            ),
        };
        self.fail(error.with_help(help))
    }

    fn boolean(&mut self, value: &Value<'_>) -> Checked<Predicate> {
        self.refuse_literal(value)?;
        match self.value(value)? {
            (Typed::Bool(predicate), _) => Some(predicate),
            (other, _) => {
                let text = value.span.text(self.source);
                let found = other.ty().describe();
                let message = format!("expected a boolean expression, found {found}");
                let help = match other {
                    Typed::Array(_) | Typed::Map(_) => {
                        format!("compare its elements: `any({text}…[*] eq …)`")
                    }
                    _ => format!("compare it: `{text} eq …`"),
                };
                self.fail(ExpressionError::new(value.span, message).with_help(help))
            }
        }
    }

    /// A value to be compared or passed to a function.
    pub(super) fn element_value(&mut self, value: &Value<'_>) -> Checked<(Typed, Shape)> {
        match self.value(value)? {
            (_, Shape::Mapped) => {
                let text = value.span.text(self.source);
                let message = format!("missing `[*]` after `{text}`, which is an array");
                let help = format!("write `{text}[*]`");
                self.fail(ExpressionError::new(value.span, message).with_help(help))
            }
            checked => Some(checked),
        }
    }

    /// Literals other than booleans are what values are compared with.
    fn refuse_literal(&mut self, value: &Value<'_>) -> Checked<()> {
        match &value.base.node {
            Base::Literal(literal) if !matches!(literal, Literal::Bool(_)) => {
                let found = literal.describe();
                let message = format!("expected a field or a function, found {found}");
                self.fail(
                    ExpressionError::new(value.base.span, message)
                        .with_help("literals stand to the right of an operator"),
                )
            }
            _ => Some(()),
        }
    }

    /// A value of any type; literals too.
    pub(super) fn value(&mut self, value: &Value<'_>) -> Checked<(Typed, Shape)> {
        let mut typed = match &value.base.node {
            Base::Field(name) => (self.field(name, value.base.span)?, Shape::Single),
            Base::Call(name, arguments) => self.call(name, arguments, value.base.span)?,
            Base::Literal(literal) => (self.literal(literal, value.base.span)?, Shape::Single),
        };
        let mut span = value.base.span;
        for index in &value.indexes {
            typed = self.index(typed, span, index)?;
            span = span.to(index.span);
        }
        Some(typed)
    }

    fn literal(&mut self, literal: &Literal<'_>, span: Span) -> Checked<Typed> {
        Some(match literal {
            Literal::Bool(truth) => Typed::Bool(Predicate::Constant(*truth)),
            Literal::Int(number) => Typed::Int(IntValue::Literal(*number)),
            Literal::Ip(address) => Typed::Ip(IpValue::Literal(*address)),
            Literal::String(string) => match string.bytes() {
                Ok(bytes) => Typed::String(StringValue::Literal(bytes.into())),
                Err(error) => return self.fail(error),
            },
            Literal::IntRange(..) | Literal::IpRange(..) => {
                let message = format!("expected a single value, found {}", literal.describe());
                let help = "ranges stand in sets, after `in`";
                return self.fail(ExpressionError::new(span, message).with_help(help));
            }
        })
    }

    fn field(&mut self, name: &str, span: Span) -> Checked<Typed> {
        let Some(field) = Field::from_name(name) else {
            let error = ExpressionError::new(span, format!("unknown field `{name}`"));
            return self.fail(match Function::from_name(name) {
                Some(_) => error.with_help(format!("it is a function: `{name}(…)`")),
                None => error.with_suggestion(closest(name, field::names())),
            });
        };
        if field.is_of_response() && !self.environment.response {
            let message = format!("`{name}` is not known before there is a response");
            let help = "fields of the response stand in `response_header_rules`, \
                        `cache_response_rules` and `error_rules`";
            return self.fail(ExpressionError::new(span, message).with_help(help));
        }
        Some(match field {
            Field::Bool(field) => Typed::Bool(Predicate::Field(field)),
            Field::Int(field) => Typed::Int(IntValue::Field(field)),
            Field::Ip(field) => Typed::Ip(IpValue::Field(field)),
            Field::String(field) => Typed::String(StringValue::Field(field)),
            Field::Array(field) => Typed::Array(Array::Field(field)),
            Field::Map(field) => Typed::Map(field),
        })
    }

    /// An expression in a place where text is needed.
    fn text(&mut self, expr: &Expr<'_>) -> Checked<StringValue> {
        let Expr::Value(value) = expr else {
            return Some(StringValue::Bool(Box::new(self.predicate(expr)?)));
        };
        let typed = match self.element_value(value)?.0.into_text() {
            Ok(text) => return Some(text),
            Err(typed) => typed,
        };
        let text = value.span.text(self.source);
        let message = format!("expected text, found {}", typed.ty().describe());
        let help = match typed {
            Typed::Map(_) => format!("select an entry: `{text}[\"name\"][0]`"),
            _ => format!("select an element, `{text}[0]`, or `join({text}, \", \")`"),
        };
        self.fail(ExpressionError::new(value.span, message).with_help(help))
    }

    /// Records a mistake.
    pub(super) fn fail<T>(&mut self, error: ExpressionError) -> Checked<T> {
        self.errors.push(error);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::testing::assert_reported;
    use super::super::{Environment, Expression};

    #[test]
    fn unknown_fields_are_suggested() {
        assert_reported(&[
            (
                "http.hots eq \"a\"",
                "http.hots",
                "unknown field `http.hots`",
                "did you mean `http.host`?",
            ),
            (
                "host eq \"a\"",
                "host",
                "unknown field",
                "did you mean `http.host`?",
            ),
            (
                "http.request.path eq \"a\"",
                "http.request.path",
                "unknown field",
                "did you mean `http.request.uri.path`?",
            ),
            ("nonsense", "nonsense", "unknown field", ""),
            ("len eq 1", "len", "unknown field", "`len(…)`"),
        ]);
    }

    #[test]
    fn values_which_are_not_boolean_are_refused() {
        assert_reported(&[
            (
                "http.host",
                "http.host",
                "expected a boolean expression, found a string",
                "`http.host eq …`",
            ),
            (
                "not ip.src",
                "ip.src",
                "found an IP address",
                "`ip.src eq …`",
            ),
            (
                "ssl and http.host",
                "http.host",
                "found a string",
                "compare it",
            ),
            (
                "http.request.headers",
                "http.request.headers",
                "found a map",
                "any(",
            ),
            (
                "\"abc\"",
                "\"abc\"",
                "expected a field or a function, found a string",
                "to the right",
            ),
            (
                "80 eq 80",
                "80",
                "expected a field or a function, found an integer",
                "to the right",
            ),
            (
                "any(http.request.headers.names[*])",
                "http.request.headers.names[*]",
                "expected a boolean expression, found a string",
                "compare it",
            ),
            (
                "any(http.request.headers.names)",
                "http.request.headers.names",
                "found an array",
                "any(",
            ),
        ]);
    }

    #[test]
    fn all_type_errors_are_told_at_once() {
        let source = "http.hots eq \"a\" and (ip.src eq 1 or ssl eq 1) and not len() eq 1 \
                      and http.host in {1 \"a\" 2 \"\\q\"}";
        let texts: Vec<_> = Expression::compile(source, &Environment::default())
            .unwrap_err()
            .into_iter()
            .map(|error| &source[error.span])
            .collect();
        assert_eq!(texts, ["http.hots", "1", "1", "len()", "1", "2", "\\q"]);
    }
}
