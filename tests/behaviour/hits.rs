//! What clients may do to a connection on which hits are answered, and what hits may not do to the
//! requests around them.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::support::{Authority, Client, Origin, Reply, Seawall, Setup, TOKEN, eventually, within};

const LARGE: usize = 8 << 20;

/// An origin with small pages and a large one, behind Seawall with these limits; `/hit` and `/large`
/// are stored.
async fn stored(client: &str) -> (Origin, Seawall) {
    stored_on(true, client).await
}

/// The same on this lane.
async fn stored_on(lane: bool, client: &str) -> (Origin, Seawall) {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/large" => Reply::fresh("x".repeat(LARGE)),
        target => Reply::fresh(format!("{} {target}", request.method)),
    });
    let setup = Setup::before([&origin])
        .purging()
        .server(&format!("hit_lane = {lane}"));
    let seawall = setup.section(&format!("[client]\n{client}")).start().await;
    for target in ["/hit", "/large"] {
        seawall.get(target, &[]).await;
        assert_eq!(seawall.get(target, &[]).await.cache(), "HIT");
    }
    (origin, seawall)
}

/// A connection that has had a hit.
async fn after_a_hit(seawall: &Seawall) -> Client {
    let mut client = seawall.connect().await;
    let hit = client.get("/hit", &[]).await;
    assert_eq!(
        (hit.cache(), hit.field("connection")),
        ("HIT", Some("keep-alive"))
    );
    client
}

const HIT: &str = "GET /hit HTTP/1.1\r\nHost: site.test\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n";

#[tokio::test]
async fn ambiguous_requests_are_refused_after_hits_and_in_one_write_with_them() {
    let (origin, seawall) = stored("max_header_size = \"4 KiB\"").await;
    let long = format!("X: {}", "a".repeat(5000));
    for (fields, status) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: x, chunked", 501),
        ("Transfer-Encoding : chunked", 400),
        ("Content-Length: 0\r\nContent-Length: 44", 400),
        ("Content-Length: +0", 400),
        ("X: a\nContent-Length: 44", 400),
        ("X: a\r\n folded", 400),
        ("Host: other.test", 400),
        ("Expect: 200-ok", 417),
        (long.as_str(), 431),
    ] {
        for method in ["GET", "POST"] {
            let head = format!("{method} /hit HTTP/1.1\r\nHost: site.test\r\n{fields}\r\n\r\n");
            let mut client = after_a_hit(&seawall).await;
            client.send(format!("{HIT}{head}{SMUGGLED}")).await;
            assert_eq!(client.response().await.cache(), "HIT");
            assert_eq!(client.response().await.status, status, "{fields:?}");
            assert!(client.is_closed().await, "{fields:?}");
        }
    }
    assert_eq!((origin.count("/smuggled"), origin.count("/hit")), (0, 1));
}

#[tokio::test]
async fn a_body_behind_a_hit_is_a_body() {
    let (origin, seawall) = stored("").await;
    let length = SMUGGLED.len();
    let post =
        format!("POST /form HTTP/1.1\r\nHost: site.test\r\nContent-Length: {length}\r\n\r\n");
    // A body makes a GET another request: it is not answered with the hit.
    let get = post.replace("POST /form", "GET /hit");
    let mut client = seawall.connect().await;
    client
        .send(format!("{HIT}{post}{SMUGGLED}{HIT}{get}{SMUGGLED}{HIT}"))
        .await;
    for cache in ["HIT", "DYNAMIC", "HIT", "DYNAMIC", "HIT"] {
        assert_eq!(client.response().await.cache(), cache);
    }
    let requests = origin.requests();
    let bodies = requests
        .iter()
        .filter(|request| request.body == SMUGGLED.as_bytes());
    assert_eq!((bodies.count(), origin.count("/smuggled")), (2, 0));
}

#[tokio::test]
async fn fields_that_announce_nothing_leave_a_hit_a_hit() {
    let (origin, seawall) = stored("").await;
    let mut client = seawall.connect().await;
    for field in [
        "Content-Length: 0",
        "Expect: 100-continue",
        "TE: trailers",
        "Connection: X-Hop",
    ] {
        let hit = client.get("/hit", &[field]).await;
        assert_eq!(
            (hit.status, hit.cache(), hit.text()),
            (200, "HIT", "GET /hit"),
            "{field}"
        );
    }
    assert_eq!(origin.count("/hit"), 1);
}

