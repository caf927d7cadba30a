//! Many clients, one key: the origin is asked once, and nobody depends on anybody else.

use crate::support::{Gate, Origin, Reply, Seawall, Setup, answers, connected, crowd};

#[tokio::test]
async fn two_hundred_clients_on_a_cold_key_are_one_request_to_the_origin() {
    let gate = Gate::closed();
    let held = gate.clone();
    let body = "x".repeat(100_000);
    let page = body.clone();
    let origin = Origin::start(move |_| Reply::fresh(&page).behind(&held));
    let seawall = Seawall::before(&origin).await;

    let clients = crowd(&seawall, 200, "/p").await;
    connected(&seawall, 200).await;
    origin.asked("/p", 1).await;
    gate.open();

    let responses = answers(clients);
    for response in responses.await {
        assert!(response.status == 200 && response.body == body.as_bytes());
    }
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn clients_of_a_private_page_do_not_wait_for_one_another() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok(format!("{}", request.nth)).field("Cache-Control: private");
        if request.nth == 0 {
            reply
        } else {
            reply.behind(&held)
        }
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;

    let clients = crowd(&seawall, 10, "/p").await;
    origin.asked("/p", 11).await;
    gate.open();
    let mut bodies = Vec::new();
    for mut client in clients {
        bodies.push(client.response().await.text().to_owned());
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!(
        bodies.len(),
        10,
        "everybody has an answer of their own: {bodies:?}"
    );
}

#[tokio::test]
async fn waiters_stream_along_while_the_page_is_fetched() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::chunked(["first "])
            .then("second", &held)
            .field("Cache-Control: max-age=60")
    });
    let seawall = Seawall::before(&origin).await;

    let mut clients = crowd(&seawall, 10, "/p").await;
    for client in &mut clients {
        assert_eq!(client.response_head().await.unwrap().status, 200);
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"first ");
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"second");
        assert!(client.chunk().await.unwrap().is_none());
    }
    assert_eq!(origin.count("/p"), 1);
    assert_eq!(seawall.get("/p", &[]).await.text(), "first second");
}

#[tokio::test]
async fn a_leader_that_leaves_takes_nobody_along() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::chunked(["first "])
            .then("second", &held)
            .field("Cache-Control: max-age=60")
    });
    let seawall = Seawall::before(&origin).await;

    let mut leader = seawall.connect().await;
    leader.request("GET", "/p", &[]).await;
    leader.response_head().await.unwrap();
    leader.chunk().await.unwrap();
    let mut waiters = crowd(&seawall, 5, "/p").await;
    for waiter in &mut waiters {
        assert_eq!(waiter.response_head().await.unwrap().status, 200);
        assert_eq!(waiter.chunk().await.unwrap().unwrap(), b"first ");
    }
    drop(leader);
    gate.open();
    for waiter in &mut waiters {
        assert_eq!(waiter.chunk().await.unwrap().unwrap(), b"second");
        assert!(waiter.chunk().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_leader_that_leaves_before_the_answer_takes_nobody_along() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh("page").behind(&held));
    let seawall = Seawall::before(&origin).await;

    let leader = crowd(&seawall, 1, "/p").await;
    origin.asked("/p", 1).await;
    let waiters = crowd(&seawall, 5, "/p").await;
    connected(&seawall, 6).await;
    drop(leader);
    gate.open();
    for mut waiter in waiters {
        assert_eq!(waiter.response().await.text(), "page");
    }
    assert!(origin.count("/p") <= 2, "{}", origin.count("/p"));
}

#[tokio::test]
async fn a_page_announced_as_too_large_is_not_stored() {
    let origin = Origin::start(|_| Reply::fresh("x".repeat(100_000)));
    let seawall = Setup::before([&origin])
        .rule("small", "/*", "max_object_size = \"64 KiB\"")
        .start()
        .await;
    for _ in 0..2 {
        let response = seawall.get("/p", &[]).await;
        assert_eq!(response.body.len(), 100_000);
        assert!(response.cache_status().contains("detail=too-large:rule-0"));
    }
}

#[tokio::test]
async fn a_failing_origin_is_not_stormed_by_those_who_wait() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.nth {
        0 => Reply::status(500, "oops").behind(&held),
        _ => Reply::fresh("page"),
    });
    let seawall = Seawall::before(&origin).await;

    let clients = crowd(&seawall, 50, "/p").await;
    connected(&seawall, 50).await;
    origin.asked("/p", 1).await;
    gate.open();
    let responses = answers(clients);
    let failed = responses.await.iter().filter(|r| r.status == 500).count();
    assert_eq!(failed, 1);
    assert!(origin.count("/p") <= 5, "{}", origin.count("/p"));
}

#[tokio::test]
async fn a_page_too_large_to_store_reaches_everybody_whole() {
    let body: Vec<u8> = (0..10_000_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    let chunks: Vec<Vec<u8>> = body.chunks(100_000).map(<[u8]>::to_vec).collect();
    let origin = Origin::start(move |_| Reply::chunked(&chunks).field("Cache-Control: max-age=60"));
    let seawall = Setup::before([&origin])
        .section("[cache]\nmax_object_size = \"64 KiB\"")
        .start()
        .await;

    let clients = crowd(&seawall, 5, "/p").await;
    let responses = answers(clients);
    for response in responses.await {
        assert!(response.body == body, "{} bytes", response.body.len());
    }
    let before = origin.count("/p");
    let again = seawall.get("/p", &[]).await;
    assert!(again.body == body, "{} bytes", again.body.len());
    assert_eq!(origin.count("/p"), before + 1, "it was not stored");
    assert_eq!(seawall.metric("seawall_store_objects").await, 0.0);
}
