//! What a request must have for an expression to be possibly true, so that rules need not be tried
//! one by one.
//!
//! Requirements are necessary, not sufficient, and disregard ASCII case, whether or not the
//! expression does.

use http::HeaderName;
use http::header::{REFERER, USER_AGENT};

use super::ast::Relation;
use super::eval::{Predicate, StringTest};
use super::field::StringField;
use super::read::extension;
use super::value::StringValue;
use crate::request::RequestView;

/// How a requirement looks at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The host is so.
    Host,
    /// The path is so.
    Path,
    /// The path begins so.
    PathPrefix,
    /// The extension of the path is so.
    Extension,
    /// The path contains it.
    InPath,
    /// The query contains it.
    InQuery,
    /// The first line of User-Agent contains it.
    InUserAgent,
    /// The first line of Referer contains it.
    InReferer,
}

/// One thing that a request must have: one of these parts with its value, in lower case. With none,
/// no request has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// What is looked for, and where.
    pub alternatives: Vec<(Part, Box<[u8]>)>,
}

/// Sets of more values are not worth their room.
const MOST_VALUES: usize = 256;

impl Part {
    /// What of `request` it looks at.
    pub fn of<'r>(self, request: &RequestView<'r>) -> &'r [u8] {
        let first_line = |name: HeaderName| {
            let line = request.headers.get(name);
            line.map(http::HeaderValue::as_bytes).unwrap_or_default()
        };
        match self {
            Self::Host => request.host.as_bytes(),
            Self::Path | Self::PathPrefix | Self::InPath => request.path.as_bytes(),
            Self::Extension => extension(request.path).as_bytes(),
            Self::InQuery => request.query.unwrap_or_default().as_bytes(),
            Self::InUserAgent => first_line(USER_AGENT),
            Self::InReferer => first_line(REFERER),
        }
    }

    /// Whether it is about paths alone.
    const fn is_of_paths(self) -> bool {
        matches!(
            self,
            Self::Path | Self::PathPrefix | Self::Extension | Self::InPath
        )
    }
}

impl Requirement {
    fn new<'v>(part: Part, values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let values = values.into_iter();
        Self {
            alternatives: values
                .map(|value| (part, value.to_ascii_lowercase().into()))
                .collect(),
        }
    }

    /// The part that all of it is about, if it is one.
    pub fn part(&self) -> Option<Part> {
        let (first, _) = self.alternatives.first()?;
        let mut parts = self.alternatives.iter().map(|(part, _)| part);
        parts.all(|part| part == first).then_some(*first)
    }

    /// Whether some paths do not meet it, whatever else the request has.
    pub(super) fn narrows_paths(&self) -> bool {
        let mut parts = self.alternatives.iter().map(|(part, _)| part);
        parts.all(|part| part.is_of_paths())
    }

    /// Whether every request meets it: all paths begin with a slash.
    fn is_met_by_all(&self) -> bool {
        let mut alternatives = self.alternatives.iter();
        alternatives.any(|(part, value)| match part {
            Part::Host | Part::Path | Part::Extension => false,
            Part::PathPrefix | Part::InPath => value.is_empty() || **value == *b"/",
            Part::InQuery | Part::InUserAgent | Part::InReferer => value.is_empty(),
        })
    }

    fn or(mut self, other: Self) -> Self {
        self.alternatives.extend(other.alternatives);
        self
    }
}

impl Predicate {
    /// What a request must have, all of it.
    pub(super) fn requirements(&self) -> Vec<Requirement> {
        let mut requirements = match self {
            Self::Constant(false) => vec![Requirement::default()],
            Self::And(operands) => operands.iter().flat_map(Self::requirements).collect(),
            Self::Or(operands) => either(operands),
            Self::String(value, test) => required(value, test),
            _ => Vec::new(),
        };
        requirements.retain(|requirement| {
            requirement.alternatives.len() <= MOST_VALUES && !requirement.is_met_by_all()
        });
        requirements
    }
}

