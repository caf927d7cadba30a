//! Attacks that the guard and what comes before it must stop, and that no other file tests: one that would make
//! Seawall an open proxy, and one that would split an answer of its own.

use crate::support::{Origin, Reply, Setup};

#[tokio::test]
async fn a_target_elsewhere_is_asked_of_nobody_but_the_configured_origin() {
    let origin = Origin::start(|request| Reply::ok(format!("here {}", request.target)));
    let elsewhere = Origin::start(|_| Reply::ok("elsewhere"));
    let known = Setup::before([&origin])
        .hosts("[\"site.test\"]")
        .start()
        .await;
    let any = Setup::before([&origin]).start().await;
    let foreign = elsewhere.address.to_string();
    for host in [
        foreign.as_str(),
        "169.254.169.254",
        "metadata.google.internal",
        "localhost:1",
    ] {
        let head = format!("GET http://{host}/latest HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut client = known.connect().await;
        client.send(&head).await;
        assert_eq!(client.response().await.status, 421, "{host}");
        let mut client = any.connect().await;
        client.send(&head).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, "here /latest"),
            "{host}"
        );
    }
    for seawall in [&known, &any] {
        let mut client = seawall.connect().await;
        client
            .send(format!(
                "CONNECT {foreign} HTTP/1.1\r\nHost: {foreign}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.response().await.status, 405);
    }
    assert_eq!(elsewhere.requests().len(), 0);
    assert_eq!(origin.requests().len(), 4);
}

#[tokio::test]
async fn line_ends_in_a_request_do_not_split_a_redirect() {
    let origin = Origin::start(|_| Reply::ok("here"));
    let redirect = |path: &str, target: &str| {
        format!(
            "[[zones.site.redirect_rules]]\nexpression = 'starts_with(http.request.uri.path, \"{path}\")'\n\
             target = {{ expression = '{target}' }}\n"
        )
    };
    let seawall = Setup::before([&origin])
        .zone(&redirect(
            "/p",
            "concat(\"https://a.test\", url_decode(http.request.uri.path))",
        ))
        .zone(&redirect(
            "/q",
            "concat(\"https://a.test/\", url_decode(http.request.uri.query))",
        ))
        .start()
        .await;
    for target in [
        "/p%0d%0aX-Evil:%201",
        "/p%0aX-Evil:%201",
        "/p%250d%250aX-Evil:%201",
        "/q?a%0d%0aX-Evil:%201%0d%0a%0d%0abody",
        "/q?a%0aX-Evil:%201",
    ] {
        let answer = seawall.get(target, &[]).await;
        assert_eq!(answer.field("x-evil"), None, "{target}");
        let location = answer.field("location").unwrap_or_default();
        assert!(!location.contains(['\r', '\n']), "{target}");
        // The connection is in order.
        assert_eq!(seawall.get("/clean", &[]).await.text(), "here");
    }
}
