//! What the language means, by example.

use super::*;
use crate::request::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use proptest::prelude::*;
use std::net::IpAddr;

fn headers() -> HeaderMap {
    let lines: &[(&'static str, &[u8])] = &[
        ("accept", b"text/html"),
        ("accept", b"image/*"),
        ("cookie", b"a=1; b=2"),
        ("cookie", b"a=3"),
        ("user-agent", b"Curl/8"),
        ("user-agent", b"second"),
        ("referer", b"https://example.net/"),
        ("x-forwarded-for", b"192.0.2.1"),
        ("x-forwarded-for", b"192.0.2.2"),
        ("x-bytes", b"\xff\xfeA"),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value).unwrap(),
        );
    }
    headers
}

fn request(headers: &HeaderMap) -> RequestView<'_> {
    RequestView {
        method: &Method::GET,
        scheme: Scheme::Https,
        host: "www.example.com",
        path: "/a/B/index.tar.GZ",
        query: Some("q=red+apples&q=%C3%A9&flag&&=x"),
        version: Version::HTTP_2,
        headers,
        client: IpAddr::from([10, 1, 2, 3]),
        session_cookie: true,
        has_body: false,
        facts: crate::request::Facts::default(),
    }
}

fn matches(source: &str, request: &RequestView<'_>) -> bool {
    Expression::compile(source, &Environment::default())
        .unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
        .matches(request)
}

fn assert_each(cases: &[(&str, bool)]) {
    let headers = headers();
    for (source, expected) in cases {
        assert_eq!(matches(source, &request(&headers)), *expected, "{source}");
    }
}

