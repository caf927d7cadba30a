//! The zone's own pages: in place of errors, and for maintenance; development mode.

use crate::support::{Origin, Reply, Setup, TOKEN};

const ERROR_RULE: &str = "[[zones.site.error_rules]]\nexpression = 'http.response.code ge 500'\nfile = \"error.html\"\n\
    [[zones.site.error_rules]]\nexpression = 'http.response.code eq 404 and starts_with(http.request.uri.path, \"/api/\")'\n\
    content = '{\"error\": {{status}}}'\ncontent_type = \"application/json\"\nstatus = 410";

fn failing() -> Origin {
    Origin::start(|request| {
        let status = request.target.rsplit('/').next().unwrap().parse().unwrap();
        Reply::status(status, "the application's own words")
            .field("X-App: 1")
            .field("ETag: \"e\"")
            .field("Content-Digest: sha-256=:x:")
    })
}

#[tokio::test]
async fn an_error_of_the_application_gets_the_zones_page_in_both_lanes() {
    let origin = failing();
    let seawall = Setup::before([&origin])
        .file("error.html", "<h1>{{status}}</h1><p>{{request_id}}</p>")
        .zone(ERROR_RULE)
        .start()
        .await;
    for (method, body) in [("GET", ""), ("POST", "x")] {
        let response = seawall.send(method, "/503", &[], body).await;
        assert_eq!(response.status, 503, "{method}");
        let id = response.field("x-request-id").unwrap().to_owned();
        assert_eq!(response.text(), format!("<h1>503</h1><p>{id}</p>"));
        assert_eq!(
            response.field("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(
            (response.field("x-app"), response.field("etag")),
            (Some("1"), None)
        );
        assert_eq!(response.field("content-digest"), None);
        let response = seawall.send(method, "/api/404", &[], body).await;
        assert_eq!(
            (response.status, response.text()),
            (410, "{\"error\": 410}")
        );
        let untouched = seawall.send(method, "/404", &[], body).await;
        assert_eq!(untouched.text(), "the application's own words");
    }
    assert_eq!(seawall.head("/503", &[]).await.status, 503);
    // An origin that answers has not failed.
    assert_eq!(
        seawall
            .metric("seawall_origin_failures_total{kind=\"other\",pool=\"app\"}")
            .await,
        0.0
    );
}

#[tokio::test]
async fn a_zones_page_has_no_body_for_head() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/api/404" => Reply::status(404, "gone").field("Cache-Control: max-age=60"),
        _ => Reply::fresh("next"),
    });
    for lane in ["hit_lane = true", "hit_lane = false"] {
        let setup = Setup::before([&origin]).server(lane);
        let setup = setup.file("error.html", "page").zone(ERROR_RULE);
        let seawall = setup.start().await;
        let mut client = seawall.connect().await;
        for _ in 0..2 {
            let page = client.get("/api/404", &[]).await;
            assert_eq!((page.status, page.text()), (410, "{\"error\": 410}"));
        }
        client.request("HEAD", "/api/404", &[]).await;
        let head = client.response_to_head().await;
        assert_eq!((head.status, head.cache()), (410, "HIT"), "{lane}");
        assert_eq!(client.get("/next", &[]).await.text(), "next", "{lane}");
    }
}

#[tokio::test]
async fn our_own_errors_get_the_zones_page_too() {
    let mut origin = failing();
    origin.stop().await;
    let seawall = Setup::before([&origin])
        .file("error.html", "<h1>{{status}}</h1>")
        .zone(ERROR_RULE)
        .start()
        .await;
    for method in ["GET", "POST"] {
        let response = seawall.send(method, "/a", &[], "").await;
        assert_eq!((response.status, response.text()), (502, "<h1>502</h1>"));
    }
}

#[tokio::test]
async fn a_rule_lets_the_applications_error_pages_through() {
    let origin = failing();
    let seawall = Setup::before([&origin])
        .file("error.html", "ours")
        .zone(ERROR_RULE)
        .rule(
            "own pages",
            "/own/*",
            "origin_error_page_pass_through = true",
        )
        .start()
        .await;
    assert_eq!(
        seawall.get("/own/500", &[]).await.text(),
        "the application's own words"
    );
    assert_eq!(seawall.get("/500", &[]).await.text(), "ours");
}

