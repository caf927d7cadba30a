//! What happens when the origin has as much to do as it may: who waits, who is sent away, what is stale.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{
    Client, Gate, Origin, Reply, Seawall, Setup, answers, connected, crowd, eventually,
};

/// How many requests the pool has outstanding or waiting.
async fn load(seawall: &Seawall, of: &str) -> f64 {
    let series = format!("seawall_origin_load{{of=\"{of}\",pool=\"app\"}}");
    seawall.metric(&series).await
}

/// A client whose request waits at the pool, as the `count`-th.
async fn waiting(seawall: &Seawall, target: &str, fields: &[&str], count: f64) -> Client {
    let mut client = seawall.connect().await;
    client.request("GET", target, fields).await;
    eventually("the request to wait", async || {
        load(seawall, "waiting").await >= count
    })
    .await;
    client
}

/// An origin that holds what it is asked under `/held` until the gate opens.
fn holding(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| match request.target.as_str() {
        target if target.starts_with("/held") => Reply::ok(target).behind(&gate),
        "/stale" => Reply::stale("page"),
        target => Reply::ok(target),
    })
}

#[tokio::test]
async fn no_replica_has_more_than_its_cap_under_a_crowd() {
    let gates = [Gate::closed(), Gate::closed()];
    let origins = [holding(&gates[0]), holding(&gates[1])];
    let seawall = Setup::before(&origins)
        .pool("max_requests_per_replica = 20")
        .start()
        .await;
    let started = tokio::time::Instant::now();
    let clients = crowd(&seawall, 300, "/held").await;
    connected(&seawall, 300).await;
    // A herd is one request; these are not shared.
    let answered = tokio::spawn(answers(clients));
    let mut busy = Vec::new();
    for nth in 0..300 {
        let mut client = seawall.connect().await;
        client
            .request("GET", &format!("/held/{nth}"), &["Cookie: sessionid=1"])
            .await;
        busy.push(client);
    }
    eventually("the pool to be full", async || {
        load(&seawall, "outstanding").await >= 40.0 && load(&seawall, "waiting").await >= 200.0
    })
    .await;
    gates.iter().for_each(Gate::open);
    let mut after = Vec::new();
    for mut client in busy {
        assert_eq!(client.response().await.status, 200);
        after.push(started.elapsed());
    }
    for response in answered.await.unwrap() {
        assert_eq!(response.status, 200, "{}", response.text());
    }
    after.sort_unstable();
    println!("p95 {:?}", after[after.len() * 95 / 100]);
    for origin in &origins {
        assert_eq!(origin.most_outstanding(), 20);
    }
}

#[tokio::test]
async fn who_is_logged_in_does_not_wait_behind_who_is_not() {
    let gate = Gate::closed();
    let origin = holding(&gate);
    let seawall = Setup::before([&origin])
        .pool("max_requests = 1")
        .zone("origin_rules = [{ name = \"late\", expression = 'http.request.uri.path eq \"/c\"', priority = \"low\" }]")
        .start()
        .await;
    let mut clients = vec![seawall.connect().await];
    clients[0].request("GET", "/held", &[]).await;
    origin.asked("/held", 1).await;
    for (count, (target, fields)) in [
        ("/c", &[][..]),
        ("/b", &[]),
        ("/a", &["Cookie: sessionid=1"]),
    ]
    .into_iter()
    .enumerate()
    {
        let count = f64::from(u32::try_from(count).unwrap()) + 1.0;
        clients.push(waiting(&seawall, target, fields, count).await);
    }
    gate.open();
    for response in answers(clients).await {
        assert_eq!(response.status, 200);
    }
    let order: Vec<_> = origin
        .requests()
        .into_iter()
        .map(|one| one.target)
        .collect();
    assert_eq!(order, ["/held", "/a", "/b", "/c"]);
}

#[tokio::test]
async fn a_full_queue_sheds_what_matters_least_and_says_when_to_come_again() {
    let gate = Gate::closed();
    let origin = holding(&gate);
    let seawall = Setup::before([&origin])
        .pool("max_requests = 1\nqueue = { length = 1 }")
        .start()
        .await;
    let mut held = seawall.connect().await;
    held.request("GET", "/held", &[]).await;
    origin.asked("/held", 1).await;
    let mut first = waiting(&seawall, "/a", &[], 1.0).await;
    let refused = seawall.get("/b", &["Accept: application/json"]).await;
    assert_eq!(refused.status, 503);
    assert!(refused.field("retry-after").is_some());
    assert_eq!(refused.field("cache-control"), Some("no-store"));
    // One that matters more takes the place.
    let mut logged_in = seawall.connect().await;
    logged_in
        .request("GET", "/c", &["Cookie: sessionid=1"])
        .await;
    assert_eq!(first.response().await.status, 503);
    gate.open();
    assert_eq!(held.response().await.status, 200);
    assert_eq!(logged_in.response().await.status, 200);
    let series =
        "seawall_shed_requests_total{pool=\"app\",priority=\"normal\",reason=\"queue-full\"}";
    assert!(seawall.metric(series).await >= 2.0);
}