#[tokio::test]
async fn an_old_client_is_kept_when_it_asks_to_be() {
    let (_origin, seawall) = stored("").await;
    let old = "GET /hit HTTP/1.0\r\nHost: site.test\r\n";
    let mut client = seawall.connect().await;
    for _ in 0..3 {
        client
            .send(format!("{old}Connection: keep-alive\r\n\r\n"))
            .await;
        let hit = client.response().await;
        assert_eq!(
            (hit.cache(), hit.field("connection")),
            ("HIT", Some("keep-alive"))
        );
    }
    client.send(format!("{old}\r\n")).await;
    assert_eq!(client.response().await.field("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_head_cut_anywhere_is_the_same_hit() {
    let (_origin, seawall) = stored("").await;
    let mut client = seawall.connect().await;
    for at in 1..HIT.len() {
        client.send(&HIT[..at]).await;
        tokio::task::yield_now().await;
        client.send(format!("{}{HIT}", &HIT[at..])).await;
        assert_eq!(client.response().await.text(), "GET /hit", "{at}");
        assert_eq!(client.response().await.text(), "GET /hit", "{at}");
    }
}

#[tokio::test]
async fn deadlines_hold_after_hits_too() {
    let (_origin, seawall) = stored("header_timeout = \"300ms\"\nidle_timeout = \"1s\"").await;
    let mut slow = after_a_hit(&seawall).await;
    slow.send("GET /hit HTTP/1.1\r\nHost: si").await;
    assert_eq!(slow.response().await.status, 408);
    assert!(slow.is_closed().await);

    let mut idle = after_a_hit(&seawall).await;
    let since = Instant::now();
    assert!(idle.is_closed().await);
    let idled = since.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(4)).contains(&idled),
        "{idled:?}"
    );
}

#[tokio::test]
async fn a_connection_has_only_so_many_hits() {
    let (_origin, seawall) = stored("max_requests_per_connection = 3").await;
    let mut client = after_a_hit(&seawall).await;
    client.send(HIT.repeat(3)).await;
    assert_eq!(
        client.response().await.field("connection"),
        Some("keep-alive")
    );
    assert_eq!(client.response().await.field("connection"), Some("close"));
    assert!(client.is_closed().await);
}

/// The first bytes of a large hit, by a client that reads no further.
async fn begin_large(seawall: &Seawall) -> Client {
    let mut client = seawall.connect().await;
    client.request("GET", "/large", &["User-Agent: slow"]).await;
    let head = client.response_head().await.unwrap();
    assert_eq!(head.cache(), "HIT");
    client
}

