//! The type checker's part for function calls: how many arguments, of which types.

use super::ast::{Base, Expr, Literal, Span, Spanned};
use super::check::{Checked, Checker, Scope, Shape, Typed};
use super::error::{ExpressionError, closest};
use super::eval::{IntValue, Predicate, StringTest, StringValue};
use super::field::Array;
use super::function::{self, Function};

impl Checker<'_> {
    /// Compiles a call of `name`, which together with its arguments takes up `span`.
    pub(super) fn call(
        &mut self,
        name: &Spanned<&str>,
        arguments: &[Expr<'_>],
        span: Span,
    ) -> Checked<(Typed, Shape)> {
        let Some(function) = Function::from_name(name.node) else {
            let message = format!("unknown function `{}`", name.node);
            let suggestion = closest(name.node, function::names());
            return self.fail(ExpressionError::new(name.span, message).with_suggestion(suggestion));
        };
        match (function, arguments) {
            (Function::Any, [body]) => self.quantifier(name, body, Predicate::Any),
            (Function::All, [body]) => self.quantifier(name, body, Predicate::All),
            (Function::Lower, [of]) => self.case(name, of, StringValue::Lower),
            (Function::Upper, [of]) => self.case(name, of, StringValue::Upper),
            (Function::Len, [of]) => self.len(name, of),
            (Function::StartsWith, [of, part]) => {
                self.affix(name, of, part, StringTest::StartsWith)
            }
            (Function::EndsWith, [of, part]) => self.affix(name, of, part, StringTest::EndsWith),
            _ => self.fail(wrong_arity(
                name.node,
                function.arity(),
                arguments.len(),
                span,
            )),
        }
    }

    /// Quantifiers do not nest: their cost would be the product of the lengths of their arrays,
    /// which the client decides.
    fn quantifier(
        &mut self,
        name: &Spanned<&str>,
        body: &Expr<'_>,
        build: fn(Array, Box<Predicate>) -> Predicate,
    ) -> Checked<(Typed, Shape)> {
        if !matches!(self.scope, Scope::Outside) {
            let message = format!("`{}` inside another `any` or `all`", name.node);
            return self.fail(
                ExpressionError::new(name.span, message)
                    .with_help("write them side by side, joined by `and` or `or`"),
            );
        }
        self.scope = Scope::Quantifier(None);
        let predicate = self.predicate(body);
        let scope = std::mem::replace(&mut self.scope, Scope::Outside);
        let predicate = Box::new(predicate?);
        let Scope::Quantifier(Some(array)) = scope else {
            let message = format!("`{}` needs a comparison of array elements", name.node);
            return self.fail(
                ExpressionError::new(body.span(), message).with_help(format!(
                    "mark the array with `[*]`: `{}(http.request.headers.names[*] eq \"…\")`",
                    name.node
                )),
            );
        };
        Some((Typed::Bool(build(array, predicate)), Shape::Single))
    }

    fn case(
        &mut self,
        name: &Spanned<&str>,
        of: &Expr<'_>,
        build: fn(Box<StringValue>) -> StringValue,
    ) -> Checked<(Typed, Shape)> {
        let (value, shape) = self.string_argument(name, of)?;
        Some((Typed::String(build(Box::new(value))), shape))
    }

    fn len(&mut self, name: &Spanned<&str>, of: &Expr<'_>) -> Checked<(Typed, Shape)> {
        match self.argument(of)? {
            (Typed::String(value), shape) => Some((Typed::Int(IntValue::Length(value)), shape)),
            (Typed::Array(array), shape) => Some((Typed::Int(IntValue::Count(array)), shape)),
            (other, _) => self.wrong_argument(name, "a string or an array", &other, of.span()),
        }
    }

    fn affix(
        &mut self,
        name: &Spanned<&str>,
        of: &Expr<'_>,
        part: &Expr<'_>,
        build: fn(Box<[u8]>) -> StringTest,
    ) -> Checked<(Typed, Shape)> {
        let value = self.string_argument(name, of);
        let part = self.string_literal(name, part);
        let ((value, shape), part) = (value?, part?);
        let predicate = Predicate::String(value, build(part.into()));
        Some((Typed::Bool(predicate), shape))
    }

    /// An argument, and the shape of the function's result for it.
    fn argument(&mut self, argument: &Expr<'_>) -> Checked<(Typed, Shape)> {
        let Expr::Value(value) = argument else {
            return Some((Typed::Bool(self.predicate(argument)?), Shape::Single));
        };
        let (typed, shape) = self.element_value(value)?;
        match shape {
            Shape::Single => Some((typed, Shape::Single)),
            Shape::Each | Shape::Mapped => Some((typed, Shape::Mapped)),
        }
    }

    fn string_argument(
        &mut self,
        name: &Spanned<&str>,
        argument: &Expr<'_>,
    ) -> Checked<(StringValue, Shape)> {
        match self.argument(argument)? {
            (Typed::String(value), shape) => Some((value, shape)),
            (other, _) => self.wrong_argument(name, "a string", &other, argument.span()),
        }
    }

    fn string_literal(&mut self, name: &Spanned<&str>, argument: &Expr<'_>) -> Checked<Vec<u8>> {
        if let Expr::Value(value) = argument
            && let Base::Literal(Literal::String(string)) = &value.base.node
            && value.indexes.is_empty()
        {
            return match string.bytes() {
                Ok(bytes) => Some(bytes),
                Err(error) => self.fail(error),
            };
        }
        let message = format!("the second argument of `{}` is a quoted string", name.node);
        self.fail(ExpressionError::new(argument.span(), message))
    }

    fn wrong_argument<T>(
        &mut self,
        name: &Spanned<&str>,
        expected: &str,
        found: &Typed,
        span: Span,
    ) -> Checked<T> {
        let text = span.text(self.source);
        let found_type = found.ty().describe();
        let message = format!("`{}` takes {expected}, found {found_type}", name.node);
        let error = ExpressionError::new(span, message);
        self.fail(match found {
            Typed::Array(_) => {
                error.with_help(format!("select an element: `{text}[0]` or `{text}[*]`"))
            }
            Typed::Map(_) => error.with_help(format!("select an entry: `{text}[\"name\"]`")),
            _ => error,
        })
    }
}

