//! What a request costs before anything is read from a socket or a store: reading its head, finding
//! its zone, evaluating its rules, making its key, and deciding about its answer.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark, not a library"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, UNIX_EPOCH};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method, StatusCode, Version};
use seawall::cache::eligibility::eligibility;
use seawall::cache::key::CacheKey;
use seawall::cache::response::{ExchangeTimes, ResponseView};
use seawall::cache::reuse::{Found, OriginState, StoredTimes, decide_reuse};
use seawall::cache::settings::VarySettings;
use seawall::cache::storing::{StoreDecision, decide_storing};
use seawall::config::Config;
use seawall::edge::head::{HeadLimits, check};
use seawall::fields::request_control::RequestControl;
use seawall::fields::vary::Vary;
use seawall::request::{RequestView, Scheme};
use seawall::rules::expression::{Environment, Expression, ValueExpression};
use seawall::rules::{List, Lists, Rule, RuleSource, Ruleset};
use seawall::zone::{Authority, canonical_path};

const CONFIG: &str = include_str!("../conf/seawall.toml");
const HEAD: &[u8] = b"GET /catalog/boats/?page=2 HTTP/1.1\r\nHost: shop.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Cookie: theme=dark; _ga=GA1.1.111111111.1700000000\r\nConnection: keep-alive\r\n\r\n";

fn config() -> Config {
    seawall::config::parse("conf/seawall.toml", CONFIG, &|_| None).unwrap()
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "shop.example"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101",
        ),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "theme=dark; _ga=GA1.1.111111111.1700000000"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    headers
}

fn view(headers: &HeaderMap) -> RequestView<'_> {
    RequestView {
        method: &Method::GET,
        scheme: Scheme::Https,
        host: "shop.example",
        path: "/catalog/boats/",
        query: Some("page=2"),
        version: Version::HTTP_11,
        headers,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        session_cookie: false,
        has_body: false,
        facts: seawall::request::Facts::default(),
    }
}

fn arrival(criterion: &mut Criterion) {
    let limits = HeadLimits {
        size: 32 << 10,
        fields: 100,
        target: 8 << 10,
    };
    criterion.bench_function("head check", |bench| {
        bench.iter(|| check(black_box(HEAD), limits));
    });
    criterion.bench_function("authority", |bench| {
        bench.iter(|| Authority::parse(black_box("Shop.Example:8080"), Scheme::Http));
    });
    criterion.bench_function("canonical path", |bench| {
        bench.iter(|| canonical_path(black_box("/catalog/boats/old%20town.html")).map(|p| p.len()));
    });
}

fn decisions(criterion: &mut Criterion) {
    let config = config();
    let rules = &config.zones.first().unwrap().rules.cache_rules;
    let headers = headers();
    let request = view(&headers);
    let settings = rules.evaluate(&request);
    criterion.bench_function("rules of the example shop (13)", |bench| {
        bench.iter(|| rules.evaluate(black_box(&request)));
    });
    criterion.bench_function("eligibility", |bench| {
        bench.iter(|| eligibility(black_box(&request), &settings));
    });
    criterion.bench_function("cache key", |bench| {
        bench.iter(|| CacheKey::of("shop", "shop.test", black_box(&request), None).encode());
    });
    let mut answer = HeaderMap::new();
    answer.insert("cache-control", "public, max-age=60".parse().unwrap());
    answer.insert("content-type", "text/html; charset=utf-8".parse().unwrap());
    answer.insert(
        "etag",
        "\"683e771b6d28b798670df9eea56760c1\"".parse().unwrap(),
    );
    let response = ResponseView {
        status: StatusCode::OK,
        headers: &answer,
    };
    let received = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let times = ExchangeTimes {
        requested: received,
        received,
    };
    let asked = RequestControl::default();
    criterion.bench_function("storing decision", |bench| {
        bench.iter(|| decide_storing(black_box(&request), &asked, &response, &settings, &times));
    });
    let StoreDecision::Store(lifetimes) =
        decide_storing(&request, &asked, &response, &settings, &times)
    else {
        return;
    };
    let stored = StoredTimes::new(&lifetimes, received, true);
    criterion.bench_function("reuse decision", |bench| {
        bench.iter(|| {
            let asked = RequestControl::of(black_box(&headers));
            decide_reuse(
                &asked,
                Found::Complete(&stored),
                OriginState::Unasked,
                received,
            )
        });
    });
    answer.insert("vary", "accept-encoding, accept-language".parse().unwrap());
    let vary = Vary::of(&answer);
    criterion.bench_function("selecting key", |bench| {
        bench.iter(|| vary.selecting_key(black_box(&headers), &VarySettings::default()));
    });
}

