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
use seawall::guard::RateLimiter;
use seawall::guard::challenge::{
    Claim, Holder, Keys, Kind, Visitor, clearance, demand, has_own_cookie,
};
use seawall::guard::client::{Networks, Trust, identify};
use seawall::guard::connections::{ClientLimits, Clients};
use seawall::guard::limit::{NoCounters, Seed};
use seawall::guard::limiter::Counting;
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

fn clients(criterion: &mut Criterion) {
    let networks: Vec<String> = (0..24_u8).map(|net| format!("172.{net}.0.0/16")).collect();
    let own = List::new(None, networks.iter().map(String::as_str).enumerate()).unwrap();
    let trust = Trust {
        proxies: Networks {
            own,
            lists: Vec::new(),
        },
        ..Trust::default()
    };
    let mut fields = headers();
    fields.insert(
        "x-forwarded-for",
        "198.51.100.7, 172.3.0.9".parse().unwrap(),
    );
    for (name, peer, trust) in [
        (
            "client: nobody is trusted",
            [172, 1, 0, 1],
            &Trust::default(),
        ),
        ("client: a stranger", [203, 0, 113, 9], &trust),
        ("client: two hops", [172, 1, 0, 1], &trust),
    ] {
        let peer = IpAddr::from(peer);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| identify(black_box(peer), &fields, trust).client);
        });
    }
    let limits = ClientLimits {
        request_rate: Some(1_000_000),
        ..ClientLimits::default()
    };
    let clients = Clients::default();
    let client = IpAddr::from([203, 0, 113, 9]);
    let place = clients.connect(client, &limits, Duration::ZERO).unwrap();
    let place = place.unwrap();
    let mut now = Duration::ZERO;
    criterion.bench_function("client: one more request", |bencher| {
        bencher.iter(|| {
            now += Duration::from_micros(2);
            place.request(&limits, now)
        });
    });
    criterion.bench_function("client: one more connection", |bencher| {
        bencher.iter(|| clients.connect(black_box(client), &limits, now).is_ok());
    });
}

/// What the challenge costs a request: of who has passed it, of who is not asked, and of all others.
fn challenge(criterion: &mut Criterion) {
    let keys = Keys::new(b"0123456789abcdef");
    let fields = headers();
    let request = view(&fields);
    let claim = Claim {
        kind: Kind::Clearance,
        number: 0,
        time: u32::MAX,
        nonce: 7,
    };
    let sealed = keys.seal(claim, &Holder::of("shop", &request), b"");
    let mut sent = headers();
    let cookie = format!("theme=dark; __Host-seawall_clearance={}", sealed.text());
    sent.insert("cookie", cookie.parse().unwrap());
    criterion.bench_function("a challenge: no cookie of it", |bench| {
        bench.iter(|| has_own_cookie(black_box(&fields)));
    });
    criterion.bench_function("a challenge: the cookie read", |bench| {
        bench.iter(|| clearance(black_box(&sent), Scheme::Https).unwrap());
    });
    let visitor = Visitor {
        keys: Some(&keys),
        zone: "shop",
        clearance: Some(&sealed),
        under_attack: true,
    };
    assert!(demand(&visitor, &request).is_none());
    criterion.bench_function("a challenge: the cookie verified", |bench| {
        bench.iter(|| demand(black_box(&visitor), black_box(&request)).is_none());
    });
}

/// So many blocks, in an order that is the same every time.
fn blocks(count: u32, block: impl Fn(u32) -> String) -> String {
    let scattered = |number: u32| block(number.wrapping_mul(2_654_435_761));
    let lines: Vec<String> = (0..count).map(scattered).collect();
    lines.join("\n")
}

fn lists(criterion: &mut Criterion) {
    let v4 = blocks(1_000_000, |bits| {
        format!("{}/28", Ipv4Addr::from(bits & 0xffff_fff0))
    });
    let v6 = blocks(1_000_000, |bits| {
        let bits = (0x2a00_u128 << 112) | (u128::from(bits) << 80);
        format!("{}/48", std::net::Ipv6Addr::from(bits))
    });
    for (family, text) in [("IPv4", &v4), ("IPv6", &v6)] {
        let mut group = criterion.benchmark_group("a list of 1,000,000 blocks");
        group.sample_size(10);
        group.bench_function(format!("read, {family}"), |bench| {
            bench.iter(|| List::of_lines(None, black_box(text)).unwrap());
        });
        group.finish();
        let list = List::of_lines(None, text).unwrap();
        let mut number = 0_u32;
        criterion.bench_function(
            &format!("{family} addresses in a list of 1,000,000"),
            |bench| {
                bench.iter(|| {
                    number = number.wrapping_add(0x9e37_79b1);
                    let address = match family {
                        "IPv4" => IpAddr::from(Ipv4Addr::from(number)),
                        _ => IpAddr::from(std::net::Ipv6Addr::from(
                            (0x2a00_u128 << 112) | (u128::from(number) << 80),
                        )),
                    };
                    list.contains_address(black_box(address))
                });
            },
        );
    }
}

