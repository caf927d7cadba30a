//! Connections and what they may cost: reuse, pipelining, deadlines, sizes.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Client, Gate, Origin, Reply, Seawall, Setup};

async fn limited(client: &str) -> (Origin, Seawall) {
    let origin = Origin::start(|request| Reply::ok(format!("at {}", request.target)));
    let setup = Setup::before([&origin]).section(&format!("[client]\n{client}"));
    let seawall = setup.start().await;
    (origin, seawall)
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let (origin, seawall) = limited("").await;
    let mut client = seawall.connect().await;
    for nth in 0..20 {
        let target = format!("/{nth}");
        assert_eq!(
            client.get(&target, &[]).await.text(),
            format!("at {target}")
        );
    }
    assert_eq!(origin.requests().len(), 20);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (_origin, seawall) = limited("").await;
    let mut client = seawall.connect().await;
    let packet: String = (0..5)
        .map(|nth| format!("GET /{nth} HTTP/1.1\r\nHost: site.test\r\n\r\n"))
        .collect();
    client.send(packet).await;
    for nth in 0..5 {
        assert_eq!(client.response().await.text(), format!("at /{nth}"));
    }
}

#[tokio::test]
async fn a_request_pipelined_behind_a_body_is_answered_or_refused_but_never_mixed_up() {
    let (origin, seawall) = limited("").await;
    let mut client = seawall.connect().await;
    client
        .send(
            "POST /form HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\n\r\nhello\
             GET /next HTTP/1.1\r\nHost: site.test\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.text(), "at /form");
    assert_eq!(origin.requests()[0].body, b"hello");
    if let Ok(next) = client.try_response("GET").await {
        assert_eq!(next.text(), "at /next");
    }
}

#[tokio::test]
async fn a_request_in_many_pieces_is_whole_in_the_end() {
    let (_origin, seawall) = limited("").await;
    let mut client = seawall.connect().await;
    for byte in b"\r\nGET /slow HTTP/1.1\r\nHost: site.test\r\n\r\n" {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.response().await.text(), "at /slow");
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_closed() {
    let (_origin, seawall) = limited("").await;
    let mut client = seawall.connect().await;
    assert_eq!(client.get("/p", &["Connection: close"]).await.status, 200);
    assert!(client.is_closed().await);

    let mut old = seawall.connect().await;
    old.send("GET /old HTTP/1.0\r\nHost: site.test\r\n\r\n")
        .await;
    assert_eq!(old.response().await.text(), "at /old");
    assert!(old.is_closed().await);
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_refused() {
    let (origin, seawall) = limited("header_timeout = \"300ms\"").await;
    let started = Instant::now();
    let mut client = seawall.connect().await;
    client.send("GET /slow HTTP/1.1\r\nHost: site").await;
    assert_eq!(client.response().await.status, 408);
    assert!(client.is_closed().await);
    assert!(started.elapsed() >= Duration::from_millis(300));

    // A byte now and then does not help: the deadline is for the whole head.
    let mut dripping = seawall.connect().await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(400) {
        dripping.send("X").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(dripping.response().await.status, 408);
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let (_origin, seawall) = limited("header_timeout = \"300ms\"").await;
    let mut client = seawall.connect().await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn empty_lines_do_not_keep_a_connection_open() {
    let (_origin, seawall) = limited("header_timeout = \"300ms\"").await;
    let mut client = seawall.connect().await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(600) {
        client.send("\r\n").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.request("GET", "/p", &[]).await;
    assert!(client.try_response("GET").await.is_err());
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (_origin, seawall) = limited("idle_timeout = \"1s\"").await;
    let mut client = seawall.connect().await;
    client.get("/p", &[]).await;
    let idle_since = Instant::now();
    assert!(client.is_closed().await);
    let idle = idle_since.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(3)).contains(&idle),
        "{idle:?}"
    );
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let (origin, seawall) = limited("body_timeout = \"300ms\"").await;
    let mut client = seawall.connect().await;
    client.request("POST", "/up", &["Content-Length: 10"]).await;
    client.send("half").await;
    let answer = client.try_response("POST").await;
    assert!(
        answer.as_ref().map_or(true, |answer| answer.status == 408),
        "{answer:?}"
    );
    assert!(client.is_closed().await);
    assert_eq!(
        origin.requests().len(),
        0,
        "the origin never saw a whole request"
    );
}

#[tokio::test]
async fn heads_and_targets_have_their_limits() {
    let limits = "max_header_size = \"4 KiB\"\nmax_headers = 20\nmax_uri_length = 256";
    let (origin, seawall) = limited(limits).await;
    let long = format!("X-Long: {}", "a".repeat(5000));
    let many = vec!["X: a"; 25];
    for (target, fields, status) in [
        (format!("/{}", "a".repeat(300)), vec![], 414),
        (format!("/{}", "a".repeat(9000)), vec![], 414),
        ("/p".to_owned(), vec![long.as_str()], 431),
        ("/p".to_owned(), many, 431),
    ] {
        let mut client = seawall.connect().await;
        let answer = client.get(&target, &fields).await;
        assert_eq!(answer.status, status);
        assert!(client.is_closed().await);
    }
    assert_eq!(origin.requests().len(), 0);
    assert_eq!(seawall.get("/p", &["X: a"]).await.status, 200);
}

#[tokio::test]
async fn an_ipv6_listener_knows_its_clients() {
    let origin = Origin::start(|_| Reply::ok("six"));
    let seawall = Setup::before([&origin])
        .listen("\"ADDRESS\", \"[::1]:PORT\"")
        .start()
        .await;
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, seawall.address.port()));
    let response = Client::connect(address).await.get("/p", &[]).await;
    assert_eq!(response.text(), "six");
    assert_eq!(origin.last().field("x-forwarded-for"), Some("::1"));
    let forwarded = "for=\"[::1]\";host=\"site.test\";proto=http";
    assert_eq!(origin.last().field("forwarded"), Some(forwarded));
}

#[tokio::test]
async fn a_connection_serves_only_so_many_requests() {
    let (_origin, seawall) = limited("max_requests_per_connection = 3").await;
    let mut client = seawall.connect().await;
    for _ in 0..2 {
        client.get("/p", &[]).await;
    }
    let last = client.get("/p", &[]).await;
    assert_eq!(last.field("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_request_sent_before_the_last_answer_came_is_answered() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok(format!("at {}", request.target));
        match request.target.as_str() {
            "/first" => reply.behind(&held),
            _ => reply,
        }
    });
    let seawall = Seawall::before(&origin).await;

    let mut client = seawall.connect().await;
    client.request("GET", "/first", &[]).await;
    origin.asked("/first", 1).await;
    client.request("GET", "/second", &[]).await;
    // Whoever asks meanwhile gives Seawall the time to notice the second request.
    for nth in 0..5 {
        seawall.get(&format!("/{nth}"), &[]).await;
    }
    gate.open();
    assert_eq!(client.response().await.text(), "at /first");
    assert_eq!(client.response().await.text(), "at /second");
}