/// So many rules, each for a host, a prefix or an extension of its own, as a zone might have.
fn ruleset(count: usize) -> Ruleset<()> {
    let rule = |number: usize| {
        let source = match number % 3 {
            0 => format!("http.host eq \"h{number}.test\" and ssl"),
            1 => format!("http.request.uri.path wildcard \"/section-{number}/*\""),
            _ => format!("http.request.uri.path.extension in {{\"e{number}\" \"f{number}\"}}"),
        };
        Rule {
            name: format!("rule {number}"),
            source: RuleSource {
                file: "bench".into(),
                line: 1,
            },
            expression: Expression::compile(&source, &Environment::default()).unwrap(),
            expires: None,
            lint_allow: Vec::new(),
            action: (),
        }
    };
    Ruleset::new((0..count).map(rule).collect())
}

fn rules(criterion: &mut Criterion) {
    let headers = headers();
    let request = view(&headers);
    for (name, source) in [
        (
            "an expression: host and prefix",
            r#"(http.host eq "shop.example" and http.request.uri.path wildcard "/catalog/*")"#,
        ),
        (
            "an expression: extension, cookie and header",
            r#"not http.request.uri.path.extension in {"css" "js"} and http.cookie contains "theme=" and any(http.request.headers["accept-encoding"][*] contains "br")"#,
        ),
    ] {
        let expression = Expression::compile(source, &Environment::default()).unwrap();
        assert!(expression.matches(&request));
        criterion.bench_function(name, |bench| {
            bench.iter(|| expression.matches(black_box(&request)));
        });
    }
    let source = r#"concat("https://", http.host, regex_replace(http.request.uri.path, "^/catalog/(.*)$", "/c/${1}"))"#;
    let value = ValueExpression::compile(source, &Environment::default()).unwrap();
    criterion.bench_function("a value: concat and regex_replace", |bench| {
        bench.iter(|| value.evaluate(black_box(&request), None));
    });
    let addresses: Vec<String> = (0..200_000_u32)
        .map(|number| Ipv4Addr::from(number * 2).to_string())
        .collect();
    let addresses = addresses.join("\n");
    let mut lists = Lists::default();
    lists.insert("l".to_owned(), List::of_lines(None, &addresses).unwrap());
    let environment = Environment {
        lists: Some(&lists),
        response: false,
        tokens: None,
    };
    let listed = Expression::compile("ip.src in $l", &environment).unwrap();
    criterion.bench_function("an address in a list of 200,000", |bench| {
        bench.iter(|| listed.matches(black_box(&request)));
    });
    for count in [10, 100, 1000, 10_000] {
        let rules = ruleset(count);
        criterion.bench_function(&format!("{count} rules of other sites"), |bench| {
            bench.iter(|| rules.matching(black_box(&request)).count());
        });
        if count <= 1000 {
            criterion.bench_function(&format!("{count} rules, tried one by one"), |bench| {
                bench.iter(|| {
                    let rules = rules.rules().iter();
                    rules
                        .filter(|rule| rule.expression.matches(black_box(&request)))
                        .count()
                });
            });
        }
    }
}

criterion_group!(benches, arrival, decisions, rules);
criterion_main!(benches);
