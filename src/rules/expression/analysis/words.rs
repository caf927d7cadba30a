//! Tests of text as they could be written.

use super::super::array::Array;
use super::super::ast::Relation;
use super::super::eval::{Predicate, StringTest};
use super::super::field::{ArrayField, MapField, StringField, name_of};
use super::super::value::StringValue;

/// A predicate as it could be written, where it is one of those that people write most.
pub(super) fn predicate(predicate: &Predicate, array: Option<&Array>) -> Option<String> {
    Some(match predicate {
        Predicate::Constant(truth) => truth.to_string(),
        Predicate::String(value, test) => string_test(&text(value, array)?, test)?,
        Predicate::Not(operand) => format!("not {}", self::predicate(operand, array)?),
        Predicate::Any(array, body) => format!("any({})", self::predicate(body, Some(array))?),
        Predicate::All(array, body) => format!("all({})", self::predicate(body, Some(array))?),
        _ => return None,
    })
}

/// A value as it could be written.
pub(super) fn text(value: &StringValue, current: Option<&Array>) -> Option<String> {
    Some(match value {
        StringValue::Field(field) => field_name(*field).to_owned(),
        StringValue::Element(of, position) => format!("{}[{position}]", array(of)?),
        StringValue::Current => format!("{}[*]", array(current?)?),
        StringValue::Lower(of) => format!("lower({})", text(of, current)?),
        StringValue::Upper(of) => format!("upper({})", text(of, current)?),
        _ => return None,
    })
}

/// The name of a field of text.
pub(super) fn field_name(field: StringField) -> &'static str {
    name_of(super::super::field::Field::String(field))
}

/// An array as it could be written.
pub(super) fn array(array: &Array) -> Option<String> {
    let entry =
        |map: MapField, key: &[u8]| format!("{}[\"{}\"]", map_name(map), key.escape_ascii());
    Some(match array {
        Array::Field(ArrayField::Values(map)) => format!("{}.values", map_name(*map)),
        Array::Field(field) => name_of(super::super::field::Field::Array(*field)).to_owned(),
        Array::Header(name) => entry(MapField::Headers, name.as_str().as_bytes()),
        Array::ResponseHeader(name) => entry(MapField::ResponseHeaders, name.as_str().as_bytes()),
        Array::Argument(key) => entry(MapField::Args, key),
        Array::Cookie(key) => entry(MapField::Cookies, key),
        Array::Variant(key) => entry(MapField::Splits, key),
        Array::Split(_) => return None,
    })
}

fn map_name(map: MapField) -> &'static str {
    name_of(super::super::field::Field::Map(map))
}

fn string_test(value: &str, test: &StringTest) -> Option<String> {
    let quoted = |literal: &[u8]| format!("\"{}\"", literal.escape_ascii());
    Some(match test {
        StringTest::Relation(Relation::Equal, literal) => format!("{value} eq {}", quoted(literal)),
        StringTest::Relation(Relation::NotEqual, literal) => {
            format!("{value} ne {}", quoted(literal))
        }
        StringTest::StartsWith(literal) => format!("starts_with({value}, {})", quoted(literal)),
        StringTest::EndsWith(literal) => format!("ends_with({value}, {})", quoted(literal)),
        StringTest::Contains(part) => format!("{value} contains {}", quoted(part.bytes())),
        StringTest::Matches(pattern) => format!("{value} matches r\"{}\"", pattern.as_str()),
        StringTest::In(set) => {
            let members: Vec<_> = set.iter().map(quoted).collect();
            format!("{value} in {{{}}}", members.join(" "))
        }
        StringTest::Wildcard(wildcard) => {
            let operator = if wildcard.ignores_case() {
                ""
            } else {
                "strict "
            };
            format!("{value} {operator}wildcard {}", wildcard.written())
        }
        StringTest::Relation(..) | StringTest::InList(_) => return None,
    })
}
