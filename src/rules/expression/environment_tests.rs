//! What an expression's surroundings do to it: facts that are not known, lists, limits.

use http::{HeaderMap, HeaderValue};

use super::cloudflare_tests::{lists, request};
use super::*;
use crate::request::Facts;
use crate::rules::List;

#[test]
fn a_string_which_gets_too_long_has_no_value() {
    let mut headers = HeaderMap::new();
    let long = HeaderValue::from_bytes(&[b'a'; 10_000]).unwrap();
    headers.insert("x-long", long);
    let view = request(&headers, &[]);
    let field = r#"http.request.headers["x-long"][0]"#;
    let length = |times: usize| {
        let source = format!("concat({})", vec![field; times].join(", "));
        let expression = ValueExpression::compile(&source, &Environment::default()).unwrap();
        expression.evaluate(&view, None).map(|text| text.len())
    };
    assert_eq!(length(6), Some(60_000));
    assert_eq!(length(7), None);
}

#[test]
fn unknown_facts_read_as_empty_or_missing() {
    let headers = HeaderMap::new();
    let view = RequestView {
        facts: Facts::default(),
        ..request(&headers, &[])
    };
    for source in [
        r#"ip.src.country eq "" and ip.src.continent eq """#,
        "not ip.src.is_in_european_union and ip.src.asnum eq 0",
        "not http.request.body.size ge 0",
        r#"raw.http.request.uri.path eq "/Apps/calendar/login.html""#,
        "len(http.request.accepted_languages) eq 0",
        r#"not seawall.splits["checkout"][0] eq "b""#,
    ] {
        let expression = Expression::compile(source, &Environment::default()).unwrap();
        assert!(expression.matches(&view), "{source}");
    }
}

#[test]
fn expressions_are_equal_when_source_and_lists_are() {
    let compile = |text: &str| {
        let mut lists = Lists::default();
        lists.insert("l".to_owned(), List::of_lines(None, text).unwrap());
        let environment = Environment {
            lists: Some(&lists),
            response: false,
            tokens: None,
        };
        (
            Expression::compile("ip.src in $l", &environment).unwrap(),
            ValueExpression::compile("to_string(ip.src in $l)", &environment).unwrap(),
        )
    };
    assert_eq!(compile("10.0.0.1"), compile("10.0.0.1 # the same"));
    assert_ne!(compile("10.0.0.1").0, compile("10.0.0.2").0);
    assert_ne!(compile("10.0.0.1").1, compile("10.0.0.2").1);
}

#[test]
fn lists_must_be_known_and_of_the_right_kind() {
    let lists = lists();
    let environment = Environment {
        lists: Some(&lists),
        response: false,
        tokens: None,
    };
    for (source, message, help) in [
        (
            "ip.src in $ofice",
            "unknown list `$ofice`",
            "did you mean `$office`?",
        ),
        ("ip.src in $x", "unknown list `$x`", "`[lists]`"),
        (
            "ip.src in $hosts",
            "`$hosts` is a list of strings, but `ip.src` is an IP address",
            "",
        ),
        (
            "http.host in $asns",
            "`$asns` is a list of integers, but `http.host` is a string",
            "",
        ),
        (
            "len(http.host) in $office",
            "`$office` is a list of IP addresses",
            "",
        ),
        (
            "http.request.headers.names in $hosts",
            "is an array",
            "any(http.request.headers.names[*] in $hosts)",
        ),
        ("ssl in $hosts", "is a boolean", "stands alone"),
    ] {
        let errors = Expression::compile(source, &environment).unwrap_err();
        let [error] = errors.as_slice() else {
            panic!("{source}: {errors:?}");
        };
        assert!(source[error.span.clone()].starts_with('$'), "{source}");
        assert!(error.message.contains(message), "{source}: {error}");
        let found = error.help.clone().unwrap_or_default();
        assert!(
            found.contains(help) && found.is_empty() == help.is_empty(),
            "{source}: {found}"
        );
    }
}
