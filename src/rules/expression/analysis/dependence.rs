//! What of a request an expression reads, and what of it is in the text that it gives.

use std::collections::BTreeSet;

use super::super::array::Array;
use super::super::eval::Predicate;
use super::super::field::{ArrayField, Field, IntField, IpField, MapField, StringField, name_of};
use super::super::value::{IntValue, IpValue, StringValue};
use super::words;
use crate::guard::token::Verifier;

/// The fields that a predicate reads, but for those that are in every key.
pub(super) fn of_predicate(predicate: &Predicate) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    in_predicate(predicate, &mut found);
    found
}

/// The fields that a text depends on, but for those that are in every key.
pub(super) fn of_text(value: &StringValue) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    in_text(value, &mut found);
    found
}

fn in_predicate(predicate: &Predicate, found: &mut BTreeSet<String>) {
    match predicate {
        Predicate::Constant(_) => {}
        Predicate::Field(field) => note(Field::Bool(*field), found),
        Predicate::Not(operand) => in_predicate(operand, found),
        Predicate::And(operands) | Predicate::Or(operands) | Predicate::Xor(operands) => {
            operands.iter().for_each(|one| in_predicate(one, found));
        }
        Predicate::String(value, _) => in_text(value, found),
        Predicate::Int(value, _) => in_number(value, found),
        Predicate::Ip(value, _) => in_address(value, found),
        Predicate::HasToken(kind) | Predicate::Token(kind) => in_token(kind, found),
        Predicate::Any(array, body) | Predicate::All(array, body) => {
            in_array(array, found);
            in_predicate(body, found);
        }
    }
}

fn in_text(value: &StringValue, found: &mut BTreeSet<String>) {
    match value {
        StringValue::Literal(_) | StringValue::Current => {}
        StringValue::Field(field) => note(Field::String(*field), found),
        StringValue::Element(array, _) => in_array(array, found),
        StringValue::Lower(of)
        | StringValue::Upper(of)
        | StringValue::Substring(of, ..)
        | StringValue::Replace(of, _)
        | StringValue::WithoutArguments(of, _)
        | StringValue::WithoutBytes(of, _)
        | StringValue::Decode(of, _)
        | StringValue::Json(of, _) => in_text(of, found),
        StringValue::Concat(parts) => parts.iter().for_each(|part| in_text(part, found)),
        StringValue::Join(array, _) => in_array(array, found),
        StringValue::Claim(kind, _) => in_token(kind, found),
        StringValue::Int(number) => in_number(number, found),
        StringValue::Ip(address) => in_address(address, found),
        StringValue::Bool(predicate) => in_predicate(predicate, found),
    }
}

/// A token is somebody's.
fn in_token(kind: &Verifier, found: &mut BTreeSet<String>) {
    found.insert(format!("is_jwt_valid(\"{}\")", kind.settings.name));
}

fn in_number(value: &IntValue, found: &mut BTreeSet<String>) {
    match value {
        IntValue::Literal(_) => {}
        IntValue::Field(field) => note(Field::Int(*field), found),
        IntValue::Length(text) | IntValue::Json(text, _) => in_text(text, found),
        IntValue::Count(array) => in_array(array, found),
    }
}

fn in_address(value: &IpValue, found: &mut BTreeSet<String>) {
    match value {
        IpValue::Literal(_) => {}
        IpValue::Field(field) => note(Field::Ip(*field), found),
        IpValue::Network(of, ..) => in_address(of, found),
    }
}

fn in_array(array: &Array, found: &mut BTreeSet<String>) {
    match array {
        Array::Field(field) => note(Field::Array(*field), found),
        Array::Header(_) | Array::Cookie(_) => found.extend(words::array(array)),
        Array::Split(split) => in_text(&split.input, found),
        // The response is the origin's, arguments are in the key, and so is a variant.
        Array::ResponseHeader(_) | Array::Argument(_) | Array::Variant(_) => {}
    }
}

