//! The configuration file and its expressions.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue, Method, Version};
use seawall::request::{RequestView, Scheme};
use seawall::rules::expression::{Environment, Expression};

use super::text;

/// Faults are told, wherever they are.
pub(super) fn config(data: &[u8]) {
    let Some(source) = text(data) else { return };
    let env = |name: &str| (name == "SET").then(|| "value".to_owned());
    if let Err(faults) = seawall::config::parse("fuzz.toml", source, &env) {
        assert!(!faults.list().is_empty());
        assert!(!faults.to_string().is_empty());
    }
}

/// Faults lie within the source, and what compiles says something of every request.
pub(super) fn expression(data: &[u8]) {
    let Some(source) = text(data) else { return };
    match Expression::compile(source, &Environment::default()) {
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(source.get(error.span).is_some(), "{}", error.message);
            }
        }
        Ok(expression) => {
            assert_eq!(expression.source(), source);
            for request in requests(&headers()) {
                let matches = expression.matches(&request);
                assert_eq!(
                    Expression::compile(source, &Environment::default())
                        .map(|again| again.matches(&request)),
                    Ok(matches)
                );
            }
        }
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("example.com"));
    headers.insert("cookie", HeaderValue::from_static("a=1; a=2; sessionid=x"));
    headers.append("x-list", HeaderValue::from_static("one"));
    headers.append("x-list", HeaderValue::from_static("two, three"));
    headers
}

fn requests(headers: &HeaderMap) -> [RequestView<'_>; 2] {
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
        facts: seawall::request::Facts::default(),
    };
    let other = RequestView {
        method: &Method::POST,
        scheme: Scheme::Http,
        path: "/",
        query: None,
        ..one
    };
    [one, other]
}
