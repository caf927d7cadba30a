//! The type checker: looks up fields and functions, gives every value its type and compiles the
//! syntax tree. It goes on after a mistake, so that all are told at once.

use http::HeaderName;

use super::ast::{Base, Condition, Expr, Index, LogicalOperator, Span, Spanned, Value};
use super::comparison;
use super::error::{ExpressionError, closest};
use super::eval::{IntValue, Predicate, StringValue};
use super::field::{self, Array, Field, MapField, Type};
use super::function::Function;
use super::literal::StringLiteral;

/// Compiles `expr`, which was parsed from `source`.
pub(super) fn check(source: &str, expr: &Expr<'_>) -> Result<Predicate, Vec<ExpressionError>> {
    let mut checker = Checker {
        source,
        errors: Vec::new(),
        scope: Scope::Outside,
    };
    match checker.predicate(expr) {
        Some(predicate) if checker.errors.is_empty() => Ok(predicate),
        _ => Err(checker.errors),
    }
}

/// A compiled value of a known type.
#[derive(Debug)]
pub(super) enum Typed {
    Bool(Predicate),
    Int(IntValue),
    Ip(field::IpField),
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
    errors: Vec<ExpressionError>,
    pub(super) scope: Scope,
}

impl Checker<'_> {
    /// An expression in a place where a boolean is needed.
    pub(super) fn predicate(&mut self, expr: &Expr<'_>) -> Checked<Predicate> {
        match expr {
            Expr::Logic(operator, operands) => self.logic(*operator, operands),
            Expr::Not(_, operand) => Some(Predicate::Not(Box::new(self.predicate(operand)?))),
            Expr::Comparison(value, condition) => self.comparison(value, condition),
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
        let typed = self.element_value(value)?.0;
        let left = value.span.text(self.source);
        comparison::compile(typed, left, condition)
            .map_err(|errors| self.errors.extend(errors))
            .ok()
    }

    fn boolean(&mut self, value: &Value<'_>) -> Checked<Predicate> {
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

    fn value(&mut self, value: &Value<'_>) -> Checked<(Typed, Shape)> {
        let mut typed = match &value.base.node {
            Base::Field(name) => (self.field(name, value.base.span)?, Shape::Single),
            Base::Call(name, arguments) => self.call(name, arguments, value.base.span)?,
            Base::Bool(truth) => (Typed::Bool(Predicate::Constant(*truth)), Shape::Single),
            Base::Literal(literal) => {
                let found = literal.describe();
                let message = format!("expected a field or a function, found {found}");
                return self.fail(
                    ExpressionError::new(value.base.span, message)
                        .with_help("literals stand to the right of an operator"),
                );
            }
        };
        let mut span = value.base.span;
        for index in &value.indexes {
            typed = self.index(typed, span, index)?;
            span = span.to(index.span);
        }
        Some(typed)
    }

    fn field(&mut self, name: &str, span: Span) -> Checked<Typed> {
        match Field::from_name(name) {
            Some(Field::Bool(field)) => Some(Typed::Bool(Predicate::Field(field))),
            Some(Field::Ip(field)) => Some(Typed::Ip(field)),
            Some(Field::String(field)) => Some(Typed::String(StringValue::Field(field))),
            Some(Field::Names(map)) => Some(Typed::Array(Array::Names(map))),
            Some(Field::Map(field)) => Some(Typed::Map(field)),
            None => {
                let error = ExpressionError::new(span, format!("unknown field `{name}`"));
                self.fail(match Function::from_name(name) {
                    Some(_) => error.with_help(format!("it is a function: `{name}(…)`")),
                    None => error.with_suggestion(closest(name, field::names())),
                })
            }
        }
    }

    /// Records a mistake.
    pub(super) fn fail<T>(&mut self, error: ExpressionError) -> Checked<T> {
        self.errors.push(error);
        None
    }
}

/// Indexes.
impl Checker<'_> {
    fn index(
        &mut self,
        (value, shape): (Typed, Shape),
        base: Span,
        index: &Spanned<Index<'_>>,
    ) -> Checked<(Typed, Shape)> {
        let text = base.text(self.source);
        let found = value.ty().describe();
        let (message, help) = match (value, shape, &index.node) {
            (Typed::Map(map), _, Index::Key(key)) => {
                let entry = self.entry(map, key, index.span)?;
                return Some((Typed::Array(entry), Shape::Single));
            }
            (Typed::Array(array), _, Index::Position(position)) => {
                let element = StringValue::Element(array, *position);
                return Some((Typed::String(element), Shape::Single));
            }
            (Typed::Array(array), _, Index::Each) => {
                self.bind(array, index.span)?;
                return Some((Typed::String(StringValue::Current), Shape::Each));
            }
            (value, Shape::Mapped, Index::Each) => return Some((value, Shape::Each)),
            (_, Shape::Mapped, _) => (
                format!("`{text}` can only be followed by `[*]`"),
                "select the element inside the call".to_owned(),
            ),
            (Typed::Map(_), ..) => (
                format!("`{text}` is a map"),
                format!("select an entry by name first: `{text}[\"name\"]`"),
            ),
            (Typed::Array(_), ..) => (
                format!("`{text}` is an array"),
                format!("its elements are `{text}[0]`, or all of them `{text}[*]`"),
            ),
            _ => (
                format!("`{text}` has no elements: it is {found}"),
                format!("write `{text}`"),
            ),
        };
        self.fail(ExpressionError::new(index.span, message).with_help(help))
    }

    fn entry(&mut self, map: MapField, key: &StringLiteral<'_>, span: Span) -> Checked<Array> {
        let bytes = match key.bytes() {
            Ok(bytes) => bytes,
            Err(error) => return self.fail(error),
        };
        match map {
            MapField::Headers => self.header(&bytes, span).map(Array::Header),
            MapField::Args => Some(Array::Arg(bytes.into())),
            MapField::Cookies => Some(Array::Cookie(bytes.into())),
        }
    }

    fn header(&mut self, name: &[u8], span: Span) -> Checked<HeaderName> {
        let shown = name.escape_ascii();
        match HeaderName::from_bytes(name) {
            Ok(parsed) if parsed.as_str().as_bytes() == name => Some(parsed),
            Ok(parsed) => {
                let message = format!("the header name `{shown}` is not in lower case");
                let help = format!("write `[\"{parsed}\"]`; it stands for every spelling");
                self.fail(ExpressionError::new(span, message).with_help(help))
            }
            Err(_) => {
                let message = format!("`{shown}` is not a header name");
                self.fail(ExpressionError::new(span, message))
            }
        }
    }

    /// Makes `[*]` stand for the elements of `array` in the enclosing `any` or `all`.
    fn bind(&mut self, array: Array, span: Span) -> Checked<()> {
        match &mut self.scope {
            Scope::Quantifier(bound @ None) => *bound = Some(array),
            Scope::Quantifier(Some(bound)) if *bound == array => {}
            Scope::Quantifier(Some(_)) => {
                let message = "`[*]` is applied to two different arrays";
                return self.fail(
                    ExpressionError::new(span, message)
                        .with_help("give each array an `any(…)` or `all(…)` of its own"),
                );
            }
            Scope::Outside => {
                let message = "`[*]` is only allowed inside `any(…)` and `all(…)`";
                return self.fail(
                    ExpressionError::new(span, message)
                        .with_help("write `any(…)` around the comparison, or select `[0]`"),
                );
            }
        }
        Some(())
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
    fn indexes_must_fit_the_type() {
        assert_reported(&[
            (
                "http.host[0] eq \"a\"",
                "[0]",
                "`http.host` has no elements: it is a string",
                "`http.host`",
            ),
            (
                "http.request.headers[0] eq \"a\"",
                "[0]",
                "is a map",
                "[\"name\"]",
            ),
            (
                "http.request.headers[*] eq \"a\"",
                "[*]",
                "is a map",
                "[\"name\"]",
            ),
            (
                "http.request.headers.names[\"a\"] eq \"a\"",
                "[\"a\"]",
                "is an array",
                "[0]",
            ),
            (
                "http.request.headers[\"Accept\"][0] eq \"a\"",
                "[\"Accept\"]",
                "not in lower case",
                "[\"accept\"]",
            ),
            (
                "http.request.headers[\"a b\"][0] eq \"a\"",
                "[\"a b\"]",
                "`a b` is not a header name",
                "",
            ),
        ]);
    }

    #[test]
    fn each_element_needs_any_or_all() {
        assert_reported(&[
            (
                "http.request.headers.names[*] eq \"a\"",
                "[*]",
                "only allowed inside",
                "any(…)",
            ),
            (
                "any(lower(http.request.headers.names[*]) eq \"a\")",
                "lower(http.request.headers.names[*])",
                "missing `[*]`",
                "names[*])[*]`",
            ),
            (
                "any(lower(http.request.headers.names[*])[0] eq \"a\")",
                "[0]",
                "only be followed by `[*]`",
                "inside the call",
            ),
            (
                "any(http.request.headers.names[*] eq \"a\" or http.request.uri.args.names[*] eq \"a\")",
                "[*]",
                "two different arrays",
                "of its own",
            ),
            (
                "any(ssl)",
                "ssl",
                "`any` needs a comparison of array elements",
                "[*]",
            ),
            (
                "all(http.host eq \"a\")",
                "http.host eq \"a\"",
                "`all` needs",
                "`all(",
            ),
            (
                "any(any(http.request.uri.args.names[*] eq \"a\") or http.request.headers.names[*] eq \"a\")",
                "any",
                "`any` inside another `any` or `all`",
                "`and`",
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
        assert_eq!(texts, ["http.hots", "1", "eq", "len()", "1", "2", "\\q"]);
    }
}
