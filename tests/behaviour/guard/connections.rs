//! The connection guard: what one client may take, and how slow it may be.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Authority, Origin, Reply, Seawall, Setup, eventually, within};

/// How many connections were refused or ended for `why`.
async fn refused(seawall: &Seawall, why: &str) -> f64 {
    let series = format!(
        "seawall_guard_total{{action=\"block\",module=\"connections\",rule=\"{why}\",zone=\"-\"}}"
    );
    seawall.metric(&series).await
}

async fn idle(seawall: &Seawall) {
    eventually("an idle Seawall", async || {
        seawall.metric("seawall_connections").await == 0.0
    })
    .await;
}

async fn limited(client: &str) -> (Origin, Seawall) {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let setup = Setup::before([&origin]).section(&format!("[client]\n{client}"));
    let seawall = setup.start().await;
    idle(&seawall).await;
    (origin, seawall)
}

/// A connection from this last number of 127.0.0.0/24.
async fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::from(([127, 0, 0, last], 0)))
        .unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether a connection gets an answer; it stays open.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let request = b"GET /p HTTP/1.1\r\nHost: site.test\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let mut buffer = [0; 4096];
    let read = within("an answer or the end", stream.read(&mut buffer)).await;
    read.is_ok_and(|length| buffer[..length].starts_with(b"HTTP/1.1 200"))
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_others_have_theirs() {
    let (_origin, seawall) = limited("max_connections_per_client = 2").await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = from(7, seawall.address).await;
        assert!(is_answered(&mut stream).await);
        kept.push(stream);
    }
    assert!(!is_answered(&mut from(7, seawall.address).await).await);
    assert!(is_answered(&mut from(8, seawall.address).await).await);
    assert!(is_answered(&mut kept[0]).await);
    assert!(refused(&seawall, "max_connections_per_client").await >= 1.0);
    kept.pop();
    eventually("the place that was given back", async || {
        is_answered(&mut from(7, seawall.address).await).await
    })
    .await;
    let events = seawall.admin("/security/events").await;
    assert!(
        events.text().contains("\"module\":\"connections\""),
        "{}",
        events.text()
    );
    assert!(events.text().contains("127.0.0.0/24"));
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_many() {
    let (_origin, seawall) =
        limited("max_connections_per_client = 1\ntrusted_proxies = [\"127.0.0.7\"]").await;
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut stream = from(7, seawall.address).await;
        assert!(is_answered(&mut stream).await);
        kept.push(stream);
    }
    let mut first = from(8, seawall.address).await;
    assert!(is_answered(&mut first).await);
    assert!(!is_answered(&mut from(8, seawall.address).await).await);
}

#[tokio::test]
async fn a_client_opens_so_many_connections_a_second() {
    let (_origin, seawall) = limited("connection_rate_per_client = 3").await;
    let mut answered = 0;
    for _ in 0..30 {
        answered += u32::from(is_answered(&mut from(7, seawall.address).await).await);
    }
    assert!((3..30).contains(&answered), "{answered}");
    assert!(is_answered(&mut from(8, seawall.address).await).await);
    assert!(refused(&seawall, "connection_rate_per_client").await >= 1.0);
}

