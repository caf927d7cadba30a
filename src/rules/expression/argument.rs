//! The type checker's part for arguments: values of the right type, and literals where a function
//! is compiled for them.

use std::ops::RangeInclusive;

use super::array::Array;
use super::ast::{Base, Expr, Literal, Span, Spanned};
use super::check::{Checked, Checker, Shape, Typed};
use super::error::ExpressionError;
use super::json::Step;
use super::value::{IpValue, StringValue};

impl Checker<'_> {
    /// An argument, and the shape of the function's result for it.
    pub(super) fn argument(&mut self, argument: &Expr<'_>) -> Checked<(Typed, Shape)> {
        let Expr::Value(value) = argument else {
            return Some((Typed::Bool(self.predicate(argument)?), Shape::Single));
        };
        let (typed, shape) = self.element_value(value)?;
        match shape {
            Shape::Single => Some((typed, Shape::Single)),
            Shape::Each | Shape::Mapped => Some((typed, Shape::Mapped)),
        }
    }

    /// A string.
    pub(super) fn string_argument(
        &mut self,
        name: &Spanned<&str>,
        argument: &Expr<'_>,
    ) -> Checked<(StringValue, Shape)> {
        match self.argument(argument)? {
            (Typed::String(value), shape) => Some((value, shape)),
            (other, _) => self.wrong_argument(name, "a string", &other, argument.span()),
        }
    }

    /// Anything that has a text.
    pub(super) fn text_argument(
        &mut self,
        name: &Spanned<&str>,
        argument: &Expr<'_>,
    ) -> Checked<(StringValue, Shape)> {
        let (typed, shape) = self.argument(argument)?;
        match typed.into_text() {
            Ok(text) => Some((text, shape)),
            Err(other) => self.wrong_argument(name, "what has a text", &other, argument.span()),
        }
    }

    /// An address, the same for all elements.
    pub(super) fn ip_argument(
        &mut self,
        name: &Spanned<&str>,
        argument: &Expr<'_>,
    ) -> Checked<IpValue> {
        match self.argument(argument)? {
            (Typed::Ip(value), _) => Some(value),
            (other, _) => self.wrong_argument(name, "an IP address", &other, argument.span()),
        }
    }

    /// A whole array.
    pub(super) fn array_argument(
        &mut self,
        name: &Spanned<&str>,
        argument: &Expr<'_>,
    ) -> Checked<Array> {
        match self.argument(argument)? {
            (Typed::Array(array), _) => Some(array),
            (other, shape) => {
                let found = other.ty().describe();
                let message = format!("`{}` takes an array, found {found}", name.node);
                let error = ExpressionError::new(argument.span(), message);
                self.fail(match (other, shape) {
                    (_, Shape::Mapped) => error.with_help("leave `[*]` out: it takes all elements"),
                    (Typed::Map(_), _) => {
                        let text = argument.span().text(self.source);
                        error.with_help(format!("select an entry: `{text}[\"name\"]`"))
                    }
                    _ => error,
                })
            }
        }
    }

    /// A quoted string, as argument `position`.
    pub(super) fn string_literal(
        &mut self,
        name: &Spanned<&str>,
        position: usize,
        argument: &Expr<'_>,
    ) -> Checked<Vec<u8>> {
        let Some(Literal::String(string)) = literal(argument) else {
            let message = format!("argument {position} of `{}` is a quoted string", name.node);
            return self.fail(ExpressionError::new(argument.span(), message));
        };
        match string.bytes() {
            Ok(bytes) => Some(bytes),
            Err(error) => self.fail(error),
        }
    }

    /// A quoted string of at least one byte.
    pub(super) fn filled_literal(
        &mut self,
        name: &Spanned<&str>,
        position: usize,
        argument: &Expr<'_>,
    ) -> Checked<Vec<u8>> {
        let bytes = self.string_literal(name, position, argument)?;
        if bytes.is_empty() {
            let message = format!("argument {position} of `{}` is empty", name.node);
            return self.fail(ExpressionError::new(argument.span(), message));
        }
        Some(bytes)
    }

    /// A string of flags out of `known`, each as a letter.
    pub(super) fn flags<const N: usize>(
        &mut self,
        name: &Spanned<&str>,
        position: usize,
        argument: &Expr<'_>,
        known: [u8; N],
    ) -> Checked<[bool; N]> {
        let flags = self.string_literal(name, position, argument)?;
        if !flags.iter().all(|flag| known.contains(flag)) {
            let letters = known.map(|flag| format!("`{}`", char::from(flag)));
            let message = format!("unknown flags of `{}`", name.node);
            let help = format!("the flags are {}", letters.join(" and "));
            return self.fail(ExpressionError::new(argument.span(), message).with_help(help));
        }
        Some(known.map(|flag| flags.contains(&flag)))
    }

    /// An integer as written, within `bounds`.
    pub(super) fn int_literal(
        &mut self,
        name: &Spanned<&str>,
        position: usize,
        argument: &Expr<'_>,
        bounds: RangeInclusive<i64>,
    ) -> Checked<i64> {
        match literal(argument) {
            Some(Literal::Int(number)) if bounds.contains(number) => Some(*number),
            _ => {
                let kind = if *bounds.start() == i64::MIN {
                    "an integer".to_owned()
                } else {
                    format!("an integer from {} to {}", bounds.start(), bounds.end())
                };
                let message = format!("argument {position} of `{}` is {kind}", name.node);
                self.fail(ExpressionError::new(argument.span(), message))
            }
        }
    }

    /// A number of bits up to `most`.
    pub(super) fn bits(
        &mut self,
        name: &Spanned<&str>,
        position: usize,
        argument: &Expr<'_>,
        most: u8,
    ) -> Checked<u8> {
        let bits = self.int_literal(name, position, argument, 1..=most.into())?;
        u8::try_from(bits).ok()
    }

    /// The way into a JSON document: names and positions.
    pub(super) fn json_path(
        &mut self,
        name: &Spanned<&str>,
        keys: &[Expr<'_>],
    ) -> Checked<Box<[Step]>> {
        keys.iter().map(|key| self.json_step(name, key)).collect()
    }

    fn json_step(&mut self, name: &Spanned<&str>, key: &Expr<'_>) -> Checked<Step> {
        match literal(key) {
            Some(Literal::String(string)) => match string.bytes().map(String::from_utf8) {
                Ok(Ok(member)) => return Some(Step::Member(member)),
                Ok(Err(_)) => {}
                Err(error) => return self.fail(error),
            },
            Some(Literal::Int(number)) => {
                if let Ok(position) = usize::try_from(*number) {
                    return Some(Step::Element(position));
                }
            }
            _ => {}
        }
        let message = format!(
            "keys of `{}` are quoted names or positions from 0 up",
            name.node
        );
        self.fail(ExpressionError::new(key.span(), message))
    }

    /// Tells that an argument is of the wrong type.
    pub(super) fn wrong_argument<T>(
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

/// The literal that an argument is, if it is one.
fn literal<'e, 's>(argument: &'e Expr<'s>) -> Option<&'e Literal<'s>> {
    match argument {
        Expr::Value(value) if value.indexes.is_empty() => match &value.base.node {
            Base::Literal(literal) => Some(literal),
            _ => None,
        },
        _ => None,
    }
}
