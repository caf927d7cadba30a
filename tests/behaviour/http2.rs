//! HTTP/2 with prior knowledge on a cleartext listener.

use futures_util::StreamExt;
use futures_util::future::join_all;
use reqwest::Version;

use crate::support::{Gate, Origin, Reply, Seawall, Setup, eventually};

fn client() -> reqwest::Client {
    // Even a client in cleartext wants to have one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy();
    client.build().unwrap()
}

fn url(seawall: &Seawall, target: &str) -> String {
    format!("http://{}{target}", seawall.address)
}

fn word(response: &reqwest::Response) -> &str {
    response.headers()["x-cache"].to_str().unwrap()
}

#[tokio::test]
async fn pages_are_cached_across_protocol_versions() {
    let origin = Origin::start(|_| {
        Reply::fresh("hello")
            .field("Connection: X-Hop")
            .field("X-Hop: 1")
    });
    let seawall = Seawall::before(&origin).await;
    let client = client();

    for expected in ["MISS", "HIT"] {
        let response = client.get(url(&seawall, "/p")).send().await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(
            (response.status().as_u16(), word(&response)),
            (200, expected)
        );
        assert!(!response.headers().contains_key("x-hop"));
        assert_eq!(response.text().await.unwrap(), "hello");
    }
    let host = format!("Host: {}", seawall.address);
    assert_eq!(seawall.get("/p", &[&host]).await.cache(), "HIT");
    assert_eq!(origin.last().all("host"), [seawall.address.to_string()]);
}

#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_one_another() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/quick" => Reply::ok("quick"),
        target => Reply::ok(format!("at {target}")).behind(&held),
    });
    let seawall = Seawall::before(&origin).await;
    let client = client();

    let slow = join_all((0..30).map(|nth| {
        let request = client.get(url(&seawall, &format!("/slow/{nth}")));
        tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() })
    }));
    for nth in 0..30 {
        origin.asked(&format!("/slow/{nth}"), 1).await;
    }
    let quick = client.get(url(&seawall, "/quick")).send().await.unwrap();
    assert_eq!(quick.text().await.unwrap(), "quick");
    gate.open();
    for (nth, body) in slow.await.into_iter().enumerate() {
        assert_eq!(body.unwrap(), format!("at /slow/{nth}"));
    }
    assert!(seawall.metric("seawall_connections").await <= 1.0);
}

#[tokio::test]
async fn bodies_pass_in_both_directions() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "POST" => Reply::ok(&request.body),
        _ => Reply::chunked(["one", "two"]),
    });
    let seawall = Seawall::before(&origin).await;
    let client = client();

    let body: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n % 251).to_le_bytes()[0])
        .collect();
    let upload = client.post(url(&seawall, "/up")).body(body.clone());
    assert!(upload.send().await.unwrap().bytes().await.unwrap() == body);

    // Without a length, as a browser sends a stream.
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = body
        .chunks(50_000)
        .map(|piece| Ok(piece.to_vec()))
        .collect();
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let upload = client.post(url(&seawall, "/stream")).body(stream);
    assert!(upload.send().await.unwrap().bytes().await.unwrap() == body);

    let download = client.get(url(&seawall, "/down")).send().await.unwrap();
    assert_eq!(download.text().await.unwrap(), "onetwo");
}

#[tokio::test]
async fn a_response_arrives_as_the_origin_sends_it() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::chunked(["one"]).then("two", &held));
    let seawall = Seawall::before(&origin).await;

    let response = client().get(url(&seawall, "/p")).send().await.unwrap();
    let mut body = response.bytes_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "one");
    gate.open();
    assert_eq!(body.next().await.unwrap().unwrap(), "two");
}

#[tokio::test]
async fn a_truncated_origin_body_resets_the_stream_and_is_not_stored() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::raw(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nhalf\r\n",
        ),
        _ => Reply::fresh("whole page"),
    });
    let seawall = Seawall::before(&origin).await;
    let client = client();
    let cut = match client.get(url(&seawall, "/p")).send().await {
        Ok(response) if response.status() == 502 => Err("a 502".to_owned()),
        Ok(response) => response.text().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    assert!(cut.is_err(), "{cut:?}");
    let next = client.get(url(&seawall, "/p")).send().await.unwrap();
    assert_eq!(next.text().await.unwrap(), "whole page");
}

