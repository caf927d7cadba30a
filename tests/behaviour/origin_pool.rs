//! Which replica gets a request, and health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::{Origin, Reply, Seawall, Setup, eventually};

async fn readiness(seawall: &Seawall) -> (u16, Value) {
    let response = seawall.admin("/readyz").await;
    let report = serde_json::from_str(response.text()).unwrap();
    (response.status, report)
}

#[tokio::test]
async fn replicas_take_turns() {
    let origins = [
        Origin::start(|_| Reply::ok("a")),
        Origin::start(|_| Reply::ok("b")),
        Origin::start(|_| Reply::ok("c")),
    ];
    let seawall = Setup::before(&origins)
        .pool("balance = \"round_robin\"")
        .start()
        .await;
    let mut turns = String::new();
    for nth in 0..9 {
        turns += seawall.get(&format!("/{nth}"), &[]).await.text();
    }
    assert_eq!(turns, "abcabcabc");
}

#[tokio::test]
async fn turns_follow_the_weights() {
    let heavy = Origin::start(|_| Reply::ok("heavy"));
    let light = Origin::start(|_| Reply::ok("light"));
    let seawall = Setup::servers([
        format!("{{ url = \"http://{}\", weight = 3 }}", heavy.address),
        format!("\"http://{}\"", light.address),
    ])
    .pool("balance = \"round_robin\"")
    .start()
    .await;
    for nth in 0..12 {
        seawall.get(&format!("/{nth}"), &[]).await;
    }
    assert_eq!((heavy.requests().len(), light.requests().len()), (9, 3));
}

#[tokio::test]
async fn a_replica_by_name_is_found() {
    let origin = Origin::start(|_| Reply::ok("named"));
    let server = format!("\"http://localhost:{}\"", origin.address.port());
    let seawall = Setup::servers([server]).start().await;
    eventually("the name to be resolved", async || {
        seawall.get("/p", &[]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn checks_take_a_failing_replica_out_and_back() {
    let failing = Arc::new(AtomicBool::new(false));
    let state = failing.clone();
    let moody = Origin::start(move |request| match request.target.as_str() {
        "/healthz" if state.load(Ordering::Relaxed) => Reply::status(500, "ill"),
        _ => Reply::ok("moody"),
    });
    let steady = Origin::start(|_| Reply::ok("steady"));
    let seawall = Setup::before([&moody, &steady])
        .pool("balance = \"round_robin\"")
        .pool("health_check = { path = \"/healthz\", interval = \"100ms\", timeout = \"1s\", rise = 2, fall = 2 }")
        .start()
        .await;
    let healthy = "seawall_origin_replicas{pool=\"app\",state=\"healthy\"}";
    assert_eq!(seawall.metric(healthy).await, 2.0);

    failing.store(true, Ordering::Relaxed);
    eventually("the replica to be taken out", async || {
        readiness(&seawall).await.1["pools"][0]["healthy"] == 1
    })
    .await;
    for nth in 0..4 {
        assert_eq!(
            seawall.get(&format!("/out/{nth}"), &[]).await.text(),
            "steady"
        );
    }
    assert_eq!(seawall.metric(healthy).await, 1.0);

    failing.store(false, Ordering::Relaxed);
    eventually("the replica to be back", async || {
        seawall.metric(healthy).await == 2.0
    })
    .await;
    let mut seen = Vec::new();
    for nth in 0..2 {
        seen.push(
            seawall
                .get(&format!("/back/{nth}"), &[])
                .await
                .text()
                .to_owned(),
        );
    }
    seen.sort();
    assert_eq!(seen, ["moody", "steady"]);
    let check = moody
        .requests()
        .into_iter()
        .find(|request| request.target == "/healthz")
        .unwrap();
    assert!(check.field("user-agent").unwrap().starts_with("seawall/"));
}

#[tokio::test]
async fn without_a_healthy_replica_it_is_not_ready() {
    let mut origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Setup::before([&origin])
        .pool("health_check = { interval = \"100ms\", rise = 1, fall = 1 }")
        .start()
        .await;
    let (status, report) = readiness(&seawall).await;
    assert_eq!((status, &report["ready"]), (200, &Value::Bool(true)));
    assert_eq!(report["zones"][0], "site");

    origin.stop().await;
    eventually("it to be not ready", async || {
        readiness(&seawall).await.0 == 503
    })
    .await;
    assert_eq!(seawall.admin("/healthz").await.status, 200, "but it lives");

    origin.listen();
    eventually("it to be ready", async || {
        readiness(&seawall).await.0 == 200
    })
    .await;
}
