//! Expressions as Cloudflare's documentation and dashboards write them, and what they mean there.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::*;
use crate::request::{Facts, Scheme, SplitChoice};
use crate::rules::{List, Lists};

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

fn request_headers() -> HeaderMap {
    map(&[
        ("accept", "application/json"),
        (
            "accept-language",
            "fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5, nl;q=0",
        ),
        ("content-type", "application/json"),
        ("cookie", "session=8ace; theme=dark"),
        (
            "user-agent",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5) Mobile/15E148 curl",
        ),
        ("referer", "https://www.example.com/"),
        ("x-categories", "groceries,electronics,diy,auto"),
        (
            "x-json",
            r#"{"company":"cloudflare","ids":[123,456],"deep":{"id":356}}"#,
        ),
        ("x-token", "a%2520b+c"),
    ])
}

fn response_headers() -> HeaderMap {
    map(&[
        ("content-type", "Text/HTML; charset=utf-8"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("cache-control", "private"),
    ])
}

fn splits() -> [SplitChoice; 1] {
    [SplitChoice {
        split: "checkout".into(),
        variant: "b".into(),
    }]
}

pub(super) fn request<'r>(headers: &'r HeaderMap, splits: &'r [SplitChoice]) -> RequestView<'r> {
    RequestView {
        method: &Method::POST,
        scheme: Scheme::Https,
        host: "www.example.com",
        path: "/Apps/calendar/login.html",
        query: Some("category=Foo&order=desc&category=Bar&filter=waf&filter=botm"),
        version: Version::HTTP_2,
        headers,
        client: IpAddr::from([113, 10, 0, 2]),
        session_cookie: false,
        has_body: true,
        facts: Facts {
            unix_seconds: 1_700_000_000,
            body_size: Some(2048),
            country: Some(*b"DE"),
            asn: Some(64500),
            verified_bot: true,
            raw_target: Some("/before?x=1"),
            splits,
        },
    }
}

pub(super) fn lists() -> Lists {
    let mut lists = Lists::default();
    for (name, text) in [
        ("office", "113.10.0.0/24\n2001:db8::/32"),
        ("elsewhere", "198.51.100.0/24"),
        ("hosts", "example.com\nwww.example.com"),
        ("asns", "64500..64510\n13335"),
        ("empty", ""),
    ] {
        lists.insert(name.to_owned(), List::of_lines(None, text).unwrap());
    }
    lists
}

fn matches(source: &str) -> bool {
    let (lists, headers, splits) = (lists(), request_headers(), splits());
    let answered = response_headers();
    let environment = Environment {
        lists: Some(&lists),
        response: true,
        tokens: None,
    };
    let response = ResponseView {
        status: StatusCode::NOT_FOUND,
        headers: &answered,
    };
    Expression::compile(source, &environment)
        .unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
        .matches_response(&request(&headers, &splits), &response)
}

fn value(source: &str) -> Option<String> {
    let (lists, headers, splits) = (lists(), request_headers(), splits());
    let environment = Environment {
        lists: Some(&lists),
        response: false,
        tokens: None,
    };
    ValueExpression::compile(source, &environment)
        .unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
        .evaluate(&request(&headers, &splits), None)
        .map(|text| String::from_utf8(text).unwrap())
}

#[test]
fn expressions_select_what_the_documentation_says() {
    for (source, expected) in [
        (r#"(http.host eq "www.example.com")"#, true),
        (
            r#"(http.host eq "www.example.com" and http.request.uri.path contains "/login")"#,
            true,
        ),
        (r#"(http.host in {"example.com" "example.net"})"#, false),
        (r#"(http.request.uri.path wildcard r"/apps/*")"#, true),
        (
            r#"(http.request.uri.path strict wildcard r"/apps/*")"#,
            false,
        ),
        (
            r#"(http.request.full_uri wildcard "https://*.example.com/*/login.html*")"#,
            true,
        ),
        (r#"(http.request.full_uri wildcard r"https://www.*")"#, true),
        (r#"(http.request.full_uri wildcard "example.com/*")"#, false),
        (r#"(http.request.method eq "POST")"#, true),
        (r#"(http.request.method in {"GET" "HEAD"})"#, false),
        (
            r#"(http.request.uri.path matches "^/(?i:apps)/.*\.html$")"#,
            true,
        ),
        (r##"(http.request.uri.path matches r#"/[aA]pps"#)"##, true),
        (r#"lower(http.request.uri.path) contains "/apps/""#, true),
        (r"(ip.src eq 113.10.0.2)", true),
        (
            "(ip.src in {198.51.100.1 198.51.100.3..198.51.100.7 113.10.0.0/24 2001:db8::/32})",
            true,
        ),
        ("(ip.src in $office)", true),
        ("(not ip.src in $elsewhere)", true),
        ("(ip.src in $empty)", false),
        ("(http.host in $hosts)", true),
        ("(http.host in $empty)", false),
        ("(ip.src.asnum in $asns) and ip.geoip.asnum eq 64500", true),
        ("(cidr(ip.src, 24, 64) eq 113.10.0.0)", true),
        ("(cidr6(ip.src, 24) eq 113.10.0.2)", true),
        (
            r#"(ip.src.country in {"CN" "DE"}) and ip.geoip.country ne "US""#,
            true,
        ),
        (
            r#"(ip.src.continent eq "EU" and ip.src.is_in_european_union)"#,
            true,
        ),
        ("(ip.src.is_in_european_union eq true)", true),
        ("(ssl eq false)", false),
        ("(ssl ne true) or not ssl == true", false),
        ("(not ssl)", false),
        (
            r#"any(http.request.headers["content-type"][*] == "application/json")"#,
            true,
        ),
        (
            r#"any(http.request.headers["x-categories"][*] contains "diy")"#,
            true,
        ),
        (
            r#"any(lower(http.request.headers.names[*])[*] == "content-type")"#,
            true,
        ),
        (
            r#"any(http.request.headers.values[*] contains "iPhone")"#,
            true,
        ),
        (
            r#"not any(http.request.headers.names[*] eq "authorization")"#,
            true,
        ),
        (r#"len(http.request.headers["x-missing"]) == 0"#, false),
        (r#"len(http.request.uri.args["filter"]) >= 0"#, true),
        (r#"not len(http.request.uri.args["nothing"]) >= 0"#, true),
        (
            r#"all(len(http.request.uri.args["filter"][*])[*] in {3 4})"#,
            true,
        ),
        (r#"http.request.uri.args["order"][0] eq "desc""#, true),
        (r#"any(http.request.uri.args.values[*] eq "Bar")"#, true),
        (r#"http.request.cookies["session"][0] eq "8ace""#, true),
        (
            r#"(http.cookie contains "session=" and http.user_agent contains "curl")"#,
            true,
        ),
        (
            r#"any(url_decode(http.request.headers["x-token"][*], "r")[*] eq "a b c")"#,
            true,
        ),
        (
            r#"url_decode(http.request.uri.query) contains "category=Foo""#,
            true,
        ),
        (
            r#"lookup_json_string(http.request.headers["x-json"][0], "company") == "cloudflare""#,
            true,
        ),
        (
            r#"lookup_json_integer(http.request.headers["x-json"][0], "ids", 1) == 456"#,
            true,
        ),
        (
            r#"lookup_json_integer(http.request.headers["x-json"][0], "deep", "id") in {300..400}"#,
            true,
        ),
        (
            r#"lookup_json_integer(http.request.headers["x-json"][0], "nothing") == 0"#,
            false,
        ),
        (
            r#"any(split(http.request.headers["x-categories"][0], ",", 64)[*] eq "diy")"#,
            true,
        ),
        (
            r#"split(http.request.headers["x-categories"][0], ",", 3)[2] eq "diy,auto""#,
            true,
        ),
        (
            r#"split(lower(http.request.headers["x-categories"][0]), ",", 64)[1] eq "electronics""#,
            true,
        ),
        (
            r#"len(split(http.request.headers["x-categories"][0], ",", 64)) eq 4"#,
            true,
        ),
        (
            r#"http.request.accepted_languages[0] eq "fr-ch" and http.request.accepted_languages[4] eq "*""#,
            true,
        ),
        (r#"any(http.request.accepted_languages[*] eq "nl")"#, false),
        (r#"substring(http.request.uri.path, 0, 5) eq "/Apps""#, true),
        (r#"substring(http.request.uri.path, -5) eq ".html""#, true),
        (
            r#"remove_bytes(http.host, "\x2e\x77") eq "examplecom""#,
            true,
        ),
        (r#"regex_replace("/a/a", "/a", "/b") == "/b/a""#, true),
        (
            "(http.request.body.size ge 2048 and http.request.timestamp.sec gt 1699999999)",
            true,
        ),
        (
            r#"(raw.http.request.uri.path eq "/before" and raw.http.request.uri.query eq "x=1")"#,
            true,
        ),
        (r#"raw.http.request.uri eq "/before?x=1""#, true),
        (
            r#"raw.http.request.full_uri eq "https://www.example.com/before?x=1""#,
            true,
        ),
        (r"(http.response.code eq 404)", true),
        ("(http.response.code in {400..499})", true),
        (
            r#"(http.response.content_type.media_type eq "text/html")"#,
            true,
        ),
        (
            r#"(http.response.content_type.media_type in {"text/css" "text/javascript"})"#,
            false,
        ),
        (
            r#"any(http.response.headers["set-cookie"][*] contains "b=")"#,
            true,
        ),
        (
            r#"any(http.response.headers.names[*] eq "set-cookie")"#,
            true,
        ),
        (
            r#"any(http.response.headers.values[*] contains "private")"#,
            true,
        ),
        (r#"seawall.device_class eq "mobile""#, true),
        (r#"seawall.splits["checkout"][0] eq "b""#, true),
        (r#"seawall.splits["other"][0] eq "b""#, false),
        (
            r#"(
 (http.host eq "api.example.com" and http.request.uri.path eq "/api/v2/auth") or
 (http.host matches "^(www|store|blog)\.example\.com" and http.request.uri.path contains "login") or
 ip.geoip.country in {"CN" "TH" "US"} or ip.geoip.asnum in {12345 54321 11111}
) and not ip.src in {11.22.33.0/24}"#,
            true,
        ),
    ] {
        assert_eq!(matches(source), expected, "{source}");
    }
}

#[test]
fn values_are_what_the_documentation_says() {
    for (source, expected) in [
        (r#""/a literal""#, "/a literal"),
        (r#"r"\d""#, r"\d"),
        ("http.host", "www.example.com"),
        ("ip.src", "113.10.0.2"),
        ("ssl", "true"),
        ("not ssl", "false"),
        ("http.request.timestamp.sec", "1700000000"),
        (
            r#"concat("https://", http.host, http.request.uri.path)"#,
            "https://www.example.com/Apps/calendar/login.html",
        ),
        (r#"concat("String1", " ", "String", 2)"#, "String1 String2"),
        (
            r#"concat("/", lower(ip.src.country), http.request.uri.path)"#,
            "/de/Apps/calendar/login.html",
        ),
        (
            r#"regex_replace(http.request.uri.path, "^/Apps/([^/]*)/(.*)$", "/${2}/${1}")"#,
            "/login.html/calendar",
        ),
        (
            r#"regex_replace(http.request.uri.path, "^/nothing$", "/x")"#,
            "/Apps/calendar/login.html",
        ),
        (r#"regex_replace("/foo/bar", "/bar$", "/baz")"#, "/foo/baz"),
        (r#"regex_replace("/b", "^/b$", "/b$$")"#, "/b$"),
        (
            r#"wildcard_replace(http.request.uri.path, "/apps/*", "/${1}")"#,
            "/calendar/login.html",
        ),
        (
            r#"wildcard_replace(http.request.uri.path, "/apps/*", "/${1}", "s")"#,
            "/Apps/calendar/login.html",
        ),
        (
            r#"wildcard_replace(http.request.full_uri, r"https://*.example.com/*/*", r"https://example.com/${1}/${2}/${3}")"#,
            "https://example.com/www/Apps/calendar/login.html?category=Foo&order=desc&category=Bar&filter=waf&filter=botm",
        ),
        (
            r#"remove_query_args(http.request.uri.query, "category", "filter")"#,
            "order=desc",
        ),
        (
            r#"remove_query_args(http.request.uri.query, "search")"#,
            "category=Foo&order=desc&category=Bar&filter=waf&filter=botm",
        ),
        (r#"url_decode("John%20Doe")"#, "John Doe"),
        (r#"url_decode("%2520")"#, "%20"),
        (r#"url_decode("%2520", "r")"#, " "),
        (r#"url_decode("%u2601", "u")"#, "☁"),
        ("to_string(ssl)", "true"),
        ("to_string(len(http.host))", "15"),
        ("cidr(ip.src, 24, 24)", "113.10.0.0"),
        (
            r"to_string(cidr(2001:0:130f::9c0:876a:130b, 24, 24))",
            "2001::",
        ),
        (
            r#"join(http.request.headers.names, ",")"#,
            "accept,accept-language,content-type,cookie,user-agent,referer,x-categories,x-json,x-token",
        ),
        (
            r#"join(split(http.request.headers["x-categories"][0], ",", 64), " ")"#,
            "groceries electronics diy auto",
        ),
        (
            r#"join(http.request.accepted_languages, ">")"#,
            "fr-ch>fr>en>de>*",
        ),
        (
            r#"lookup_json_string(http.request.headers["x-json"][0], "company")"#,
            "cloudflare",
        ),
        (r"upper(substring(http.host, 4, 11))", "EXAMPLE"),
        (r#"http.request.headers["accept"][0]"#, "application/json"),
    ] {
        assert_eq!(value(source).as_deref(), Some(expected), "{source}");
    }
}

#[test]
fn what_is_missing_gives_no_value() {
    for source in [
        r#"http.request.headers["x-missing"][0]"#,
        r#"concat("a", http.request.headers["x-missing"][0])"#,
        r#"upper(http.request.headers["accept"][1])"#,
        r#"join(http.request.headers["x-missing"], ",")"#,
        r#"split(http.request.headers["x-missing"][0], ",", 2)[0]"#,
        r#"lookup_json_string(http.request.headers["x-json"][0], "ids")"#,
        r#"regex_replace(http.request.headers["x-missing"][0], "a", "b")"#,
    ] {
        assert_eq!(value(source), None, "{source}");
    }
}