#[test]
fn fields_read_the_request() {
    assert_each(&[
        (r#"http.host eq "www.example.com""#, true),
        (r#"http.request.method eq "GET""#, true),
        (r#"http.request.version eq "HTTP/2""#, true),
        (
            r#"http.request.full_uri eq "https://www.example.com/a/B/index.tar.GZ?q=red+apples&q=%C3%A9&flag&&=x""#,
            true,
        ),
        (
            r#"http.request.uri eq "/a/B/index.tar.GZ?q=red+apples&q=%C3%A9&flag&&=x""#,
            true,
        ),
        (r#"http.request.uri.path eq "/a/B/index.tar.GZ""#, true),
        (r#"http.request.uri.path.extension eq "gz""#, true),
        (
            r#"http.request.uri.query eq "q=red+apples&q=%C3%A9&flag&&=x""#,
            true,
        ),
        (r#"http.request.uri.args["q"][0] eq "red+apples""#, true),
        (r#"http.request.uri.args["q"][1] eq "%C3%A9""#, true),
        (r#"http.request.uri.args["flag"][0] eq """#, true),
        (r#"http.request.uri.args[""][0] eq "x""#, true),
        ("len(http.request.uri.args.names) eq 4", true),
        (r#"http.request.uri.args.names[2] eq "flag""#, true),
        (r#"http.request.headers["accept"][0] eq "text/html""#, true),
        (r#"http.request.headers["accept"][1] eq "image/*""#, true),
        (r#"any(http.request.headers.names[*] eq "x-bytes")"#, true),
        ("len(http.request.headers.names) eq 10", true),
        (r#"http.request.cookies["a"][1] eq "3""#, true),
        (r#"any(http.request.cookies.names[*] in {"z" "b"})"#, true),
        ("len(http.request.cookies.names) eq 3", true),
        (r#"http.cookie eq "a=1; b=2; a=3""#, true),
        (r#"http.referer eq "https://example.net/""#, true),
        (r#"http.user_agent eq "Curl/8""#, true),
        (r#"http.x_forwarded_for eq "192.0.2.1, 192.0.2.2""#, true),
        ("ip.src eq 10.1.2.3", true),
        ("ssl", true),
        ("seawall.session_cookie", true),
        ("seawall.request.has_body", false),
    ]);
}

#[test]
fn absent_header_fields_and_query_are_empty() {
    let headers = HeaderMap::new();
    let view = RequestView {
        scheme: Scheme::Http,
        query: None,
        ..request(&headers)
    };
    for source in [
        "not ssl",
        r#"http.user_agent eq """#,
        r#"http.referer eq """#,
        r#"http.cookie eq """#,
        r#"http.x_forwarded_for eq """#,
        r#"http.request.uri.query eq """#,
        r#"http.request.uri eq "/a/B/index.tar.GZ""#,
        r#"http.request.full_uri eq "http://www.example.com/a/B/index.tar.GZ""#,
        "len(http.request.headers.names) eq 0",
        "len(http.request.uri.args.names) eq 0",
    ] {
        assert!(matches(source, &view), "{source}");
    }
    let empty_query = RequestView {
        query: Some(""),
        ..view
    };
    assert!(matches(r#"ends_with(http.request.uri, "?")"#, &empty_query));
    assert!(matches(
        r#"ends_with(http.request.full_uri, "?")"#,
        &empty_query
    ));
}

#[test]
fn versions_are_named_as_in_cloudflare() {
    let headers = HeaderMap::new();
    for (version, name) in [
        (Version::HTTP_09, "HTTP/0.9"),
        (Version::HTTP_10, "HTTP/1.0"),
        (Version::HTTP_11, "HTTP/1.1"),
        (Version::HTTP_2, "HTTP/2"),
        (Version::HTTP_3, "HTTP/3"),
    ] {
        let view = RequestView {
            version,
            ..request(&headers)
        };
        assert!(matches(
            &format!("http.request.version eq \"{name}\""),
            &view
        ));
    }
}

#[test]
fn operators_compare_strings_as_bytes() {
    assert_each(&[
        (r#"http.host == "www.example.com""#, true),
        (r#"http.host == "WWW.example.com""#, false),
        (r#"http.host ne "www.example.com""#, false),
        (r#"http.host != "x""#, true),
        (r#"http.host lt "wwx""#, true),
        (r#"http.host < "www""#, false),
        (r#"http.host le "www.example.com""#, true),
        (r#"http.host <= "wwv""#, false),
        (r#"http.host gt "www""#, true),
        (r#"http.host > "www.example.com""#, false),
        (r#"http.host ge "www.example.com""#, true),
        (r#"http.host >= "x""#, false),
        (r#"http.host contains "example""#, true),
        (r#"http.host contains "Example""#, false),
        (r#"http.host contains """#, true),
        (r#"http.host matches "^www\.""#, true),
        (r#"http.host ~ r"^WWW\.""#, false),
        (r#"http.host ~ "(?i)^WWW\.""#, true),
        (r#"http.host in {"a" "www.example.com"}"#, true),
        (
            r#"http.host in {"a" "b" "c" "d" "e" "f" "g" "h" "i"}"#,
            false,
        ),
        (r#"http.request.uri.path wildcard "/A/*.gz""#, true),
        (r#"http.request.uri.path strict wildcard "/A/*.gz""#, false),
        (r#"http.request.uri.path strict wildcard "/a/*.GZ""#, true),
        (r#"http.request.uri.path wildcard "/a/*/index""#, false),
        (
            r#"http.request.headers["accept"][1] wildcard r"image/\*""#,
            true,
        ),
        (r#"http.request.headers["x-bytes"][0] eq "\xff\xfeA""#, true),
        (
            r#"http.request.headers["x-bytes"][0] contains "\xfe""#,
            true,
        ),
        (
            r#"http.request.headers["x-bytes"][0] matches "^..A$""#,
            true,
        ),
        (
            r#"http.request.headers["x-bytes"][0] matches r"^\xff\xfe""#,
            true,
        ),
        (r#"http.request.headers["x-bytes"][0] wildcard "*a""#, true),
        (
            r#"lower(http.request.headers["x-bytes"][0]) eq "\xff\xfea""#,
            true,
        ),
        (r#"http.request.uri.path matches "é""#, false),
    ]);
}

#[test]
fn operators_compare_numbers_and_addresses() {
    assert_each(&[
        ("len(http.host) eq 15", true),
        ("len(http.host) eq 0xF", true),
        ("len(http.host) ne 15", false),
        ("len(http.host) lt 15", false),
        ("len(http.host) le 15", true),
        ("len(http.host) gt 14", true),
        ("len(http.host) ge 16", false),
        ("len(http.host) gt -1", true),
        ("len(http.host) in {1 10..15 99}", true),
        ("len(http.host) in {1 16..20}", false),
        ("ip.src ne 10.1.2.3", false),
        ("ip.src eq ::1", false),
        ("ip.src in {10.0.0.0/8 ::1}", true),
        ("ip.src in {11.0.0.0/8 ::/0}", false),
        ("ip.src in {10.1.2.1..10.1.2.3}", true),
    ]);
}

#[test]
fn a_mapped_client_address_is_the_ipv4_address() {
    let headers = HeaderMap::new();
    let view = RequestView {
        client: "::ffff:10.1.2.3".parse().unwrap(),
        ..request(&headers)
    };
    assert!(matches("ip.src in {10.0.0.0/8}", &view));
    assert!(matches("ip.src eq ::ffff:10.1.2.3", &view));
}

#[test]
fn logical_operators_have_their_truth_tables() {
    assert_each(&[
        ("true", true),
        ("false", false),
        ("not false", true),
        ("true and false", false),
        ("true && true", true),
        ("false or true", true),
        ("false || false", false),
        ("true xor true", false),
        ("true ^^ false", true),
        ("true xor true xor true", true),
        ("true or true and false", true),
        ("(true or true) and false", false),
        ("true xor true and false", true),
        ("true or true xor true", true),
        ("not true or true", true),
        ("not (true or true)", false),
    ]);
}

#[test]
fn functions_compute_values() {
    assert_each(&[
        (
            r#"lower(http.request.uri.path) eq "/a/b/index.tar.gz""#,
            true,
        ),
        (r#"upper(http.request.method) eq "GET""#, true),
        (r#"upper(lower(http.user_agent)) eq "CURL/8""#, true),
        (r#"starts_with(http.request.uri.path, "/a/")"#, true),
        (r#"starts_with(http.request.uri.path, "/A/")"#, false),
        (r#"ends_with(lower(http.request.uri.path), ".gz")"#, true),
        (r#"not ends_with(http.request.uri.path, ".gz")"#, true),
        (r#"len(http.request.uri.args["q"][0]) gt 3"#, true),
        (r#"len(http.request.uri.args["q"]) eq 2"#, true),
    ]);
}

#[test]
fn any_and_all_look_at_every_element() {
    assert_each(&[
        (
            r#"any(http.request.headers["accept"][*] contains "image")"#,
            true,
        ),
        (
            r#"all(http.request.headers["accept"][*] contains "image")"#,
            false,
        ),
        (
            r#"all(http.request.headers["accept"][*] contains "/")"#,
            true,
        ),
        (
            r#"any(http.request.headers["absent"][*] contains "")"#,
            false,
        ),
        (
            r#"all(http.request.headers["absent"][*] contains "x")"#,
            true,
        ),
        (
            r#"any(upper(http.request.uri.args.names[*])[*] eq "FLAG")"#,
            true,
        ),
        (r#"any(len(http.request.uri.args["q"][*])[*] in {6})"#, true),
        (
            r#"all(not len(http.request.uri.args["q"][*])[*] in {6})"#,
            false,
        ),
        (
            r#"any(starts_with(http.request.headers.names[*], "x-"))"#,
            true,
        ),
        (
            r#"any(starts_with(lower(http.request.headers.names[*])[*], "y-")[*])"#,
            false,
        ),
        (
            r#"any(http.request.uri.args["q"][*] contains "red" and http.request.uri.args["q"][*] contains "apples")"#,
            true,
        ),
        (
            r#"any(http.request.uri.args["q"][*] contains "red" and http.request.uri.args["q"][*] contains "%")"#,
            false,
        ),
        (
            r#"not any(http.request.headers.names[*] eq "authorization")"#,
            true,
        ),
    ]);
}

#[test]
fn comparisons_with_missing_values_are_false_except_ne() {
    assert_each(&[
        (r#"http.request.headers["absent"][0] eq """#, false),
        (r#"http.request.headers["absent"][0] ne "a""#, true),
        (r#"not http.request.headers["absent"][0] eq "a""#, true),
        (r#"http.request.headers["absent"][0] contains """#, false),
        (r#"http.request.headers["absent"][0] matches """#, false),
        (r#"http.request.headers["absent"][0] wildcard "*""#, false),
        (r#"http.request.headers["absent"][0] in {""}"#, false),
        (r#"http.request.headers["absent"][0] ge """#, false),
        (r#"http.request.headers["accept"][2] eq "a""#, false),
        (r#"http.request.uri.args["absent"][0] eq """#, false),
        (r#"http.request.cookies["absent"][0] eq """#, false),
        (r#"lower(http.request.headers["absent"][0]) eq """#, false),
        (r#"lower(http.request.headers["absent"][0]) ne "a""#, true),
        (
            r#"starts_with(http.request.headers["absent"][0], "")"#,
            false,
        ),
        (r#"len(http.request.headers["absent"][0]) ge 0"#, false),
        (r#"len(http.request.headers["absent"][0]) ne 0"#, true),
        (r#"len(http.request.headers["absent"]) ge 0"#, false),
        (r#"len(http.request.headers["accept"]) ge 0"#, true),
    ]);
}

#[test]
fn a_source_which_is_too_long_is_refused_from_the_limit_on() {
    let fits = " ".repeat(MAX_SOURCE_LENGTH - 3) + "ssl";
    assert!(Expression::compile(&fits, &Environment::default()).is_ok());
    let errors = Expression::compile(&(fits + "é"), &Environment::default()).unwrap_err();
    let error = errors.first().unwrap();
    assert_eq!(error.span, MAX_SOURCE_LENGTH..MAX_SOURCE_LENGTH + 2);
}

#[test]
fn an_expression_keeps_its_source() {
    let expression = Expression::compile(" ssl ", &Environment::default()).unwrap();
    assert_eq!(expression.clone().source(), " ssl ");
}

const FRAGMENTS: &[&str] = &[
    "ssl",
    "http.host",
    "http.request.headers",
    ".names",
    "ip.src",
    "any(",
    "all(",
    "len(",
    "lower(",
    "starts_with(",
    "(",
    ")",
    "[*]",
    "[0]",
    "[\"a\"]",
    "{",
    "}",
    ",",
    " ",
    " ",
    "eq",
    "==",
    "=",
    "in",
    "contains",
    "matches",
    "wildcard",
    "strict",
    "not",
    "!",
    "and",
    "or",
    "xor",
    "^^",
    "\"a\"",
    "\"",
    "\"*a*\"",
    "r#\"",
    "\"#",
    "\\",
    "1",
    "0x",
    "1..2",
    "10.0.0.0/8",
    "::1",
    "fe80::",
    "..",
    "/",
    "$x",
    "é",
    "'",
];

/// Compiles, and checks that whatever is reported lies in the source.
fn compile_and_run(source: &str) -> Result<(), TestCaseError> {
    match Expression::compile(source, &Environment::default()) {
        Ok(expression) => {
            let headers = headers();
            expression.matches(&request(&headers));
        }
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(source.get(error.span.clone()).is_some(), "{:?}", error);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(source in any::<String>()) {
        compile_and_run(&source)?;
    }

    #[test]
    fn arbitrary_fragments_never_panic(
        fragments in prop::collection::vec(prop::sample::select(FRAGMENTS), 0..16),
        space in prop::sample::select(&["", " "][..]),
    ) {
        compile_and_run(&fragments.join(space))?;
    }

    #[test]
    fn ne_is_the_negation_of_eq(key in "[aqz]", position in 0usize..3, value in "(red\\+apples|x)?") {
        let headers = headers();
        let left = format!("http.request.uri.args[\"{key}\"][{position}]");
        prop_assert_eq!(
            matches(&format!("{left} ne \"{value}\""), &request(&headers)),
            matches(&format!("not {left} eq \"{value}\""), &request(&headers))
        );
    }
}