#[tokio::test]
async fn a_client_sends_so_many_requests_a_second_over_all_connections() {
    let (_origin, seawall) = limited("request_rate_per_client = 5").await;
    let (mut one, mut two) = (seawall.connect().await, seawall.connect().await);
    let mut stopped = None;
    for _ in 0..50 {
        assert_eq!(one.get("/p", &[]).await.status, 200);
        let answer = two.get("/p", &[]).await;
        if answer.status != 200 {
            stopped = Some(answer);
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stopped = stopped.unwrap();
    assert_eq!(
        (stopped.status, stopped.field("retry-after")),
        (429, Some("1"))
    );
    assert!(two.is_closed().await);
    assert!(is_answered(&mut from(8, seawall.address).await).await);

    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    eventually("a 429 over HTTP/2", async || {
        let url = format!("http://{}/p", seawall.address);
        let answer = client.get(url).send().await.unwrap();
        answer.status() == 429 && answer.headers()["retry-after"] == "1"
    })
    .await;
}

async fn encrypted(client: &str) -> (Origin, Seawall, Authority) {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let authority = Authority::new();
    let site = authority.identity("site.test");
    let seawall = Setup::before([&origin])
        .listen("{ address = \"ADDRESS\", tls = { certificate = \"DIR/site.pem\", key = \"DIR/site.key\" } }")
        .file("site.pem", &site.certificate)
        .file("site.key", &site.key)
        .section(&format!("[client]\n{client}"))
        .start()
        .await;
    idle(&seawall).await;
    (origin, seawall, authority)
}

/// Whether the handshake comes to its end.
async fn shakes_hands(
    seawall: &Seawall,
    authority: &Authority,
) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
    let connector = tokio_rustls::TlsConnector::from(authority.client(&[]));
    let stream = TcpStream::connect(seawall.address).await.unwrap();
    let name = "site.test".try_into().unwrap();
    within("a handshake", connector.connect(name, stream))
        .await
        .ok()
}

#[tokio::test]
async fn handshakes_count_as_connections_and_only_so_many_are_in_progress() {
    let (_origin, seawall, authority) = encrypted("max_tls_handshakes = 2").await;
    let silent = [
        from(7, seawall.address).await,
        from(8, seawall.address).await,
    ];
    eventually("both to be counted", async || {
        seawall.metric("seawall_connections").await >= 2.0
    })
    .await;
    assert!(shakes_hands(&seawall, &authority).await.is_none());
    assert!(refused(&seawall, "max_tls_handshakes").await >= 1.0);
    drop(silent);
    let mut kept = Vec::new();
    eventually("room for handshakes", async || {
        kept.extend(shakes_hands(&seawall, &authority).await);
        !kept.is_empty()
    })
    .await;
    // Those that are through are in nobody's way.
    eventually("four more of them", async || {
        kept.extend(shakes_hands(&seawall, &authority).await);
        kept.len() >= 5
    })
    .await;

    let (_origin, seawall, authority) = encrypted("max_connections = 1").await;
    let mut silent = Vec::new();
    eventually("the only place to be taken", async || {
        silent.push(from(7, seawall.address).await);
        shakes_hands(&seawall, &authority).await.is_none()
    })
    .await;
    drop(silent);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up_and_one_that_did_is_not() {
    let (_origin, seawall, authority) = encrypted("header_timeout = \"300ms\"").await;
    let kept = shakes_hands(&seawall, &authority).await;
    let mut silent = from(7, seawall.address).await;
    let mut buffer = [0; 16];
    let read = within("the end of a silent client", silent.read(&mut buffer)).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    assert!(refused(&seawall, "tls_handshake_timeout").await >= 1.0);
    drop(kept);
    let (_origin, seawall, authority) =
        encrypted("header_timeout = \"300ms\"\nidle_timeout = \"10s\"").await;
    let mut kept = shakes_hands(&seawall, &authority).await.unwrap();
    for _ in 0..3 {
        kept.write_all(b"GET /p HTTP/1.1\r\nHost: site.test\r\n\r\n")
            .await
            .unwrap();
        let read = within("an answer", kept.read(&mut buffer)).await.unwrap();
        assert_eq!(&buffer[..read.min(12)], b"HTTP/1.1 200");
        let mut rest = [0; 4096];
        let _ = within("the rest of it", kept.read(&mut rest)).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert!(refused(&seawall, "tls_handshake_timeout").await < 0.5);
}

#[tokio::test]
async fn who_asks_for_http2_and_then_says_nothing_is_given_up() {
    let (_origin, seawall, authority) = encrypted("header_timeout = \"300ms\"").await;
    let connector = tokio_rustls::TlsConnector::from(authority.client(&["h2"]));
    let stream = TcpStream::connect(seawall.address).await.unwrap();
    let name = "site.test".try_into().unwrap();
    let mut silent = connector.connect(name, stream).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let mut all = Vec::new();
    let _ = within("the end of it", silent.read_to_end(&mut all)).await;
    idle(&seawall).await;
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_and_a_steady_one_is_not() {
    let (origin, seawall) = limited("min_body_rate = 1000\nmin_rate_over = \"1s\"").await;
    for head in [
        "POST /slow HTTP/1.1\r\nHost: site.test\r\nContent-Length: 100000\r\n\r\n",
        "POST /slow HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut stream = from(7, seawall.address).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let trickle = async {
            while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("the end of a slow body", trickle).await;
    }
    assert!(refused(&seawall, "min_body_rate").await >= 2.0);

    let mut steady = seawall.connect().await;
    steady
        .request("POST", "/steady", &["Content-Length: 6000"])
        .await;
    for _ in 0..30 {
        steady.send([b'x'; 200]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(steady.response().await.status, 200);
    assert_eq!(origin.last().body.len(), 6000);
}

#[tokio::test]
async fn a_body_over_http2_that_trickles_is_given_up() {
    let (_origin, seawall) = limited("min_body_rate = 1000\nmin_rate_over = \"1s\"").await;
    let stream = TcpStream::connect(seawall.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://site.test/slow")
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    let (_response, mut body) = client.send_request(request, false).unwrap();
    let trickle = async {
        while body
            .send_data(bytes::Bytes::from_static(b"x"), false)
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the end of a slow body", trickle).await;
    assert!(refused(&seawall, "min_body_rate").await >= 1.0);
}

/// What the client of HTTP/2 gets whose body stops after `sent`, and what holds its stream open.
async fn stopped_body(
    seawall: &Seawall,
    sent: &'static str,
    fields: &[(&str, &str)],
) -> (h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>) {
    let stream = TcpStream::connect(seawall.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::post("http://site.test/stops");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    if !sent.is_empty() {
        body.send_data(sent.into(), false).unwrap();
    }
    (answer, body)
}

#[tokio::test]
async fn a_body_over_http2_that_stops_is_given_up_and_the_origin_is_not_blamed() {
    for (client, pool) in [
        ("min_body_rate = 1000\nmin_rate_over = \"1s\"", ""),
        (
            "min_body_rate = 0\nbody_timeout = \"300ms\"",
            "timeouts = { first_byte = \"300ms\", between_bytes = \"300ms\" }",
        ),
    ] {
        let origin = Origin::start(|_| Reply::fresh("hello"));
        let setup = Setup::before([&origin]).pool(pool);
        let setup = setup.section(&format!("[client]\n{client}"));
        let seawall = setup.start().await;
        for (number, sent) in ["", "x"].into_iter().enumerate() {
            let (answer, _body) = stopped_body(&seawall, sent, &[]).await;
            let answer = within("the end of a body that stopped", answer).await;
            assert_eq!(answer.unwrap().status(), 408, "{client} {sent:?}");
            let given_up = f64::from(u32::try_from(number).unwrap() + 1);
            assert!(refused(&seawall, "min_body_rate").await >= given_up);
        }
        let metrics = seawall.admin("/metrics").await;
        let blamed = metrics.text().lines().find(|line| {
            line.starts_with("seawall_origin_failures_total") && !line.ends_with(" 0")
        });
        assert_eq!(blamed, None);
    }
}

#[tokio::test]
async fn who_takes_a_large_hit_steadily_over_http2_gets_all_of_it() {
    const LENGTH: usize = 1 << 20;
    let origin = Origin::start(|_| Reply::fresh(vec![b'x'; LENGTH]));
    let seawall = Setup::before([&origin])
        .section("[client]\nwrite_timeout = \"1s\"")
        .rule("kept", "/kept", "cache = \"eligible\"")
        .start()
        .await;
    assert_eq!(seawall.get("/kept", &[]).await.body.len(), LENGTH);
    let stream = TcpStream::connect(seawall.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://site.test/kept")
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut taken = 0;
    while let Some(piece) = body.data().await {
        let length = piece.expect("the answer to go on").len();
        taken += length;
        // Three seconds for all of it.
        tokio::time::sleep(Duration::from_secs(3) * u32::try_from(length).unwrap() / (1 << 20))
            .await;
        body.flow_control().release_capacity(length).unwrap();
    }
    assert_eq!(taken, LENGTH);
}

#[tokio::test]
async fn a_stream_of_grpc_may_be_silent() {
    let (_origin, seawall) = limited("min_body_rate = 1000\nmin_rate_over = \"1s\"").await;
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let (answer, _body) = stopped_body(&seawall, "x", &grpc).await;
    // The origin of these tests answers once it has all of the body.
    let silent = tokio::time::timeout(Duration::from_secs(3), answer).await;
    assert!(silent.is_err(), "{silent:?}");
    assert!(refused(&seawall, "min_body_rate").await < 0.5);
}

#[tokio::test]
async fn requests_by_way_of_a_trusted_proxy_count_by_the_client_that_it_names() {
    let (_origin, seawall) =
        limited("request_rate_per_client = 5\ntrusted_proxies = [\"127.0.0.1\"]").await;
    let mut proxy = seawall.connect().await;
    let mut stopped = None;
    for _ in 0..50 {
        let answer = proxy.get("/p", &["X-Forwarded-For: 192.0.2.1"]).await;
        if answer.status != 200 {
            stopped = Some(answer);
            break;
        }
    }
    let stopped = stopped.unwrap();
    assert_eq!(
        (stopped.status, stopped.field("retry-after")),
        (429, Some("1"))
    );
    // On the same connection, which is of many.
    for other in ["192.0.2.2", "192.0.2.3"] {
        let field = format!("X-Forwarded-For: {other}");
        assert_eq!(proxy.get("/p", &[&field]).await.status, 200);
    }
    // The proxy's own requests are not counted.
    for _ in 0..30 {
        assert_eq!(proxy.get("/p", &[]).await.status, 200);
    }
    assert!(refused(&seawall, "request_rate_per_client").await >= 1.0);
}

#[tokio::test]
async fn what_refused_clients_send_on_takes_no_memory() {
    const CLIENTS: usize = 400;
    let (_origin, seawall) = limited("").await;
    let (before, _) = seawall.resident();
    let flood = [b"GET / HTTP/9.9\r\n\r\n".to_vec(), vec![b'x'; 60_000]].concat();
    let mut kept = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = from(7, seawall.address).await;
        // The refusal may be there before all of it is sent.
        let _ = stream.write_all(&flood).await;
        kept.push(stream);
    }
    let (_, most) = seawall.resident();
    assert!(most < before + (12 << 20), "{before} and at most {most}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up_in_every_lane() {
    let big = vec![b'x'; 24 << 20];
    let origin = Origin::start(move |_| Reply::fresh(&big));
    let seawall = Setup::before([&origin])
        .section("[client]\nmin_read_rate = \"100 KiB\"\nmin_rate_over = \"1s\"")
        .rule("kept", "/kept", "cache = \"eligible\"")
        .start()
        .await;
    assert_eq!(seawall.get("/kept", &[]).await.cache(), "MISS");
    let mut given_up = 0.0;
    for request in [
        "GET /kept HTTP/1.1\r\nHost: site.test\r\n\r\n",
        "GET /past HTTP/1.1\r\nHost: site.test\r\nAuthorization: x\r\n\r\n",
        "POST /past HTTP/1.1\r\nHost: site.test\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let mut stream = from(7, seawall.address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = [0; 1000];
        stream.read_exact(&mut read).await.unwrap();
        given_up += 1.0;
        eventually("the answer to be given up", async || {
            refused(&seawall, "min_read_rate").await >= given_up
        })
        .await;
    }
    // Who reads gets all of it.
    assert_eq!(seawall.get("/kept", &[]).await.body.len(), 24 << 20);
}
