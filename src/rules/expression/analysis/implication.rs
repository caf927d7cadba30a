//! Whether one predicate implies or excludes another, decided by their form.

use std::net::IpAddr;

use super::super::ast::Relation;
use super::super::eval::{IntTest, IpTest, Predicate, StringTest};
use super::shape::Shape;

/// Comparisons of two parts before a question counts as undecided; expressions are short.
const MOST_STEPS: u32 = 20_000;

/// Whether `one` holds for no request for which `other` does not.
pub(super) fn implies(one: &Predicate, other: &Predicate) -> bool {
    Decision { steps: MOST_STEPS }.implies(one, other)
}

/// Whether `one` and `other` never hold together.
pub(super) fn excludes(one: &Predicate, other: &Predicate) -> bool {
    Decision { steps: MOST_STEPS }.excludes(one, other)
}

struct Decision {
    steps: u32,
}

impl Decision {
    fn implies(&mut self, one: &Predicate, other: &Predicate) -> bool {
        use Predicate::{All, And, Any, Constant, Int, Ip, Not, Or, String};
        let Some(steps) = self.steps.checked_sub(1) else {
            return false;
        };
        self.steps = steps;
        if one == other {
            return true;
        }
        match (one, other) {
            (_, Constant(true)) | (Constant(false), _) => true,
            (Or(parts), _) => parts.iter().all(|part| self.implies(part, other)),
            (_, And(parts)) => parts.iter().all(|part| self.implies(one, part)),
            (Not(one), Not(other)) if self.implies(other, one) => true,
            (_, Not(other)) if self.excludes(one, other) => true,
            (_, Or(parts)) if parts.iter().any(|part| self.implies(one, part)) => true,
            (And(parts), _) => parts.iter().any(|part| self.implies(part, other)),
            (String(value, one), String(same, other)) if value == same => text_implies(one, other),
            (Int(value, one), Int(same, other)) if value == same => {
                matches!((range(one), range(other)), (Some(one), Some(other))
                    if other.0 <= one.0 && one.1 <= other.1)
            }
            (Ip(value, IpTest::Equal(address)), Ip(same, other)) if value == same => {
                other.accepts(*address)
            }
            (Any(array, one), Any(same, other)) | (All(array, one), All(same, other))
                if array == same =>
            {
                self.implies(one, other)
            }
            _ => false,
        }
    }

    fn excludes(&mut self, one: &Predicate, other: &Predicate) -> bool {
        use Predicate::{And, Constant, Int, Ip, Not, Or, String};
        let Some(steps) = self.steps.checked_sub(1) else {
            return false;
        };
        self.steps = steps;
        match (one, other) {
            (Constant(false), _) | (_, Constant(false)) => true,
            (Or(parts), other) | (other, Or(parts)) => {
                parts.iter().all(|part| self.excludes(part, other))
            }
            (Not(one), other) | (other, Not(one)) if self.implies(other, one) => true,
            (And(parts), other) | (other, And(parts)) => {
                parts.iter().any(|part| self.excludes(part, other))
            }
            (String(value, one), String(same, other)) if value == same => text_excludes(one, other),
            (Int(value, one), Int(same, other)) if value == same => {
                matches!((range(one), range(other)), (Some(one), Some(other))
                    if one.1 < other.0 || other.1 < one.0)
            }
            (Ip(value, one), Ip(same, other)) if value == same => {
                let apart = |one: &IpTest, other: &IpTest| {
                    equal(one).is_some_and(|address| !other.accepts(address))
                };
                apart(one, other) || apart(other, one)
            }
            _ => false,
        }
    }
}

fn equal(test: &IpTest) -> Option<IpAddr> {
    match test {
        IpTest::Equal(address) => Some(*address),
        _ => None,
    }
}

/// The numbers from the first to the last that pass, where the test is one of order.
fn range(test: &IntTest) -> Option<(i64, i64)> {
    let IntTest::Relation(relation, literal) = test else {
        return None;
    };
    Some(match relation {
        Relation::Equal => (*literal, *literal),
        Relation::Less => (i64::MIN, literal.checked_sub(1)?),
        Relation::LessOrEqual => (i64::MIN, *literal),
        Relation::Greater => (literal.checked_add(1)?, i64::MAX),
        Relation::GreaterOrEqual => (*literal, i64::MAX),
        Relation::NotEqual => return None,
    })
}

fn text_implies(one: &StringTest, other: &StringTest) -> bool {
    let Some(shape) = Shape::of(one) else {
        return false;
    };
    if let Some(members) = shape.members() {
        return members.iter().all(|member| other.accepts(member));
    }
    if let StringTest::Relation(Relation::NotEqual, literal) = other {
        return text_excludes(one, &StringTest::Relation(Relation::Equal, literal.clone()));
    }
    Shape::of(other).is_some_and(|other| shape.is_within(&other))
}

fn text_excludes(one: &StringTest, other: &StringTest) -> bool {
    let shapes = (Shape::of(one), Shape::of(other));
    for (shape, test) in [(&shapes.0, other), (&shapes.1, one)] {
        if let Some(members) = shape.as_ref().and_then(Shape::members) {
            return !members.iter().any(|member| test.accepts(member));
        }
    }
    matches!(shapes, (Some(one), Some(other)) if one.is_apart_from(&other))
}

