//! What operators can measure.

use crate::support::{Origin, Reply, Seawall, Setup};

#[tokio::test]
async fn requests_are_counted_by_what_the_cache_did_and_the_rule_that_decided() {
    let origin = Origin::start(|_| Reply::fresh("0123456789"));
    let seawall = Setup::before([&origin])
        .rule("private", "/private/*", "cache = \"bypass\"")
        .start()
        .await;
    for target in ["/p", "/p", "/p", "/private/1"] {
        seawall.get(target, &[]).await;
    }
    // The log line is written last, so everything is counted once it is there.
    seawall.logged("/private/1").await;

    let series = |word: &str, rule: &str| {
        format!("seawall_requests_total{{cache_status=\"{word}\",rule=\"{rule}\",zone=\"site\"}}")
    };
    assert_eq!(seawall.metric(&series("MISS", "default")).await, 1.0);
    assert_eq!(seawall.metric(&series("HIT", "default")).await, 2.0);
    assert_eq!(seawall.metric(&series("BYPASS", "private")).await, 1.0);
    assert_eq!(
        seawall
            .metric("seawall_cache_hit_ratio{zone=\"site\"}")
            .await,
        0.5
    );
    assert_eq!(
        seawall
            .metric("seawall_cache_hit_ratio_bytes{zone=\"site\"}")
            .await,
        0.5
    );
    assert_eq!(
        seawall
            .metric("seawall_origin_requests_total{pool=\"app\"}")
            .await,
        2.0
    );
    assert_eq!(seawall.metric("seawall_store_objects").await, 1.0);
    assert!(seawall.metric("seawall_store_bytes").await > 10.0);
    assert!(seawall.metric("seawall_store_capacity_bytes").await > 1e6);
}

#[tokio::test]
async fn nothing_a_client_sends_becomes_a_label() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Setup::before([&origin])
        .hosts("[\"site.test\"]")
        .start()
        .await;
    let series = async || seawall.admin("/metrics").await.text().lines().count();
    let ask = async |nth: usize| {
        let host = format!("Host: evil-{nth}.test");
        seawall.get(&format!("/evil-{nth}"), &[&host]).await;
        let evil = format!("X-Evil-{nth}: evil");
        seawall.get(&format!("/evil-{nth}?{nth}"), &[&evil]).await;
        let mut client = seawall.connect().await;
        client
            .send(format!("EVIL{nth} /evil HTTP/9.{nth}\r\n\r\n"))
            .await;
        client.response().await;
    };
    ask(0).await;
    seawall.logged("/evil-0?0").await;
    let before = series().await;
    for nth in 1..20 {
        ask(nth).await;
    }
    seawall.logged("/evil-19?19").await;
    let text = seawall.admin("/metrics").await;
    assert!(!text.text().contains("evil"));
    assert_eq!(series().await, before);
}

#[tokio::test]
async fn refused_requests_are_counted_by_reason() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Seawall::before(&origin).await;
    let mut client = seawall.connect().await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.response().await;
    assert_eq!(
        seawall
            .metric("seawall_refused_requests_total{reason=\"no Host\"}")
            .await,
        1.0
    );
}

#[tokio::test]
async fn the_public_listener_does_not_answer_for_the_admin_one() {
    let origin = Origin::start(|_| Reply::ok("the app's own"));
    let seawall = Seawall::before(&origin).await;
    for path in ["/metrics", "/readyz", "/healthz"] {
        assert_eq!(seawall.get(path, &[]).await.text(), "the app's own");
    }
    assert_eq!(seawall.admin("/nothing").await.status, 404);
}
