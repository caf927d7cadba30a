//! Figures about rate limits: a flood of keys, an attacker, accuracy, and what ten limits cost a request.
//!
//! `cargo run --release --example rate_limits`

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "it measures, and prints what it finds"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, Version};
use seawall::config::{Zone, parse};
use seawall::guard::challenge::Visitor;
use seawall::guard::limit::{LimitRule, Seed};
use seawall::guard::limiter::Counting;
use seawall::guard::{RateLimiter, assess};
use seawall::request::{Facts, RequestView, Scheme};

const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_800_000_000 * SECOND;
const MEMORY: u64 = 32 << 20;

fn main() {
    flood();
    attack();
    accuracy();
    cost();
}

fn zone(rules: &str) -> Arc<Zone> {
    let source = format!(
        "listen = [\"127.0.0.1:0\"]\n[pools.app]\nservers = [\"http://127.0.0.1:1\"]\n\
         [zones.site]\nhosts = [\"*\"]\npool = \"app\"\n{rules}"
    );
    parse("figures", &source, &|_| None).unwrap().zones[0].clone()
}

fn rule(limit: u32, period: &str, more: &str) -> String {
    format!(
        "[[zones.site.rate_limit_rules]]\nname = \"{limit} a {period} {}\"\n\
         requests_per_period = {limit}\nperiod = \"{period}\"\n{more}\n",
        more.len()
    )
}

fn limit(zone: &Zone) -> &LimitRule {
    &zone.rules.rate_limits.rules.rules()[0].action
}

fn limiter() -> RateLimiter {
    RateLimiter::new(MEMORY, Seed(1, 2), false)
}

fn mixed(number: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<u64>().unwrap() << 10
}

/// Ten million keys in a minute, among a thousand innocents at half of the limit, and attackers.
fn flood() {
    let zone = zone(&rule(100, "1m", "mitigation_timeout = \"10m\""));
    let (rule, limiter, before) = (limit(&zone), limiter(), resident());
    let (mut refused, mut innocent_requests, mut let_through) = (0, 0_u64, 0);
    let keys = 10_000_000_u64;
    let mut spent = std::time::Duration::ZERO;
    for number in 0..keys {
        let now = BEGIN + number * 60 * SECOND / keys;
        if number % 1000 == 0 {
            // In turn: 50,000 requests are fifty for each of a thousand.
            let innocent = mixed((1 << 40) + number / 1000 % 1000);
            for _ in 0..5 {
                innocent_requests += 1;
                refused += u64::from(limiter.arrive(rule, innocent, true, now).is_over());
            }
            // Ten attackers at a hundred times the limit, who come when memory is full.
            if number > keys / 2 {
                for attacker in 0..10 {
                    for _ in 0..2 {
                        let key = mixed((1 << 41) + attacker);
                        let over = limiter.arrive(rule, key, true, now).is_over();
                        let_through += u64::from(!over);
                    }
                }
            }
        }
        let began = (number % 64 == 0).then(Instant::now);
        black_box(limiter.arrive(rule, mixed(number), true, now));
        spent += began.map(|began| began.elapsed()).unwrap_or_default();
    }
    let figures = limiter.figures();
    println!("flood of {keys} keys:");
    println!(
        "  table: {:.1} MiB of {} MiB",
        figures.bytes as f64 / 1_048_576.0,
        MEMORY >> 20
    );
    let grown = resident().saturating_sub(before);
    println!("  resident: +{:.1} MiB", grown as f64 / 1_048_576.0);
    println!("  innocents: {refused} of {innocent_requests} requests refused");
    println!(
        "  attackers: {let_through} of {} let through, where 1000 are within the limit",
        20 * 4999
    );
    println!(
        "  uncounted: {}, displaced: {}",
        figures.turned_away, figures.displaced
    );
    println!(
        "  a request of the flood: {} ns (with the clock read)",
        spent.as_nanos() / u128::from(keys / 64)
    );
    let began = Instant::now();
    for number in 0..1_000_000 {
        black_box(limiter.arrive(rule, mixed((1 << 42) + number), true, BEGIN + 61 * SECOND));
    }
    println!(
        "  without reading it: {} ns",
        began.elapsed().as_nanos() / 1_000_000
    );
}

