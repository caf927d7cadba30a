//! Expressions: what selects, and what gives text.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use seawall::cache::response::ResponseView;
use seawall::request::{Facts, RequestView, Scheme, SplitChoice};
use seawall::rules::expression::{
    Environment, Expression, ExpressionError, MAX_LENGTH, ValueExpression,
};
use seawall::rules::{List, Lists, Rule, RuleSource, Ruleset};

use super::text;

/// Faults lie within the source, and what compiles says something of every request, the same by
/// itself and among rules, which are found by what they require.
pub(super) fn expression(data: &[u8]) {
    let Some(source) = text(data) else { return };
    let lists = lists();
    for environment in environments(&lists) {
        let expression = match Expression::compile(source, &environment) {
            Ok(expression) => expression,
            Err(errors) => {
                check_faults(source, &errors);
                continue;
            }
        };
        assert_eq!(expression.source(), source);
        assert_eq!(
            Expression::compile(source, &environment).as_ref(),
            Ok(&expression)
        );
        let ruleset = Ruleset::new(vec![rule(&expression); 9]);
        let (headers, splits) = (headers(), splits());
        for request in requests(&headers, &splits) {
            let found = if expression.matches(&request) { 9 } else { 0 };
            assert_eq!(ruleset.matching(&request).count(), found);
            let response = ResponseView {
                status: StatusCode::NOT_FOUND,
                headers: &headers,
            };
            expression.matches_response(&request, &response);
        }
    }
}

/// What compiles gives every request the same text each time, or none.
pub(super) fn value_expression(data: &[u8]) {
    let Some(source) = text(data) else { return };
    let lists = lists();
    for environment in environments(&lists) {
        let value = match ValueExpression::compile(source, &environment) {
            Ok(value) => value,
            Err(errors) => {
                check_faults(source, &errors);
                continue;
            }
        };
        assert_eq!(value.source(), source);
        let (headers, splits) = (headers(), splits());
        for request in requests(&headers, &splits) {
            let response = environment.response.then_some(ResponseView {
                status: StatusCode::OK,
                headers: &headers,
            });
            let text = value.evaluate(&request, response.as_ref());
            assert_eq!(value.evaluate(&request, response.as_ref()), text);
            assert!(text.is_none_or(|text| text.len() <= MAX_LENGTH));
        }
    }
}

fn check_faults(source: &str, errors: &[ExpressionError]) {
    assert!(!errors.is_empty());
    for error in errors {
        assert!(source.get(error.span.clone()).is_some(), "{error:?}");
    }
}

fn rule(expression: &Expression) -> Rule<()> {
    Rule {
        name: String::new(),
        source: RuleSource {
            file: "".into(),
            line: 1,
        },
        expression: expression.clone(),
        expires: None,
        lint_allow: Vec::new(),
        action: (),
    }
}

fn lists() -> Lists {
    let mut lists = Lists::default();
    for (name, text) in [
        ("ips", "127.0.0.0/8\n::1"),
        ("numbers", "1..9"),
        ("strings", "example.com\n/"),
    ] {
        let list = List::of_lines(None, text).expect("the list is sound");
        lists.insert(name.to_owned(), list);
    }
    lists
}

fn environments(lists: &Lists) -> [Environment<'_>; 2] {
    [false, true].map(|response| Environment {
        lists: Some(lists),
        response,
        tokens: None,
    })
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "example.com"),
        ("cookie", "a=1; a=2; sessionid=x"),
        ("x-list", "one"),
        ("x-list", "two, three"),
        ("x-json", r#"{"a":[1,"b",{"c":-2}]}"#),
        ("accept-language", "de-CH, en;q=0.5"),
        ("content-type", "text/HTML; charset=utf-8"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

fn splits() -> [SplitChoice; 1] {
    [SplitChoice {
        split: "a".into(),
        variant: "b".into(),
    }]
}

fn requests<'r>(headers: &'r HeaderMap, splits: &'r [SplitChoice]) -> [RequestView<'r>; 2] {
    let one = RequestView {
        method: &Method::GET,
        scheme: Scheme::Https,
        host: "example.com",
        path: "/a/b%2Fc/d.css",
        query: Some("a=1&b=%C3%A4&a=&=x"),
        version: Version::HTTP_2,
        headers,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        session_cookie: true,
        has_body: false,
        facts: Facts {
            unix_seconds: 1_700_000_000,
            body_size: Some(5),
            country: Some(*b"DE"),
            asn: Some(7),
            verified_bot: true,
            raw_target: Some("/raw?x"),
            splits,
        },
    };
    let other = RequestView {
        method: &Method::POST,
        scheme: Scheme::Http,
        path: "/",
        query: None,
        facts: Facts::default(),
        ..one
    };
    [one, other]
}
