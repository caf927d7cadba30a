//! Pages that Seawall writes itself.

use crate::support::{Origin, Reply, Seawall, Setup};

#[tokio::test]
async fn an_unknown_host_gets_a_421_in_the_form_it_accepts() {
    let origin = Origin::start(|_| Reply::ok("never"));
    let seawall = Setup::before([&origin])
        .hosts("[\"site.test\", \"*.shop.test\"]")
        .start()
        .await;

    for (accept, kind) in [
        (
            "Accept: text/html,application/xhtml+xml,*/*;q=0.8",
            "text/html; charset=utf-8",
        ),
        ("Accept: application/json", "application/problem+json"),
        ("Accept: */*", "text/plain; charset=utf-8"),
        ("X-No: accept", "text/plain; charset=utf-8"),
    ] {
        let page = seawall.get("/", &["Host: other.test", accept]).await;
        assert_eq!(
            (page.status, page.field("content-type")),
            (421, Some(kind)),
            "{accept}"
        );
        let id = page.field("x-request-id").unwrap();
        assert!(
            page.text().contains(id) && page.text().contains("421"),
            "{}",
            page.text()
        );
        assert_eq!(page.field("cache-control"), Some("no-store"));
    }
    assert_eq!(seawall.get("/", &["Host: a.shop.test"]).await.status, 200);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_json_error_page_is_a_problem_document() {
    let mut origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Seawall::before(&origin).await;
    origin.stop().await;
    let page = seawall.get("/", &["Accept: application/json"]).await;
    let problem: serde_json::Value = serde_json::from_str(page.text()).unwrap();
    assert_eq!(problem["status"], 502);
    assert_eq!(problem["request_id"], page.field("x-request-id").unwrap());
    assert_eq!(
        seawall.logged("/").await["request_id"],
        problem["request_id"]
    );
}

#[tokio::test]
async fn an_error_page_for_a_head_has_no_body() {
    let mut origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Seawall::before(&origin).await;
    origin.stop().await;
    let mut client = seawall.connect().await;
    client.request("HEAD", "/", &[]).await;
    assert_eq!(client.response_to_head().await.status, 502);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn what_a_client_sends_is_not_written_into_a_page() {
    let origin = Origin::start(|_| Reply::ok("never"));
    let seawall = Setup::before([&origin])
        .hosts("[\"site.test\"]")
        .start()
        .await;
    let page = seawall
        .get("/?<script>", &["Host: evil.test", "Accept: text/html"])
        .await;
    assert!(!page.text().contains("evil") && !page.text().contains("script"));
}
