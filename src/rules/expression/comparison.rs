//! Comparisons: which operator and literal go with a value of which type, compiled to a test.

use std::net::IpAddr;
use std::sync::Arc;

use super::ast::{ComparisonOperator, Condition, Literal, Relation, Span, Spanned};
use super::check::Typed;
use super::error::ExpressionError;
use super::eval::{IntTest, IpTest, Predicate, StringTest};
use super::field::Type;
use super::literal::{StringLiteral, number_or_address};
use super::pattern::Pattern;
use super::set::IpSet;
use super::substring::Substring;
use super::wildcard::{Wildcard, WildcardError};
use crate::rules::{List, ListKind};

/// One mistake, or several in a set.
pub(super) type Compiled<T> = Result<T, Vec<ExpressionError>>;

/// Compiles a comparison of `value`, which is written as `left`.
pub(super) fn compile(value: Typed, left: &str, condition: &Condition<'_>) -> Compiled<Predicate> {
    match value {
        Typed::String(value) => Ok(Predicate::String(value, string_test(condition)?)),
        Typed::Int(value) => Ok(Predicate::Int(value, int_test(left, condition)?)),
        Typed::Ip(value) => Ok(Predicate::Ip(value, ip_test(left, condition)?)),
        Typed::Bool(value) => boolean(value, left, condition),
        Typed::Array(_) => {
            let help =
                format!("test every element, `any({left}[*] …)`, or select one, `{left}[0]`");
            Err(wrong_operator(left, Type::Array, condition, help))
        }
        Typed::Map(_) => {
            let help = format!("select an entry: `any({left}[\"name\"][*] …)`");
            Err(wrong_operator(left, Type::Map, condition, help))
        }
    }
}

/// Compiles `value in $list`; nothing where the list holds something else.
pub(super) fn in_list(value: Typed, list: &Arc<List>) -> Option<Predicate> {
    let fits = |kind| list.kind().is_none_or(|holds| holds == kind);
    let list = || Arc::clone(list);
    match value {
        Typed::String(value) if fits(ListKind::String) => {
            Some(Predicate::String(value, StringTest::InList(list())))
        }
        Typed::Int(value) if fits(ListKind::Number) => {
            Some(Predicate::Int(value, IntTest::InList(list())))
        }
        Typed::Ip(value) if fits(ListKind::Ip) => {
            Some(Predicate::Ip(value, IpTest::InList(list())))
        }
        _ => None,
    }
}

/// `x eq true` is `x`, which is how dashboards write it.
fn boolean(value: Predicate, left: &str, condition: &Condition<'_>) -> Compiled<Predicate> {
    let (equal, literal) = match condition {
        Condition::Compare(operator, literal) => match operator.node {
            ComparisonOperator::Relation(Relation::Equal) => (true, literal),
            ComparisonOperator::Relation(Relation::NotEqual) => (false, literal),
            _ => return Err(boolean_operator(left, condition)),
        },
        Condition::In(..) => return Err(boolean_operator(left, condition)),
    };
    match literal.node {
        Literal::Bool(truth) if truth == equal => Ok(value),
        Literal::Bool(_) => Ok(Predicate::Not(Box::new(value))),
        _ => {
            let help = format!("a boolean stands alone: `{left}` or `not {left}`");
            let found = literal.node.describe();
            let message = format!("expected a boolean, found {found}");
            Err(vec![
                ExpressionError::new(literal.span, message).with_help(help),
            ])
        }
    }
}

fn boolean_operator(left: &str, condition: &Condition<'_>) -> Vec<ExpressionError> {
    let help = format!("a boolean stands alone: `{left}` or `not {left}`");
    wrong_operator(left, Type::Bool, condition, help)
}

fn string_test(condition: &Condition<'_>) -> Compiled<StringTest> {
    let (operator, literal) = match condition {
        Condition::In(_, set) => {
            let strings = each(set, |literal| expect_string(literal)?.bytes())?;
            return Ok(StringTest::In(strings.into_iter().collect()));
        }
        Condition::Compare(operator, literal) => (operator.node, literal),
    };
    let test = expect_string(literal).and_then(|string| match operator {
        ComparisonOperator::Relation(relation) => {
            Ok(StringTest::Relation(relation, string.bytes()?.into()))
        }
        ComparisonOperator::Contains => {
            Ok(StringTest::Contains(Substring::new(string.bytes()?, false)))
        }
        ComparisonOperator::Matches => {
            Pattern::new(&string.pattern(), literal.span).map(StringTest::Matches)
        }
        ComparisonOperator::Wildcard => {
            compile_wildcard(&string.bytes()?, literal.span, true).map(StringTest::Wildcard)
        }
        ComparisonOperator::StrictWildcard => {
            compile_wildcard(&string.bytes()?, literal.span, false).map(StringTest::Wildcard)
        }
    });
    test.map_err(|error| vec![error])
}

