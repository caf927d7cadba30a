//! Parts of an expression that hold for no request: they ask for what a field never says, or for two
//! things that exclude each other.

use super::super::array::Array;
use super::super::eval::{IntTest, IpTest, Predicate, StringTest};
use super::super::field::{ArrayField, MapField, StringField};
use super::super::value::StringValue;
use super::shape::Shape;
use super::{implication, words};
use crate::zone::canonical_path;

/// A part of an expression that holds for no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The text that cannot be found, as it is compared; empty when the fault is not in one text.
    pub text: String,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// The text that was meant, where it can be guessed.
    pub instead: Option<String>,
}

/// All of them, from left to right.
pub(super) fn contradictions(predicate: &Predicate) -> Vec<Contradiction> {
    let mut found = Vec::new();
    collect(predicate, None, &mut found);
    found
}

fn collect(predicate: &Predicate, array: Option<&Array>, found: &mut Vec<Contradiction>) {
    match predicate {
        Predicate::And(operands) => {
            let before = found.len();
            for operand in &**operands {
                collect(operand, array, found);
            }
            // What never holds by itself excludes everything.
            if found.len() == before {
                found.extend(pair(operands, array));
            }
        }
        Predicate::Or(operands) | Predicate::Xor(operands) => {
            for operand in &**operands {
                collect(operand, array, found);
            }
        }
        Predicate::Not(operand) => collect(operand, array, found),
        Predicate::Any(array, body) | Predicate::All(array, body) => {
            collect(body, Some(array), found);
        }
        Predicate::String(value, test) => {
            for fault in faults(value, test, array) {
                let value = words::text(value, array).unwrap_or_default();
                let shown = fault.text.escape_ascii();
                found.push(Contradiction {
                    message: format!("`{value}` is never \"{shown}\": {}", fault.why),
                    text: String::from_utf8_lossy(fault.text).into_owned(),
                    instead: fault.instead,
                });
            }
        }
        _ => {}
    }
}

/// The first two operands that never hold together.
fn pair(operands: &[Predicate], array: Option<&Array>) -> Option<Contradiction> {
    let operands: Vec<&Predicate> = flat(operands).collect();
    operands.iter().enumerate().find_map(|(at, one)| {
        let mut later = operands.iter().skip(at + 1);
        let other = later.find(|other| implication::excludes(one, other))?;
        let shown = |part| words::predicate(part, array).map(|text| format!("`{text}`"));
        let message = match (shown(one), shown(other)) {
            (Some(one), Some(other)) => format!("{one} and {other} never hold together"),
            (Some(one), None) | (None, Some(one)) => {
                format!("{one} never holds together with what else is asked for")
            }
            (None, None) => "two of its conditions never hold together".to_owned(),
        };
        Some(Contradiction {
            text: String::new(),
            message,
            instead: None,
        })
    })
}

fn flat(operands: &[Predicate]) -> Box<dyn Iterator<Item = &Predicate> + '_> {
    Box::new(operands.iter().flat_map(|operand| match operand {
        Predicate::And(inner) => flat(inner),
        one => Box::new(std::iter::once(one)),
    }))
}

/// Whether it holds for no request.
pub(super) fn is_never(predicate: &Predicate, array: Option<&Array>) -> bool {
    match predicate {
        Predicate::Constant(truth) => !truth,
        Predicate::And(operands) => {
            operands.iter().any(|operand| is_never(operand, array))
                || pair(operands, array).is_some()
        }
        Predicate::Or(operands) => operands.iter().all(|operand| is_never(operand, array)),
        Predicate::Not(operand) => **operand == Predicate::Constant(true),
        Predicate::Any(array, body) => is_never(body, Some(array)),
        Predicate::String(value, test) => {
            let members = Shape::of(test).and_then(|shape| shape.whole.map(|whole| whole.len()));
            faults(value, test, array).len() >= members.unwrap_or(1)
        }
        _ => false,
    }
}

