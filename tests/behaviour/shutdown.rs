//! Ending and handing over without cutting anybody off.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Client, Gate, Origin, Reply, Seawall, Traffic, eventually};

#[tokio::test]
async fn sigterm_lets_requests_finish_and_takes_no_new_ones() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("finished").behind(&held));
    let mut seawall = Seawall::before(&origin).await;
    let mut slow = seawall.connect().await;
    slow.request("GET", "/slow", &[]).await;
    origin.asked("/slow", 1).await;

    seawall.signal("TERM");
    eventually("new connections to be refused", async || {
        Client::try_connect(seawall.address).await.is_err()
    })
    .await;
    gate.open();
    let response = slow.response().await;
    assert_eq!(response.text(), "finished");
    let ended = seawall.ended().await;
    assert!(ended.success(), "{ended}");
    seawall.logged("/slow").await;
}

#[tokio::test]
async fn sigterm_ends_an_idle_process_soon() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let mut seawall = Seawall::before(&origin).await;
    let mut idle = seawall.connect().await;
    idle.get("/p", &[]).await;

    let started = Instant::now();
    seawall.signal("TERM");
    assert!(seawall.ended().await.success());
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert!(idle.is_closed().await);
}

#[tokio::test]
async fn sigquit_hands_over_to_a_new_process_without_a_failed_request() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let mut old = Seawall::before(&origin).await;
    let traffic = Traffic::start(old.address);
    origin.asked(Traffic::TARGET, 1).await;

    let _new = old.successor();
    eventually("the successor to wait", async || {
        old.path("upgrade.sock").exists()
    })
    .await;
    old.signal("QUIT");
    assert!(old.ended().await.success());
    // The successor fetches the page itself.
    origin.asked(Traffic::TARGET, 2).await;
    traffic.ends_without_a_failure().await;
}