/// The access log's record of what [`begin_large`] asked for.
async fn logged_slow(seawall: &Seawall) -> serde_json::Value {
    let mut found = None;
    eventually("the log line", async || {
        let log = seawall.stdout();
        let line = log
            .lines()
            .find(|line| line.contains("\"user_agent\":\"slow\""));
        found = line.map(|line| serde_json::from_str(line).unwrap());
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test]
async fn a_client_that_stops_reading_a_hit_is_given_up_and_the_log_says_how_far_it_got() {
    for lane in [true, false] {
        let (_origin, seawall) = stored_on(lane, "write_timeout = \"300ms\"").await;
        let client = begin_large(&seawall).await;
        let record = logged_slow(&seawall).await;
        let sent = record["response_bytes"].as_u64().unwrap();
        assert!((1..8 << 20).contains(&sent), "{record}");
        let said = (&record["status"], &record["cache"]);
        assert_eq!(said, (&200.into(), &"HIT".into()), "{lane}");
        let error = record["error"].as_str().unwrap();
        assert!(error.starts_with("WriteTimedout: "), "{record}");
        drop(client);
        // The next one gets all of it.
        assert_eq!(seawall.get("/large", &[]).await.body.len(), LARGE);
    }
}

#[tokio::test]
async fn a_client_that_leaves_halfway_through_a_hit_is_logged_with_what_it_got() {
    for lane in [true, false] {
        let (_origin, seawall) = stored_on(lane, "").await;
        drop(begin_large(&seawall).await);
        let record = logged_slow(&seawall).await;
        let sent = record["response_bytes"].as_u64().unwrap();
        assert!(sent < 8 << 20, "{record}");
        let said = (&record["status"], &record["cache"]);
        assert_eq!(said, (&200.into(), &"HIT".into()), "{lane}");
        let error = record["error"].as_str().unwrap();
        assert!(error.starts_with("WriteError: "), "{record}");
    }
}

#[tokio::test]
async fn large_hits_that_nobody_reads_take_no_memory() {
    let (_origin, seawall) = stored("write_timeout = \"1s\"").await;
    let before = seawall.peak_memory();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = seawall.connect().await;
        client.send(HIT.replace("/hit", "/large").repeat(100)).await;
        clients.push(client);
    }
    // All have begun: what a client does not take is where it was.
    for client in &mut clients {
        assert_eq!(client.response_head().await.unwrap().cache(), "HIT");
    }
    let grown = seawall.peak_memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

#[tokio::test]
async fn sigterm_lets_a_hit_finish_that_is_being_written() {
    let (_origin, mut seawall) = stored("").await;
    let mut client = begin_large(&seawall).await;
    let _idle = after_a_hit(&seawall).await;
    seawall.signal("TERM");
    eventually("new connections to be refused", async || {
        Client::try_connect(seawall.address).await.is_err()
    })
    .await;
    // Longer than kept connections linger.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(client.take(LARGE).await.unwrap().len(), LARGE);
    assert!(client.is_closed().await);
    assert!(seawall.ended().await.success());
}

#[tokio::test]
async fn ten_thousand_requests_in_one_write_are_answered_in_order() {
    const MANY: usize = 10_000;
    let (origin, seawall) = stored("").await;
    for nth in 0..10 {
        seawall.get(&format!("/{nth}"), &[]).await;
    }
    let stream = tokio::net::TcpStream::connect(seawall.address)
        .await
        .unwrap();
    let (mut read, mut write) = stream.into_split();
    let packet: String = (0..MANY)
        .map(|nth| format!("GET /{} HTTP/1.1\r\nHost: site.test\r\n\r\n", nth % 10))
        .collect();
    let writing =
        tokio::spawn(async move { write.write_all(packet.as_bytes()).await.map(|()| write) });
    let mut all = Vec::new();
    within("all answers", read.read_to_end(&mut all))
        .await
        .unwrap();
    writing.await.unwrap().unwrap();
    let all = String::from_utf8(all).unwrap();
    let bodies: Vec<&str> = all
        .split("\r\n\r\nGET /")
        .skip(1)
        .map(|body| &body[..1])
        .collect();
    assert_eq!(bodies.len(), MANY);
    for (nth, body) in bodies.iter().enumerate() {
        assert_eq!(*body, (nth % 10).to_string(), "answer {nth}");
    }
    assert_eq!(origin.requests().len(), 12);
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let (_origin, seawall) = stored("").await;
    for begun in ["G", "\r\n", "\r\n\r", "GET /hit HTTP/1.1\r\n"] {
        let mut client = seawall.connect().await;
        client.send(format!("{HIT}{HIT}{begun}")).await;
        for _ in 0..2 {
            assert_eq!(client.response().await.cache(), "HIT", "{begun:?}");
        }
    }
    let closing = HIT.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let mut client = seawall.connect().await;
    client.send(format!("{HIT}{closing}{HIT}")).await;
    for expected in ["keep-alive", "close"] {
        let answer = client.response().await;
        assert_eq!(answer.field("connection"), Some(expected));
    }
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn answers_written_together_are_logged_one_by_one() {
    let (_origin, seawall) = stored("").await;
    let mut client = seawall.connect().await;
    let known = HIT.replace("/hit", "/hit?b=1");
    client.send(known.as_str()).await;
    client.response().await;
    client.send(format!("{HIT}{known}{HIT}")).await;
    for _ in 0..3 {
        assert_eq!(client.response().await.cache(), "HIT");
    }
    let text = "GET /hit?b=1";
    eventually("a hit with its own figures", async || {
        let lines = seawall.stdout();
        lines.lines().any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["target"] == "/hit?b=1"
                && line["cache"] == "HIT"
                && line["response_bytes"] == text.len()
        })
    })
    .await;
}

#[tokio::test]
async fn a_purge_between_two_pipelined_requests_counts_for_the_second() {
    let (origin, seawall) = stored("").await;
    let purge = HIT.replace("GET", "PURGE").replace(
        "\r\n\r\n",
        &format!("\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"),
    );
    let mut client = seawall.connect().await;
    client.send(format!("{HIT}{purge}{HIT}{HIT}")).await;
    assert_eq!(client.response().await.cache(), "HIT");
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.response().await.cache(), "MISS");
    assert_eq!(client.response().await.status, 200);
    assert_eq!(origin.count("/hit"), 2);
}

#[tokio::test]
async fn hits_are_whole_over_tls() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/large" => Reply::fresh("x".repeat(LARGE)),
        target => Reply::fresh(target),
    });
    let authority = Authority::new();
    let site = authority.identity("site.test");
    let seawall = Setup::before([&origin])
        .listen("{ address = \"ADDRESS\", tls = { certificate = \"DIR/site.pem\", key = \"DIR/site.key\" } }")
        .file("site.pem", &site.certificate)
        .file("site.key", &site.key)
        .start()
        .await;
    let config: Arc<rustls::ClientConfig> = authority.client(&["http/1.1"]);
    let address = seawall.address;
    let texts = tokio::task::spawn_blocking(move || {
        let ask = |close: &str| {
            let name = ServerName::try_from("site.test").unwrap();
            let connection = ClientConnection::new(config.clone(), name).unwrap();
            let socket = std::net::TcpStream::connect(address).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut stream = StreamOwned::new(connection, socket);
            let get = |target, more: &str| {
                format!("GET {target} HTTP/1.1\r\nHost: site.test\r\n{more}\r\n")
            };
            let packet = get("/hit", "") + &get("/large", "") + &get("/hit", close);
            stream.write_all(packet.as_bytes()).unwrap();
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            text
        };
        [ask("Connection: close\r\n"), ask("Connection: close\r\n")]
    });
    let [first, second] = texts.await.unwrap();
    assert_eq!(
        first.to_ascii_lowercase().matches("x-cache: hit").count(),
        1
    );
    assert_eq!(
        second.to_ascii_lowercase().matches("x-cache: hit").count(),
        3
    );
    assert_eq!(
        second.matches('x').count(),
        LARGE + second.matches("max-age").count()
    );
    assert!(second.ends_with("/hit"));
    assert_eq!(origin.requests().len(), 2);
}