#[tokio::test]
async fn a_stored_error_stays_what_the_application_said() {
    let origin = Origin::start(|_| Reply::status(404, "gone").field("Cache-Control: max-age=60"));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.error_rules]]\nexpression = 'http.response.code eq 404 and http.cookie contains \"pretty\"'\ncontent = \"pretty\"")
        .start()
        .await;
    assert_eq!(
        seawall.get("/x", &["Cookie: pretty=1"]).await.text(),
        "pretty"
    );
    let plain = seawall.get("/x", &[]).await;
    assert_eq!((plain.cache(), plain.text()), ("HIT", "gone"));
}

#[tokio::test]
async fn maintenance_answers_everybody_but_those_the_expression_spares() {
    let origin = Origin::start(|_| Reply::fresh("open"));
    let seawall = Setup::before([&origin])
        .zone("[zones.site.maintenance]\nexpression = 'not any(http.request.headers[\"x-staff\"][*] eq \"1\")'\ncontent = \"<p>Back soon</p>\"\nretry_after = \"10m\"")
        .start()
        .await;
    assert_eq!(seawall.get("/p", &["X-Staff: 1"]).await.text(), "open");
    let closed = seawall.get("/p", &[]).await;
    assert_eq!((closed.status, closed.text()), (503, "<p>Back soon</p>"));
    assert_eq!(closed.field("retry-after"), Some("600"));
    assert_eq!(closed.field("cache-control"), Some("no-store"));
    assert_eq!(
        (closed.cache(), closed.cache_status()),
        ("NONE", "detail=maintenance")
    );
    assert_eq!(origin.requests().len(), 1);
    // It ends with the configuration, without a restart.
    seawall.reconfigure(|_| Setup::before([&origin]));
    crate::support::eventually("the site to open", async || {
        seawall.get("/p", &[]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn development_mode_bypasses_the_cache_until_its_time_is_over() {
    let origin = Origin::start(|request| Reply::fresh(format!("answer {}", request.nth)));
    for (until, word) in [
        ("2099-01-01T00:00:00Z", "DYNAMIC"),
        ("2020-01-01T00:00:00Z", "HIT"),
    ] {
        let seawall = Setup::before([&origin])
            .zone(&format!("development_mode_until = {until}"))
            .start()
            .await;
        seawall.get("/p", &[]).await;
        assert_eq!(seawall.get("/p", &[]).await.cache(), word, "{until}");
    }
}

#[tokio::test]
async fn an_operator_switches_development_mode_on_and_off() {
    let origin = Origin::start(|request| Reply::fresh(format!("answer {}", request.nth)));
    let seawall = Setup::before([&origin]).purging().start().await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let switch = async |fields: &[&str], zone: &str, body: &str| {
        let path = format!("/zones/{zone}/development_mode");
        seawall.post_admin(&path, fields, body).await.status
    };
    seawall.get("/p", &[]).await;
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    assert_eq!(switch(&[], "site", r#"{"value": "on"}"#).await, 401);
    assert_eq!(switch(&[&bearer], "sites", r#"{"value": "on"}"#).await, 404);
    assert_eq!(
        switch(&[&bearer], "site", r#"{"value": "maybe"}"#).await,
        400
    );
    assert_eq!(switch(&[&bearer], "site", r#"{"value": "on"}"#).await, 200);
    let bypassed = seawall.get("/p", &[]).await;
    assert_eq!((bypassed.text(), bypassed.cache()), ("answer 1", "DYNAMIC"));
    assert!(bypassed.cache_status().ends_with("detail=development-mode"));
    assert_eq!(switch(&[&bearer], "site", r#"{"value": "off"}"#).await, 200);
    let stored = seawall.get("/p", &[]).await;
    assert_eq!((stored.text(), stored.cache()), ("answer 0", "HIT"));
}
