//! What one client sends must not change what the next one gets.

use crate::support::{Origin, Reply, Seawall, Setup, echo_fields};

/// An origin that mirrors fields into a page for everybody.
async fn mirror(names: &'static [&'static str]) -> (Origin, Seawall) {
    let origin = Origin::start(move |request| Reply::fresh(echo_fields(request, names)));
    let seawall = Seawall::before(&origin).await;
    (origin, seawall)
}

#[tokio::test]
async fn fields_with_an_underscore_do_not_reach_the_origin() {
    let (origin, seawall) = mirror(&["script_name", "x_forwarded_host"]).await;
    let evil = ["SCRIPT_NAME: /evil", "X_Forwarded_Host: evil.test"];
    seawall.get("/p", &evil).await;
    assert!(
        !format!("{:?}", origin.last().fields).contains("evil"),
        "{:?}",
        origin.last()
    );
}

#[tokio::test]
async fn what_apps_take_for_a_proxys_word_does_not_reach_the_origin() {
    let (origin, seawall) = mirror(&[]).await;
    for field in [
        "X-Forwarded-User: evil",
        "X-Auth-Request-User: evil",
        "X-Accel-Mapping: /=/evil",
        "X-Sendfile-Type: evil",
        "X-Middleware-Subrequest: evil",
        "Remote-User: evil",
        "X-Original-Forwarded-For: evil",
        "X-Script-Name: /evil",
    ] {
        seawall.get(&format!("/{}", field.len()), &[field]).await;
        assert!(
            !format!("{:?}", origin.last().fields).contains("evil"),
            "{field}"
        );
    }
}

#[tokio::test]
async fn a_nominated_field_is_as_absent_to_vary_as_it_is_to_the_origin() {
    let origin = Origin::start(|request| {
        let language = request
            .field("accept-language")
            .unwrap_or("none")
            .to_owned();
        Reply::fresh(language).field("Vary: Accept-Language")
    });
    let seawall = Seawall::before(&origin).await;

    let attack = [
        "Accept-Language: fr",
        "Connection: keep-alive, Accept-Language",
    ];
    assert_eq!(seawall.get("/p", &attack).await.text(), "none");
    let victim = seawall.get("/p", &["Accept-Language: fr"]).await;
    assert_eq!((victim.cache(), victim.text()), ("MISS", "fr"));
}

#[tokio::test]
async fn a_nominated_session_cookie_is_still_a_session() {
    let origin = Origin::start(|request| Reply::fresh(request.field("cookie").unwrap_or("nobody")));
    let seawall = Seawall::before(&origin).await;

    let fields = ["Cookie: sessionid=alice", "Connection: Cookie"];
    let own = seawall.get("/p", &fields).await;
    assert_eq!((own.cache(), own.text()), ("BYPASS", "sessionid=alice"));
    assert_eq!(seawall.get("/p", &[]).await.text(), "nobody");
}

#[tokio::test]
async fn a_body_that_http2_does_not_announce_bypasses() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let origin =
        Origin::start(|request| Reply::fresh(String::from_utf8_lossy(&request.body).into_owned()));
    let seawall = Seawall::before(&origin).await;

    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>("q=evil")]);
    let attack = client
        .get(format!("http://{}/p", seawall.address))
        .body(reqwest::Body::wrap_stream(chunks))
        .send()
        .await
        .unwrap();
    assert_eq!(attack.headers()["x-cache"], "DYNAMIC");
    assert_eq!(attack.text().await.unwrap(), "q=evil");
    let victim = seawall.get("/p", &[]).await;
    assert_eq!((victim.cache(), victim.text()), ("MISS", ""));
}

#[tokio::test]
async fn crumbs_of_a_cookie_reach_the_origin_as_one() {
    let (origin, seawall) = mirror(&[]).await;
    seawall.get("/p", &["Cookie: a=1", "Cookie: b=2"]).await;
    assert_eq!(origin.last().all("cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn another_type_than_the_name_promises_is_not_stored_nor_made_immutable() {
    let origin = Origin::start(|_| {
        Reply::ok("{\"user\":\"alice\"}").field("Content-Type: application/json")
    });
    let seawall = Setup::before([&origin])
        .zone("presets = [\"bypass_private\", \"django\", \"hashed_assets\"]")
        .start()
        .await;

    for _ in 0..2 {
        let response = seawall
            .get("/shop/me.3f2a9c1b.css", &["Cookie: sessionid=alice"])
            .await;
        assert_eq!(response.cache(), "BYPASS");
        assert!(
            response.cache_status().contains("content-type"),
            "{response:?}"
        );
        assert_eq!(response.field("cache-control"), None);
    }
}

#[tokio::test]
async fn an_upgrade_that_does_not_happen_keeps_the_limit_on_bodies() {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Setup::before([&origin])
        .section("[client]\nmax_body_size = \"1 KiB\"")
        .start()
        .await;
    let body = "x".repeat(4096);
    let response = seawall
        .send(
            "POST",
            "/p",
            &["Connection: upgrade", "Upgrade: foo"],
            &body,
        )
        .await;
    assert_eq!(response.status, 413);
}

#[tokio::test]
async fn an_unsolicited_101_is_a_bad_gateway() {
    let origin = Origin::start(|_| {
        Reply::raw(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw",
        )
    });
    let seawall = Seawall::before(&origin).await;
    assert_eq!(seawall.get("/p", &[]).await.status, 502);
}

#[tokio::test]
async fn a_body_that_ends_with_an_unknown_coding_is_not_stored() {
    let origin = Origin::start(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: identity\r\n\r\nhalf",
        )
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    assert_ne!(seawall.get("/p", &[]).await.cache(), "HIT");
}