/// Whether some part of it asks for a list that has nothing in it.
pub(super) fn asks_for_empty_list(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::And(operands) | Predicate::Or(operands) | Predicate::Xor(operands) => {
            operands.iter().any(asks_for_empty_list)
        }
        Predicate::Not(operand) => asks_for_empty_list(operand),
        Predicate::Any(_, body) | Predicate::All(_, body) => asks_for_empty_list(body),
        Predicate::String(_, StringTest::InList(list))
        | Predicate::Int(_, IntTest::InList(list))
        | Predicate::Ip(_, IpTest::InList(list)) => list.is_empty(),
        _ => false,
    }
}

/// A text that a value never is, or never begins or ends with or contains.
struct Fault<'t> {
    text: &'t [u8],
    why: &'static str,
    instead: Option<String>,
}

/// Where in the value a text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Whole,
    Beginning,
    Elsewhere,
}

fn faults<'t>(value: &StringValue, test: &'t StringTest, array: Option<&Array>) -> Vec<Fault<'t>> {
    let (Some(kind), Some(shape)) = (Kind::of(value, array), Shape::of(test)) else {
        return Vec::new();
    };
    let fault = |text: &'t [u8], place| {
        let (why, instead) = kind.fault(text, place, shape.folded)?;
        Some(Fault { text, why, instead })
    };
    if let Some(members) = &shape.whole {
        let of = |member: &&'t [u8]| fault(member, Place::Whole);
        return members.iter().filter_map(of).collect();
    }
    // That of a regular expression may be more than the literal text.
    let beginning = match test {
        StringTest::StartsWith(literal) => literal,
        StringTest::Wildcard(wildcard) => wildcard.beginning().0,
        _ => &[],
    };
    let begins = Some((beginning, Place::Beginning)).filter(|_| !beginning.is_empty());
    let others = shape.parts.iter().copied().chain([shape.end]);
    begins
        .into_iter()
        .chain(others.map(|text| (text, Place::Elsewhere)))
        .find_map(|(text, place)| fault(text, place))
        .into_iter()
        .collect()
}

/// What is known of the texts that a value may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Field(StringField),
    LowerCase(&'static str),
    UpperCase,
}

