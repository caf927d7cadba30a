//! The type checker's part for function calls: how many arguments, of which types, and what is
//! compiled of them.

use std::sync::Arc;

use super::array::{Array, Split};
use super::ast::{Expr, Span, Spanned};
use super::check::{Checked, Checker, Scope, Shape, Typed};
use super::comparison::compile_wildcard;
use super::decode::Decoding;
use super::error::{ExpressionError, closest};
use super::eval::{Predicate, StringTest};
use super::function::{self, Function};
use super::pattern::Pattern;
use super::replace::{Replacement, Template};
use super::value::{IntValue, IpValue, StringValue};
use crate::guard::token::Verifier;

/// The most parts that `split` gives.
const MOST_PARTS: i64 = 128;

/// A compiled string and its shape.
type Text = (StringValue, Shape);

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
        let text = match (function, arguments) {
            (Function::Any, [body]) => return self.quantifier(name, body, Predicate::Any),
            (Function::All, [body]) => return self.quantifier(name, body, Predicate::All),
            (Function::Len, [of]) => return self.len(name, of),
            (Function::StartsWith, [of, part]) => {
                return self.affix(name, of, part, StringTest::StartsWith);
            }
            (Function::EndsWith, [of, part]) => {
                return self.affix(name, of, part, StringTest::EndsWith);
            }
            (Function::IsJwtPresent, [kind]) => {
                let kind = self.token(name, kind)?;
                return Some((Typed::Bool(Predicate::HasToken(kind)), Shape::Single));
            }
            (Function::IsJwtValid, [kind]) => {
                let kind = self.token(name, kind)?;
                return Some((Typed::Bool(Predicate::Token(kind)), Shape::Single));
            }
            (Function::JwtClaim, [kind, path @ ..]) if !path.is_empty() => {
                self.jwt_claim(name, kind, path)
            }
            (Function::Cidr, [address, v4, v6]) => return self.cidr(name, address, Some(v4), v6),
            (Function::Cidr6, [address, v6]) => return self.cidr(name, address, None, v6),
            (Function::Split, [input, separator, limit]) => {
                return self.split(name, input, separator, limit);
            }
            (Function::LookupJsonInteger, [document, keys @ ..]) if !keys.is_empty() => {
                let document = self.string_argument(name, document);
                let path = self.json_path(name, keys);
                let ((document, shape), path) = (document?, path?);
                return Some((Typed::Int(IntValue::Json(document, path)), shape));
            }
            (Function::Lower, [of]) => self.case(name, of, StringValue::Lower),
            (Function::Upper, [of]) => self.case(name, of, StringValue::Upper),
            (Function::Concat, parts @ [_, ..]) => self.concat(name, parts),
            (Function::ToString, [of]) => self.text_argument(name, of),
            (Function::Join, [array, separator]) => {
                let array = self.array_argument(name, array);
                let separator = self.string_literal(name, 2, separator);
                let (array, separator) = (Box::new(array?), separator?.into());
                Some((StringValue::Join(array, separator), Shape::Single))
            }
            (Function::Substring, [of, start, end @ ..]) if end.len() < 2 => {
                self.substring(name, of, start, end.first())
            }
            (Function::UrlDecode, [of, flags @ ..]) if flags.len() < 2 => {
                self.url_decode(name, of, flags.first())
            }
            (Function::RegexReplace, [of, pattern, replacement]) => {
                self.regex_replace(name, of, pattern, replacement)
            }
            (Function::WildcardReplace, [of, pattern, replacement, flags @ ..])
                if flags.len() < 2 =>
            {
                self.wildcard_replace(name, of, [pattern, replacement], flags.first())
            }
            (Function::RemoveBytes, [of, bytes]) => {
                let of = self.string_argument(name, of);
                let bytes = self.string_literal(name, 2, bytes);
                let ((value, shape), bytes) = (of?, bytes?);
                Some((
                    StringValue::WithoutBytes(Box::new(value), bytes.into()),
                    shape,
                ))
            }
            (Function::RemoveQueryArgs, [query, names @ ..]) if !names.is_empty() => {
                self.remove_query_args(name, query, names)
            }
            (Function::LookupJsonString, [document, keys @ ..]) if !keys.is_empty() => {
                let document = self.string_argument(name, document);
                let path = self.json_path(name, keys);
                let ((document, shape), path) = (document?, path?);
                Some((StringValue::Json(Box::new(document), path), shape))
            }
            _ => {
                let (takes, found) = (function.arity(), arguments.len());
                let message = format!("`{}` takes {takes}, found {found}", name.node);
                return self.fail(ExpressionError::new(span, message));
            }
        };
        let (value, shape) = text?;
        Some((Typed::String(value.folded()), shape))
    }

    /// The kind of tokens that `argument` names.
    fn token(&mut self, name: &Spanned<&str>, argument: &Expr<'_>) -> Checked<Arc<Verifier>> {
        let wanted = self.filled_literal(name, 1, argument)?;
        let wanted = String::from_utf8_lossy(&wanted).into_owned();
        let tokens = self.environment.tokens;
        if let Some(found) = tokens.and_then(|tokens| tokens.get(&wanted)) {
            return Some(found.clone());
        }
        let names = tokens.map(|tokens| tokens.names().collect::<Vec<_>>());
        let suggestion = closest(&wanted, names.unwrap_or_default().into_iter());
        let error = ExpressionError::new(
            argument.span(),
            format!("there is no `[[jwt]]` named \"{wanted}\""),
        );
        self.fail(error.with_suggestion(suggestion))
    }

    fn jwt_claim(
        &mut self,
        name: &Spanned<&str>,
        kind: &Expr<'_>,
        path: &[Expr<'_>],
    ) -> Checked<Text> {
        let kind = self.token(name, kind);
        let path: Option<Vec<Box<str>>> = (2..)
            .zip(path)
            .map(|(position, part)| {
                let part = self.filled_literal(name, position, part)?;
                Some(String::from_utf8_lossy(&part).into())
            })
            .collect();
        Some((StringValue::Claim(kind?, path?.into()), Shape::Single))
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
    ) -> Checked<Text> {
        let (value, shape) = self.string_argument(name, of)?;
        Some((build(Box::new(value)), shape))
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
        let part = self.string_literal(name, 2, part);
        let ((value, shape), part) = (value?, part?);
        let predicate = Predicate::String(value, build(part.into()));
        Some((Typed::Bool(predicate), shape))
    }

    fn cidr(
        &mut self,
        name: &Spanned<&str>,
        address: &Expr<'_>,
        v4: Option<&Expr<'_>>,
        v6: &Expr<'_>,
    ) -> Checked<(Typed, Shape)> {
        let address = self.ip_argument(name, address);
        let (v4, v6) = match v4 {
            Some(v4) => (self.bits(name, 2, v4, 32), self.bits(name, 3, v6, 128)),
            None => (Some(32), self.bits(name, 2, v6, 128)),
        };
        let network = IpValue::Network(Box::new(address?), v4?, v6?);
        Some((Typed::Ip(network), Shape::Single))
    }

    /// What is split is one string: an array of arrays would have no use.
    fn split(
        &mut self,
        name: &Spanned<&str>,
        input: &Expr<'_>,
        separator: &Expr<'_>,
        limit: &Expr<'_>,
    ) -> Checked<(Typed, Shape)> {
        let text = self.string_argument(name, input);
        let separator = self.filled_literal(name, 2, separator);
        let limit = self.int_literal(name, 3, limit, 1..=MOST_PARTS);
        let ((text, shape), separator, limit) = (text?, separator?, limit?);
        if shape != Shape::Single {
            let message = format!("`{}` takes one string, not one for each `[*]`", name.node);
            let error = ExpressionError::new(input.span(), message);
            return self.fail(error.with_help("select an element, such as `[0]`"));
        }
        let split = Split {
            input: text,
            separator: separator.into(),
            limit: usize::try_from(limit).unwrap_or_default(),
        };
        Some((Typed::Array(Array::Split(Box::new(split))), Shape::Single))
    }

    fn concat(&mut self, name: &Spanned<&str>, parts: &[Expr<'_>]) -> Checked<Text> {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| self.text_argument(name, part))
            .collect();
        let mut values = Vec::with_capacity(parts.len());
        let mut whole = Shape::Single;
        for part in parts {
            let (value, shape) = part?;
            values.push(value);
            if shape != Shape::Single {
                whole = shape;
            }
        }
        Some((StringValue::Concat(values.into()), whole))
    }

    fn substring(
        &mut self,
        name: &Spanned<&str>,
        of: &Expr<'_>,
        start: &Expr<'_>,
        end: Option<&Expr<'_>>,
    ) -> Checked<Text> {
        let of = self.string_argument(name, of);
        let start = self.int_literal(name, 2, start, i64::MIN..=i64::MAX);
        let end = end.map(|end| self.int_literal(name, 3, end, i64::MIN..=i64::MAX));
        let ((value, shape), start) = (of?, start?);
        let end = match end {
            Some(end) => Some(end?),
            None => None,
        };
        Some((StringValue::Substring(Box::new(value), start, end), shape))
    }

    fn url_decode(
        &mut self,
        name: &Spanned<&str>,
        of: &Expr<'_>,
        flags: Option<&Expr<'_>>,
    ) -> Checked<Text> {
        let of = self.string_argument(name, of);
        let [recursive, unicode] = match flags {
            Some(flags) => self.flags(name, 2, flags, [b'r', b'u'])?,
            None => [false, false],
        };
        let decoding = Decoding { recursive, unicode };
        let (value, shape) = of?;
        Some((StringValue::Decode(Box::new(value), decoding), shape))
    }

    fn regex_replace(
        &mut self,
        name: &Spanned<&str>,
        of: &Expr<'_>,
        pattern: &Expr<'_>,
        replacement: &Expr<'_>,
    ) -> Checked<Text> {
        let of = self.string_argument(name, of);
        let source = self.string_literal(name, 2, pattern);
        let template = self.string_literal(name, 3, replacement);
        let (source, template) = (source?, template?);
        let compiled = String::from_utf8(source)
            .map_err(|_| ExpressionError::new(pattern.span(), "the pattern is not UTF-8"))
            .and_then(|source| Pattern::new(&source, pattern.span()))
            .and_then(|pattern| {
                let template = Template::new(&template, pattern.groups(), replacement.span())?;
                Ok(Replacement::Regex(pattern, template))
            });
        self.replacement(of, compiled)
    }

    fn wildcard_replace(
        &mut self,
        name: &Spanned<&str>,
        of: &Expr<'_>,
        [pattern, replacement]: [&Expr<'_>; 2],
        flags: Option<&Expr<'_>>,
    ) -> Checked<Text> {
        let of = self.string_argument(name, of);
        let source = self.string_literal(name, 2, pattern);
        let template = self.string_literal(name, 3, replacement);
        let [strict] = match flags {
            Some(flags) => self.flags(name, 4, flags, [b's'])?,
            None => [false],
        };
        let (source, template) = (source?, template?);
        let compiled = compile_wildcard(&source, pattern.span(), !strict).and_then(|wildcard| {
            let template = Template::new(&template, wildcard.stars(), replacement.span())?;
            Ok(Replacement::Wildcard(wildcard, template))
        });
        self.replacement(of, compiled)
    }

    fn replacement(
        &mut self,
        of: Checked<Text>,
        compiled: Result<Replacement, ExpressionError>,
    ) -> Checked<Text> {
        match compiled {
            Ok(replacement) => {
                let (value, shape) = of?;
                Some((
                    StringValue::Replace(Box::new(value), Box::new(replacement)),
                    shape,
                ))
            }
            Err(error) => self.fail(error),
        }
    }

    fn remove_query_args(
        &mut self,
        name: &Spanned<&str>,
        query: &Expr<'_>,
        names: &[Expr<'_>],
    ) -> Checked<Text> {
        let query = self.string_argument(name, query);
        let names: Vec<_> = (2..)
            .zip(names)
            .map(|(position, argument)| self.filled_literal(name, position, argument))
            .collect();
        let names = names.into_iter().map(|name| name.map(Into::into));
        let (value, shape) = query?;
        let removed = StringValue::WithoutArguments(Box::new(value), names.collect::<Option<_>>()?);
        Some((removed, shape))
    }
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