fn wrong_arity(name: &str, expected: usize, found: usize, span: Span) -> ExpressionError {
    let plural = if expected == 1 { "" } else { "s" };
    let message = format!("`{name}` takes {expected} argument{plural}, found {found}");
    ExpressionError::new(span, message)
}

#[cfg(test)]
mod tests {
    use super::super::error::testing::assert_reported;

    #[test]
    fn mistaken_calls_are_shown_in_place_with_help() {
        assert_reported(&[
            (
                "startswith(http.host, \"a\")",
                "startswith",
                "unknown function `startswith`",
                "did you mean `starts_with`?",
            ),
            (
                "frobnicate(http.host)",
                "frobnicate",
                "unknown function",
                "",
            ),
            (
                "len(http.host, ssl) eq 1",
                "len(http.host, ssl)",
                "`len` takes 1 argument, found 2",
                "",
            ),
            (
                "starts_with(http.host)",
                "starts_with(http.host)",
                "takes 2 arguments, found 1",
                "",
            ),
            ("any()", "any()", "takes 1 argument, found 0", ""),
            (
                "lower(ip.src) eq \"a\"",
                "ip.src",
                "`lower` takes a string, found an IP address",
                "",
            ),
            (
                "lower(ssl or ssl) eq \"a\"",
                "ssl or ssl",
                "found a boolean",
                "",
            ),
            (
                "lower(\"A\") eq \"a\"",
                "\"A\"",
                "expected a field or a function",
                "to the right",
            ),
            (
                "lower(http.request.headers[\"a\"]) eq \"a\"",
                "http.request.headers[\"a\"]",
                "found an array",
                "[\"a\"][0]`",
            ),
            (
                "upper(http.request.uri.args) eq \"a\"",
                "http.request.uri.args",
                "found a map",
                "[\"name\"]",
            ),
            (
                "len(ssl) eq 1",
                "ssl",
                "`len` takes a string or an array, found a boolean",
                "",
            ),
            (
                "starts_with(http.host, http.referer)",
                "http.referer",
                "is a quoted string",
                "",
            ),
            ("ends_with(http.host, 1)", "1", "is a quoted string", ""),
            (
                "ends_with(http.host, \"\\q\")",
                "\\q",
                "unknown escape",
                "raw string",
            ),
            (
                "starts_with(ssl, \"a\")",
                "ssl",
                "`starts_with` takes a string",
                "",
            ),
            (
                "any(len(lower(http.request.uri.args.names[*]))[*] eq 1)",
                "lower(http.request.uri.args.names[*])",
                "missing `[*]`",
                "[*])[*]`",
            ),
        ]);
    }
}