#[tokio::test]
async fn requests_that_name_two_hosts_or_a_path_with_controls_are_refused() {
    let origin = Origin::start(|_| Reply::fresh("never"));
    // Without the filter, which would refuse these paths as well.
    let filters = "[zones.site.request_filters]\ncontrol_characters = \"off\"\n";
    let seawall = Setup::before([&origin]).zone(filters).start().await;
    let client = client();
    for request in [
        client.get(url(&seawall, "/p")).header("host", "other.test"),
        client.get(url(&seawall, "/a%00b")),
        client.get(url(&seawall, "/a%0d%0ab")),
    ] {
        let refused = match request.send().await {
            Ok(response) => response.status() == 400,
            Err(_) => true,
        };
        assert!(refused);
    }
    assert_eq!(origin.requests().len(), 0);
    // It was not for lack of a server.
    let answer = client.get(url(&seawall, "/p")).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), origin.requests().len()),
        (200, 1)
    );
}

#[tokio::test]
async fn sizes_are_limited_as_in_http1() {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Setup::before([&origin])
        .section("[client]\nmax_body_size = \"10 KiB\"\nmax_header_size = \"4 KiB\"")
        .start()
        .await;
    let client = client();

    let body = client.post(url(&seawall, "/up")).body(vec![b'x'; 20_000]);
    assert_eq!(body.send().await.unwrap().status(), 413);
    let head = client
        .get(url(&seawall, "/p"))
        .header("x-large", "a".repeat(8000));
    let refused = head
        .send()
        .await
        .map_or(431, |response| response.status().as_u16());
    assert_eq!(refused, 431);
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn targets_and_field_counts_are_limited_as_in_http1() {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Setup::before([&origin])
        .section("[client]\nmax_uri_length = 256\nmax_headers = 20")
        .start()
        .await;
    let client = client();
    let long = client.get(url(&seawall, &format!("/{}", "a".repeat(300))));
    assert_eq!(long.send().await.unwrap().status(), 414);
    let mut many = client.get(url(&seawall, "/p"));
    for nth in 0..30 {
        many = many.header(format!("x-{nth}"), "1");
    }
    assert_eq!(many.send().await.unwrap().status(), 431);
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn the_origin_is_told_that_the_client_spoke_http2() {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Seawall::before(&origin).await;
    client().get(url(&seawall, "/p")).send().await.unwrap();
    // RFC 9110 §7.6.3: the protocol the message was received in.
    assert_eq!(origin.last().field("via"), Some("2 seawall"));
}

#[tokio::test]
async fn an_answer_of_the_edge_leaves_the_connection_in_order_whatever_the_body() {
    let origin = Origin::start(|_| Reply::fresh("app"));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.maintenance]]\nexpression = 'http.request.uri.path eq \"/closed\"'\ncontent = \"closed\"")
        .start()
        .await;
    let client = client();
    for size in [0, 10, 1 << 20] {
        let asked = client.post(url(&seawall, "/closed")).body(vec![b'x'; size]);
        let response = asked.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 503, "{size}");
        assert_eq!(response.text().await.unwrap(), "closed", "{size}");
        let next = client.get(url(&seawall, "/p")).send().await.unwrap();
        assert_eq!(next.text().await.unwrap(), "app", "{size}");
    }
    assert!(origin.requests().iter().all(|one| one.target == "/p"));
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

#[tokio::test]
async fn requests_that_are_reset_at_once_do_not_reach_the_origin() {
    const RESETS: u8 = 10;
    let origin = Origin::start(|_| Reply::fresh("app"));
    let seawall = Seawall::before(&origin).await;
    // GET, http, and literals for `:path` and `:authority` (RFC 7541 §6.2.2).
    let head = [b"\x82\x86\x04\x02/r\x01\x09".as_slice(), b"site.test"].concat();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for stream in (1..).step_by(2).take(usize::from(RESETS)) {
        // Its headers and its end, and the reset.
        bytes.extend(frame(1, 5, stream, &head));
        bytes.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    let mut client = seawall.connect().await;
    client.send(bytes).await;
    eventually("all of them to end", async || {
        let log = seawall.stdout();
        log.matches("\"protocol\":\"HTTP/2\"").count() == usize::from(RESETS)
    })
    .await;
    assert_eq!(origin.count("/r"), 0);
    assert_eq!(seawall.get("/r", &[]).await.text(), "app");
}
