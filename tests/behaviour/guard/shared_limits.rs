//! Rate limits that two nodes count together.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use tokio::time::Instant;

use futures_util::future::join_all;

use super::rate_limits::limit;
use crate::support::{Origin, Redis, Reply, Seawall, Setup, eventually};

async fn node(origin: &Origin, section: &str, rule: &str) -> Seawall {
    Setup::before([origin])
        .section(section)
        .zone(rule)
        .start()
        .await
}

async fn shared(seawall: &Seawall, together: bool) {
    eventually("the node knows whether it counts alone", async || {
        (seawall.metric("seawall_rate_limit_shared").await > 0.0) == together
    })
    .await;
}

pub(super) async fn two(origin: &Origin, redis: &Redis, rule: &str) -> [Seawall; 2] {
    let section = redis.section("strict_timeout = \"1s\"\n");
    let nodes = [
        node(origin, &section, rule).await,
        node(origin, &section, rule).await,
    ];
    for node in &nodes {
        eventually("the nodes know each other", async || {
            node.metric("seawall_rate_limit_shared").await > 0.0
                && node.metric("seawall_rate_limit_nodes").await > 1.0
        })
        .await;
    }
    nodes
}

/// Asks both nodes in turn; how many got through.
async fn passed(nodes: &[Seawall; 2], count: usize, pause: Duration) -> usize {
    let mut passed = 0;
    for number in 0..count {
        let answer = nodes[number % 2].get("/", &[]).await;
        passed += usize::from(answer.status == 200);
        assert!(matches!(answer.status, 200 | 429), "{}", answer.status);
        tokio::time::sleep(pause).await;
    }
    passed
}

#[tokio::test]
async fn two_nodes_count_together_to_within_five_percent() {
    let (origin, redis) = (Origin::start(|_| Reply::ok("x")), Redis::start());
    let rule = limit("all", "requests_per_period = 200\nperiod = \"1h\"");
    let nodes = two(&origin, &redis, &rule).await;
    let passed = passed(&nodes, 400, Duration::from_millis(4)).await;
    println!("{passed} of 200 let through");
    assert!((200..=210).contains(&passed), "{passed}");
}

#[tokio::test]
async fn a_strict_rule_lets_not_one_request_too_many_through() {
    let (origin, redis) = (Origin::start(|_| Reply::fresh("x")), Redis::start());
    let rule = limit(
        "exact",
        "requests_per_period = 20\nperiod = \"1h\"\nstrict = true\nmitigation_timeout = \"1h\"",
    );
    let nodes = two(&origin, &redis, &rule).await;
    let answers = join_all((0..60).map(|number| nodes[number % 2].get("/", &[]))).await;
    let passed = answers.iter().filter(|answer| answer.status == 200);
    assert_eq!(passed.count(), 20);
    let unanswered = "seawall_rate_limit_strict_unanswered_total";
    assert_eq!(nodes[0].metric(unanswered).await, 0.0);
}

#[tokio::test]
async fn while_the_server_is_killed_or_hangs_each_node_has_its_share_and_nobody_waits() {
    for hangs in [false, true] {
        let (origin, mut redis) = (Origin::start(|_| Reply::ok("x")), Redis::start());
        let rule = limit("all", "requests_per_period = 40\nperiod = \"1h\"");
        let nodes = two(&origin, &redis, &rule).await;
        if hangs {
            redis.hang(true);
        } else {
            redis.kill();
        }
        // Meanwhile nobody waits.
        let began = Instant::now();
        assert_eq!(nodes[0].get("/", &[]).await.status, 200);
        let first = began.elapsed();
        assert!(first < Duration::from_millis(200), "{first:?}");
        for node in &nodes {
            shared(node, false).await;
        }
        let passed = passed(&nodes, 100, Duration::ZERO).await;
        assert_eq!(passed + 1, 40, "hangs: {hangs}");
        if hangs {
            redis.hang(false);
        } else {
            redis.restart(true);
        }
        for node in &nodes {
            shared(node, true).await;
        }
    }
}

#[tokio::test]
async fn a_strict_rule_waits_for_its_deadline_once_or_twice_and_then_for_nobody() {
    let (origin, redis) = (Origin::start(|_| Reply::ok("x")), Redis::start());
    let section = redis.section("strict_timeout = \"50ms\"\n");
    let rule = [
        ("local", "local"),
        ("open", "open"),
        ("closed", "closed"),
    ]
    .map(|(name, word)| {
        limit(
            name,
            &format!(
                "expression = 'http.request.uri.path eq \"/{name}\"'\nrequests_per_period = 3\nperiod = \"1h\"\nstrict = true\non_failure = \"{word}\""
            ),
        )
    });
    let seawall = node(&origin, &section, &rule.concat()).await;
    shared(&seawall, true).await;
    redis.hang(true);
    let mut longest = Duration::ZERO;
    for (path, expected) in [
        ("/local", [200, 200, 200, 429]),
        ("/open", [200, 200, 200, 200]),
        ("/closed", [429, 429, 429, 429]),
    ] {
        for status in expected {
            let began = Instant::now();
            assert_eq!(seawall.get(path, &[]).await.status, status, "{path}");
            longest = longest.max(began.elapsed());
        }
    }
    println!("longest answer: {longest:?}");
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    // The breaker leaves it alone.
    let began = Instant::now();
    for _ in 0..20 {
        seawall.get("/open", &[]).await;
    }
    assert!(
        began.elapsed() < Duration::from_millis(600),
        "{:?}",
        began.elapsed()
    );
    redis.hang(false);
    shared(&seawall, true).await;
}

