//! The request as the origin gets it, and the response as the client gets it.

use crate::support::{Origin, Reply, Seawall, Setup, echo_fields};

async fn quiet() -> (Origin, Seawall) {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Seawall::before(&origin).await;
    (origin, seawall)
}

#[tokio::test]
async fn the_origin_is_told_about_the_client() {
    let (origin, seawall) = quiet().await;
    let response = seawall
        .get(
            "/p?q=1",
            &["Host: Shop.Test:8080", "User-Agent: x", "X-App: 1"],
        )
        .await;

    let request = origin.last();
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("GET", "/p?q=1")
    );
    for (name, value) in [
        ("Host", "shop.test:8080"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("X-Forwarded-Host", "shop.test:8080"),
        ("X-Forwarded-Proto", "http"),
        (
            "Forwarded",
            "for=127.0.0.1;host=\"shop.test:8080\";proto=http",
        ),
        ("Via", "1.1 seawall"),
        ("User-Agent", "x"),
        ("X-App", "1"),
    ] {
        assert_eq!(request.all(name), [value], "{name}");
    }
    assert_eq!(response.field("via"), Some("1.1 seawall"));
    assert_eq!(
        response.field("x-request-id"),
        request.field("x-request-id")
    );
}

#[tokio::test]
async fn what_clients_may_not_say_is_removed() {
    let (origin, seawall) = quiet().await;
    let spoofed = [
        "Forwarded: for=evil",
        "X-Forwarded-For: evil",
        "X-Forwarded-For: evil2",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Proto: evil",
        "X-Forwarded-Prefix: evil",
        "X-Forwarded-Port: evil",
        "X-Real-IP: evil",
        "X-Original-URL: /evil",
        "X-Rewrite-URL: /evil",
        "X-Host: evil",
        "X-HTTP-Method-Override: evil",
        "X-Request-Id: evil",
        "X-Middleware-Subrequest: evil",
        "Proxy: evil",
    ];
    for target in ["/looked-up", "/bypassed"] {
        let fields = match target {
            "/bypassed" => [&spoofed[..], &["Authorization: x"]].concat(),
            _ => spoofed.to_vec(),
        };
        seawall.get(target, &fields).await;
        let request = origin.last();
        let evil = request
            .fields
            .iter()
            .find(|(_, value)| value.contains("evil"));
        assert_eq!(evil, None, "{target}");
    }
    let overriding = ["X-HTTP-Method-Override: DELETE", "X-Forwarded-Host: evil"];
    seawall.send("POST", "/form", &overriding, "x").await;
    assert_eq!(
        origin.last().field("x-http-method-override"),
        Some("DELETE")
    );
    assert_eq!(origin.last().field("x-forwarded-host"), Some("site.test"));
}

#[tokio::test]
async fn a_pools_host_header_replaces_the_clients() {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Setup::before([&origin])
        .pool("host_header = \"app.internal\"")
        .start()
        .await;
    seawall.get("/p", &[]).await;
    assert_eq!(origin.last().all("host"), ["app.internal"]);
    assert_eq!(origin.last().all("x-forwarded-host"), ["site.test"]);
}

#[tokio::test]
async fn fields_of_one_hop_stay_on_it() {
    let (origin, seawall) = quiet().await;
    seawall
        .get(
            "/p",
            &[
                "Connection: keep-alive, X-Mine, TE",
                "Keep-Alive: timeout=5",
                "Proxy-Connection: keep-alive",
                "TE: trailers",
                "X-Mine: 1",
                "X-Other: 2",
            ],
        )
        .await;
    let seen = echo_fields(
        &origin.last(),
        &["keep-alive", "proxy-connection", "te", "x-mine", "x-other"],
    );
    assert_eq!(
        seen,
        "keep-alive=[];proxy-connection=[];te=[];x-mine=[];x-other=[\"2\"];"
    );
}

#[tokio::test]
async fn nominating_an_end_to_end_field_does_not_remove_what_seawall_adds() {
    let (origin, seawall) = quiet().await;
    for nominated in [
        "Host",
        "X-Real-IP",
        "X-Forwarded-For",
        "Via",
        "X-Request-Id",
        "Forwarded",
    ] {
        let response = seawall
            .get("/p", &[&format!("Connection: {nominated}")])
            .await;
        assert!(
            matches!(response.status, 200 | 400),
            "{nominated}: {}",
            response.status
        );
        if response.status == 200 {
            assert_eq!(origin.last().all(nominated).len(), 1, "{nominated}");
            assert_eq!(origin.last().field("host"), Some("site.test"));
        }
    }
}

#[tokio::test]
async fn nominating_credentials_does_not_make_a_private_page_public() {
    let origin = Origin::start(|request| {
        Reply::fresh(format!(
            "for {}",
            request.field("cookie").unwrap_or("nobody")
        ))
    });
    let seawall = Seawall::before(&origin).await;
    seawall
        .get("/p", &["Cookie: sessionid=alice", "Connection: Cookie"])
        .await;
    let other = seawall.get("/p", &[]).await;
    assert_eq!(other.text(), "for nobody");
}

#[tokio::test]
async fn a_responses_fields_of_one_hop_stay_on_it_stored_or_not() {
    let origin = Origin::start(|request| {
        let reply = match request.target.as_str() {
            "/stored" => Reply::fresh("x"),
            _ => Reply::ok("x"),
        };
        reply
            .field("Connection: keep-alive, X-Mine")
            .field("Keep-Alive: timeout=5")
            .field("Proxy-Authenticate: Basic")
            .field("X-Mine: 1")
            .field("X-Other: 2")
    });
    let seawall = Seawall::before(&origin).await;
    for target in ["/stored", "/stored", "/passed"] {
        let response = seawall.get(target, &[]).await;
        assert_eq!(response.field("x-mine"), None, "{target}");
        assert_ne!(response.field("keep-alive"), Some("timeout=5"), "{target}");
        assert_eq!(response.field("x-other"), Some("2"), "{target}");
    }
}

#[tokio::test]
async fn fields_on_several_lines_stay_several() {
    let origin = Origin::start(|_| {
        Reply::ok("x")
            .field("Set-Cookie: a=1")
            .field("Set-Cookie: b=2")
            .field("Link: </x>")
    });
    let seawall = Seawall::before(&origin).await;
    let response = seawall.get("/p", &["X-Many: 1", "X-Many: 2"]).await;
    assert_eq!(response.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(origin.last().all("x-many"), ["1", "2"]);
}

#[tokio::test]
async fn statuses_without_a_body_pass() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/204" => Reply::raw_kept("HTTP/1.1 204 No Content\r\n\r\n"),
        "/205" => Reply::raw_kept("HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n"),
        _ => Reply::status(302, "").field("Location: http://else.test/"),
    });
    let seawall = Seawall::before(&origin).await;
    let mut client = seawall.connect().await;
    for status in [204, 205, 302, 204] {
        assert_eq!(client.get(&format!("/{status}"), &[]).await.status, status);
    }
}

#[tokio::test]
async fn early_hints_do_not_become_the_answer() {
    let origin = Origin::start(|_| {
        Reply::raw_kept(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
             HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let seawall = Seawall::before(&origin).await;
    for _ in 0..2 {
        let mut client = seawall.connect().await;
        let mut response = client.get("/p", &[]).await;
        while response.status == 103 {
            response = client.response().await;
        }
        assert_eq!((response.status, response.text()), (200, "ok"));
    }
}
