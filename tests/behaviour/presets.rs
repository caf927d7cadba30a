//! The presets, as `conf/seawall.toml` stacks them.

use crate::support::{Origin, Received, Reply, Seawall, Setup};

async fn shop(origin: &Origin) -> Seawall {
    Setup::before([origin])
        .zone("presets = [\"bypass_private\", \"django\", \"hashed_assets\"]")
        .start()
        .await
}

fn numbered(request: &Received) -> Reply {
    Reply::fresh(format!("answer {}", request.nth))
}

#[tokio::test]
async fn a_hashed_asset_is_kept_for_a_year_by_edge_and_browser() {
    let origin = Origin::start(|request| {
        let script = request.target.contains(".js");
        let kind = if script { "javascript" } else { "css" };
        Reply::ok("body{}")
            .field(format!("Content-Type: text/{kind}"))
            .field("Cache-Control: max-age=5")
            .field("Expires: Thu, 01 Jan 1970 00:00:00 GMT")
    });
    let seawall = shop(&origin).await;

    for target in [
        "/static/app.55e7cbb9ba48.css",
        "/assets/index-BxY12abc.js",
        "/_next/static/chunks/main.js",
        "/js/app.js?id=0c6f1b2a3d4e5f607182",
    ] {
        for word in ["MISS", "HIT"] {
            let response = seawall.get(target, &["Cookie: sessionid=alice"]).await;
            assert_eq!(response.cache(), word, "{target}");
            let lifetime = response.field("cache-control");
            assert_eq!(
                lifetime,
                Some("public, max-age=31536000, immutable"),
                "{target}"
            );
            assert_eq!(response.field("expires"), None);
            assert!(response.cache_status().contains("ttl=3153"), "{response:?}");
        }
    }
}

#[tokio::test]
async fn a_missing_hashed_asset_is_remembered_for_seconds_only() {
    let origin =
        Origin::start(|_| Reply::status(404, "not yet").field("Cache-Control: max-age=600"));
    let seawall = shop(&origin).await;

    for _ in 0..2 {
        let response = seawall.get("/static/app.55e7cbb9ba48.css", &[]).await;
        assert_eq!(response.status, 404);
        let ttl = response.cache_status().split("ttl=").nth(1).unwrap();
        assert!(ttl.parse::<i64>().unwrap() <= 5, "{ttl}");
        let lifetime = response.field("cache-control").unwrap();
        assert!(
            !lifetime.contains("immutable") && !lifetime.contains("31536000"),
            "{lifetime}"
        );
    }
}

#[tokio::test]
async fn failures_under_a_hashed_name_are_not_kept_at_all() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::status(503, "deploying").field("Cache-Control: max-age=600"),
        _ => Reply::ok("body{}"),
    });
    let seawall = shop(&origin).await;

    assert_eq!(
        seawall
            .get("/static/app.55e7cbb9ba48.css", &[])
            .await
            .status,
        503
    );
    assert_eq!(
        seawall
            .get("/static/app.55e7cbb9ba48.css", &[])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn api_admin_and_account_pages_bypass_the_cache() {
    let origin = Origin::start(numbered);
    let seawall = shop(&origin).await;

    for target in [
        "/api",
        "/api/v1/cart",
        "/admin",
        "/admin/users",
        "/accounts/login/",
        "/login",
    ] {
        for nth in 0..2 {
            let response = seawall.get(target, &[]).await;
            assert_eq!(response.text(), format!("answer {nth}"), "{target}");
            assert_eq!(response.cache(), "BYPASS", "{target}");
            assert!(
                response.cache_status().contains("detail=rule:rule-"),
                "{response:?}"
            );
        }
    }
    seawall.get("/apiary", &[]).await;
    assert_eq!(seawall.get("/apiary", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn another_spelling_of_a_private_path_bypasses_as_well() {
    let origin = Origin::start(numbered);
    let seawall = shop(&origin).await;

    for target in [
        "/%61pi/x",
        "/./api/x",
        "/shop/../api/x",
        "/shop/%2e%2e/api/x",
    ] {
        let response = seawall.get(target, &[]).await;
        assert_eq!(response.cache(), "BYPASS", "{target}");
        assert_eq!(origin.last().target, "/api/x", "{target}");
    }
}

#[tokio::test]
async fn django_messages_bypass_and_plain_static_files_get_a_minute() {
    let origin = Origin::start(|request| {
        Reply::ok(format!("answer {}", request.nth)).field("Content-Type: image/png")
    });
    let seawall = shop(&origin).await;

    seawall.get("/static/logo.png", &[]).await;
    let logo = seawall.get("/static/logo.png", &[]).await;
    assert_eq!(logo.cache(), "HIT");
    let told = seawall
        .get("/static/logo.png", &["Cookie: messages=saved"])
        .await;
    assert_eq!(told.cache(), "BYPASS");
}