#[tokio::test]
async fn a_server_that_answers_garbage_is_as_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut asked = [0; 4096];
                while stream.read(&mut asked).is_ok_and(|length| length > 0) {
                    if stream.write_all(b"?!\0garbage\r\n:x\r\n$9999\r\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    let origin = Origin::start(|_| Reply::ok("x"));
    let section = format!("[shared]\nredis = \"redis://{address}\"\ntimeout = \"300ms\"\n");
    let ordinary = limit(
        "all",
        "expression = 'http.request.uri.path eq \"/a\"'\nrequests_per_period = 3\nperiod = \"1h\"",
    );
    let strict = limit(
        "strict",
        "requests_per_period = 6\nperiod = \"1h\"\nstrict = true",
    );
    let seawall = node(&origin, &section, &(ordinary + &strict)).await;
    for status in [200, 200, 200, 429] {
        assert_eq!(seawall.get("/a", &[]).await.status, status);
    }
    // What was stopped did not count.
    for status in [200, 200, 200, 429] {
        assert_eq!(seawall.get("/b", &[]).await.status, status);
    }
    assert_eq!(seawall.metric("seawall_rate_limit_shared").await, 0.0);
}

#[tokio::test]
async fn http2_requests_wait_for_strict_rules_as_well() {
    let (origin, redis) = (Origin::start(|_| Reply::ok("x")), Redis::start());
    let section = redis.section("strict_timeout = \"1s\"\n");
    let rule = limit(
        "exact",
        "requests_per_period = 2\nperiod = \"1h\"\nstrict = true",
    );
    let seawall = node(&origin, &section, &rule).await;
    shared(&seawall, true).await;
    // Even a client in cleartext wants to have one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().http2_prior_knowledge();
    let client = client.no_proxy().build().unwrap();
    let url = format!("http://{}/", seawall.address);
    for status in [200, 200, 429] {
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn strict_rules_outlive_forgotten_scripts_and_closed_connections() {
    let (origin, redis) = (Origin::start(|_| Reply::ok("x")), Redis::start());
    let section = redis.section("strict_timeout = \"1s\"\n");
    let rule = limit(
        "exact",
        "requests_per_period = 1000\nperiod = \"1h\"\nstrict = true\non_failure = \"closed\"",
    );
    let seawall = node(&origin, &section, &rule).await;
    shared(&seawall, true).await;
    assert_eq!(seawall.get("/", &[]).await.status, 200);
    assert!(redis.ask("SCRIPT FLUSH").starts_with("+OK"));
    assert_eq!(seawall.get("/", &[]).await.status, 200);
    // What is silent for a second is closed, in cycles of the server.
    assert!(redis.ask("CONFIG SET timeout 2").starts_with("+OK"));
    let closed = tokio::time::sleep(Duration::from_secs(5));
    closed.await;
    assert_eq!(seawall.get("/", &[]).await.status, 200);
    redis.ask("CLIENT KILL TYPE normal");
    eventually("there is another connection", async || {
        seawall.get("/", &[]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn what_an_earlier_rule_stops_does_not_count_for_a_strict_one() {
    let (origin, redis) = (Origin::start(|_| Reply::ok("x")), Redis::start());
    let rules = [
        limit(
            "one",
            "expression = 'http.request.uri.path eq \"/a\"'\nrequests_per_period = 1\nperiod = \"1h\"",
        ),
        limit(
            "another",
            "expression = 'http.request.uri.path eq \"/b\"'\nrequests_per_period = 1\nperiod = \"1h\"\nstrict = true",
        ),
        limit(
            "all",
            "requests_per_period = 4\nperiod = \"1h\"\nstrict = true",
        ),
    ];
    let section = redis.section("strict_timeout = \"1s\"\n");
    let seawall = node(&origin, &section, &rules.concat()).await;
    shared(&seawall, true).await;
    for (path, status) in [
        ("/a", 200),
        ("/a", 429),
        ("/a", 429),
        ("/b", 200),
        ("/b", 429),
        ("/b", 429),
        ("/c", 200),
        ("/c", 200),
        ("/c", 429),
    ] {
        assert_eq!(seawall.get(path, &[]).await.status, status, "{path}");
    }
    let asked = seawall.metric("seawall_rate_limit_strict_total").await;
    assert_eq!(asked, 8.0);
}

#[tokio::test]
async fn a_client_of_a_strict_rule_waits_as_long_as_it_is_told() {
    let (origin, redis) = (Origin::start(|_| Reply::ok("x")), Redis::start());
    let section = redis.section("strict_timeout = \"1s\"\n");
    let rule = limit(
        "exact",
        "requests_per_period = 3\nperiod = \"4s\"\nstrict = true",
    );
    let seawall = node(&origin, &section, &rule).await;
    shared(&seawall, true).await;
    for _ in 0..3 {
        for _ in 0..3 {
            assert_eq!(seawall.get("/", &[]).await.status, 200);
        }
        let over = seawall.get("/", &[]).await;
        assert_eq!(over.status, 429);
        let wait: u64 = over.field("retry-after").unwrap().parse().unwrap();
        assert!((3..=5).contains(&wait), "{wait}");
        tokio::time::sleep(Duration::from_secs(wait) + Duration::from_millis(600)).await;
    }
}
