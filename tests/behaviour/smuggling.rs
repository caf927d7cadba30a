//! Requests and responses that two parsers could read differently. Whatever is sent, the origin
//! sees exactly the requests that Seawall answered, and nobody gets somebody else's answer.

use crate::support::{Origin, Received, Reply, Seawall};

async fn watchful() -> (Origin, Seawall) {
    let origin = Origin::start(|request| Reply::ok(format!("at {}", request.target)));
    let seawall = Seawall::before(&origin).await;
    (origin, seawall)
}

/// Every request at the origin came through Seawall's own hands, once.
fn each_was_forwarded(requests: &[Received]) {
    for request in requests {
        assert_eq!(request.all("x-request-id").len(), 1, "{request:?}");
        assert_eq!(request.all("via").len(), 1, "{request:?}");
    }
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n";

/// Each head, with a request hidden behind it, gets its status and the end of the connection; the
/// origin hears of none.
async fn are_refused(heads: impl IntoIterator<Item = (String, u16)>) {
    let (origin, seawall) = watchful().await;
    let mut wrong = Vec::new();
    for (head, status) in heads {
        let mut client = seawall.connect().await;
        client.send(format!("{head}{SMUGGLED}")).await;
        let answer = client.response().await;
        if answer.status != status || !client.is_closed().await {
            wrong.push((head, answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(origin.requests().len(), 0, "{:?}", origin.requests());
    assert_eq!(seawall.get("/clean", &[]).await.text(), "at /clean");
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let rows = [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4", 400),
        ("Transfer-Encoding : chunked", 400),
        (" Transfer-Encoding: chunked", 400),
        ("Transfer-Encoding: x, chunked", 501),
        ("Transfer-Encoding: chunked, chunked", 501),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: \"chunked\"", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", 400),
        ("Transfer-Encoding:\u{b}chunked", 400),
        ("Content-Length: 0\r\nContent-Length: 44", 400),
        ("Content-Length: 4, 4", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: -1", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: 99999999999999999999", 400),
        ("Expect: 200-ok", 417),
    ];
    let post = |(fields, status)| {
        let line = "POST /a HTTP/1.1\r\nHost: site.test\r\n";
        (format!("{line}{fields}\r\n\r\n0\r\n\r\n"), status)
    };
    let old = "POST /a HTTP/1.0\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    are_refused(rows.map(post).into_iter().chain([(old.to_owned(), 400)])).await;
}

#[tokio::test]
async fn malformed_fields_are_refused_and_the_connection_closed() {
    let rows = [
        "X: a\r\n folded",
        "X: a\nContent-Length: 44",
        "X: a\rContent-Length: 44",
        "X\u{0}: a",
        "X: a\u{0}b",
        "X Y: a",
        ": a",
        "no colon",
        "Host: other.test",
    ];
    are_refused(rows.map(|field| {
        let line = "GET /a HTTP/1.1\r\nHost: site.test\r\n";
        (format!("{line}{field}\r\n\r\n"), 400)
    }))
    .await;
}

#[tokio::test]
async fn odd_request_lines_and_hosts_are_refused_and_the_connection_closed() {
    let rows = [
        ("GET /a HTTP/1.1\n\n", 400),
        ("GET /a HTTP/1.1\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\nHost: user@site.test\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\nHost: site.test/x\r\n\r\n", 400),
        (
            "GET http://other.test/a HTTP/1.1\r\nHost: site.test\r\n\r\n",
            400,
        ),
        ("GET /a b HTTP/1.1\r\nHost: site.test\r\n\r\n", 505),
        ("GET\t/a\tHTTP/1.1\r\nHost: site.test\r\n\r\n", 400),
        ("GET /a\\b HTTP/1.1\r\nHost: site.test\r\n\r\n", 400),
        ("GET /a%00 HTTP/1.1\r\nHost: site.test\r\n\r\n", 400),
        ("GET /a%0d%0aX:b HTTP/1.1\r\nHost: site.test\r\n\r\n", 400),
        ("GET /a%zz HTTP/1.1\r\nHost: site.test\r\n\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: site.test\r\n\r\n", 400),
        ("G\u{e9}T /a HTTP/1.1\r\nHost: site.test\r\n\r\n", 400),
        (
            "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n",
            405,
        ),
        ("TRACE /a HTTP/1.1\r\nHost: site.test\r\n\r\n", 405),
        ("GET /a HTTP/2.0\r\nHost: site.test\r\n\r\n", 505),
        ("GET /a HTTP/1.2\r\nHost: site.test\r\n\r\n", 505),
    ];
    are_refused(rows.map(|(head, status)| (head.to_owned(), status))).await;
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_request() {
    let (origin, seawall) = watchful().await;
    let mut wrong = Vec::new();
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\nhello\n0\n\n",
    ] {
        let head = "POST /a HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = seawall.connect().await;
        client.send(format!("{head}{body}{SMUGGLED}")).await;
        let answer = client.try_response("POST").await;
        let refused = answer.as_ref().map_or(true, |answer| answer.status >= 400);
        if !refused || !client.is_closed().await {
            wrong.push((body, answer));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(origin.count("/smuggled"), 0);
    assert_eq!(origin.count("/a"), 0, "no whole request reached the origin");
    assert_eq!(seawall.get("/clean", &[]).await.text(), "at /clean");
}

#[tokio::test]
async fn a_request_inside_a_body_stays_a_body() {
    let (origin, seawall) = watchful().await;
    for (method, target) in [
        ("POST", "/a"),
        ("GET", "/b"),
        ("HEAD", "/c"),
        ("DELETE", "/d"),
        ("OPTIONS", "/e"),
    ] {
        let mut client = seawall.connect().await;
        let length = format!("Content-Length: {}", SMUGGLED.len());
        client.request(method, target, &[&length]).await;
        client.send(SMUGGLED).await;
        let answer = client.try_response(method).await.unwrap();
        assert_eq!(answer.status, 200, "{method}");
        let request = origin.last();
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            (method, target)
        );
        assert_eq!(request.body, SMUGGLED.as_bytes(), "{method}");
    }
    assert_eq!(origin.count("/smuggled"), 0);
    each_was_forwarded(&origin.requests());
}

#[tokio::test]
async fn chunk_extensions_and_trailers_do_not_get_through() {
    let (origin, seawall) = watchful().await;
    let mut client = seawall.connect().await;
    client
        .request("POST", "/a", &["Transfer-Encoding: chunked"])
        .await;
    client
        .send("5;ext=\"a;b\"\r\nhello\r\n0\r\nX-Forwarded-For: evil\r\n\r\n")
        .await;
    let answer = client.try_response("POST").await;
    if answer.is_ok_and(|answer| answer.status == 200) {
        assert_eq!(origin.last().body, b"hello");
        assert_eq!(origin.last().all("x-forwarded-for"), ["127.0.0.1"]);
    }
    each_was_forwarded(&origin.requests());
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_is_a_request_of_its_own() {
    let (origin, seawall) = watchful().await;
    let mut client = seawall.connect().await;
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
    client.request("GET", "/ws", &upgrade).await;
    client.send(SMUGGLED).await;
    let first = client.response().await;
    assert!(first.status == 400 || first.text() == "at /ws", "{first:?}");
    // Either it is answered like any other or the connection ends.
    if let Ok(second) = client.try_response("GET").await {
        assert_eq!(second.text(), "at /smuggled");
    }
    each_was_forwarded(&origin.requests());
}

#[tokio::test]
async fn an_upgrade_to_cleartext_http2_is_not_passed_on() {
    let (origin, seawall) = watchful().await;
    let fields = [
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ];
    let answer = seawall.get("/a", &fields).await;
    assert!(matches!(answer.status, 200 | 400), "{}", answer.status);
    for request in origin.requests() {
        assert_eq!(request.field("upgrade"), None);
        assert_eq!(request.field("http2-settings"), None);
    }
}

#[tokio::test]
async fn bytes_after_a_response_are_nobodys_answer() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let origin = Origin::start(|request| match request.target.as_str() {
        "/extra" => Reply::raw_kept(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{EVIL}"
        )),
        "/304" => Reply::raw_kept(format!(
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n{EVIL}"
        )),
        "/204" => Reply::raw_kept(format!("HTTP/1.1 204 No Content\r\n\r\n{EVIL}")),
        "/chunked" => Reply::raw_kept(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{EVIL}"
        )),
        _ => Reply::ok("clean"),
    });
    let seawall = Seawall::before(&origin).await;
    for target in ["/extra", "/304", "/204", "/chunked"] {
        let mut client = seawall.connect().await;
        client.request("GET", target, &[]).await;
        let _ = client.try_response("GET").await;
        for nth in 0..3 {
            let next = seawall.get(&format!("/after{target}/{nth}"), &[]).await;
            assert_eq!(next.text(), "clean", "after {target}");
        }
    }
}

#[tokio::test]
async fn a_response_that_cannot_be_trusted_becomes_a_502() {
    for broken in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nokok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX\u{0}Y: 1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
        "nonsense\r\n\r\n",
    ] {
        let origin = Origin::start(move |request| match request.target.as_str() {
            "/broken" => Reply::raw(broken),
            _ => Reply::ok("clean"),
        });
        let seawall = Seawall::before(&origin).await;
        assert_eq!(seawall.get("/broken", &[]).await.status, 502, "{broken:?}");
        assert_eq!(seawall.get("/clean", &[]).await.text(), "clean");
    }
}

#[tokio::test]
async fn an_early_answer_does_not_leave_a_body_for_the_next_request() {
    let origin = Origin::start(|_| Reply::ok("clean"));
    let seawall = Seawall::before(&origin).await;
    // The client stops half-way through its body.
    let mut client = seawall.connect().await;
    client.request("POST", "/a", &["Content-Length: 100"]).await;
    client.send(SMUGGLED).await;
    drop(client);
    for nth in 0..3 {
        assert_eq!(seawall.get(&format!("/{nth}"), &[]).await.text(), "clean");
    }
    assert_eq!(origin.count("/smuggled"), 0);
    each_was_forwarded(&origin.requests());
}

#[tokio::test]
async fn what_comes_behind_a_request_in_one_write_is_a_request_of_its_own() {
    let (origin, seawall) = watchful().await;
    let chunks = "5\r\nhello\r\n0\r\nX: a\r\n\r\n";
    for (target, fields, body) in [
        ("/chunked", "Transfer-Encoding: chunked\r\n", chunks),
        ("/length", "Content-Length: 5\r\n", "hello"),
        (
            "/upgrade",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            "",
        ),
    ] {
        let whole =
            format!("POST {target} HTTP/1.1\r\nHost: site.test\r\n{fields}\r\n{body}{SMUGGLED}");
        // All at once, and with a pause at each place.
        for cut in 0..whole.len() {
            let mut client = seawall.connect().await;
            let (first, second) = whole.split_at(cut);
            client.send(first).await;
            if cut % 8 == 0 {
                tokio::task::yield_now().await;
            }
            client.send(second).await;
            let answer = client.response().await;
            assert_eq!(answer.text(), format!("at {target}"), "cut at {cut}");
            let answer = client.response().await;
            assert_eq!(answer.text(), "at /smuggled", "{target} cut at {cut}");
        }
        let body = if body.is_empty() { "" } else { "hello" };
        for request in origin.requests() {
            let expected = if request.target == target { body } else { "" };
            if request.target == target || request.target == "/smuggled" {
                assert_eq!(request.body, expected.as_bytes(), "{target}");
            }
        }
    }
    each_was_forwarded(&origin.requests());
}