/// One client at a hundred times its limit, for ten minutes.
fn attack() {
    println!("an attacker at 100 times its limit of 100 a minute, for ten minutes:");
    for (name, more) in [
        ("block, as long as it is too much", ""),
        ("block for 10 minutes", "mitigation_timeout = \"10m\""),
        ("throttle, burst 10", "action = \"throttle\"\nburst = 10"),
    ] {
        let zone = zone(&rule(100, "1m", more));
        let (rule, limiter) = (limit(&zone), limiter());
        let requests = 100_000_u64;
        let through = (0..requests).filter(|number| {
            let now = BEGIN + number * 600 * SECOND / requests;
            !limiter.arrive(rule, 7, true, now).is_over()
        });
        let through = through.count();
        let share = through as f64 / requests as f64 * 100.0;
        println!("  {name}: {through} of {requests}, {share:.2} %");
    }
}

/// Decisions of two counters beside those of an exact window, for clients of all rates and rhythms.
fn accuracy() {
    let zone = zone(&rule(100, "1m", ""));
    let rule = limit(&zone);
    let (mut same, mut stricter, mut laxer, mut all) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut random = 1_u64;
    for client in 0..1000_u64 {
        let limiter = limiter_small();
        let mut exact = VecDeque::new();
        // From a tenth of the limit to ten times.
        let mean = (60 * SECOND / 100) as f64 * 10_f64.powf(1.0 - client as f64 / 500.0);
        let mut now = BEGIN + mixed(client) % (60 * SECOND);
        for _ in 0..2000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let chance = (random >> 11) as f64 / (1_u64 << 53) as f64;
            let pause = -mean * (1.0 - chance).ln();
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a pause"
            )]
            {
                now += pause as u64;
            }
            while exact.front().is_some_and(|at| at + 60 * SECOND <= now) {
                exact.pop_front();
            }
            let should = exact.len() >= 100;
            let over = limiter.arrive(rule, client + 1, true, now).is_over();
            if !over {
                exact.push_back(now);
            }
            all += 1;
            match (should, over) {
                (true, false) => laxer += 1,
                (false, true) => stricter += 1,
                _ => same += 1,
            }
        }
    }
    println!("decisions as an exact window would make them, of {all}:");
    let share = |count: u64| count as f64 / all as f64 * 100.0;
    println!(
        "  same {:.3} %, let through wrongly {:.3} %, stopped wrongly {:.3} %",
        share(same),
        share(laxer),
        share(stricter)
    );
}

fn limiter_small() -> RateLimiter {
    RateLimiter::new(1 << 20, Seed(1, 2), false)
}

/// What the guard takes for a request with limits that all are for it.
fn cost() {
    println!("the guard, for a request within all its limits, 100,000 clients in turn:");
    for count in [0, 1, 10] {
        let rules: String = (0..count)
            .map(|number| {
                let expression = format!("name_{number}");
                let more = "characteristics = [\"ip.src\"]";
                rule(1_000_000, "1m", more).replace("name = \"", &format!("name = \"{expression} "))
            })
            .collect();
        let (zone, limiter, headers) = (zone(&rules), limiter(), HeaderMap::new());
        for clients in [1_u32, 100_000] {
            let requests = 1_000_000_u32;
            let began = Instant::now();
            for number in 0..requests {
                let request = RequestView {
                    method: &Method::GET,
                    scheme: Scheme::Https,
                    host: "example.com",
                    path: "/a/page",
                    query: None,
                    version: Version::HTTP_11,
                    headers: &headers,
                    client: Ipv4Addr::from_bits(number % clients).into(),
                    session_cookie: false,
                    has_body: false,
                    facts: Facts::default(),
                };
                let counters = Counting {
                    limiter: &limiter,
                    now: BEGIN + u64::from(number) * 1000,
                    verdicts: &[],
                };
                black_box(assess(
                    &zone.rules,
                    &request,
                    &Visitor::default(),
                    &counters,
                    &mut (),
                ));
            }
            let each = began.elapsed().as_nanos() / u128::from(requests);
            println!("  {count} limits, {clients} clients: {each} ns");
        }
    }
}
