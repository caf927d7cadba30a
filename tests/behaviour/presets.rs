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

/// A zone that begins with `presets`; `rules` are its own.
async fn with_presets(origin: &Origin, presets: &str, rules: &str) -> Seawall {
    Setup::before([origin])
        .zone(&format!("presets = {presets}\n{rules}"))
        .start()
        .await
}

/// What many write first: every page for a minute, whoever asks.
const EVERY_PAGE: &str = "[[zones.site.cache_rules]]
name = \"every page\"
expression = \"true\"
cache = \"eligible\"
edge_ttl = { mode = \"override_origin\", default = \"60s\" }";

/// Names whoever asks, as a page with a greeting does.
fn greeting(request: &Received) -> Reply {
    let name = request.field("cookie").unwrap_or("everybody");
    Reply::ok(format!("hello {name}")).field("Content-Type: text/html")
}

/// A visitor with one of `cookies` gets a page that is neither stored nor from the store, even where
/// a rule stores every page.
async fn logged_in_visitors_are_kept_apart(preset: &str, cookies: &[&str]) {
    let origin = Origin::start(greeting);
    let seawall = with_presets(&origin, &format!("[\"{preset}\"]"), EVERY_PAGE).await;

    for (nth, cookie) in cookies.iter().enumerate() {
        let target = format!("/page/{nth}");
        let field = format!("Cookie: theme=dark; {cookie}");
        for expected in ["BYPASS", "BYPASS"] {
            let own = seawall.get(&target, &[&field]).await;
            assert_eq!(own.text(), format!("hello theme=dark; {cookie}"));
            assert_eq!(own.cache(), expected, "{cookie}");
        }
        let anonymous = seawall.get(&target, &[]).await;
        assert_eq!(anonymous.text(), "hello everybody", "{cookie}");
        assert_eq!(seawall.get(&target, &[]).await.cache(), "HIT");
        let own = seawall.get(&target, &[&field]).await;
        assert_eq!(own.text(), format!("hello theme=dark; {cookie}"));
    }
}

#[tokio::test]
async fn wordpress_pages_of_who_is_logged_in_or_has_a_cart_are_theirs_alone() {
    let cookies = [
        "wordpress_logged_in_1a2b=alice",
        "wp-postpass_1a2b=x",
        "comment_author_1a2b=Alice",
        "woocommerce_items_in_cart=1",
        "woocommerce_cart_hash=ab",
        "wp_woocommerce_session_1a2b=x",
        "woocommerce_recently_viewed=7",
    ];
    logged_in_visitors_are_kept_apart("wordpress", &cookies).await;
}

#[tokio::test]
async fn rails_pages_with_a_session_are_their_visitors_alone() {
    let cookies = ["_shop_session=ey", "session_id=1", "remember_user_token=1"];
    logged_in_visitors_are_kept_apart("rails", &cookies).await;
}

#[tokio::test]
async fn laravel_pages_with_a_session_are_their_visitors_alone() {
    let cookies = ["laravel_session=ey", "my-shop-session=ey", "XSRF-TOKEN=ey"];
    logged_in_visitors_are_kept_apart("laravel", &cookies).await;
}

#[tokio::test]
async fn nextjs_drafts_are_for_their_authors_alone() {
    let cookies = ["__prerender_bypass=1", "__next_preview_data=ey"];
    logged_in_visitors_are_kept_apart("nextjs", &cookies).await;
}

#[tokio::test]
async fn a_session_that_laravel_starts_is_not_stored() {
    let origin = Origin::start(|request| {
        Reply::ok(format!("answer {}", request.nth))
            .field(format!("Set-Cookie: laravel_session={}", request.nth))
            .field("Content-Type: text/html")
    });
    let seawall = with_presets(&origin, "[\"laravel\"]", EVERY_PAGE).await;

    for nth in 0..2 {
        let response = seawall.get("/", &[]).await;
        assert_eq!(response.text(), format!("answer {nth}"));
        let session = format!("laravel_session={nth}");
        assert_eq!(response.field("set-cookie"), Some(session.as_str()));
    }
}

/// The page, or its data for the fields by which Next.js decides; what it says in Vary got lost.
fn next_app(request: &Received) -> Reply {
    let state = request.field("next-router-state-tree").unwrap_or("none");
    let prefetch = request.field("next-router-prefetch").unwrap_or("no");
    let (body, media_type) = match request.field("rsc") {
        Some(_) => (
            format!("0:data of {state}, prefetch {prefetch}"),
            "text/x-component",
        ),
        None => ("<html>".to_owned(), "text/html"),
    };
    Reply::ok(body)
        .field(format!("Content-Type: {media_type}"))
        .field("Cache-Control: s-maxage=60, stale-while-revalidate=31535940")
}

#[tokio::test]
async fn nextjs_data_never_stands_for_the_page_nor_the_page_for_data() {
    let data: &[&str] = &["RSC: 1", "Next-Router-State-Tree: a"];
    let elsewhere: &[&str] = &["RSC: 1", "Next-Router-State-Tree: b"];
    let prefetch: &[&str] = &["RSC: 1", "Next-Router-Prefetch: 1"];
    let asked: [(&[&str], &str); 4] = [
        (data, "0:data of a, prefetch no"),
        (&[], "<html>"),
        (elsewhere, "0:data of b, prefetch no"),
        (prefetch, "0:data of none, prefetch 1"),
    ];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]] {
        let origin = Origin::start(next_app);
        let seawall = with_presets(&origin, "[\"bypass_private\", \"nextjs\"]", "").await;
        for word in ["MISS", "HIT"] {
            for nth in order {
                let (fields, body) = asked[nth];
                let response = seawall.get("/products/7", fields).await;
                assert_eq!(response.text(), body, "{order:?}");
                assert_eq!(response.cache(), word, "{order:?} {fields:?}");
            }
        }
    }
}

