//! Bodies pass in both directions as they come, whole and in order.

use crate::support::{Gate, Origin, Reply, Seawall, Setup};

fn five_megabytes() -> Vec<u8> {
    (0..5_000_000_u32)
        .map(|n| (n % 251).to_le_bytes()[0])
        .collect()
}

#[tokio::test]
async fn an_upload_with_its_length_arrives_whole() {
    let origin = Origin::start(|request| Reply::ok(format!("{}", request.body.len())));
    let seawall = Seawall::before(&origin).await;
    let body = five_megabytes();

    let mut client = seawall.connect().await;
    client
        .request("PUT", "/up", &["Content-Length: 5000000"])
        .await;
    client.send(&body).await;
    assert_eq!(client.response().await.text(), "5000000");
    assert!(origin.last().body == body);
    assert_eq!(
        client.get("/next", &[]).await.status,
        200,
        "the connection goes on"
    );
}

#[tokio::test]
async fn a_chunked_upload_arrives_whole() {
    let origin = Origin::start(|request| Reply::ok(format!("{}", request.body.len())));
    let seawall = Seawall::before(&origin).await;
    let body = five_megabytes();

    let mut client = seawall.connect().await;
    client
        .request("POST", "/up", &["Transfer-Encoding: chunked"])
        .await;
    for chunk in body.chunks(77_777) {
        client.send(format!("{:x}\r\n", chunk.len())).await;
        client.send(chunk).await;
        client.send("\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "5000000");
    assert!(origin.last().body == body);
    assert_eq!(
        client.get("/next", &[]).await.status,
        200,
        "the connection goes on"
    );
}

#[tokio::test]
async fn a_response_arrives_as_the_origin_sends_it() {
    for fields in [&[][..], &["Cookie: sessionid=a"]] {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            Reply::chunked(["one"])
                .then("two", &held)
                .field("Cache-Control: max-age=60")
        });
        let seawall = Seawall::before(&origin).await;

        let mut client = seawall.connect().await;
        client.request("GET", "/p", fields).await;
        assert_eq!(client.response_head().await.unwrap().status, 200);
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"one");
        gate.open();
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"two");
        assert!(client.chunk().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::chunked(["data: 1\n\n"])
            .then("data: 2\n\n", &held)
            .field("Content-Type: text/event-stream")
            .field("Cache-Control: no-store")
    });
    let seawall = Seawall::before(&origin).await;
    let mut client = seawall.connect().await;
    client.request("GET", "/events", &[]).await;
    client.response_head().await.unwrap();
    assert_eq!(client.chunk().await.unwrap().unwrap(), b"data: 1\n\n");
    gate.open();
    assert_eq!(client.chunk().await.unwrap().unwrap(), b"data: 2\n\n");
}

#[tokio::test]
async fn a_client_that_expects_a_go_ahead_gets_it() {
    let origin = Origin::start(|request| Reply::ok(format!("{}", request.body.len())));
    let seawall = Seawall::before(&origin).await;

    let mut client = seawall.connect().await;
    let fields = ["Expect: 100-continue", "Content-Length: 5"];
    client.request("POST", "/up", &fields).await;
    assert_eq!(client.response().await.status, 100);
    client.send("hello").await;
    assert_eq!(client.response().await.text(), "5");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Setup::before([&origin])
        .section("[client]\nmax_body_size = \"10 KiB\"")
        .start()
        .await;

    let mut client = seawall.connect().await;
    client
        .request("POST", "/up", &["Content-Length: 10241"])
        .await;
    assert_eq!(client.response().await.status, 413);
    assert_eq!(origin.requests().len(), 0);
    let fits = seawall.send("POST", "/up", &[], &"x".repeat(10_240)).await;
    assert_eq!(fits.status, 200);
}

#[tokio::test]
async fn a_chunked_body_that_grows_too_large_is_refused() {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Setup::before([&origin])
        .section("[client]\nmax_body_size = \"10 KiB\"")
        .start()
        .await;

    let mut client = seawall.connect().await;
    client
        .request("POST", "/up", &["Transfer-Encoding: chunked"])
        .await;
    let chunk = "x".repeat(4096);
    for _ in 0..3 {
        client.send(format!("1000\r\n{chunk}\r\n")).await;
    }
    assert_eq!(client.response().await.status, 413);
    assert!(client.is_closed().await);
    assert_eq!(
        origin.requests().len(),
        0,
        "the origin never saw a whole request"
    );
}
