//! Purges on one node are purges on all, also on those that were away.

use std::time::Duration;

use crate::support::{Authority, Origin, Redis, Reply, Seawall, Setup, eventually};

/// An origin whose pages tell which request they answer, with their path as a tag.
fn counting() -> Origin {
    Origin::start(|request| {
        let tag = request.target.trim_start_matches('/');
        Reply::fresh(format!("version {}", request.nth))
            .field(format!("ETag: \"{}\"", request.nth))
            .field(format!("Cache-Tag: {tag}"))
    })
}

async fn node(origin: &Origin, redis: &Redis, more: &str) -> Seawall {
    let seawall = Setup::before([origin])
        .purging()
        .section(&redis.section(more))
        .start()
        .await;
    connected(&seawall).await;
    seawall
}

async fn connected(seawall: &Seawall) {
    eventually("the node reads purges", async || {
        seawall.metric("seawall_shared_connected").await > 0.0
    })
    .await;
}

async fn disconnected(seawall: &Seawall) {
    eventually("the node notices", async || {
        seawall.metric("seawall_shared_connected").await < 1.0
    })
    .await;
}

/// Stores `target` on all nodes and sees that it is.
async fn store(nodes: &[&Seawall], target: &str) {
    for node in nodes {
        node.get(target, &[]).await;
        assert_eq!(node.get(target, &[]).await.cache(), "HIT", "{target}");
    }
}