#[tokio::test]
async fn who_leaves_the_queue_gives_the_place_up() {
    let gate = Gate::closed();
    let origin = holding(&gate);
    let seawall = Setup::before([&origin])
        .pool("max_requests = 1\nqueue = { length = 1 }")
        .start()
        .await;
    let mut held = seawall.connect().await;
    held.request("GET", "/held", &[]).await;
    origin.asked("/held", 1).await;
    let leaver = waiting(&seawall, "/a", &["Cookie: sessionid=1"], 1.0).await;
    drop(leaver);
    eventually("the place to be free", async || {
        load(&seawall, "waiting").await == 0.0
    })
    .await;
    let mut next = waiting(&seawall, "/b", &["Cookie: sessionid=1"], 1.0).await;
    gate.open();
    assert_eq!(next.response().await.status, 200);
    assert_eq!(origin.count("/a"), 0);
}

#[tokio::test]
async fn a_failing_pool_is_left_alone_and_tried_again() {
    let failing = Arc::new(AtomicBool::new(true));
    let state = failing.clone();
    let origin = Origin::start(move |_| {
        if state.load(Ordering::Relaxed) {
            Reply::status(503, "ill")
        } else {
            Reply::ok("well")
        }
    });
    let seawall = Setup::before([&origin])
        .pool(
            "breaker = { min_requests = 5, open_for = \"1s\", max_open_for = \"1s\", probes = 1 }",
        )
        .start()
        .await;
    for nth in 0..5 {
        let path = format!("/{nth}");
        assert_eq!(
            seawall.get(&path, &["Cookie: sessionid=1"]).await.text(),
            "ill"
        );
    }
    assert_eq!(load(&seawall, "breaker_open").await, 1.0);
    let refused = seawall.get("/5", &[]).await;
    assert_eq!(refused.status, 503);
    assert!(refused.field("retry-after").is_some());
    assert_eq!(origin.requests().len(), 5);
    failing.store(false, Ordering::Relaxed);
    eventually("the pool to be tried again", async || {
        seawall.get("/6", &[]).await.status == 200
    })
    .await;
    assert_eq!(load(&seawall, "breaker_open").await, 0.0);
    assert!(seawall.stderr().contains("circuit breaker opened"));
}

#[tokio::test]
async fn who_holds_bodies_back_does_not_have_everybody_refused() {
    // An application that has had enough of requests whose bodies do not come.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap_or_default();
                let is_post = head[..read].starts_with(b"POST");
                let status = if is_post { "503 Busy" } else { "200 OK" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    let seawall = Setup::servers([format!("\"http://{address}\"")])
        .pool("breaker = { min_requests = 5, open_for = \"10s\", probes = 1 }")
        .start()
        .await;
    for body in ["", "x"] {
        for _ in 0..10 {
            let mut client = seawall.connect().await;
            client.request("POST", "/", &["Content-Length: 10"]).await;
            client.send(body).await;
            assert_eq!(client.response_head().await.unwrap().status, 503);
        }
        assert_eq!(load(&seawall, "breaker_open").await, 0.0);
        assert_eq!(seawall.get("/", &[]).await.status, 200);
    }
    // It is the whole request that counts.
    for _ in 0..10 {
        seawall.send("POST", "/", &[], "0123456789").await;
    }
    assert_eq!(load(&seawall, "breaker_open").await, 1.0);
}

#[tokio::test]
async fn a_limited_origin_has_stale_pages_served_without_waiting() {
    let gate = Gate::closed();
    let origin = holding(&gate);
    let seawall = Setup::before([&origin])
        .pool("max_requests = 1\nqueue = { length = 2 }")
        .rule(
            "stale",
            "/stale",
            "serve_stale = { when_overloaded = \"1h\" }",
        )
        .start()
        .await;
    assert_eq!(seawall.get("/stale", &[]).await.status, 200);
    assert_eq!(seawall.get("/stale", &[]).await.cache(), "EXPIRED");
    let mut held = seawall.connect().await;
    held.request("GET", "/held", &[]).await;
    origin.asked("/held", 1).await;
    let _waits = waiting(&seawall, "/a", &[], 1.0).await;
    // So long must a queue stand for the origin to count as limited.
    tokio::time::sleep(Duration::from_millis(120)).await;
    let stale = seawall.get("/stale", &[]).await;
    assert_eq!((stale.status, stale.text()), (200, "page"));
    let told = stale.cache_status();
    assert!(told.contains("detail=stale-when-overloaded"), "{told}");
    let refused = origin.count("/stale");
    assert_eq!(refused, 2);
    gate.open();
    assert_eq!(held.response().await.status, 200);
}

/// An app that works at as many requests at once as it has places, each for 10 ms; the others wait there.
async fn app(places: Arc<Semaphore>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let places = places.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                // A request comes in one piece.
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    let place = places.acquire().await.unwrap();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    drop(place);
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_learnt_limit_shrinks_while_answers_are_slow_and_grows_again() {
    const MANY: u32 = 200;
    let places = Arc::new(Semaphore::new(MANY as usize));
    let address = app(places.clone()).await;
    let seawall = Setup::servers([format!("\"http://{address}\"")])
        .pool("adaptive_concurrency = { min = 2, max = 100 }")
        .start()
        .await;
    let mut users = JoinSet::new();
    for _ in 0..120 {
        let mut client = seawall.connect().await;
        users.spawn(async move {
            loop {
                client.get("/", &["Cookie: sessionid=1"]).await;
            }
        });
    }
    eventually("the limit to grow", async || {
        load(&seawall, "limit").await >= 30.0
    })
    .await;
    let held = places.acquire_many(MANY - 4).await.unwrap();
    eventually("the limit to shrink", async || {
        load(&seawall, "limit").await <= 12.0
    })
    .await;
    drop(held);
    eventually("the limit to grow again", async || {
        load(&seawall, "limit").await >= 30.0
    })
    .await;
    users.shutdown().await;
}