fn int_test(left: &str, condition: &Condition<'_>) -> Compiled<IntTest> {
    let (operator, literal) = match condition {
        Condition::In(_, set) => {
            let ranges = each(set, int_range)?;
            return Ok(IntTest::In(ranges.into_iter().collect()));
        }
        Condition::Compare(operator, literal) => (operator.node, literal),
    };
    let ComparisonOperator::Relation(relation) = operator else {
        let help = "integers support `eq`, `ne`, `lt`, `le`, `gt`, `ge` and `in`".to_owned();
        return Err(wrong_operator(left, Type::Int, condition, help));
    };
    match literal.node {
        Literal::Int(number) => Ok(IntTest::Relation(relation, number)),
        Literal::IntRange(..) => Err(range_needs_in(left, "an integer", literal)),
        _ => Err(vec![mismatch("an integer", literal)]),
    }
}

fn ip_test(left: &str, condition: &Condition<'_>) -> Compiled<IpTest> {
    let (operator, literal) = match condition {
        Condition::In(_, set) => {
            let ranges = each(set, ip_range)?;
            return Ok(IpTest::In(Box::new(ranges.into_iter().collect::<IpSet>())));
        }
        Condition::Compare(operator, literal) => (operator.node, literal),
    };
    let test = match operator {
        ComparisonOperator::Relation(Relation::Equal) => IpTest::Equal,
        ComparisonOperator::Relation(Relation::NotEqual) => IpTest::NotEqual,
        _ => {
            let help = "IP addresses support `eq`, `ne` and `in`".to_owned();
            return Err(wrong_operator(left, Type::Ip, condition, help));
        }
    };
    match literal.node {
        Literal::Ip(address) => Ok(test(address)),
        Literal::IpRange(..) => Err(range_needs_in(left, "an IP address", literal)),
        _ => Err(vec![mismatch("an IP address", literal)]),
    }
}

fn int_range(literal: &Spanned<Literal<'_>>) -> Result<(i64, i64), ExpressionError> {
    match literal.node {
        Literal::Int(number) => Ok((number, number)),
        Literal::IntRange(first, last) => Ok((first, last)),
        _ => Err(mismatch("an integer", literal)),
    }
}

fn ip_range(literal: &Spanned<Literal<'_>>) -> Result<(IpAddr, IpAddr), ExpressionError> {
    match literal.node {
        Literal::Ip(address) => Ok((address, address)),
        Literal::IpRange(first, last) => Ok((first, last)),
        _ => Err(mismatch("an IP address", literal)),
    }
}

/// Converts every literal of a set, or tells of all which cannot be.
fn each<'l, 's, T>(
    set: &'l Spanned<Vec<Spanned<Literal<'s>>>>,
    convert: impl Fn(&'l Spanned<Literal<'s>>) -> Result<T, ExpressionError>,
) -> Compiled<Vec<T>> {
    let mut values = Vec::with_capacity(set.node.len());
    let mut errors = Vec::new();
    for literal in &set.node {
        match convert(literal) {
            Ok(value) => values.push(value),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(values)
    } else {
        Err(errors)
    }
}

/// Compiles a wildcard pattern, which is written at `span`.
pub(super) fn compile_wildcard(
    pattern: &[u8],
    span: Span,
    ignore_case: bool,
) -> Result<Wildcard, ExpressionError> {
    Wildcard::new(pattern, ignore_case).map_err(|error| {
        let help = match error {
            WildcardError::DoubleStar => "one `*` matches any text; write `\\*` for a star",
            WildcardError::Escape => "write `\\\\` for a backslash, best in a raw string r\"…\"",
        };
        ExpressionError::new(span, error.to_string()).with_help(help)
    })
}

fn expect_string<'s>(literal: &Spanned<Literal<'s>>) -> Result<StringLiteral<'s>, ExpressionError> {
    match literal.node {
        Literal::String(string) => Ok(string),
        _ => Err(mismatch("a string", literal).with_help("strings are written in double quotes")),
    }
}

fn mismatch(expected: &str, literal: &Spanned<Literal<'_>>) -> ExpressionError {
    let message = format!("expected {expected}, found {}", literal.node.describe());
    let error = ExpressionError::new(literal.span, message);
    match literal.node {
        Literal::String(string) if number_or_address(string.body, literal.span).is_ok() => error
            .with_help(format!(
                "numbers and addresses have no quotes: `{}`",
                string.body
            )),
        _ => error,
    }
}

