//! Request filters: what they refuse by default, what they leave alone, and how they are switched.

use crate::support::{Origin, Reply, Setup};

fn filters(toml: &str) -> String {
    format!("[zones.site.request_filters]\n{toml}\n")
}

#[tokio::test]
async fn what_climbs_or_hides_is_refused_by_default_and_never_reaches_the_origin() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = Setup::before([&origin]).start().await;
    for (target, fields, filter) in [
        ("/static/..%2faccount", vec![], "path_traversal"),
        ("/static/%252e%252e/account", vec![], "path_traversal"),
        ("/static/..%5caccount", vec![], "path_traversal"),
        ("/static/..;/account", vec![], "path_traversal"),
        ("/static/%c0%ae%c0%ae/account", vec![], "path_traversal"),
        ("/a%01b", vec![], "control_characters"),
        ("/a?b=%00", vec![], "null_in_query"),
        (
            "/a",
            vec!["Content-Type: a/b", "Content-Type: c/d"],
            "repeated_fields",
        ),
        (
            "/a",
            vec!["Authorization: Basic eDp5", "Authorization: Bearer x"],
            "repeated_fields",
        ),
    ] {
        let refused = seawall.get(target, &fields).await;
        assert_eq!((refused.status, refused.cache()), (400, "NONE"), "{target}");
        assert_eq!(refused.field("cache-control"), Some("no-store"));
        let series = format!(
            "seawall_guard_total{{action=\"block\",module=\"request_filters\",rule=\"{filter}\",zone=\"site\"}}"
        );
        assert!(seawall.metric(&series).await > 0.5, "{filter}");
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn ten_thousand_parameters_or_cookies_reach_nobody() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = Setup::before([&origin])
        .section("[client]\nmax_uri_length = \"64 KiB\"\nmax_header_size = \"256 KiB\"")
        .start()
        .await;
    let parameters: Vec<_> = (0..10_000).map(|number| format!("{number}")).collect();
    let target = format!("/?{}", parameters.join("&"));
    assert_eq!(seawall.get(&target, &[]).await.status, 400);
    let cookies: Vec<_> = (0..10_000).map(|number| format!("c{number}=1")).collect();
    let cookies = format!("Cookie: {}", cookies.join("; "));
    assert_eq!(seawall.get("/", &[&cookies]).await.status, 431);
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn what_ordinary_applications_send_passes() {
    let origin = Origin::start(|request| Reply::ok(request.target.clone()));
    let seawall = Setup::before([&origin]).start().await;
    let code = "c".repeat(4000);
    for target in [
        format!("/oauth/callback?code={code}&state=https%3A%2F%2Fa.test%2Fx%3Fy%3D%2F..%2F"),
        "/graphql?query=%7B%0A%20%20me%20%7B%20name%20%7D%0D%0A%7D&variables=%7B%7D".to_owned(),
        "/_next/image?url=%2F_next%2Fstatic%2Fmedia%2Fa%20b.jpg&w=640&q=75".to_owned(),
        "/rails/active_storage/blobs/redirect/eyJf--4b/My%20File%20(1)..pdf".to_owned(),
        "/%D0%BF%D1%80%D0%B8/%E0%B8%81%E0%B8%82/100%25".to_owned(),
        "/compare/main...feature%2Fx;v=1".to_owned(),
        "/wiki/C++?q=50%+off&next=../x".to_owned(),
    ] {
        let answer = seawall.get(&target, &[]).await;
        assert_eq!((answer.status, answer.text()), (200, &*target));
    }
    let upload = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"../x\"\r\n\r\n\0\r\n--b--\r\n";
    let fields = [
        "Content-Type: multipart/form-data; boundary=b",
        "X-HTTP-Method-Override: PUT",
    ];
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        assert_eq!(
            seawall
                .send(method, "/upload", &fields, upload)
                .await
                .status,
            200,
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_filter_is_switched_off_or_told_to_log_by_its_name() {
    let origin = Origin::start(|request| Reply::ok(request.target.clone()));
    let seawall = Setup::before([&origin])
        .zone(&filters(
            "path_traversal = \"log\"\nnull_in_query = \"off\"\nmax_arguments = 2\n\
             max_path_length = 20\nmax_cookies = false\nlog_only = [\"max_arguments\"]",
        ))
        .start()
        .await;
    for (target, status) in [
        ("/..%2Fa", 200),
        ("/?a=%00", 200),
        ("/?a&b&c", 200),
        ("/aaaaaaaaaaaaaaaaaaaaaaaa", 414),
    ] {
        assert_eq!(seawall.get(target, &[]).await.status, status, "{target}");
    }
    for (filter, action, count) in [
        ("path_traversal", "log", 1.0),
        ("max_arguments", "log", 1.0),
        ("max_path_length", "block", 1.0),
    ] {
        let series = format!(
            "seawall_guard_total{{action=\"{action}\",module=\"request_filters\",rule=\"{filter}\",zone=\"site\"}}"
        );
        assert!(
            (seawall.metric(&series).await - count).abs() < 0.1,
            "{filter}"
        );
    }
}

#[tokio::test]
async fn a_custom_rule_spares_a_request_the_filters() {
    let origin = Origin::start(|request| Reply::ok(request.target.clone()));
    let seawall = Setup::before([&origin])
        .zone(
            "[[zones.site.custom_rules]]\nexpression = 'starts_with(http.request.uri.path, \"/git/\")'\n\
             action = \"skip\"\nskip = [\"request_filters\"]",
        )
        .start()
        .await;
    assert_eq!(seawall.get("/git/..%2Fa", &[]).await.status, 200);
    assert_eq!(seawall.get("/x/..%2Fa", &[]).await.status, 400);
}

#[tokio::test]
async fn methods_and_media_types_that_are_not_listed_are_refused() {
    let origin = Origin::start(|_| Reply::ok("ok"));
    let seawall = Setup::before([&origin])
        .zone(&filters(
            "allowed_methods = [\"GET\", \"HEAD\", \"POST\"]\n\
             allowed_content_types = [\"application/json\", \"image/*\"]",
        ))
        .start()
        .await;
    let refused = seawall.send("DELETE", "/a", &[], "").await;
    assert_eq!(
        (refused.status, refused.field("allow")),
        (405, Some("GET, HEAD, POST"))
    );
    for (content_type, status) in [
        ("Content-Type: application/json; charset=utf-8", 200),
        ("Content-Type: image/png", 200),
        ("Content-Type: text/xml", 415),
        ("X-None: x", 415),
    ] {
        assert_eq!(
            seawall
                .send("POST", "/a", &[content_type], "x")
                .await
                .status,
            status,
            "{content_type}"
        );
    }
    assert_eq!(
        seawall.get("/a", &["Content-Type: text/xml"]).await.status,
        200
    );
}

#[tokio::test]
async fn a_picture_is_not_for_pages_of_others_even_when_it_is_stored() {
    let origin = Origin::start(|_| Reply::fresh("picture").field("Content-Type: image/png"));
    let seawall = Setup::before([&origin])
        .hosts("[\"site.test\", \"www.site.test\"]")
        .zone(&filters(
            "hotlink_protection = { allowed_referers = [\"*.friend.test\"] }",
        ))
        .start()
        .await;
    for (referer, status, cache) in [
        ("Referer: https://site.test/page", 200, "MISS"),
        ("Referer: https://thief.test/", 403, "NONE"),
        ("Referer: https://site.test.thief.test/", 403, "NONE"),
        ("Referer: https://www.site.test/", 200, "HIT"),
        ("Referer: https://blog.friend.test/", 200, "HIT"),
        ("X-None: x", 200, "HIT"),
    ] {
        let answer = seawall.get("/a.png", &[referer]).await;
        assert_eq!(
            (answer.status, answer.cache()),
            (status, cache),
            "{referer}"
        );
    }
    assert_eq!(
        seawall
            .get("/a.html", &["Referer: https://thief.test/"])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn fields_that_override_the_request_are_removed_and_refused_where_the_filter_is_on() {
    let origin = Origin::start(|request| Reply::ok(format!("{:?}", request.fields)));
    let quiet = Setup::before([&origin]).start().await;
    let strict = Setup::before([&origin])
        .zone(&filters(
            "override_fields = \"block\"\nbody_of_get = \"block\"\nno_user_agent = \"block\"",
        ))
        .start()
        .await;
    for field in [
        "X-Original-URL: /evil",
        "X-Rewrite-URL: /evil",
        "X-HTTP-Method-Override: evil",
    ] {
        let fields = [field, "User-Agent: x"];
        let answer = quiet.get("/p", &fields).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text().contains("evil"), "{field}");
        assert_eq!(strict.get("/p", &fields).await.status, 400, "{field}");
    }
    assert_eq!(
        strict
            .send("GET", "/p", &["User-Agent: x"], "q=evil")
            .await
            .status,
        400
    );
    assert_eq!(strict.get("/p", &[]).await.status, 400);
    assert_eq!(strict.get("/p", &["User-Agent: x"]).await.status, 200);
}
