//! What a request must have for an expression to be possibly true, so that rules need not be tried
//! one by one.
//!
//! Requirements are necessary, not sufficient, and disregard ASCII case, whether or not the
//! expression does.

use super::ast::Relation;
use super::eval::{Predicate, StringTest};
use super::field::StringField;
use super::value::StringValue;

/// The part of a request that a requirement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The host.
    Host,
    /// The path.
    Path,
    /// The beginning of the path.
    PathPrefix,
    /// The extension of the path.
    Extension,
}

/// One thing that a request must have: a part that is one of these values, in lower case. With no
/// values, no request has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What it is about.
    pub part: Part,
    /// What that part may be.
    pub values: Vec<Box<[u8]>>,
}

/// Sets of more values are not worth their room.
const MOST_VALUES: usize = 256;

impl Requirement {
    fn new<'v>(part: Part, values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let values = values
            .into_iter()
            .map(|value| value.to_ascii_lowercase().into());
        Self {
            part,
            values: values.collect(),
        }
    }

    fn never() -> Vec<Self> {
        let parts = [Part::Host, Part::Path, Part::PathPrefix, Part::Extension];
        parts.map(|part| Self::new(part, [])).into()
    }
}

impl Predicate {
    /// What a request must have, all of it.
    pub(super) fn requirements(&self) -> Vec<Requirement> {
        let mut requirements = match self {
            Self::Constant(false) => Requirement::never(),
            Self::And(operands) => operands.iter().flat_map(Self::requirements).collect(),
            Self::Or(operands) => either(operands),
            Self::String(value, test) => required(value, test),
            _ => Vec::new(),
        };
        requirements.retain(|requirement| requirement.values.len() <= MOST_VALUES);
        requirements
    }
}

/// For each part that every operand needs something of, the union of what they need.
fn either(operands: &[Predicate]) -> Vec<Requirement> {
    let mut operands = operands.iter().map(Predicate::requirements);
    let mut whole = operands.next().unwrap_or_default();
    for mut operand in operands {
        whole.retain_mut(|requirement| {
            let same = operand
                .iter_mut()
                .find(|other| other.part == requirement.part);
            if let Some(other) = &same {
                requirement.values.extend(other.values.iter().cloned());
            }
            same.is_some()
        });
    }
    whole
}

