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
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 32)).max(1)
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

/// A limit of 100 a minute for clients of all rates and rhythms, each for half an hour, beside an exact window.
fn accuracy() {
    println!("100 a minute beside an exact window, and beside the two counters that are usual:");
    for (rhythm, name) in [
        (Rhythm::Chance, "by chance"),
        (Rhythm::Pages, "pages of 20 requests"),
        (Rhythm::Jobs, "jobs, all at once"),
        (Rhythm::Edges, "an attacker at windows' edges"),
    ] {
        let mut random = Random(1);
        let clients: Vec<Client> = (0..500)
            .map(|client| Client::new(&rhythm.arrivals(client, &mut random)))
            .collect();
        let polite = clients.iter().filter(|client| client.exact.stopped == 0);
        let requests: u64 = polite.clone().map(|client| client.requests).sum();
        println!(
            "  {name}: {} of 500 clients stay within it",
            polite.clone().count()
        );
        for (name, of) in [
            ("ours", (|client| &client.ours) as fn(&Client) -> &Passed),
            ("two counters", |client| &client.two),
        ] {
            let stopped: u64 = polite.clone().map(|client| of(client).stopped).sum();
            let above = clients.iter().filter(|client| client.exact.stopped > 0);
            let mut ratios: Vec<f64> = above
                .clone()
                .map(|client| of(client).count as f64 / client.exact.count as f64)
                .collect();
            ratios.sort_by(f64::total_cmp);
            let at = |part: usize| ratios.get((ratios.len() * part / 100).min(ratios.len() - 1));
            let most = clients.iter().map(|client| of(client).most).max().unwrap();
            print!(
                "    {name}: {:.2} % of their requests stopped; ",
                stopped as f64 / requests.max(1) as f64 * 100.0
            );
            if let (false, Some(low), Some(median), Some(high)) =
                (ratios.is_empty(), at(0), at(50), at(100))
            {
                print!(
                    "of the others {:.1} % of what they may passes (from {:.1} to {:.1} %); ",
                    median * 100.0,
                    low * 100.0,
                    high * 100.0
                );
            }
            println!("at most {most} in any minute");
        }
    }
    single_decisions();
}

/// When clients come.
#[derive(Clone, Copy)]
enum Rhythm {
    Chance,
    Pages,
    Jobs,
    Edges,
}

const PERIOD: u64 = 60 * SECOND;

impl Rhythm {
    /// From a tenth of the limit to ten times, for half an hour.
    fn arrivals(self, client: u64, random: &mut Random) -> Vec<u64> {
        let mean = (PERIOD / 100) as f64 * 10_f64.powf(1.0 - client as f64 / 250.0);
        let (size, each) = match self {
            Self::Chance => (1, 0),
            // Within two seconds.
            Self::Pages => (20, SECOND / 10),
            Self::Jobs => (10 + client % 100, 0),
            Self::Edges => (100, 0),
        };
        let begin = BEGIN + mixed(client) % PERIOD;
        let (mut now, mut arrivals) = (begin, Vec::new());
        while now < begin + 30 * PERIOD {
            arrivals.extend((0..size).map(|number| now + number * each));
            now += match self {
                Self::Chance | Self::Pages => random.pause(mean * size as f64),
                // A little slower than each minute.
                Self::Jobs => PERIOD + client % 7 * SECOND,
                // At the end of a window, and all through the next one.
                Self::Edges => PERIOD / 16 - SECOND / 1000 * (client % 3),
            };
        }
        arrivals.sort_unstable();
        arrivals
    }
}

struct Random(u64);

impl Random {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a pause"
    )]
    fn pause(&mut self, mean: f64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1);
        let chance = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        (-mean * (1.0 - chance).ln()) as u64
    }
}

/// What of a client's requests passes.
struct Client {
    requests: u64,
    exact: Passed,
    ours: Passed,
    two: Passed,
}

#[derive(Default)]
struct Passed {
    count: u64,
    stopped: u64,
    last: VecDeque<u64>,
    most: usize,
}

impl Passed {
    /// How many passed in the last minute.
    fn within(&mut self, now: u64) -> usize {
        while self.last.front().is_some_and(|at| at + PERIOD <= now) {
            self.last.pop_front();
        }
        self.last.len()
    }

    fn add(&mut self, passes: bool, now: u64) {
        if !passes {
            self.stopped += 1;
            return;
        }
        self.count += 1;
        self.last.push_back(now);
        let within = self.within(now);
        self.most = self.most.max(within);
    }
}

impl Client {
    fn new(arrivals: &[u64]) -> Self {
        let zone = zone(&rule(100, "1m", ""));
        let (rule, limiter) = (limit(&zone), limiter_small());
        let [mut exact, mut ours, mut two] = [(); 3].map(|()| Passed::default());
        let (mut window, mut current, mut previous) = (0, 0_u64, 0_u64);
        for now in arrivals {
            let passes = exact.within(*now) < 100;
            exact.add(passes, *now);
            let passes = !limiter.arrive(rule, 7, true, *now).is_over();
            ours.add(passes, *now);
            if now / PERIOD != window {
                previous = if now / PERIOD == window + 1 {
                    current
                } else {
                    0
                };
                (window, current) = (now / PERIOD, 0);
            }
            let passes = current + 1 + previous * (PERIOD - now % PERIOD) / PERIOD <= 100;
            current += u64::from(passes);
            two.add(passes, *now);
        }
        Self {
            requests: arrivals.len() as u64,
            exact,
            ours,
            two,
        }
    }
}

/// Single decisions beside those of an exact window of the same requests. At a limit nearly each of them is a
/// close one.
fn single_decisions() {
    let zone = zone(&rule(100, "1m", ""));
    let rule = limit(&zone);
    let (mut same, mut laxer, mut stricter) = (0_u64, 0_u64, 0_u64);
    let mut random = Random(1);
    for client in 0..500 {
        let (limiter, mut ours) = (limiter_small(), Passed::default());
        let arrivals = Rhythm::Chance.arrivals(client, &mut random);
        for now in arrivals.into_iter().take(2_000) {
            let should = ours.within(now) < 100;
            let passes = !limiter.arrive(rule, 7, true, now).is_over();
            ours.add(passes, now);
            match (should, passes) {
                (false, true) => laxer += 1,
                (true, false) => stricter += 1,
                _ => same += 1,
            }
        }
    }
    let share = |count: u64| count as f64 / (same + laxer + stricter) as f64 * 100.0;
    println!(
        "  single decisions: same {:.2} %, passed {:.2} % that it would stop, stopped {:.2} % that it would pass",
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
    for memory in [MEMORY, 512 << 20] {
        println!(
            "the guard, for a request within all its limits, memory for counters {} MiB:",
            memory >> 20
        );
        cost_with(memory);
    }
}

fn cost_with(memory: u64) {
    for count in [0, 1, 10] {
        let rules: String = (0..count)
            .map(|number| {
                let expression = format!("name_{number}");
                let more = "characteristics = [\"ip.src\"]";
                rule(1_000_000, "1m", more).replace("name = \"", &format!("name = \"{expression} "))
            })
            .collect();
        let (zone, limiter, headers) = (
            zone(&rules),
            RateLimiter::new(memory, Seed(1, 2), false),
            HeaderMap::new(),
        );
        for clients in [1_u32, 100_000] {
            let requests = 1_000_000_u32;
            let mut began = Instant::now();
            for number in 0..2 * requests {
                // Once all are there.
                if number == requests {
                    began = Instant::now();
                }
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