fn range_needs_in(
    left: &str,
    expected: &str,
    literal: &Spanned<Literal<'_>>,
) -> Vec<ExpressionError> {
    vec![mismatch(expected, literal).with_help(format!("ranges stand in sets: `{left} in {{…}}`"))]
}

fn wrong_operator(
    left: &str,
    found: Type,
    condition: &Condition<'_>,
    help: String,
) -> Vec<ExpressionError> {
    let span = match condition {
        Condition::Compare(operator, _) => operator.span,
        Condition::In(operator, _) => *operator,
    };
    let message = format!(
        "this operator cannot be applied to `{left}`, which is {}",
        found.describe()
    );
    vec![ExpressionError::new(span, message).with_help(help)]
}

#[cfg(test)]
mod tests {
    use super::super::error::testing::assert_reported;

    #[test]
    fn literals_must_be_of_the_type_of_the_value() {
        assert_reported(&[
            (
                "http.host eq 80",
                "80",
                "expected a string, found an integer",
                "double quotes",
            ),
            (
                "http.host eq 10.0.0.1",
                "10.0.0.1",
                "expected a string, found an IP address",
                "double quotes",
            ),
            (
                "http.host in {\"a\" 1}",
                "1",
                "expected a string, found an integer",
                "double quotes",
            ),
            (
                "len(http.host) eq \"3\"",
                "\"3\"",
                "expected an integer, found a string",
                "no quotes: `3`",
            ),
            (
                "len(http.host) eq 1..3",
                "1..3",
                "expected an integer, found a range",
                "`len(http.host) in {…}`",
            ),
            (
                "len(http.host) in {1 ::1}",
                "::1",
                "expected an integer, found an IP address",
                "",
            ),
            (
                "http.host eq true",
                "true",
                "expected a string, found a boolean",
                "double quotes",
            ),
            (
                "len(http.host) eq true",
                "true",
                "expected an integer, found a boolean",
                "",
            ),
            (
                "ip.src eq \"::1\"",
                "\"::1\"",
                "expected an IP address, found a string",
                "no quotes: `::1`",
            ),
            (
                "ip.src eq 10.0.0.0/8",
                "10.0.0.0/8",
                "found a range of IP addresses",
                "`ip.src in {…}`",
            ),
            (
                "ip.src in {1}",
                "1",
                "expected an IP address, found an integer",
                "",
            ),
        ]);
    }

    #[test]
    fn operators_must_fit_the_type_of_the_value() {
        assert_reported(&[
            (
                "len(http.host) contains 3",
                "contains",
                "`len(http.host)`, which is an integer",
                "`ge`",
            ),
            (
                "ip.src lt 10.0.0.1",
                "lt",
                "which is an IP address",
                "`eq`, `ne` and `in`",
            ),
            (
                "ip.src wildcard \"10.*\"",
                "wildcard",
                "which is an IP address",
                "`eq`, `ne` and `in`",
            ),
            ("ssl eq 1", "1", "expected a boolean", "`ssl` or `not ssl`"),
            ("ssl lt true", "lt", "which is a boolean", "stands alone"),
            ("ssl in {1}", "in", "which is a boolean", "stands alone"),
            (
                "http.request.headers.names eq \"a\"",
                "eq",
                "which is an array",
                "`any(http.request.headers.names[*] …)`",
            ),
            (
                "http.request.headers[\"a\"] eq \"a\"",
                "eq",
                "which is an array",
                "`http.request.headers[\"a\"][0]`",
            ),
            (
                "http.request.headers eq \"a\"",
                "eq",
                "which is a map",
                "[\"name\"]",
            ),
        ]);
    }

    #[test]
    fn mistaken_strings_and_patterns_are_explained() {
        assert_reported(&[
            (
                "http.host eq \"a\\qb\"",
                "\\q",
                "unknown escape",
                "raw string",
            ),
            (
                "http.host matches \"(\"",
                "\"(\"",
                "invalid regular expression: unclosed group",
                "",
            ),
            (
                "http.host matches \"[a-z]{900}{900}\"",
                "\"[a-z]{900}{900}\"",
                "too large",
                "repetition",
            ),
            (
                "http.host wildcard \"a**\"",
                "\"a**\"",
                "`**` is not allowed",
                "one `*`",
            ),
            (
                "http.host wildcard r\"a\\b\"",
                "r\"a\\b\"",
                "a backslash stands before",
                "raw string",
            ),
        ]);
    }
}
