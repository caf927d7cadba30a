//! What can be told of expressions without a request: what implies what, what can never hold, which
//! requests it is about. All of it errs on one side: what is told is so, what is not told may be.

mod contradiction;
mod dependence;
mod implication;
mod narrowness;
mod shape;
mod simpler;
mod words;

use std::collections::BTreeSet;

pub use contradiction::Contradiction;
pub use simpler::Simpler;

use super::eval::Predicate;
use super::{Expression, ValueExpression};

/// Request fields that are another for nearly every client.
pub const CLIENTS_OWN: &[&str] = &[
    "authorization",
    "cf-connecting-ip",
    "cookie",
    "forwarded",
    "referer",
    "true-client-ip",
    "user-agent",
    "x-forwarded-for",
    "x-real-ip",
    "x-request-id",
];

impl Expression {
    /// Whether it holds for every request.
    pub fn is_always(&self) -> bool {
        *self.predicate == Predicate::Constant(true)
    }

    /// Whether every request for which this holds is one for which `other` does.
    pub fn implies(&self, other: &Self) -> bool {
        implication::implies(&self.predicate, &other.predicate)
    }

    /// Whether no request is both what this and what `other` is for.
    pub fn excludes(&self, other: &Self) -> bool {
        implication::excludes(&self.predicate, &other.predicate)
    }

    /// Whether it holds for no request at all.
    pub fn is_never(&self) -> bool {
        contradiction::is_never(&self.predicate, None)
    }

    /// Whether some part of it asks for a list that has nothing in it.
    pub fn asks_for_empty_list(&self) -> bool {
        contradiction::asks_for_empty_list(&self.predicate)
    }

    /// Parts of it that hold for no request.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        contradiction::contradictions(&self.predicate)
    }

    /// Whether it is for some paths only, and not for whatever looks like a page.
    pub fn is_narrow(&self) -> bool {
        narrowness::is_narrow(&self.predicate)
    }

    /// Whether it is for nothing but files of types that are the same for everybody, by extension.
    pub fn is_of_assets(&self) -> bool {
        narrowness::is_of_assets(&self.predicate)
    }

    /// What it reads of a request beside method, scheme, host, path and query, by the names of fields.
    pub fn reads_beside_the_uri(&self) -> BTreeSet<String> {
        dependence::of_predicate(&self.predicate)
    }

    /// Regular expressions that say what a plainer operator says.
    pub fn simpler_patterns(&self) -> Vec<Simpler> {
        simpler::in_predicate(&self.predicate)
    }
}

impl ValueExpression {
    /// What it reads of a request beside method, scheme, host, path and query, by the names of fields.
    pub fn reads_beside_the_uri(&self) -> BTreeSet<String> {
        dependence::of_text(&self.value)
    }

    /// A field in its value that is another for nearly every client, or at every moment.
    pub fn tells_clients_apart(&self) -> Option<String> {
        dependence::telling_apart(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{HeaderMap, HeaderValue, Method, Version};
    use proptest::prelude::*;

    use super::super::{Environment, Expression};
    use crate::request::{Facts, RequestView, Scheme};

    fn compile(source: &str) -> Expression {
        Expression::compile(source, &Environment::default())
            .unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
    }

    const OPERANDS: &[&str] = &[
        r#"http.host eq "a.test""#,
        r#"http.host ne "a.test""#,
        r#"http.host eq "A.test""#,
        r#"http.host in {"a.test" "b.test"}"#,
        r#"http.host wildcard "*.test""#,
        r#"http.host wildcard "A.TEST""#,
        r#"http.host lt "b""#,
        r#"http.request.uri.path eq "/a/b""#,
        r#"starts_with(http.request.uri.path, "/a")"#,
        r#"starts_with(http.request.uri.path, "/a/b")"#,
        r#"ends_with(http.request.uri.path, "/b")"#,
        r#"ends_with(http.request.uri.path, ".css")"#,
        r#"http.request.uri.path contains "/b""#,
        r#"http.request.uri.path contains "b""#,
        r#"http.request.uri.path wildcard "/A/*""#,
        r#"http.request.uri.path wildcard "/a/*.css""#,
        r#"http.request.uri.path wildcard "*/B*""#,
        r#"http.request.uri.path strict wildcard "/a/*""#,
        r#"http.request.uri.path strict wildcard "/a*b*s""#,
        r#"http.request.uri.path matches "^/a/""#,
        r#"http.request.uri.path matches "^/a/.*css$""#,
        r#"http.request.uri.path matches "b""#,
        r#"http.request.uri.path.extension in {"css" "js"}"#,
        r#"http.request.uri.path.extension eq "css""#,
        r#"http.cookie contains "x""#,
        r#"any(http.request.headers["cookie"][*] eq "x")"#,
        r#"all(http.request.headers["cookie"][*] eq "x")"#,
        r#"any(http.request.headers["cookie"][*] contains "x")"#,
        r#"http.request.headers["cookie"][0] ne "x""#,
        "len(http.request.uri.path) gt 3",
        "len(http.request.uri.path) lt 5",
        "len(http.request.uri.path) eq 4",
        "ip.src eq 127.0.0.1",
        "ip.src in {127.0.0.0/8}",
        "ssl",
        "true",
        "false",
    ];

    fn source() -> impl Strategy<Value = String> {
        let operand = prop::sample::select(OPERANDS).prop_map(str::to_owned);
        let operator = prop::sample::select(&["and", "or", "xor"][..]);
        operand.prop_recursive(3, 8, 2, move |inner| {
            prop_oneof![
                (inner.clone(), operator.clone(), inner.clone())
                    .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
                inner.prop_map(|inner| format!("not {inner}")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn what_is_told_holds_for_every_request(
            one in source(),
            other in source(),
            host in prop::sample::select(&["a.test", "b.test", "c"][..]),
            path in "/[aA]?(/[bB]?)?(b|\\.css|\\.js)?",
            cookie in prop::option::of(prop::sample::select(&["x", "y", "yx"][..])),
            client in prop::sample::select(&[[127, 0, 0, 1], [127, 0, 0, 2], [10, 0, 0, 1]][..]),
            tls: bool,
        ) {
            let mut headers = HeaderMap::new();
            if let Some(cookie) = cookie {
                headers.insert("cookie", HeaderValue::from_static(cookie));
            }
            let request = RequestView {
                method: &Method::GET,
                scheme: Scheme::of(tls),
                host,
                path: &path,
                query: None,
                version: Version::HTTP_11,
                headers: &headers,
                client: IpAddr::from(client),
                session_cookie: false,
                has_body: false,
                facts: Facts::default(),
            };
            let (one, other) = (compile(&one), compile(&other));
            let (is_one, is_other) = (one.matches(&request), other.matches(&request));
            prop_assert!(!one.implies(&other) || !is_one || is_other);
            prop_assert!(!(one.excludes(&other) && is_one && is_other));
            prop_assert!(!one.is_never() || !is_one);
            if one.is_of_assets() && is_one {
                prop_assert!([".css", ".js"].iter().any(|end| path.ends_with(end)), "{}", path);
            }
        }
    }
}
