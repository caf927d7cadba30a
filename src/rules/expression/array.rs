//! Arrays of strings, read element by element.

use std::ops::ControlFlow;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::eval::Context;
use super::field::{ArrayField, MapField};
use super::text::Text;
use super::value::{StringValue, append};
use crate::fields::accept_language;
use crate::fields::cookies::cookies;

/// An array of strings: a field, an entry of a map, or what `split` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Array {
    Field(ArrayField),
    Header(HeaderName),
    ResponseHeader(HeaderName),
    Argument(Box<[u8]>),
    Cookie(Box<[u8]>),
    Variant(Box<[u8]>),
    Split(Box<Split>),
}

/// A string to be split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) input: StringValue,
    /// Never empty.
    pub(super) separator: Box<[u8]>,
    /// The most parts; the last one holds the rest.
    pub(super) limit: usize,
}

impl Array {
    /// Shows the elements to `visit` in order until it breaks.
    pub(super) fn visit(
        &self,
        context: Context<'_>,
        mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Field(ArrayField::AcceptedLanguages) => {
                accept_language::accepted(context.request.headers)
                    .try_for_each(|language| visit(&language))
            }
            Self::Split(split) => match split.input.eval(context) {
                Some(text) => split.parts(text.bytes()).try_for_each(visit),
                None => ControlFlow::Continue(()),
            },
            _ => self.visit_borrowed(context, visit),
        }
    }

    /// Like `visit`, for elements that lie in the request or response as they are.
    fn visit_borrowed<'c>(
        &self,
        context: Context<'c>,
        mut visit: impl FnMut(&'c [u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let query = context.request.query;
        match self {
            Self::Field(ArrayField::Names(map)) => entries(*map, context, |name, _| visit(name)),
            Self::Field(ArrayField::Values(map)) => entries(*map, context, |_, value| visit(value)),
            Self::Header(name) => lines(context.request.headers, name).try_for_each(visit),
            Self::ResponseHeader(name) => match context.response {
                Some(response) => lines(response.headers, name).try_for_each(visit),
                None => ControlFlow::Continue(()),
            },
            Self::Argument(key) => arguments(query)
                .filter(|(name, _)| **name == **key)
                .try_for_each(|(_, value)| visit(value)),
            Self::Cookie(key) => cookies(context.request.headers)
                .filter(|(name, _)| **name == **key)
                .try_for_each(|(_, value)| visit(value)),
            Self::Variant(key) => (context.request.facts.splits.iter())
                .filter(|choice| choice.split.as_bytes() == &**key)
                .try_for_each(|choice| visit(choice.variant.as_bytes())),
            Self::Field(ArrayField::AcceptedLanguages) | Self::Split(_) => {
                ControlFlow::Continue(())
            }
        }
    }

    /// Whether some element satisfies `predicate`.
    pub(super) fn any(
        &self,
        context: Context<'_>,
        mut predicate: impl FnMut(&[u8]) -> bool,
    ) -> bool {
        self.visit(context, |element| stop_if(predicate(element)))
            .is_break()
    }

    /// The element at `position`, if there are so many.
    pub(super) fn nth<'c>(&'c self, context: Context<'c>, position: usize) -> Option<Text<'c>> {
        match self {
            Self::Field(ArrayField::AcceptedLanguages) => {
                accept_language::accepted(context.request.headers)
                    .nth(position)
                    .map(Text::Heap)
            }
            Self::Split(split) => split
                .input
                .eval(context)?
                .part(|bytes| split.parts(bytes).nth(position)),
            _ => {
                let mut remaining = position;
                let mut found = None;
                let _ = self.visit_borrowed(context, |element| {
                    let here = remaining == 0;
                    if here {
                        found = Some(Text::Borrowed(element));
                    }
                    remaining = remaining.saturating_sub(1);
                    stop_if(here)
                });
                found
            }
        }
    }

    /// The number of elements; nothing for a map entry which does not exist.
    pub(super) fn count(&self, context: Context<'_>) -> Option<usize> {
        let mut count = 0;
        self.any(context, |_| {
            count += 1;
            false
        });
        (count > 0 || matches!(self, Self::Field(_))).then_some(count)
    }

    /// The elements with `separator` between them; nothing for a map entry which does not exist.
    pub(super) fn join<'c>(&self, context: Context<'_>, separator: &[u8]) -> Option<Text<'c>> {
        let mut whole = Vec::new();
        let mut count = 0_usize;
        let too_long = self.any(context, |element| {
            let separator = if count == 0 { b"" } else { separator };
            count += 1;
            append(&mut whole, separator).is_none() || append(&mut whole, element).is_none()
        });
        let exists = count > 0 || matches!(self, Self::Field(_));
        (exists && !too_long).then_some(Text::Heap(whole))
    }
}

impl Split {
    fn parts<'t>(&self, text: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
        let mut rest = Some(text);
        let mut left = self.limit;
        std::iter::from_fn(move || {
            let text = rest.take()?;
            left = left.saturating_sub(1);
            let length = self.separator.len();
            let found = (left > 0)
                .then(|| {
                    text.windows(length)
                        .position(|part| *part == *self.separator)
                })
                .flatten();
            let Some(start) = found else {
                return Some(text);
            };
            rest = text.get(start + length..);
            text.get(..start)
        })
    }
}

const fn stop_if(stop: bool) -> ControlFlow<()> {
    if stop {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Shows name and value of each element of a map to `visit`.
fn entries<'c>(
    map: MapField,
    context: Context<'c>,
    mut visit: impl FnMut(&'c [u8], &'c [u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let headers = match (map, context.response) {
        (MapField::Headers, _) => context.request.headers,
        (MapField::ResponseHeaders, Some(response)) => response.headers,
        (MapField::ResponseHeaders, None) => return ControlFlow::Continue(()),
        (MapField::Args, _) => {
            return arguments(context.request.query)
                .try_for_each(|(name, value)| visit(name, value));
        }
        (MapField::Cookies, _) => {
            return cookies(context.request.headers)
                .try_for_each(|(name, value)| visit(name, value));
        }
        (MapField::Splits, _) => {
            return (context.request.facts.splits.iter())
                .try_for_each(|choice| visit(choice.split.as_bytes(), choice.variant.as_bytes()));
        }
    };
    headers
        .iter()
        .try_for_each(|(name, value)| visit(name.as_str().as_bytes(), value.as_bytes()))
}

fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

/// The query's arguments as `(name, value)`, as sent; one without `=` has an empty value.
fn arguments(query: Option<&str>) -> impl Iterator<Item = (&[u8], &[u8])> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|argument| !argument.is_empty())
        .map(|argument| argument.split_once('=').unwrap_or((argument, "")))
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_split_at_every_separator_up_to_the_limit() {
        for (text, separator, limit, expected) in [
            (
                "groceries,electronics,diy,auto",
                ",",
                64,
                "groceries|electronics|diy|auto",
            ),
            (
                "groceries,electronics,diy,auto",
                ",",
                3,
                "groceries|electronics|diy,auto",
            ),
            ("groceries,,electronics", ",", 64, "groceries||electronics"),
            ("a,b", ",", 1, "a,b"),
            ("a--b---c", "--", 128, "a|b|-c"),
            ("", ",", 5, ""),
            (",", ",", 5, "|"),
        ] {
            let split = Split {
                input: StringValue::Current,
                separator: separator.as_bytes().into(),
                limit,
            };
            let parts: Vec<_> = split.parts(text.as_bytes()).collect();
            assert_eq!(parts.join(&b'|'), expected.as_bytes(), "{text}");
        }
    }
}
