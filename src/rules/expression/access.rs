//! The type checker's part for indexes: entries of maps and elements of arrays.

use http::HeaderName;

use super::array::Array;
use super::ast::{Index, Span, Spanned};
use super::check::{Checked, Checker, Scope, Shape, Typed};
use super::error::ExpressionError;
use super::field::MapField;
use super::literal::StringLiteral;
use super::value::StringValue;

impl Checker<'_> {
    /// The element or entry of a value which takes up `base`.
    pub(super) fn index(
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
            MapField::ResponseHeaders => self.header(&bytes, span).map(Array::ResponseHeader),
            MapField::Args => Some(Array::Argument(bytes.into())),
            MapField::Cookies => Some(Array::Cookie(bytes.into())),
            MapField::Splits => Some(Array::Variant(bytes.into())),
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
}