fn required(value: &StringValue, test: &StringTest) -> Vec<Requirement> {
    let field = match value {
        StringValue::Field(field) => *field,
        StringValue::Lower(value) | StringValue::Upper(value) => match &**value {
            StringValue::Field(field) => *field,
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    match field {
        StringField::Host => exact(test, Part::Host),
        StringField::PathExtension => exact(test, Part::Extension),
        StringField::Path => of_path(test),
        StringField::Uri => of_uri(test),
        StringField::FullUri => of_full_uri(test),
        _ => Vec::new(),
    }
}

/// What a test leaves of a text's beginning.
enum Beginning<'t> {
    /// The text is one of these.
    Whole(Vec<&'t [u8]>),
    /// The text begins so.
    Prefix(Vec<u8>),
}

fn beginning(test: &StringTest) -> Option<Beginning<'_>> {
    match test {
        StringTest::Relation(Relation::Equal, literal) => Some(Beginning::Whole(vec![&**literal])),
        StringTest::In(set) => Some(Beginning::Whole(set.iter().collect())),
        StringTest::StartsWith(literal) => Some(Beginning::Prefix(literal.to_vec())),
        StringTest::Matches(pattern) => Some(Beginning::Prefix(pattern.prefix())),
        StringTest::Wildcard(wildcard) => Some(match wildcard.beginning() {
            (literal, true) => Beginning::Whole(vec![literal]),
            (literal, false) => Beginning::Prefix(literal.to_vec()),
        }),
        _ => None,
    }
}

fn exact(test: &StringTest, part: Part) -> Vec<Requirement> {
    match beginning(test) {
        Some(Beginning::Whole(values)) => vec![Requirement::new(part, values)],
        _ => Vec::new(),
    }
}

fn of_path(test: &StringTest) -> Vec<Requirement> {
    let requirement = match beginning(test) {
        Some(Beginning::Whole(paths)) => Requirement::new(Part::Path, paths),
        Some(Beginning::Prefix(prefix)) => Requirement::new(Part::PathPrefix, [&*prefix]),
        None => return Vec::new(),
    };
    Some(requirement)
        .filter(|requirement| !is_every_path(requirement))
        .into_iter()
        .collect()
}

/// Path and query: the path is what stands before the first `?`.
fn of_uri(test: &StringTest) -> Vec<Requirement> {
    let path = |uri: &[u8]| uri.split(|byte| *byte == b'?').next().map(<[u8]>::to_vec);
    let requirement = match beginning(test) {
        Some(Beginning::Whole(uris)) => {
            let paths: Vec<_> = uris.into_iter().filter_map(path).collect();
            Requirement::new(Part::Path, paths.iter().map(Vec::as_slice))
        }
        Some(Beginning::Prefix(prefix)) => {
            let whole = prefix.contains(&b'?');
            let part = if whole { Part::Path } else { Part::PathPrefix };
            Requirement::new(part, path(&prefix).as_deref())
        }
        None => return Vec::new(),
    };
    Some(requirement)
        .filter(|requirement| !is_every_path(requirement))
        .into_iter()
        .collect()
}

/// Scheme, host, path and query: the host, where a literal holds all of it.
fn of_full_uri(test: &StringTest) -> Vec<Requirement> {
    let (uris, whole) = match beginning(test) {
        Some(Beginning::Whole(uris)) => (uris.into_iter().map(<[u8]>::to_vec).collect(), true),
        Some(Beginning::Prefix(prefix)) => (vec![prefix], false),
        None => return Vec::new(),
    };
    let uris: Vec<Vec<u8>> = uris;
    let parts: Option<Vec<_>> = uris.iter().map(|uri| host_and_path(uri)).collect();
    let Some(parts) = parts else {
        return Vec::new();
    };
    let (hosts, targets): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut requirements = vec![Requirement::new(Part::Host, hosts)];
    let paths: Vec<&[u8]> = targets
        .iter()
        .filter_map(|target| target.split(|byte| *byte == b'?').next())
        .collect();
    let ended = whole || targets.iter().all(|target| target.contains(&b'?'));
    let part = if ended { Part::Path } else { Part::PathPrefix };
    let paths = Requirement::new(part, paths);
    if !is_every_path(&paths) {
        requirements.push(paths);
    }
    requirements
}

/// `https://host/path`: the host and what follows it, when the host is all there.
fn host_and_path(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = uri.windows(3).position(|part| part == b"://")? + 3;
    let rest = uri.get(start..)?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    rest.split_at_checked(end)
}

/// A requirement that every path meets.
fn is_every_path(requirement: &Requirement) -> bool {
    requirement.part == Part::PathPrefix
        && requirement
            .values
            .iter()
            .any(|prefix| prefix.is_empty() || **prefix == *b"/")
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Expression};

    /// Requirements as `part value|value`, joined by `; `.
    fn shown(source: &str) -> String {
        let expression = Expression::compile(source, &Environment::default()).unwrap();
        let mut requirements = expression.requirements();
        for requirement in &mut requirements {
            requirement.values.sort();
        }
        let shown = requirements.iter().map(|requirement| {
            let values: Vec<_> = requirement
                .values
                .iter()
                .map(|value| value.escape_ascii().to_string())
                .collect();
            format!("{:?} {}", requirement.part, values.join("|"))
        });
        shown.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn expressions_require_what_they_cannot_be_true_without() {
        for (source, expected) in [
            (r#"http.host eq "a.test""#, "Host a.test"),
            (r#"http.host in {"b.test" "a.test"}"#, "Host a.test|b.test"),
            (r#"http.host wildcard "A.test""#, "Host a.test"),
            (r#"http.host wildcard "*.test""#, ""),
            (r#"http.host ne "a.test""#, ""),
            (r#"not http.host eq "a.test""#, ""),
            (r#"http.request.uri.path eq "/A""#, "Path /a"),
            (r#"lower(http.request.uri.path) eq "/a""#, "Path /a"),
            (
                r#"starts_with(http.request.uri.path, "/a/")"#,
                "PathPrefix /a/",
            ),
            (r#"http.request.uri.path wildcard "/A/*""#, "PathPrefix /a/"),
            (
                r#"http.request.uri.path strict wildcard "/A/*.js""#,
                "PathPrefix /a/",
            ),
            (
                r#"http.request.uri.path matches "^/blog/[0-9]+""#,
                "PathPrefix /blog/",
            ),
            (r#"http.request.uri.path matches "/blog/""#, ""),
            (r#"http.request.uri.path wildcard "/*""#, ""),
            (r#"starts_with(http.request.uri.path, "")"#, ""),
            (r#"ends_with(http.request.uri.path, "/a")"#, ""),
            (
                r#"http.request.uri.path.extension in {"css" "JS"}"#,
                "Extension css|js",
            ),
            (r#"http.request.uri eq "/a?x=1""#, "Path /a"),
            (r#"http.request.uri wildcard "/a?x=*""#, "Path /a"),
            (r#"starts_with(http.request.uri, "/a")"#, "PathPrefix /a"),
            (
                r#"http.request.full_uri wildcard "https://a.test/b/*""#,
                "Host a.test; PathPrefix /b/",
            ),
            (
                r#"http.request.full_uri wildcard "https://a.test/*""#,
                "Host a.test",
            ),
            (
                r#"http.request.full_uri eq "https://a.test/b?c""#,
                "Host a.test; Path /b",
            ),
            (r#"http.request.full_uri wildcard "https://www.*""#, ""),
            (r#"http.request.full_uri wildcard "*://a.test/*""#, ""),
            (
                r#"http.host eq "a.test" and http.request.uri.path eq "/a" and ssl"#,
                "Host a.test; Path /a",
            ),
            (
                r#"http.host eq "a.test" or http.host eq "b.test""#,
                "Host a.test|b.test",
            ),
            (r#"http.host eq "a.test" or ssl"#, ""),
            (
                r#"http.host eq "a.test" or http.request.uri.path eq "/a""#,
                "",
            ),
            (
                r#"(http.host eq "a.test" and ssl) or (http.host eq "b.test" and http.request.uri.path eq "/a")"#,
                "Host a.test|b.test",
            ),
            (r#"http.host eq "a.test" or false"#, "Host a.test"),
            (r#"http.host eq "a.test" xor ssl"#, ""),
            ("true", ""),
            ("false", "Host ; Path ; PathPrefix ; Extension "),
            (r#"raw.http.request.uri.path eq "/a""#, ""),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }
}