const GUARDED: &str = r#"
listen = ["127.0.0.1:1"]
[lists]
drop = { file = "drop", format = "netset" }
[pools.app]
servers = ["http://127.0.0.1:2"]
[zones.plain]
hosts = ["plain.test"]
pool = "app"
[zones.site]
hosts = ["*"]
pool = "app"
[[zones.site.lockdown_rules]]
paths = "/admin*"
allow = "192.0.2.0/24"
[[zones.site.ip_access_rules]]
action = "block"
ip = ["$drop", "203.0.113.0/24"]
[[zones.site.ip_access_rules]]
action = "block"
country = ["ZZ"]
[[zones.site.ip_access_rules]]
action = "allow"
ip = "198.51.100.7"
"#;

/// The zones of `GUARDED`, the second with 50 custom rules, ten limits that all are for every request, and a list of
/// 100,000 blocks.
fn guarded() -> seawall::config::Config {
    use std::fmt::Write as _;
    let mut source = GUARDED.to_owned();
    for number in 0..50 {
        let field = match number % 5 {
            0 | 1 => "http.request.uri.path",
            2 => "http.request.uri.query",
            _ => "http.user_agent",
        };
        let _ = write!(
            source,
            "[[zones.site.custom_rules]]\nexpression = '{field} contains \"probe-{number}\"'\n\
             action = \"block\"\n"
        );
    }
    for number in 0..10 {
        let _ = write!(
            source,
            "[[zones.site.rate_limit_rules]]\nname = \"limit {number}\"\nrequests_per_period = 1000000\n\
             period = \"{}s\"\n",
            60 + number
        );
    }
    let drop = blocks(100_000, |bits| {
        format!("{}/28", Ipv4Addr::from(bits & 0xffff_fff0))
    });
    let outside = seawall::config::Outside {
        env: &|_| None,
        files: &|_| Ok(drop.clone()),
    };
    seawall::config::parse_with("bench.toml", &source, outside).unwrap()
}

fn guard(criterion: &mut Criterion) {
    let config = guarded();
    let mut headers = headers();
    headers.insert(
        http::header::USER_AGENT,
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
            .parse()
            .unwrap(),
    );
    let request = view(&headers);
    let second = 1_000_000_000;
    for zone in &config.zones {
        for clients in [1, 100_000] {
            let name = match zone.name.as_str() {
                "plain" if clients > 1 => continue,
                "plain" => "the guard by default".to_owned(),
                _ => format!(
                    "the guard: 50 custom rules, 10 limits, 100,000 blocks; {clients} clients"
                ),
            };
            let limiter = RateLimiter::new(64 << 20, Seed(1, 2), false);
            let mut number = 0_u32;
            let mut assess = || {
                number = (number + 1) % clients;
                // Networks that are on no list.
                let request = RequestView {
                    client: Ipv4Addr::from_bits(0x0a00_0000 + number).into(),
                    ..request
                };
                let counters = Counting {
                    limiter: &limiter,
                    now: 1_800_000_000 * second + u64::from(number),
                    verdicts: &[],
                };
                let visitor = Visitor::default();
                let phases = black_box(&zone.rules);
                seawall::guard::assess(phases, &request, &visitor, &counters, &mut ())
                    .findings
                    .len()
            };
            assert_eq!(assess(), 0);
            criterion.bench_function(&name, |bench| bench.iter(&mut assess));
        }
    }
    let escaped = RequestView {
        path: "/%D0%BA%D0%B0%D1%82%D0%B0%D0%BB%D0%BE%D0%B3/%D0%BB%D0%BE%D0%B4%D0%BA%D0%B8/",
        query: Some("utm_source=a&utm_medium=b&q=%D0%BB%D0%BE%D0%B4%D0%BA%D0%B0&page=2"),
        ..request
    };
    let phases = config.zones.iter().find(|zone| zone.name == "plain");
    let phases = &phases.unwrap().rules;
    criterion.bench_function("the guard by default, an escaped path", |bench| {
        bench.iter(|| {
            seawall::guard::assess(
                phases,
                black_box(&escaped),
                &Visitor::default(),
                &NoCounters,
                &mut (),
            )
            .stop
            .is_some()
        });
    });
}

criterion_group!(
    benches, arrival, decisions, rules, clients, challenge, lists, guard
);
criterion_main!(benches);
