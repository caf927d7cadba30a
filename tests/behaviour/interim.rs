//! Interim responses (RFC 9110 §15.2): passed on at once, never stored, not for HTTP/1.0.

use crate::support::{Gate, Origin, Reply, Seawall};

const LINK: &str = "Link: </a.css>; rel=preload";

/// An origin that hints at once and answers later.
fn hinting(gate: &Gate) -> Origin {
    let held = gate.clone();
    Origin::start(move |_| {
        Reply::fresh("page")
            .after_interim("102 Processing", "X-Progress: 1")
            .after_interim("103 Early Hints", LINK)
            .behind(&held)
    })
}

#[tokio::test]
async fn interim_responses_arrive_before_the_answer_and_are_not_part_of_it() {
    for method in ["GET", "POST"] {
        let gate = Gate::closed();
        let origin = hinting(&gate);
        let seawall = Seawall::before(&origin).await;
        let mut client = seawall.connect().await;
        client.request(method, "/p", &["Content-Length: 0"]).await;
        let progress = client.response_head().await.unwrap();
        let seen = (progress.status, progress.field("x-progress"));
        assert_eq!(seen, (102, Some("1")), "{method}");
        let hints = client.response_head().await.unwrap();
        assert_eq!(hints.status, 103, "{method}");
        assert_eq!(hints.field("link"), LINK.strip_prefix("Link: "));

        gate.open();
        let page = client.response().await;
        assert_eq!((page.status, page.text()), (200, "page"), "{method}");
        assert_eq!(page.field("link"), None);
    }
}

#[tokio::test]
async fn a_hit_has_no_interim_response() {
    let gate = Gate::closed();
    gate.open();
    let origin = hinting(&gate);
    let seawall = Seawall::before(&origin).await;
    let mut client = seawall.connect().await;
    client.request("GET", "/p", &[]).await;
    while client.response_head().await.unwrap().status < 200 {}
    client.take(4).await.unwrap();

    let page = client.get("/p", &[]).await;
    let seen = (page.status, page.text(), page.cache());
    assert_eq!(seen, (200, "page", "HIT"));
    assert_eq!(page.field("link"), None);
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_the_answer_alone() {
    for method in ["GET", "POST"] {
        let gate = Gate::closed();
        gate.open();
        let origin = hinting(&gate);
        let seawall = Seawall::before(&origin).await;
        let mut client = seawall.connect().await;
        client
            .send(format!(
                "{method} /p HTTP/1.0\r\nHost: site.test\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
        let page = client.response().await;
        assert_eq!((page.status, page.text()), (200, "page"), "{method}");
    }
}

#[tokio::test]
async fn a_failure_after_an_interim_response_is_an_error_page() {
    let origin = Origin::start(|_| Reply::hang_up().after_interim("103 Early Hints", LINK));
    let seawall = Seawall::before(&origin).await;
    let mut client = seawall.connect().await;
    client.request("GET", "/p", &[]).await;
    let mut last = client.response().await;
    while last.status == 103 {
        last = client.response().await;
    }
    assert_eq!(last.status, 502);
}