async fn waits_for(node: &Seawall, position: &str) {
    let path = format!("/purges/wait?position={position}&timeout=10s");
    let answer = node.admin(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_purge_on_one_node_reaches_the_others() {
    let (origin, redis) = (counting(), Redis::start());
    let [first, second, third] = [
        node(&origin, &redis, "").await,
        node(&origin, &redis, "").await,
        node(&origin, &redis, "").await,
    ];
    store(&[&first, &second, &third], "/p").await;
    store(&[&first, &second, &third], "/other").await;

    let answer = first.purge(r#"{"tags": ["p"]}"#).await;
    assert_eq!(answer["result"]["broadcast"], true);
    let position = answer["result"]["position"].as_str().unwrap();
    for node in [&first, &second, &third] {
        waits_for(node, position).await;
        assert_eq!(node.get("/p", &[]).await.cache(), "MISS");
        assert_eq!(node.get("/other", &[]).await.cache(), "HIT");
    }
    assert_eq!(
        second.metric("seawall_shared_purges_applied_total").await,
        1.0
    );
}

#[tokio::test]
async fn soft_purges_stay_soft_and_invalidations_are_told_as_well() {
    let (origin, redis) = (counting(), Redis::start());
    let [first, second] = [
        node(&origin, &redis, "").await,
        node(&origin, &redis, "").await,
    ];
    store(&[&first, &second], "/p").await;
    let answer = first.purge(r#"{"tags": ["p"], "soft": true}"#).await;
    waits_for(&second, answer["result"]["position"].as_str().unwrap()).await;
    let validated = second.get("/p", &[]).await;
    assert_ne!(validated.cache(), "HIT");
    assert!(origin.last().field("if-none-match").is_some());

    store(&[&first, &second], "/changed").await;
    first.send("POST", "/changed", &[], "").await;
    eventually("the page is gone from the other node", async || {
        second.get("/changed", &[]).await.cache() == "MISS"
    })
    .await;
}

#[tokio::test]
async fn a_node_that_was_away_serves_nothing_that_was_purged_meanwhile() {
    let (origin, redis) = (counting(), Redis::start());
    let other = node(&origin, &redis, "").await;
    let away = Setup::before([&origin])
        .purging()
        .disk("capacity = \"32 MiB\"")
        .section(&redis.section(""))
        .start()
        .await;
    connected(&away).await;
    store(&[&away], "/kept").await;
    store(&[&away], "/purged").await;
    eventually("both are on disk", async || {
        away.metric("seawall_store_disk_records").await >= 2.0
    })
    .await;
    let mut away = away;
    away.kill();
    other.purge(r#"{"tags": ["purged"]}"#).await;

    let away = away.restarted().await;
    // Not one moment.
    assert_eq!(away.get("/purged", &[]).await.cache(), "MISS");
    connected(&away).await;
    assert_eq!(away.get("/kept", &[]).await.cache(), "HIT");
    assert_eq!(away.metric("seawall_shared_gaps_total").await, 0.0);
}

#[tokio::test]
async fn what_is_on_disk_waits_for_a_server_that_is_away() {
    let (origin, mut redis) = (counting(), Redis::start());
    let seawall = Setup::before([&origin])
        .purging()
        .disk("capacity = \"32 MiB\"")
        .section(&redis.section(""))
        .start()
        .await;
    connected(&seawall).await;
    store(&[&seawall], "/p").await;
    eventually("it is on disk", async || {
        seawall.metric("seawall_store_disk_records").await >= 1.0
    })
    .await;
    redis.kill();
    let mut seawall = seawall;
    seawall.kill();
    let seawall = seawall.restarted().await;
    // It was stored before, and nobody can tell whether it was purged since.
    assert_eq!(seawall.get("/p", &[]).await.cache(), "MISS");
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    redis.restart(true);
    connected(&seawall).await;
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn while_the_server_is_away_nodes_serve_and_purges_are_told_later() {
    for hangs in [false, true] {
        let (origin, mut redis) = (counting(), Redis::start());
        let [first, second] = [
            node(&origin, &redis, "").await,
            node(&origin, &redis, "").await,
        ];
        store(&[&first, &second], "/p").await;
        if hangs {
            redis.hang(true);
        } else {
            redis.kill();
        }
        disconnected(&first).await;
        disconnected(&second).await;
        let answer = first.purge(r#"{"tags": ["p"]}"#).await;
        assert_eq!(answer["result"]["broadcast"], false);
        assert_eq!(first.get("/p", &[]).await.cache(), "MISS");
        assert_eq!(second.get("/p", &[]).await.cache(), "HIT");
        if hangs {
            redis.hang(false);
        } else {
            redis.restart(true);
        }
        eventually("the other node has the purge", async || {
            second.get("/p", &[]).await.cache() == "MISS"
        })
        .await;
        let told = |text: &str| first.stderr().matches(text).count();
        assert_eq!(told("cannot be reached"), 1, "{}", first.stderr());
        eventually("one line tells of its return", async || {
            told("the server for shared state is back") == 1
        })
        .await;
    }
}

#[tokio::test]
async fn a_purge_that_was_never_told_is_told_by_the_next_process() {
    let (origin, mut redis) = (counting(), Redis::start());
    let other = node(&origin, &redis, "when_unreachable = \"validate\"").await;
    let mut purging = Setup::before([&origin])
        .purging()
        .disk("capacity = \"32 MiB\"")
        .section(&redis.section(""))
        .start()
        .await;
    connected(&purging).await;
    redis.kill();
    disconnected(&purging).await;
    store(&[&other], "/p").await;
    let answer = purging.purge(r#"{"tags": ["p"]}"#).await;
    assert_eq!(answer["result"]["broadcast"], false);
    purging.kill();
    let purging = purging.restarted().await;
    redis.restart(true);
    connected(&purging).await;
    eventually(
        "the other node has heard that something was lost",
        async || other.get("/p", &[]).await.cache() == "MISS",
    )
    .await;
}

#[tokio::test]
async fn with_validate_what_is_stored_is_stale_while_the_server_is_away() {
    let (origin, mut redis) = (counting(), Redis::start());
    let seawall = node(&origin, &redis, "when_unreachable = \"validate\"").await;
    store(&[&seawall], "/p").await;
    redis.kill();
    eventually("the page is validated", async || {
        seawall.get("/p", &[]).await;
        origin.last().field("if-none-match").is_some()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_has_lost_its_data_counts_as_a_purge_of_everything() {
    let (origin, mut redis) = (counting(), Redis::start());
    let seawall = node(&origin, &redis, "when_unreachable = \"validate\"").await;
    store(&[&seawall], "/p").await;
    redis.restart(false);
    eventually("the page is gone", async || {
        seawall.metric("seawall_shared_gaps_total").await > 0.0
    })
    .await;
    assert_eq!(seawall.get("/p", &[]).await.cache(), "MISS");
    connected(&seawall).await;
}

#[tokio::test]
async fn an_entry_that_makes_no_sense_counts_as_a_purge_of_everything() {
    let (origin, redis) = (counting(), Redis::start());
    let seawall = node(&origin, &redis, "when_unreachable = \"validate\"").await;
    store(&[&seawall], "/p").await;
    redis.ask("XADD seawall:purges * what nonsense");
    eventually("the entry was read", async || {
        seawall.metric("seawall_shared_unreadable_total").await > 0.0
    })
    .await;
    assert_eq!(seawall.get("/p", &[]).await.cache(), "MISS");
}

#[tokio::test]
async fn fifty_purges_are_everywhere_within_a_moment() {
    let (origin, redis) = (counting(), Redis::start());
    let [first, second, third] = [
        node(&origin, &redis, "").await,
        node(&origin, &redis, "").await,
        node(&origin, &redis, "").await,
    ];
    let mut times: Vec<Duration> = Vec::new();
    for number in 0..50 {
        let target = format!("/{number}");
        store(&[&first, &second, &third], &target).await;
        let began = tokio::time::Instant::now();
        first.purge(&format!("{{\"tags\": [\"{number}\"]}}")).await;
        for node in [&second, &third] {
            while node.get(&target, &[]).await.cache() == "HIT" {}
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let (median, longest) = (times[25], times[49]);
    println!("50 purges: median {median:?}, longest {longest:?}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}

#[tokio::test]
async fn a_lower_tier_never_gets_back_what_it_purged() {
    let (origin, redis) = (counting(), Redis::start());
    let tier = |name: &str, more: &str| {
        let tiers =
            format!("[tiers]\nname = \"{name}\"\nsecret = \"tier-secret-0123456789\"\n{more}");
        let purging = "[purge]\ntoken = \"purge-token-0123456789\"\nrate = 1000000";
        let sections = format!("{purging}\n{}\n{tiers}", redis.section(""));
        Setup::before([&origin]).section(&sections)
    };
    let shield = tier("shield", "").start().await;
    let upper = format!(
        "[tiers.upper.shield]\nservers = [\"http://{}\"]",
        shield.address
    );
    let mut edges = Vec::new();
    for name in ["edge-1", "edge-2"] {
        let setup = tier(name, &upper).zone("upper_tiers = [\"shield\"]");
        edges.push(setup.start().await);
    }
    for node in edges.iter().chain([&shield]) {
        connected(node).await;
    }
    for version in 0..20 {
        for edge in &edges {
            assert_eq!(
                edge.get("/p", &[]).await.text(),
                format!("version {version}")
            );
        }
        let answer = edges[0].purge(r#"{"tags": ["p"]}"#).await;
        // At once here, and as soon as it is in force there.
        let new = format!("version {}", version + 1);
        assert_eq!(edges[0].get("/p", &[]).await.text(), new);
        waits_for(&edges[1], answer["result"]["position"].as_str().unwrap()).await;
        assert_eq!(edges[1].get("/p", &[]).await.text(), new);
    }
}

#[tokio::test]
async fn the_first_start_with_an_empty_disk_has_missed_nothing() {
    let (origin, redis) = (counting(), Redis::start());
    let seawall = Setup::before([&origin])
        .purging()
        .disk("capacity = \"32 MiB\"")
        .section(&redis.section(""))
        .start()
        .await;
    connected(&seawall).await;
    assert_eq!(seawall.metric("seawall_shared_gaps_total").await, 0.0);
    assert!(!seawall.stderr().contains("may have been missed"));
}

#[tokio::test]
async fn purges_are_told_over_tls_to_a_server_whose_certificate_is_trusted() {
    let authority = Authority::new();
    let (origin, redis) = (counting(), Redis::start_with_tls(&authority));
    let secured = |authority: &Authority| {
        Setup::before([&origin])
            .purging()
            .file("redis.pem", &authority.pem())
            .section(&redis.section("ca = \"DIR/redis.pem\""))
    };
    let (first, second) = (
        secured(&authority).start().await,
        secured(&authority).start().await,
    );
    connected(&first).await;
    connected(&second).await;
    store(&[&first, &second], "/p").await;
    let answer = first.purge(r#"{"tags": ["p"]}"#).await;
    waits_for(&second, answer["result"]["position"].as_str().unwrap()).await;
    assert_eq!(second.get("/p", &[]).await.cache(), "MISS");

    let stranger = secured(&Authority::new()).start().await;
    eventually("the server is not trusted", async || {
        stranger.stderr().contains("cannot be reached")
    })
    .await;
    assert_eq!(stranger.metric("seawall_shared_connected").await, 0.0);
}

/// Two nodes that have `/p` stored, of which the second hears nothing of the server while `meanwhile` runs, and
/// then notices that it may have missed purges.
async fn notices_a_gap(meanwhile: impl AsyncFnOnce(&Redis, &Seawall, &str)) {
    let (origin, redis) = (counting(), Redis::start());
    let other = node(&origin, &redis, "when_unreachable = \"validate\"").await;
    let away = Setup::before([&origin])
        .purging()
        .disk("capacity = \"32 MiB\"")
        .section(&redis.section("when_unreachable = \"validate\""))
        .start()
        .await;
    connected(&away).await;
    let told = other.purge(r#"{"tags": ["nothing"]}"#).await;
    let last = told["result"]["position"].as_str().unwrap();
    waits_for(&away, last).await;
    store(&[&away], "/p").await;
    eventually("it is on disk", async || {
        away.metric("seawall_store_disk_records").await >= 1.0
    })
    .await;
    let mut away = away;
    away.kill();
    meanwhile(&redis, &other, last).await;
    let away = away.restarted().await;
    connected(&away).await;
    assert_ne!(away.get("/p", &[]).await.cache(), "HIT");
    assert_eq!(away.metric("seawall_shared_gaps_total").await, 1.0);
    // From then on all is as ever.
    store(&[&away, &other], "/q").await;
    let told = other.purge(r#"{"tags": ["q"]}"#).await;
    waits_for(&away, told["result"]["position"].as_str().unwrap()).await;
    assert_eq!(away.get("/q", &[]).await.cache(), "MISS");
}

#[tokio::test]
async fn a_stream_that_was_trimmed_too_far_counts_as_a_purge_of_everything() {
    notices_a_gap(async |redis, other, _| {
        other.purge(r#"{"tags": ["p"]}"#).await;
        other.purge(r#"{"tags": ["nothing"]}"#).await;
        let trimmed = redis.ask("XTRIM seawall:purges MAXLEN 1");
        assert!(trimmed.starts_with(':'), "{trimmed}");
    })
    .await;
}

#[tokio::test]
async fn a_server_replaced_by_an_older_copy_counts_as_a_purge_of_everything() {
    notices_a_gap(async |redis, other, last| {
        redis.ask(&format!("XDEL seawall:purges {last}"));
        other.purge(r#"{"tags": ["nothing"]}"#).await;
    })
    .await;
}

#[tokio::test]
async fn purges_here_and_elsewhere_leave_nothing_old_in_whatever_order_they_come() {
    let (origin, redis) = (counting(), Redis::start());
    let nodes = [
        node(&origin, &redis, "").await,
        node(&origin, &redis, "").await,
    ];
    for _ in 0..10 {
        store(&[&nodes[0], &nodes[1]], "/p").await;
        let purge = r#"{"tags": ["p"]}"#;
        let told = tokio::join!(nodes[0].purge(purge), nodes[1].purge(purge));
        let asked = origin.count("/p");
        for told in [told.0, told.1] {
            for node in &nodes {
                waits_for(node, told["result"]["position"].as_str().unwrap()).await;
            }
        }
        for node in &nodes {
            let answer = node.get("/p", &[]).await;
            let version: usize = answer
                .text()
                .trim_start_matches("version ")
                .parse()
                .unwrap();
            assert!(version >= asked, "{version} is from before {asked}");
        }
    }
}