#[tokio::test]
async fn nextjs_keeps_its_rsc_parameter_on_the_way() {
    let origin = Origin::start(next_app);
    let seawall = with_presets(&origin, "[\"nextjs\"]", "").await;

    seawall.get("/products/7?_rsc=1x2y", &["RSC: 1"]).await;
    assert_eq!(origin.last().target, "/products/7?_rsc=1x2y");
}

#[tokio::test]
async fn what_provokes_another_answer_of_nextjs_is_not_what_everybody_gets() {
    let origin = Origin::start(|request| {
        let odd = [
            "x-middleware-prefetch",
            "x-nextjs-data",
            "x-now-route-matches",
        ]
        .iter()
        .any(|name| request.field(name).is_some());
        Reply::fresh(if odd { "{}" } else { "<html>" })
    });
    let seawall = with_presets(&origin, "[\"nextjs\"]", "").await;

    for (target, field, answer) in [
        ("/a", "X-Nextjs-Data: 1", "{}"),
        ("/b", "X-Now-Route-Matches: 1", "{}"),
        // Removed on the way.
        ("/c", "X-Middleware-Prefetch: 1", "<html>"),
    ] {
        for _ in 0..2 {
            assert_eq!(
                seawall.get(target, &[field]).await.text(),
                answer,
                "{field}"
            );
            assert_eq!(seawall.get(target, &[]).await.text(), "<html>", "{field}");
        }
    }
}

#[tokio::test]
async fn rails_frames_and_streams_are_not_the_page() {
    let origin = Origin::start(|request| {
        let frame = request
            .field("turbo-frame")
            .map(|name| format!("frame {name}"));
        let stream = request
            .field("accept")
            .filter(|accept| accept.contains("turbo-stream"))
            .map(|_| "stream".to_owned());
        Reply::fresh(frame.or(stream).unwrap_or_else(|| "page".to_owned()))
    });
    let seawall = with_presets(&origin, "[\"rails\"]", "").await;

    let stream = "Accept: text/vnd.turbo-stream.html, text/html";
    for _ in 0..2 {
        for (fields, body) in [
            (&[][..], "page"),
            (&["Turbo-Frame: cart"], "frame cart"),
            (&["Turbo-Frame: menu"], "frame menu"),
            (&[stream], "stream"),
        ] {
            assert_eq!(seawall.get("/posts/7", fields).await.text(), body);
        }
    }
}

#[tokio::test]
async fn a_page_of_a_static_site_is_one_whatever_the_tracking_parameters() {
    let origin = Origin::start(|_| Reply::ok("<html>").field("Content-Type: text/html"));
    let seawall = with_presets(&origin, "[\"static_site\"]", "").await;

    let first = seawall.get("/post?utm_source=mail&v=2", &[]).await;
    assert_eq!(origin.last().target, "/post?v=2");
    assert_eq!(first.field("cache-control"), Some("public, max-age=0"));
    assert_eq!(seawall.get("/post?v=2&fbclid=x", &[]).await.cache(), "HIT");
    assert_eq!(seawall.get("/post?v=3", &[]).await.cache(), "MISS");
}