#[cfg(test)]
mod tests {
    use crate::rules::expression::{Environment, Expression};

    fn compile(source: &str) -> Expression {
        Expression::compile(source, &Environment::default())
            .unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
    }

    #[test]
    fn what_implies_what() {
        for (one, other) in [
            (r#"http.host eq "a""#, "true"),
            ("false", r#"http.host eq "a""#),
            (r#"http.host eq "a" and ssl"#, r#"http.host eq "a""#),
            (r#"http.host eq "a""#, r#"ssl or http.host in {"a" "b"}"#),
            (r#"http.host in {"a" "b"}"#, r#"http.host in {"a" "b" "c"}"#),
            (
                r#"starts_with(http.request.uri.path, "/a/b")"#,
                r#"starts_with(http.request.uri.path, "/a")"#,
            ),
            (
                r#"starts_with(http.request.uri.path, "/a/b")"#,
                r#"http.request.uri.path wildcard "/A/*""#,
            ),
            (
                r#"http.request.uri.path wildcard "/a/b/*.css""#,
                r#"http.request.uri.path wildcard "/a/*.css""#,
            ),
            (
                r#"http.request.uri.path eq "/a/x""#,
                r#"http.request.uri.path matches "^/a/.$""#,
            ),
            (
                r#"http.cookie contains "abc""#,
                r#"http.cookie contains "b""#,
            ),
            (r#"http.host eq "a""#, r#"http.host ne "b""#),
            (r#"http.host eq "a""#, r#"not http.host eq "b""#),
            ("len(http.cookie) gt 5", "len(http.cookie) ge 2"),
            ("ip.src eq 10.0.0.1", "ip.src in {10.0.0.0/8}"),
            (
                r#"any(http.request.headers.names[*] eq "a")"#,
                r#"any(http.request.headers.names[*] in {"a" "b"})"#,
            ),
            ("not (ssl or seawall.session_cookie)", "not ssl"),
        ] {
            assert!(compile(one).implies(&compile(other)), "{one} => {other}");
        }
    }

    #[test]
    fn what_does_not_imply_what() {
        for (one, other) in [
            ("true", r#"http.host eq "a""#),
            (r#"http.host eq "a""#, r#"http.host eq "a" and ssl"#),
            (r#"http.host in {"a" "b"}"#, r#"http.host eq "a""#),
            (
                r#"http.request.uri.path wildcard "/a/*""#,
                r#"starts_with(http.request.uri.path, "/a/")"#,
            ),
            (
                r#"http.request.uri.path wildcard "/a/*""#,
                r#"http.request.uri.path wildcard "/a/*b/*""#,
            ),
            (
                r#"starts_with(http.request.uri.path, "/a")"#,
                r#"starts_with(http.request.uri.path, "/a/")"#,
            ),
            (
                r#"starts_with(http.request.uri.path, "/a/b")"#,
                r#"http.request.uri.path matches "^/a/bc""#,
            ),
            (r#"http.host ne "a""#, r#"http.host ne "b""#),
            (r#"http.host eq "a""#, r#"raw.http.request.uri eq "a""#),
            ("len(http.cookie) gt 5", "len(http.cookie) ge 7"),
            (
                r#"all(http.request.headers.names[*] eq "a")"#,
                r#"any(http.request.headers.names[*] eq "a")"#,
            ),
            ("not ssl", "not (ssl or seawall.session_cookie)"),
        ] {
            assert!(!compile(one).implies(&compile(other)), "{one} => {other}");
        }
    }

    #[test]
    fn what_excludes_what() {
        for (one, other, excludes) in [
            (r#"http.host eq "a""#, r#"http.host eq "b""#, true),
            (r#"http.host eq "a""#, r#"http.host ne "a""#, true),
            (r#"http.host eq "a""#, r#"not http.host eq "a""#, true),
            (
                r#"http.host in {"a" "b"}"#,
                r#"http.host in {"b" "c"}"#,
                false,
            ),
            (
                r#"starts_with(http.request.uri.path, "/a")"#,
                r#"http.request.uri.path wildcard "/B*" and ssl"#,
                true,
            ),
            (
                r#"starts_with(http.request.uri.path, "/a")"#,
                r#"http.request.uri.path wildcard "/A*""#,
                false,
            ),
            (
                r#"starts_with(http.request.uri.path, "/a")"#,
                r#"ends_with(http.request.uri.path, "b")"#,
                false,
            ),
            ("len(http.cookie) lt 5", "len(http.cookie) gt 4", true),
            ("len(http.cookie) lt 5", "len(http.cookie) gt 3", false),
            ("ip.src eq 10.0.0.1", "not ip.src in {10.0.0.0/8}", true),
            (
                r#"any(http.request.headers.names[*] eq "a")"#,
                r#"any(http.request.headers.names[*] eq "b")"#,
                false,
            ),
        ] {
            assert_eq!(
                compile(one).excludes(&compile(other)),
                excludes,
                "{one} / {other}"
            );
            assert_eq!(
                compile(other).excludes(&compile(one)),
                excludes,
                "{other} / {one}"
            );
        }
    }
}
