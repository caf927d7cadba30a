use http::{HeaderMap, Method, Version};

use super::*;
use crate::cache::fixtures::map;
use crate::request::{Facts, Scheme};
use crate::zone::HostPattern;

fn view<'a>(path: &'a str, query: Option<&'a str>, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        method: &Method::GET,
        scheme: Scheme::Https,
        host: "shop.test",
        path,
        query,
        version: Version::HTTP_11,
        headers,
        client: [192, 0, 2, 1].into(),
        session_cookie: false,
        has_body: false,
        facts: Facts::default(),
    }
}

fn found(filters: &RequestFilters, request: &RequestView<'_>) -> Vec<&'static str> {
    filters.find(request).map(|found| found.filter).collect()
}

/// Only this switch.
fn only(name: &str) -> RequestFilters {
    let switches = Switch::ALL.iter();
    let switch = switches.filter(|(known, ..)| *known == name);
    RequestFilters {
        switches: switch
            .map(|(name, switch, _)| (*name, *switch, Reaction::Block))
            .collect(),
        limits: Vec::new(),
        ..RequestFilters::default()
    }
}

fn limited(name: &str, most: usize) -> RequestFilters {
    let limits = Limit::ALL.iter().filter(|(known, ..)| *known == name);
    RequestFilters {
        switches: Vec::new(),
        limits: limits
            .map(|(name, limit, _, status)| (*name, *limit, most, *status, Reaction::Block))
            .collect(),
        ..RequestFilters::default()
    }
}

#[test]
fn ordinary_requests_pass_the_defaults() {
    let filters = RequestFilters::default();
    let long = "x".repeat(4000);
    let code =
        format!("code={long}&state=https%3A%2F%2Fshop.test%2Fa%3Fb%3Dc&scope=openid%20email");
    let graphql = "query=%7B%0A%20%20user(id%3A%201)%20%7B%0A%20%20%20%20name%0A%20%20%7D%0A%7D";
    let columns: Vec<_> = (0..300)
        .map(|n| format!("columns%5B{n}%5D%5Bdata%5D=x"))
        .collect();
    let columns = columns.join("&");
    for (path, query) in [
        ("/", None),
        ("/oauth/callback", Some(&*code)),
        ("/graphql", Some(graphql)),
        ("/admin/shop/order/", Some(&*columns)),
        (
            "/_next/image",
            Some("url=%2F_next%2Fstatic%2Fmedia%2Fa.jpg&w=640&q=75"),
        ),
        ("/_next/static/chunks/app/%5Bslug%5D/page-1a2b.js", None),
        (
            "/rails/active_storage/blobs/eyJfcmFpbHM%3D--abc/My%20File.pdf",
            None,
        ),
        ("/%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82/", Some("q=100%25")),
        ("/search", Some("q=50%+off")),
        ("/a;jsessionid=1/b", Some("next=../c")),
    ] {
        let headers = map(&[
            ("user-agent", "x"),
            ("cookie", "a=1; b=2"),
            ("accept", "text/html"),
            ("accept", "*/*"),
        ]);
        let request = view(path, query, &headers);
        assert_eq!(found(&filters, &request), [""; 0], "{path}");
    }
}

#[test]
fn each_switch_finds_what_it_is_about_and_nothing_else() {
    let none = map(&[]);
    for (switch, path, query, held) in [
        ("path_traversal", "/a/..%2Fb", None, true),
        ("path_traversal", "/a/b", Some("x=..%2F"), false),
        ("control_characters", "/a%01b", None, true),
        ("control_characters", "/a%7Fb", None, true),
        ("control_characters", "/a%20b%71", Some("x=%0A"), false),
        ("null_in_query", "/", Some("x=a%00b"), true),
        ("null_in_query", "/", Some("x=a%0Ab%2500"), false),
        ("query_traversal", "/", Some("f=a&g=..%2F..%2Fetc"), true),
        ("query_traversal", "/", Some("g=../x"), true),
        ("query_traversal", "/", Some("../../etc/passwd=x"), true),
        ("query_traversal", "/", Some("..%2Fetc"), true),
        ("query_traversal", "/", Some("g=a..b&h=.../x"), false),
        ("query_escapes", "/", Some("q=50%+off"), true),
        ("query_escapes", "/", Some("q=50%25"), false),
        ("no_user_agent", "/", None, true),
    ] {
        let request = view(path, query, &none);
        let expected: Vec<&str> = [switch].into_iter().filter(|_| held).collect();
        assert_eq!(found(&only(switch), &request), expected, "{path} {query:?}");
    }
}

#[test]
fn fields_that_have_one_value_are_there_once() {
    let filters = only("repeated_fields");
    for (fields, held) in [
        (vec![("accept", "a"), ("accept", "b")], false),
        (
            vec![("x-a", "a"), ("x-a", "b"), ("content-type", "a/b")],
            false,
        ),
        (vec![("content-type", "a/b"), ("content-type", "c/d")], true),
        (vec![("authorization", "a"), ("authorization", "a")], true),
    ] {
        let headers = map(&fields);
        let request = view("/", None, &headers);
        assert_eq!(!found(&filters, &request).is_empty(), held, "{fields:?}");
    }
}

#[test]
fn fields_that_override_the_request_are_told_by_name_and_method() {
    let filters = only("override_fields");
    for (name, method, held) in [
        ("x-original-url", Method::GET, true),
        ("x-rewrite-url", Method::POST, true),
        ("x-http-method-override", Method::GET, true),
        ("x-http-method-override", Method::POST, false),
        ("x-forwarded-for", Method::GET, false),
    ] {
        let headers = map(&[(name, "x")]);
        let request = RequestView {
            method: &method,
            ..view("/", None, &headers)
        };
        assert_eq!(
            !found(&filters, &request).is_empty(),
            held,
            "{name} {method}"
        );
    }
}

#[test]
fn a_body_of_get_is_found_where_it_is_looked_for() {
    let headers = map(&[]);
    let request = RequestView {
        has_body: true,
        ..view("/", None, &headers)
    };
    assert_eq!(found(&only("body_of_get"), &request), ["body_of_get"]);
    let post = RequestView {
        method: &Method::POST,
        ..request
    };
    assert_eq!(found(&only("body_of_get"), &post), [""; 0]);
}

#[test]
fn what_is_as_large_as_allowed_passes_and_one_more_does_not() {
    let headers = map(&[("cookie", "a=1; b=2; c=3"), ("x-long", "0123456789")]);
    let request = view("/abc/de", Some("a=1&bb=2"), &headers);
    for (limit, size) in [
        ("max_path_length", 7),
        ("max_path_segments", 2),
        ("max_segment_length", 3),
        ("max_query_length", 8),
        ("max_arguments", 2),
        ("max_argument_length", 4),
        ("max_field_length", 13),
        ("max_cookies", 3),
    ] {
        assert_eq!(found(&limited(limit, size), &request), [""; 0], "{limit}");
        assert_eq!(found(&limited(limit, size - 1), &request), [limit]);
    }
    let empty = map(&[]);
    for (limit, ..) in Limit::ALL {
        let request = view("/", None, &empty);
        assert_eq!(found(&limited(limit, 1), &request), [""; 0], "{limit}");
    }
}

#[test]
fn methods_and_media_types_may_be_listed() {
    let filters = RequestFilters {
        methods: Some((vec!["GET".into(), "POST".into()], Reaction::Block)),
        content_types: Some((
            vec!["application/json".into(), "image/*".into()],
            Reaction::Log,
        )),
        ..RequestFilters::default()
    };
    for (method, content_type, expected) in [
        (Method::GET, None, vec![]),
        (Method::DELETE, None, vec!["allowed_methods"]),
        (Method::POST, None, vec!["allowed_content_types"]),
        (
            Method::POST,
            Some("Application/JSON; charset=utf-8"),
            vec![],
        ),
        (Method::POST, Some("image/png"), vec![]),
        (
            Method::POST,
            Some("text/xml"),
            vec!["allowed_content_types"],
        ),
    ] {
        let fields: Vec<_> = content_type
            .map(|value| ("content-type", value))
            .into_iter()
            .collect();
        let headers = map(&fields);
        let request = RequestView {
            method: &method,
            has_body: method == Method::POST,
            ..view("/", None, &headers)
        };
        assert_eq!(
            found(&filters, &request),
            expected,
            "{method} {content_type:?}"
        );
    }
    let (name, value) = filters.fields(ALLOWED_METHODS).unwrap();
    assert_eq!(
        (name.as_str(), value.to_str().unwrap()),
        ("allow", "GET, POST")
    );
    assert_eq!(filters.fields("max_cookies"), None);
}

#[test]
fn a_picture_is_for_pages_of_the_site_and_of_its_friends() {
    let hotlinks = Hotlinks {
        extensions: vec!["jpg".into(), "png".into()],
        allowed: vec![HostPattern::parse("*.friend.test").unwrap()],
        without_referer: true,
    };
    let filters = |hotlinks: &Hotlinks| RequestFilters {
        hotlinks: Some((hotlinks.clone(), Reaction::Block)),
        ..RequestFilters::default()
    };
    for (path, referer, held) in [
        ("/a.jpg", "https://shop.test/page", false),
        ("/a.jpg", "https://SHOP.test:8443/page", false),
        ("/a.jpg", "https://www.friend.test/", false),
        ("/a.jpg", "", false),
        ("/a.PNG", "https://thief.test/", true),
        ("/a.jpg", "https://thief.test/shop.test", true),
        ("/a.jpg", "https://shop.test.thief.test/", true),
        ("/a.jpg", "https://shop.test@thief.test/", true),
        ("/a.jpg", "https://thief.test\\@shop.test/", true),
        ("/a.jpg", "https://friend.test/", true),
        ("/a.jpg", "android-app://shop.test/", true),
        ("/a.jpg", "null", true),
        ("/a.jpg", "data:text/html,https://shop.test/", true),
        ("/a.jpg", "https://shop.test", false),
        (
            "/a.jpg",
            "https://shop.test/?from=https://thief.test/",
            false,
        ),
        ("/a.jpg", "https://shop.test/s\u{f8}k", false),
        ("/a.jpg;x", "https://thief.test/", true),
        ("/a.jpg", "nonsense", true),
        ("/a.html", "https://thief.test/", false),
        ("/jpg", "https://thief.test/", false),
    ] {
        let headers = map(&[("referer", referer)]);
        let request = view(path, None, &headers);
        let found = found(&filters(&hotlinks), &request);
        assert_eq!(!found.is_empty(), held, "{path} {referer}");
    }
    let strict = Hotlinks {
        without_referer: false,
        ..hotlinks
    };
    let headers = map(&[]);
    let request = view("/a.jpg", None, &headers);
    assert_eq!(found(&filters(&strict), &request), ["hotlink_protection"]);
}