fn note(field: Field, found: &mut BTreeSet<String>) {
    use super::super::field::BoolField::Ssl;
    let in_every_key = match field {
        Field::Bool(field) => field == Ssl,
        Field::String(field) => matches!(
            field,
            StringField::Host
                | StringField::Method
                | StringField::FullUri
                | StringField::Uri
                | StringField::Path
                | StringField::PathExtension
                | StringField::Query
        ),
        Field::Array(ArrayField::Names(map) | ArrayField::Values(map)) | Field::Map(map) => {
            matches!(map, MapField::Args | MapField::Splits)
        }
        Field::Int(_) | Field::Ip(_) | Field::Array(ArrayField::AcceptedLanguages) => false,
    };
    if !in_every_key && !field.is_of_response() {
        found.insert(name_of(field).to_owned());
    }
}

/// A field in a text that is another for nearly every client, or at every moment.
pub(super) fn telling_apart(value: &StringValue) -> Option<String> {
    match value {
        StringValue::Field(
            field @ (StringField::Cookie
            | StringField::Referer
            | StringField::UserAgent
            | StringField::XForwardedFor),
        ) => Some(words::field_name(*field).to_owned()),
        StringValue::Element(array, _) => header_telling_apart(array),
        StringValue::Join(array, _) => header_telling_apart(array),
        StringValue::Lower(of)
        | StringValue::Upper(of)
        | StringValue::WithoutBytes(of, _)
        | StringValue::Decode(of, _) => telling_apart(of),
        StringValue::Concat(parts) => parts.iter().find_map(telling_apart),
        StringValue::Ip(address) => match **address {
            IpValue::Field(field @ IpField::Client) => Some(name_of(Field::Ip(field)).to_owned()),
            _ => None,
        },
        StringValue::Int(number) => match **number {
            IntValue::Field(field @ IntField::Timestamp) => {
                Some(name_of(Field::Int(field)).to_owned())
            }
            _ => None,
        },
        _ => None,
    }
}

fn header_telling_apart(array: &Array) -> Option<String> {
    let apart = match array {
        Array::Header(name) => super::CLIENTS_OWN.contains(&name.as_str()),
        Array::Field(ArrayField::Values(MapField::Headers | MapField::Cookies)) => true,
        _ => false,
    };
    words::array(array).filter(|_| apart)
}

#[cfg(test)]
mod tests {
    use crate::rules::expression::{Environment, Expression, ValueExpression};

    fn value(source: &str) -> ValueExpression {
        ValueExpression::compile(source, &Environment::default())
            .unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
    }

    #[test]
    fn what_is_read_beside_the_uri() {
        for (source, fields) in [
            (r#"concat("/en", http.request.uri.path)"#, ""),
            (r#"http.request.uri.args["a"][0]"#, ""),
            ("lower(ip.src.country)", "ip.src.country"),
            (
                r#"concat(http.request.cookies["a"][0], ip.src)"#,
                r#"http.request.cookies["a"], ip.src"#,
            ),
            ("seawall.session_cookie", "seawall.session_cookie"),
            (r#"seawall.splits["a"][0]"#, ""),
        ] {
            let found: Vec<_> = value(source).reads_beside_the_uri().into_iter().collect();
            assert_eq!(found.join(", "), fields, "{source}");
        }
        let expression = r#"any(http.request.headers["x"][*] eq "a") and ssl"#;
        let expression = Expression::compile(expression, &Environment::default()).unwrap();
        assert_eq!(expression.reads_beside_the_uri().len(), 1);
    }

    #[test]
    fn what_is_another_for_every_client() {
        for (source, field) in [
            ("ip.src", Some("ip.src")),
            (r#"concat("a", http.user_agent)"#, Some("http.user_agent")),
            (
                "http.request.timestamp.sec",
                Some("http.request.timestamp.sec"),
            ),
            (
                r#"http.request.headers["authorization"][0]"#,
                Some(r#"http.request.headers["authorization"]"#),
            ),
            (r#"http.request.headers["accept"][0]"#, None),
            ("ip.src in {10.0.0.0/8}", None),
            ("cidr(ip.src, 8, 16)", None),
            ("ip.src.country", None),
        ] {
            assert_eq!(
                value(source).tells_clients_apart().as_deref(),
                field,
                "{source}"
            );
        }
    }
}
