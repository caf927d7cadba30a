//! A thousand clients on one key, and what each may get of what another one's request fetched.

use crate::support::{Gate, Origin, Reply, Seawall, Setup, answers, connected, crowd, echo_fields};

const HERD: usize = 1000;

#[tokio::test]
async fn a_thousand_clients_on_a_cold_key_are_one_request() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh("page").behind(&held));
    let seawall = Seawall::before(&origin).await;
    let clients = crowd(&seawall, HERD, "/p").await;
    connected(&seawall, 1000).await;
    gate.open();
    let answers = answers(clients).await;
    assert!(answers.iter().all(|answer| answer.text() == "page"));
    assert_eq!(origin.count("/p"), 1);
    let collapsed = answers
        .iter()
        .filter(|answer| answer.cache_status().contains("collapsed"))
        .count();
    assert!(collapsed > 0, "who waits is told so");
}

#[tokio::test]
async fn a_thousand_clients_on_a_private_key_never_exceed_the_cap() {
    let origin = Origin::start(|request| {
        Reply::ok(format!("nth={}", request.nth)).field("Cache-Control: private")
    });
    let seawall = Setup::before([&origin])
        .pool("max_requests = 20")
        .start()
        .await;
    for herd in 1..=2 {
        let clients = crowd(&seawall, HERD, "/mine").await;
        let mut bodies: Vec<_> = answers(clients)
            .await
            .iter()
            .map(|answer| answer.text().to_owned())
            .collect();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), HERD, "everybody has an answer of their own");
        assert_eq!(origin.count("/mine"), herd * HERD);
    }
    let most = origin.most_outstanding();
    assert!(most <= 20, "{most} at once");
}

#[tokio::test]
async fn a_thousand_clients_on_a_failing_key_are_a_few_requests() {
    let replies: [fn() -> Reply; 2] = [Reply::hang_up, || Reply::status(503, "closed")];
    for (reply, status) in replies.into_iter().zip([502, 503]) {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |_| reply().behind(&held));
        let seawall = Setup::before([&origin])
            .pool("retries = { max = 0 }")
            .start()
            .await;
        let clients = crowd(&seawall, HERD, "/p").await;
        connected(&seawall, 1000).await;
        origin.asked("/p", 1).await;
        gate.open();
        let answers = answers(clients).await;
        assert!(answers.iter().all(|answer| answer.status == status));
        // Late comers make a new herd, each of which tries twice.
        assert!(origin.count("/p") <= 100, "{}", origin.count("/p"));
    }
}

#[tokio::test]
async fn a_busy_pool_says_when_to_come_again() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("slow").behind(&held));
    let seawall = Setup::before([&origin])
        .pool("max_requests = 1\ntimeouts = { queue_timeout = \"50ms\" }")
        .start()
        .await;
    let mut first = seawall.connect().await;
    first.request("GET", "/a", &[]).await;
    origin.asked("/a", 1).await;
    let second = seawall.get("/b", &[]).await;
    assert_eq!(second.status, 503);
    assert!(second.field("retry-after").is_some());
    gate.open();
    assert_eq!(first.response().await.text(), "slow");
}

/// A leader and a follower that are told apart by the field `Who`, and what both get.
async fn pair(seawall: &Seawall, origin: &Origin, gate: &Gate, others: &[&str]) -> [String; 2] {
    let mut leader = seawall.connect().await;
    leader.request("GET", "/p", &["Who: alice"]).await;
    origin.asked("/p", 1).await;
    let mut follower = seawall.connect().await;
    follower
        .request("GET", "/p", &[&["Who: bob"], others].concat())
        .await;
    connected(seawall, 2).await;
    gate.open();
    let alice = leader.response().await.text().to_owned();
    [alice, follower.response().await.text().to_owned()]
}

#[tokio::test]
async fn what_is_to_be_validated_each_time_is_not_shared_with_those_who_wait() {
    for control in ["no-cache", "max-age=0"] {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |request| {
            Reply::ok(echo_fields(request, &["Who"]))
                .field(format!("Cache-Control: {control}"))
                .field("ETag: \"v1\"")
                .behind(&held)
        });
        let seawall = Seawall::before(&origin).await;
        let [alice, bob] = pair(&seawall, &origin, &gate, &[]).await;
        assert!(
            alice.contains("alice") && bob.contains("bob"),
            "{alice} {bob}"
        );
    }
}

#[tokio::test]
async fn a_failure_told_to_one_visitor_is_not_shared() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        Reply::status(503, echo_fields(request, &["Who"]))
            .field("Vary: Who")
            .behind(&held)
    });
    let seawall = Seawall::before(&origin).await;
    let [alice, bob] = pair(&seawall, &origin, &gate, &[]).await;
    assert!(alice.contains("alice") && !bob.contains("alice"), "{bob}");
}

#[tokio::test]
async fn fields_that_are_not_stored_do_not_reach_those_who_wait() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::fresh("page")
            .field("Cache-Control: no-cache=\"X-Account\"")
            .field("X-Account: alice")
            .behind(&held)
    });
    let seawall = Seawall::before(&origin).await;
    let mut leader = seawall.connect().await;
    leader.request("GET", "/p", &[]).await;
    origin.asked("/p", 1).await;
    let mut follower = seawall.connect().await;
    follower.request("GET", "/p", &[]).await;
    connected(&seawall, 2).await;
    gate.open();
    assert_eq!(leader.response().await.field("x-account"), Some("alice"));
    assert_eq!(follower.response().await.field("x-account"), None);
    assert_eq!(seawall.get("/p", &[]).await.field("x-account"), None);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_turn_back() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/slow" => Reply::ok("slow")
            .field("Cache-Control: private")
            .behind(&held),
        _ => Reply::ok("quick").field("Cache-Control: private"),
    });
    let seawall = Setup::before([&origin])
        .pool("max_requests = 1")
        .start()
        .await;
    // HEAD is never waited for by others.
    let mut impatient = seawall.connect().await;
    impatient.request("HEAD", "/slow", &[]).await;
    origin.asked("/slow", 1).await;
    drop(impatient);
    assert_eq!(seawall.get("/quick", &[]).await.text(), "quick");
}

#[tokio::test]
async fn an_interim_response_comes_first_and_is_not_stored() {
    let origin = Origin::start(|_| {
        Reply::fresh("page").after_interim("103 Early Hints", "Link: </a.css>; rel=preload")
    });
    let seawall = Seawall::before(&origin).await;
    let mut client = seawall.connect().await;
    client.request("GET", "/p", &[]).await;
    let hint = client.response_head().await.unwrap();
    assert_eq!(
        (hint.status, hint.field("link")),
        (103, Some("</a.css>; rel=preload"))
    );
    assert_eq!(client.response().await.text(), "page");
    let stored = seawall.get("/p", &[]).await;
    assert_eq!(
        (stored.status, stored.cache(), stored.field("link")),
        (200, "HIT", None)
    );
}
