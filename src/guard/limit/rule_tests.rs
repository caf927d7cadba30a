use http::{HeaderMap, Method, Version};

use super::*;
use crate::request::{Facts, Scheme};
use crate::rules::expression::Environment;

fn characteristic(text: &str) -> Characteristic {
    let source = match text {
        "ip.src" => CharacteristicSource::Client,
        "x-key" => CharacteristicSource::Header(HeaderName::from_static("x-key")),
        other => CharacteristicSource::Value(
            ValueExpression::compile(other, &Environment::default()).unwrap(),
        ),
    };
    Characteristic {
        text: text.to_owned(),
        source,
    }
}

fn rule(characteristics: &[&str]) -> LimitRule {
    LimitRule {
        counting: Counting::default(),
        characteristics: characteristics
            .iter()
            .map(|text| characteristic(text))
            .collect(),
        limit: 10,
        period: Duration::from_mins(1),
        mitigation_timeout: Duration::ZERO,
        action: LimitAction::Log,
        dry_run: false,
        tells: true,
        strict: false,
        on_failure: Failing::default(),
        identity: 1,
    }
}

struct Client<'a>(&'a str, &'a str, &'a [&'static str]);

fn key(characteristics: &[&str], Client(client, path, keys): &Client<'_>) -> Key {
    let mut headers = HeaderMap::new();
    for key in *keys {
        headers.append("x-key", HeaderValue::from_static(key));
    }
    let request = RequestView {
        method: &Method::GET,
        scheme: Scheme::Https,
        host: "example.com",
        path,
        query: None,
        version: Version::HTTP_11,
        headers: &headers,
        client: client.parse().unwrap(),
        session_cookie: false,
        has_body: false,
        facts: Facts::default(),
    };
    let rule = rule(characteristics);
    rule.key_of(rule.common(&request, Seed(1, 2)))
}

#[test]
fn requests_count_together_when_they_have_all_characteristics_in_common() {
    let one = Client("192.0.2.1", "/a", &["k"]);
    for (characteristics, other, same) in [
        (&["ip.src"][..], Client("192.0.2.1", "/b", &[]), true),
        (&["ip.src"], Client("::ffff:192.0.2.1", "/b", &[]), true),
        (&["ip.src"], Client("64:ff9b::192.0.2.1", "/b", &[]), true),
        (&["ip.src"], Client("64:ff9b::192.0.2.2", "/b", &[]), false),
        (&["ip.src"], Client("192.0.2.2", "/a", &["k"]), false),
        (
            &["ip.src", "http.request.uri.path"],
            Client("192.0.2.1", "/b", &[]),
            false,
        ),
        (&["x-key"], Client("192.0.2.9", "/b", &["k"]), true),
        (&["x-key"], Client("192.0.2.1", "/a", &["k", ""]), false),
        (&["x-key"], Client("192.0.2.1", "/a", &[]), false),
        (&["x-key"], Client("192.0.2.1", "/a", &[""]), false),
        (&["http.host"], Client("192.0.2.9", "/b", &[]), true),
        (
            &[r#"http.request.uri.args["q"][0]"#],
            Client("192.0.2.9", "/b", &[]),
            true,
        ),
    ] {
        let equal = key(characteristics, &one) == key(characteristics, &other);
        assert_eq!(equal, same, "{characteristics:?} {} {}", other.0, other.1);
    }
    let v6 = |address| key(&["ip.src"], &Client(address, "/", &[]));
    assert_eq!(v6("2001:db8:1:2::1"), v6("2001:db8:1:2:ffff::9"));
    assert_ne!(v6("2001:db8:1:2::1"), v6("2001:db8:1:3::1"));
}

#[test]
fn keys_depend_on_seed_and_rule_and_neighbouring_values_do_not_run_together() {
    let client = Client("192.0.2.1", "/a", &["ab", "c"]);
    let other = Client("192.0.2.1", "/a", &["a", "bc"]);
    assert_ne!(key(&["x-key"], &client), key(&["x-key"], &other));
    let mut first = rule(&["ip.src"]);
    let expression = Expression::compile("true", &Environment::default()).unwrap();
    first.identify("site", "a", &expression);
    let mut second = first.clone();
    second.identify("other", "a", &expression);
    assert_ne!(first.identity, second.identity);
    second.limit = 99;
    second.identify("site", "a", &expression);
    assert_eq!(first.identity, second.identity);
}

#[test]
fn fields_tell_when_to_come_back_and_what_is_left() {
    let text = |verdict| {
        let fields = rule(&[]).fields("log\"in", &verdict);
        let lines = fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        lines.collect::<Vec<_>>()
    };
    let within = Verdict::Within {
        remaining: 7,
        reset: Duration::from_millis(30_500),
    };
    assert_eq!(
        text(within),
        [
            r#"ratelimit-policy: "log\"in";q=10;w=60"#,
            r#"ratelimit: "log\"in";r=7;t=31"#
        ]
    );
    let over = Verdict::Over {
        retry_after: Duration::from_millis(1),
    };
    assert_eq!(text(over)[0], "retry-after: 1");
    assert_eq!(text(over)[2], r#"ratelimit: "log\"in";r=0;t=1"#);
}

#[test]
fn an_answer_counts_by_what_it_is() {
    let expression = Expression::compile(
        "http.response.code eq 401",
        &Environment {
            lists: None,
            response: true,
            tokens: None,
        },
    );
    let counting = Counting {
        expression: Some(expression.unwrap()),
        by_response: true,
        to_origin: true,
        score: Some(HeaderName::from_static("x-score")),
    };
    let method = Method::POST;
    let headers = HeaderMap::new();
    let request = RequestView {
        method: &method,
        scheme: Scheme::Https,
        host: "example.com",
        path: "/login",
        query: None,
        version: Version::HTTP_11,
        headers: &headers,
        client: [192, 0, 2, 1].into(),
        session_cookie: false,
        has_body: true,
        facts: Facts::default(),
    };
    for (status, score, origin, expected) in [
        (401, Some("25"), true, 25),
        (401, Some("25"), false, 0),
        (200, Some("25"), true, 0),
        (401, None, true, 0),
        (401, Some("many"), true, 0),
        (401, Some("-3"), true, 0),
        (401, Some("99999999999999999999"), true, u32::MAX),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(score) = score {
            headers.insert("x-score", HeaderValue::from_static(score));
        }
        let response = ResponseView {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
        };
        let weight = counting.weight(&request, &response, origin);
        assert_eq!(weight, expected, "{status} {score:?} {origin}");
    }
}
