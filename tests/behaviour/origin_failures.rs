//! Origins that fail: what is tried again, what is not, and how soon the client knows.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Gate, Origin, Reply, Seawall, Setup};

#[tokio::test]
async fn a_dead_replica_is_passed_over_for_every_method() {
    let alive = Origin::start(|_| Reply::ok("alive"));
    let mut dead = Origin::start(|_| Reply::ok("dead"));
    dead.stop().await;
    for method in ["GET", "POST"] {
        let seawall = Setup::before([&dead, &alive])
            .pool("balance = \"round_robin\"")
            .start()
            .await;
        for nth in 0..4 {
            let response = seawall.send(method, &format!("/{nth}"), &[], "body").await;
            assert_eq!(
                (response.status, response.text()),
                (200, "alive"),
                "{method}"
            );
        }
        assert_eq!(alive.last().body, b"body");
        assert!(
            seawall
                .metric("seawall_origin_retries_total{pool=\"app\"}")
                .await
                >= 1.0
        );
        let failures = "seawall_origin_failures_total{kind=\"connect\",pool=\"app\"}";
        assert!(seawall.metric(failures).await >= 1.0);
        assert!(seawall.logged("/0").await["attempts"].as_u64().unwrap() <= 2);
    }
}

#[tokio::test]
async fn what_is_safe_to_repeat_is_repeated_when_a_replica_hangs_up() {
    let rude = Origin::start(|_| Reply::hang_up());
    let polite = Origin::start(|_| Reply::ok("polite"));
    let seawall = Setup::before([&rude, &polite])
        .pool("balance = \"round_robin\"")
        .start()
        .await;
    for nth in 0..4 {
        let response = seawall.get(&format!("/{nth}"), &[]).await;
        assert_eq!((response.status, response.text()), (200, "polite"));
    }
    let put = seawall.send("PUT", "/put", &[], "body").await;
    assert_eq!(put.status, 200);
    assert_eq!(polite.last().body, b"body");
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let rude = Origin::start(|_| Reply::hang_up());
    let other = Origin::start(|_| Reply::hang_up());
    let seawall = Setup::before([&rude, &other])
        .pool("balance = \"round_robin\"")
        .start()
        .await;
    for nth in 0..4 {
        let target = format!("/{nth}");
        let response = seawall.send("POST", &target, &[], "pay").await;
        assert_eq!(response.status, 502);
        assert_eq!(rude.count(&target) + other.count(&target), 1);
    }
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_for_a_get() {
    let mut origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Seawall::before(&origin).await;
    for nth in 0..5 {
        let response = seawall.get(&format!("/{nth}"), &[]).await;
        assert_eq!(response.status, 200, "request {nth}");
        origin.stop().await;
        origin.listen();
    }
}

#[tokio::test]
async fn a_silent_origin_is_a_504_in_time_and_is_not_asked_again() {
    let never = Gate::closed();
    let held = never.clone();
    let silent = Origin::start(move |_| Reply::ok("late").behind(&held));
    let held = never.clone();
    let other = Origin::start(move |_| Reply::ok("late").behind(&held));
    let seawall = Setup::before([&silent, &other])
        .pool("balance = \"round_robin\"\nretries = { on_timeout = false }")
        .pool("timeouts = { first_byte = \"300ms\" }")
        .start()
        .await;

    for (method, target) in [("GET", "/get"), ("POST", "/post")] {
        let started = Instant::now();
        let response = seawall.send(method, target, &[], "body").await;
        let waited = started.elapsed();
        assert_eq!(response.status, 504);
        assert!((300..2000).contains(&waited.as_millis()), "{waited:?}");
        assert_eq!(silent.count(target) + other.count(target), 1);
    }
    let failures = "seawall_origin_failures_total{kind=\"timeout\",pool=\"app\"}";
    assert_eq!(seawall.metric(failures).await, 2.0);
}

/// Two replicas: one holds what `holds` says of a target until the gate opens, the other answers.
fn one_holding(never: &Gate, holds: fn(&str) -> bool) -> [Origin; 2] {
    let never = never.clone();
    let held = Origin::start(move |request| {
        if holds(&request.target) {
            Reply::ok("late").behind(&never)
        } else {
            Reply::ok("held")
        }
    });
    [held, Origin::start(|_| Reply::ok("well"))]
}

#[tokio::test]
async fn a_replica_that_hangs_is_replaced_for_what_is_safe() {
    let never = Gate::closed();
    let [hangs, well] = one_holding(&never, |_| true);
    let seawall = Setup::before([&hangs, &well])
        .pool("balance = \"round_robin\"\noutliers = { enabled = false }")
        .pool("timeouts = { first_byte = \"300ms\" }")
        .start()
        .await;
    // For the cache, past it, and on Pingora's lane.
    for (method, fields) in [
        ("GET", &[][..]),
        ("GET", &["Cookie: sessionid=1"]),
        ("OPTIONS", &[]),
    ] {
        let before = hangs.requests().len();
        for nth in 0..2 {
            let response = seawall.send(method, &format!("/{nth}"), fields, "").await;
            assert_eq!((response.status, response.text()), (200, "well"));
        }
        assert_eq!(hangs.requests().len(), before + 1, "{method} {fields:?}");
    }
    let statuses = [
        seawall.send("POST", "/a", &[], "body").await.status,
        seawall.send("POST", "/b", &[], "body").await.status,
    ];
    assert!(statuses.contains(&504) && statuses.contains(&200));
}

#[tokio::test]
async fn a_slow_page_of_a_replica_that_answers_others_is_not_asked_for_again() {
    let never = Gate::closed();
    let [slow, other] = one_holding(&never, |target| target == "/slow");
    let seawall = Setup::before([&slow, &other])
        .pool("balance = \"hash\"\nhash_by = 'http.request.headers[\"x-replica\"][0]'\noutliers = { enabled = false }")
        .pool("timeouts = { first_byte = \"1s\" }")
        .start()
        .await;
    let mut to_slow = None;
    for value in 0..64 {
        let field = format!("X-Replica: {value}");
        let answer = seawall.get(&format!("/{value}"), &[&field]).await;
        if answer.text() == "held" {
            to_slow = Some(field);
            break;
        }
    }
    let field = to_slow.expect("a value leads there");
    let mut client = seawall.connect().await;
    client.request("GET", "/slow", &[&field]).await;
    slow.asked("/slow", 1).await;
    assert_eq!(seawall.get("/quick", &[&field]).await.text(), "held");
    assert_eq!(client.response().await.status, 504);
    assert_eq!((slow.count("/slow"), other.count("/slow")), (1, 0));
}

#[tokio::test]
async fn an_origin_that_stops_in_the_middle_is_cut_off() {
    let never = Gate::closed();
    let origin = Origin::start(move |_| {
        Reply::chunked(["one"])
            .then("two", &never)
            .field("Cache-Control: max-age=60")
    });
    let seawall = Setup::before([&origin])
        .pool("timeouts = { first_byte = \"300ms\", between_bytes = \"300ms\" }")
        .start()
        .await;
    let mut client = seawall.connect().await;
    client.request("GET", "/p", &[]).await;
    assert!(client.try_response("GET").await.is_err());
    assert_eq!(seawall.metric("seawall_store_objects").await, 0.0);
}

#[tokio::test]
async fn an_endless_response_ends_with_the_total_deadline() {
    let gate = Gate::closed();
    let origin = Origin::start(move |_| Reply::chunked(["one"]).then("two", &gate));
    let seawall = Setup::before([&origin])
        .pool("timeouts = { first_byte = \"300ms\", total = \"600ms\" }")
        .start()
        .await;
    let started = Instant::now();
    let mut client = seawall.connect().await;
    client.request("GET", "/p", &[]).await;
    assert!(client.try_response("GET").await.is_err());
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn with_every_replica_down_the_answer_is_quick() {
    let mut first = Origin::start(|_| Reply::ok("x"));
    let mut second = Origin::start(|_| Reply::ok("x"));
    let seawall = Setup::before([&first, &second])
        .pool("balance = \"round_robin\"")
        .start()
        .await;
    first.stop().await;
    second.stop().await;
    for _ in 0..3 {
        let started = Instant::now();
        let response = seawall.get("/p", &["Accept: text/html"]).await;
        assert!(matches!(response.status, 502..=504));
        assert!(response.text().contains("<html"));
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    first.listen();
    assert_eq!(
        seawall.get("/p", &[]).await.status,
        200,
        "and it recovers at once"
    );
}