/// For each part that every operand needs something of, the union of what they need; where there is none, the
/// union of the first thing that each needs.
fn either(operands: &[Predicate]) -> Vec<Requirement> {
    let operands = operands.iter().map(Predicate::requirements);
    let possible = operands.filter(|operand| !operand.contains(&Requirement::default()));
    let possible: Vec<_> = possible.collect();
    let Some((first, others)) = possible.split_first() else {
        return vec![Requirement::default()];
    };
    let of_one_part = first.iter().filter_map(|requirement| {
        let part = requirement.part()?;
        let mut all = requirement.clone();
        for operand in others {
            let same = operand.iter().find(|other| other.part() == Some(part))?;
            all = all.or(same.clone());
        }
        Some(all)
    });
    let of_one_part: Vec<_> = of_one_part.collect();
    if !of_one_part.is_empty() {
        return of_one_part;
    }
    let firsts = possible.iter().map(|operand| operand.first().cloned());
    let firsts: Option<Vec<_>> = firsts.collect();
    let union = firsts.and_then(|firsts| firsts.into_iter().reduce(Requirement::or));
    union.into_iter().collect()
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
        StringField::Query => contained(test, Part::InQuery),
        StringField::UserAgent => contained(test, Part::InUserAgent),
        StringField::Referer => contained(test, Part::InReferer),
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

/// Texts of which one must be somewhere, wherever.
fn within(test: &StringTest) -> Option<Vec<Vec<u8>>> {
    let longest = match test {
        StringTest::EndsWith(literal) => literal.to_vec(),
        StringTest::Contains(substring) => substring.bytes().to_vec(),
        StringTest::Wildcard(wildcard) => {
            let literals = wildcard.literals();
            literals.max_by_key(|literal| literal.len())?.to_vec()
        }
        StringTest::Matches(pattern) => return Some(pattern.literals()?.into_iter().collect()),
        _ => match beginning(test)? {
            Beginning::Prefix(prefix) => prefix,
            Beginning::Whole(_) => return None,
        },
    };
    Some(vec![longest])
}

fn exact(test: &StringTest, part: Part) -> Vec<Requirement> {
    match beginning(test) {
        Some(Beginning::Whole(values)) => vec![Requirement::new(part, values)],
        _ => Vec::new(),
    }
}

fn contained(test: &StringTest, part: Part) -> Vec<Requirement> {
    if let Some(Beginning::Whole(values)) = beginning(test) {
        return vec![Requirement::new(part, values)];
    }
    let texts = within(test);
    let required = texts.map(|texts| Requirement::new(part, texts.iter().map(Vec::as_slice)));
    required.into_iter().collect()
}

fn of_path(test: &StringTest) -> Vec<Requirement> {
    match beginning(test) {
        Some(Beginning::Whole(paths)) => vec![Requirement::new(Part::Path, paths)],
        Some(Beginning::Prefix(prefix)) if !matches!(&*prefix, b"" | b"/") => {
            vec![Requirement::new(Part::PathPrefix, [&*prefix])]
        }
        _ => contained(test, Part::InPath),
    }
}

/// Path and query: the path is what stands before the first `?`.
fn of_uri(test: &StringTest) -> Vec<Requirement> {
    let path = |uri: &[u8]| uri.split(|byte| *byte == b'?').next().map(<[u8]>::to_vec);
    match beginning(test) {
        Some(Beginning::Whole(uris)) => {
            let paths: Vec<_> = uris.into_iter().filter_map(path).collect();
            vec![Requirement::new(
                Part::Path,
                paths.iter().map(Vec::as_slice),
            )]
        }
        Some(Beginning::Prefix(prefix)) if !matches!(&*prefix, b"" | b"/") => {
            let whole = prefix.contains(&b'?');
            let part = if whole { Part::Path } else { Part::PathPrefix };
            vec![Requirement::new(part, path(&prefix).as_deref())]
        }
        _ => {
            let texts = within(test).unwrap_or_default();
            let required = texts.iter().map(|text| in_uri(text));
            required.reduce(Requirement::or).into_iter().collect()
        }
    }
}

/// A text somewhere in path and query: what follows its first `?` is in the query, wherever that begins.
fn in_uri(text: &[u8]) -> Requirement {
    let mut parts = text.splitn(2, |byte| *byte == b'?').skip(1);
    parts.next().map_or_else(
        || Requirement::new(Part::InPath, [text]).or(Requirement::new(Part::InQuery, [text])),
        |query| Requirement::new(Part::InQuery, [query]),
    )
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
    requirements.push(Requirement::new(part, paths));
    requirements
}

/// `https://host/path`: the host and what follows it, when the host is all there.
fn host_and_path(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = uri.windows(3).position(|part| part == b"://")? + 3;
    let rest = uri.get(start..)?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    rest.split_at_checked(end)
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Expression};

    /// Requirements as `part value|value`, joined by `; `.
    fn shown(source: &str) -> String {
        let expression = Expression::compile(source, &Environment::default()).unwrap();
        let mut requirements = expression.requirements();
        for requirement in &mut requirements {
            requirement.alternatives.sort();
        }
        let shown = requirements.iter().map(|requirement| {
            let mut last = None;
            let values = requirement.alternatives.iter().map(|(part, value)| {
                let value = value.escape_ascii();
                match last.replace(part) {
                    Some(last) if last == part => format!("|{value}"),
                    Some(_) => format!(" or {part:?} {value}"),
                    None => format!("{part:?} {value}"),
                }
            });
            if requirement.alternatives.is_empty() {
                return "never".to_owned();
            }
            values.collect()
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
            (r#"http.request.uri.path matches "/blog/""#, "InPath /blog/"),
            (
                r#"http.request.uri.path matches "(?i)[.](php|cgi)$""#,
                "InPath .cgi|.php",
            ),
            (
                r#"http.user_agent matches "^Mozilla.*""#,
                "InUserAgent mozilla",
            ),
            (r#"http.user_agent matches ".*""#, ""),
            (
                r#"http.request.uri matches "select|union""#,
                "InPath select|union or InQuery select|union",
            ),
            (r#"http.request.uri.path wildcard "/*""#, ""),
            (r#"starts_with(http.request.uri.path, "")"#, ""),
            (r#"ends_with(http.request.uri.path, "/a")"#, "InPath /a"),
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
                "Host a.test or Path /a",
            ),
            (
                r#"http.request.uri.path contains "/Wp-" or ends_with(http.request.uri.path, ".php")"#,
                "InPath .php|/wp-",
            ),
            (
                r#"http.request.uri.path eq "/xmlrpc.php" or http.user_agent contains "sqlmap""#,
                "Path /xmlrpc.php or InUserAgent sqlmap",
            ),
            (r#"http.request.uri.path contains "x" or ssl"#, ""),
            (r#"http.request.uri.path contains "/""#, ""),
            (r#"http.user_agent eq """#, ""),
            (r#"http.user_agent contains "Bot""#, "InUserAgent bot"),
            (
                r#"lower(http.user_agent) contains "bot""#,
                "InUserAgent bot",
            ),
            (r#"not http.user_agent contains "bot""#, ""),
            (
                r#"http.user_agent wildcard "*Bot/*.0*""#,
                "InUserAgent bot/",
            ),
            (r#"http.referer in {"a" "b"}"#, "InReferer a|b"),
            (r#"http.request.uri.query contains "A=""#, "InQuery a="),
            (
                r#"http.request.uri contains "/x""#,
                "InPath /x or InQuery /x",
            ),
            (r#"http.request.uri contains "/x?y=1?""#, "InQuery y=1?"),
            (r#"http.request.uri contains "?""#, ""),
            (
                r#"http.request.uri.path wildcard "/*/admin/*""#,
                "InPath /admin/",
            ),
            (r#"url_decode(http.request.uri.path) contains "x""#, ""),
            (
                r#"(http.host eq "a.test" and ssl) or (http.host eq "b.test" and http.request.uri.path eq "/a")"#,
                "Host a.test|b.test",
            ),
            (r#"http.host eq "a.test" or false"#, "Host a.test"),
            (r#"http.host eq "a.test" xor ssl"#, ""),
            ("true", ""),
            ("false", "never"),
            ("false or false", "never"),
            (r#"http.host eq "a.test" and false"#, "Host a.test; never"),
            (r#"raw.http.request.uri.path eq "/a""#, ""),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }
}