impl Kind {
    fn of(value: &StringValue, array: Option<&Array>) -> Option<Self> {
        match value {
            StringValue::Field(field) => Some(Self::Field(*field)),
            StringValue::Lower(_) => Some(Self::LowerCase("`lower` has no capitals")),
            StringValue::Upper(_) => Some(Self::UpperCase),
            StringValue::Current => match array? {
                Array::Field(ArrayField::Names(MapField::Headers | MapField::ResponseHeaders)) => {
                    Some(Self::LowerCase("names of fields are in lower case"))
                }
                Array::Field(ArrayField::AcceptedLanguages) => {
                    Some(Self::LowerCase("languages are in lower case"))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Why no value has `text` there, and what may have been meant.
    fn fault(
        self,
        bytes: &[u8],
        place: Place,
        folded: bool,
    ) -> Option<(&'static str, Option<String>)> {
        let text = std::str::from_utf8(bytes).ok()?;
        let at_start = place != Place::Elsewhere;
        let capitals = !folded && bytes.iter().any(u8::is_ascii_uppercase);
        let smalls = !folded && bytes.iter().any(u8::is_ascii_lowercase);
        let lower = || Some(text.to_ascii_lowercase());
        let upper = || Some(text.to_ascii_uppercase());
        let whole_of = |known: &[&str]| place == Place::Whole && !folded && !known.contains(&text);
        match self {
            Self::LowerCase(why) => capitals.then(|| (why, lower())),
            Self::UpperCase => smalls.then(|| ("`upper` has no small letters", upper())),
            Self::Field(field) => match field {
                StringField::Host if capitals => Some(("hosts are in lower case", lower())),
                StringField::Host if text.contains('/') => {
                    Some(("a host has neither scheme nor path", None))
                }
                StringField::Host if text.contains(':') && !text.contains(['[', ']']) => {
                    let name = text.split(':').next().filter(|name| !name.is_empty());
                    Some(("the host is without its port", name.map(str::to_owned)))
                }
                StringField::Path | StringField::RawPath => of_path(text, place, folded),
                StringField::Uri | StringField::RawUri if at_start && !text.starts_with('/') => {
                    Some(("it begins with a slash", Some(format!("/{text}"))))
                }
                StringField::FullUri | StringField::RawFullUri
                    if at_start && !begins_like_a_uri(text) =>
                {
                    Some(("it begins with `https://` or `http://`", None))
                }
                StringField::PathExtension if text.contains('.') => {
                    let last = text.rsplit('.').next().filter(|last| !last.is_empty());
                    let last = last.map(str::to_ascii_lowercase);
                    Some(("the extension is what follows the last dot", last))
                }
                StringField::PathExtension if capitals => {
                    Some(("the extension is in lower case", lower()))
                }
                StringField::Method if smalls => Some(("methods are in capitals", upper())),
                StringField::Query | StringField::RawQuery if at_start && text.starts_with('?') => {
                    Some((
                        "the query is without its `?`",
                        text.get(1..).map(str::to_owned),
                    ))
                }
                StringField::Country | StringField::Continent if smalls => {
                    Some(("it is in capitals", upper()))
                }
                StringField::Country if place == Place::Whole && ![0, 2].contains(&text.len()) => {
                    Some(("countries have two letters (ISO 3166-1 alpha-2)", None))
                }
                StringField::Continent
                    if whole_of(&["", "AF", "AN", "AS", "EU", "NA", "OC", "SA"]) =>
                {
                    Some(("continents are AF, AN, AS, EU, NA, OC and SA", None))
                }
                StringField::Version
                    if whole_of(&["HTTP/0.9", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"]) =>
                {
                    Some(("versions are HTTP/1.0, HTTP/1.1, HTTP/2 and HTTP/3", None))
                }
                StringField::DeviceClass if whole_of(&["mobile", "tablet", "desktop"]) => {
                    Some(("classes are mobile, tablet and desktop", None))
                }
                StringField::MediaType if capitals => {
                    Some(("media types are in lower case", lower()))
                }
                StringField::MediaType if text.contains(';') => {
                    let name = text.split(';').next().map(|name| name.trim().to_owned());
                    Some(("the media type is without parameters", name))
                }
                _ => None,
            },
        }
    }
}

fn of_path(text: &str, place: Place, folded: bool) -> Option<(&'static str, Option<String>)> {
    if text.contains('?') {
        let why = "the path is without the query; `http.request.uri` has both";
        return Some((why, None));
    }
    if place != Place::Elsewhere && !text.starts_with('/') {
        return Some(("paths begin with a slash", Some(format!("/{text}"))));
    }
    let canonical = canonical_path(text).ok()?;
    (place == Place::Whole && !folded && canonical != text)
        .then(|| ("paths are in canonical form", Some(canonical.into_owned())))
}

fn begins_like_a_uri(text: &str) -> bool {
    ["https://", "http://"]
        .iter()
        .any(|scheme| text.starts_with(scheme) || scheme.starts_with(text))
}

#[cfg(test)]
mod tests {
    use crate::rules::expression::{Environment, Expression};

    fn compile(source: &str) -> Expression {
        let environment = Environment {
            response: true,
            tokens: None,
            ..Environment::default()
        };
        Expression::compile(source, &environment)
            .unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
    }

    #[test]
    fn what_a_field_never_says_is_told_with_what_was_meant() {
        for (source, why, instead) in [
            (r#"http.host eq "Example.com""#, "lower case", "example.com"),
            (r#"http.host eq "a.test:8080""#, "port", "a.test"),
            (r#"http.host wildcard "*:8080""#, "port", ""),
            (r#"http.host eq "https://a.test""#, "scheme", ""),
            (r#"http.request.uri.path eq "a""#, "slash", "/a"),
            (
                r#"starts_with(http.request.uri.path, "api/")"#,
                "slash",
                "/api/",
            ),
            (
                r#"http.request.uri.path wildcard "api/*""#,
                "slash",
                "/api/",
            ),
            (r#"http.request.uri.path eq "/a?b=c""#, "query", ""),
            (r#"http.request.uri.path contains "?b""#, "query", ""),
            (r#"http.request.uri.path eq "/%7ea""#, "canonical", "/~a"),
            (r#"http.request.full_uri eq "a.test/x""#, "https://", ""),
            (r#"http.request.uri.path.extension eq ".css""#, "dot", "css"),
            (
                r#"http.request.uri.path.extension eq "CSS""#,
                "lower case",
                "css",
            ),
            (r#"http.request.method eq "get""#, "capitals", "GET"),
            (r#"starts_with(http.request.uri.query, "?a")"#, "?", "a"),
            (r#"ip.src.country eq "de""#, "capitals", "DE"),
            (r#"ip.src.country eq "DEU""#, "two letters", ""),
            (r#"http.request.version eq "HTTP/2.0""#, "HTTP/2", ""),
            (r#"seawall.device_class eq "phone""#, "tablet", ""),
            (
                r#"http.response.content_type.media_type eq "text/html; charset=utf-8""#,
                "parameters",
                "text/html",
            ),
            (
                r#"any(http.request.headers.names[*] eq "X-Test")"#,
                "lower case",
                "x-test",
            ),
            (r#"lower(http.cookie) contains "Abc""#, "capitals", "abc"),
            (r#"upper(http.cookie) contains "Abc""#, "small", "ABC"),
        ] {
            let expression = compile(source);
            let [found] = &*expression.contradictions() else {
                panic!("{source}: {:?}", expression.contradictions());
            };
            assert!(found.message.contains(why), "{source}: {}", found.message);
            assert_eq!(
                found.instead.as_deref().unwrap_or_default(),
                instead,
                "{source}"
            );
            assert!(expression.is_never(), "{source}");
        }
    }

    #[test]
    fn what_may_be_is_not_told() {
        for source in [
            r#"http.host eq "example.com""#,
            r#"http.host wildcard "Example.com""#,
            r#"http.host eq "[::1]""#,
            r#"http.request.uri.path wildcard "*/api/*""#,
            r#"http.request.uri.path eq "/a/%2Fb""#,
            r#"http.request.uri.path contains "a""#,
            r#"http.request.full_uri wildcard "*://a.test/*""#,
            r#"http.request.full_uri wildcard "http*""#,
            r#"http.request.uri.path.extension eq """#,
            r#"ip.src.country eq """#,
            r#"http.cookie contains "Abc""#,
            r#"any(http.request.headers["accept"][*] contains "JSON")"#,
            r#"http.host eq "a.test" and not http.host eq "b.test""#,
            r#"starts_with(http.request.uri.path, "/a") and ends_with(http.request.uri.path, "/b")"#,
        ] {
            let expression = compile(source);
            assert_eq!(expression.contradictions(), [], "{source}");
            assert!(!expression.is_never(), "{source}");
        }
    }

    #[test]
    fn a_part_that_never_holds_leaves_the_rest() {
        let expression = compile(r#"http.host in {"a.test" "B.test"} or ssl"#);
        assert_eq!(expression.contradictions().len(), 1);
        assert!(!expression.is_never());
        let expression = compile(r#"http.host in {"a.test" "B.test"}"#);
        assert_eq!(expression.contradictions().len(), 1);
        assert!(!expression.is_never());
    }

    #[test]
    fn conditions_that_exclude_each_other_are_told() {
        for source in [
            r#"http.host eq "a.test" and http.host eq "b.test""#,
            r#"ssl and (http.host eq "a.test" and not http.host wildcard "*.test")"#,
            r#"http.host in {"a" "b"} and http.host in {"c" "d"}"#,
            "ssl and not ssl",
        ] {
            let expression = compile(source);
            let found = expression.contradictions();
            assert_eq!(found.len(), 1, "{source}");
            assert!(found[0].message.contains("together"), "{found:?}");
            assert!(expression.is_never(), "{source}");
        }
    }
}
