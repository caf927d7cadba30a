//! A bucket of object storage as an origin.

use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::signer::Signer as _;

use crate::support::{Origin, Reply, Setup, Storage, eventually};

const CACHED: &str =
    "cache = \"eligible\"\nedge_ttl = { mode = \"respect_origin\", default = \"1h\" }";

fn keys((access_key, secret_key): &(String, String), more: &str) -> String {
    format!("access_key = \"{access_key}\"\nsecret_key = \"{secret_key}\"\n{more}")
}

#[tokio::test]
async fn objects_of_a_private_bucket_are_read_with_a_signature() {
    let storage = Storage::start().await;
    storage.put("site/index.html", b"home").await;
    storage.put("site/docs/index.html", b"docs").await;
    storage.put("site/numbers.txt", b"0123456789").await;
    storage.put("secret.txt", b"secret").await;
    let user = storage.guarded("\"s3:GetObject\", \"s3:HeadObject\"").await;
    let seawall = Setup::bucket(storage.address, &keys(&user, "prefix = \"site\""))
        .rule("all", "*", CACHED)
        .start()
        .await;

    for (target, text) in [
        ("/", "home"),
        ("/docs/", "docs"),
        ("/numbers.txt?v=1", "0123456789"),
    ] {
        let response = seawall.get(target, &[]).await;
        assert_eq!((response.status, response.text()), (200, text), "{target}");
        assert_eq!(response.field("x-amz-request-id"), None);
    }
    let before = storage.reads();
    for fields in [
        &[][..],
        &["Cookie: sessionid=1"],
        &["Authorization: Basic x"],
    ] {
        let response = seawall.get("/?unlike=any", fields).await;
        assert_eq!((response.text(), response.cache()), ("home", "HIT"));
    }
    assert_eq!(storage.reads(), before);
    let range = seawall.get("/numbers.txt", &["Range: bytes=2-4"]).await;
    assert_eq!((range.status, range.text()), (206, "234"));
    let tag = seawall
        .get("/", &[])
        .await
        .field("etag")
        .unwrap()
        .to_owned();
    let same = seawall.get("/", &[&format!("If-None-Match: {tag}")]).await;
    assert_eq!(same.status, 304);
    assert_eq!(seawall.head("/docs/", &[]).await.status, 200);
    // Neither above the prefix nor beside it.
    for target in ["/../secret.txt", "/nothing", "/docs"] {
        let response = seawall.get(target, &[]).await;
        assert_eq!(response.status, 404, "{target}");
        assert!(!response.text().contains("<Error>"), "{}", response.text());
    }
    assert_eq!(seawall.get("/..%2Fsecret.txt", &[]).await.status, 400);
}

#[tokio::test]
async fn names_of_objects_may_have_any_characters() {
    let storage = Storage::start().await;
    storage.put("a%20b%2B%C3%A4%28%21%29.txt", b"text").await;
    let user = ("key".to_owned(), "secret".to_owned());
    let seawall = Setup::bucket(storage.address, &keys(&user, ""))
        .rule("all", "*", CACHED)
        .start()
        .await;
    for target in [
        "/a%20b+%C3%A4(!).txt",
        "/a%20b%2B%c3%a4%28%21%29.txt",
        "/%61%20b+%C3%A4(!).txt",
    ] {
        let response = seawall.get(target, &[]).await;
        assert_eq!(
            (response.status, response.text()),
            (200, "text"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn what_goes_past_the_cache_is_signed_as_well() {
    let storage = Storage::start().await;
    storage.put("a.txt", b"0123456789").await;
    let user = storage.guarded("\"s3:GetObject\"").await;
    let seawall = Setup::bucket(storage.address, &keys(&user, ""))
        .rule("all", "*", "cache = \"bypass\"")
        .start()
        .await;
    let client = http2();

    let response = seawall.get("/a.txt", &["Range: bytes=0-1"]).await;
    assert_eq!((response.status, response.text()), (206, "01"));
    assert_eq!(response.cache(), "BYPASS");
    let url = |target: &str| format!("http://{}{target}", seawall.address);
    let response = client.get(url("/a.txt")).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.text().await.unwrap(), "0123456789");
    for response in [
        seawall.get("/nothing", &[]).await.text().to_owned(),
        client
            .get(url("/nothing"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
    ] {
        assert!(response.contains("404"), "{response}");
        assert!(!response.contains("<Error>"), "{response}");
    }
}

#[tokio::test]
async fn a_refused_signature_is_told_by_the_status_that_is_configured() {
    let storage = Storage::start().await;
    storage.put("a.txt", b"a").await;
    let (access_key, _) = storage.guarded("\"s3:GetObject\"").await;
    let wrong = (access_key, "not-the-secret".to_owned());
    for (more, status) in [("", 404), ("forbidden_status = 502", 502)] {
        let seawall = Setup::bucket(storage.address, &keys(&wrong, more))
            .rule("all", "*", CACHED)
            .start()
            .await;
        let response = seawall.get("/a.txt", &[]).await;
        assert_eq!(response.status, status);
        seawall.get("/b.txt", &[]).await;
        let told = seawall.stderr().matches("SignatureDoesNotMatch").count();
        assert_eq!(told, 1, "{}", seawall.stderr());
        assert!(
            !response.text().contains("Signature"),
            "{}",
            response.text()
        );
    }
}

#[tokio::test]
async fn a_public_bucket_is_asked_for_the_object_and_nothing_else() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/bucket/a.txt" => Reply::fresh("a")
            .field("x-amz-id-2: 1")
            .field("x-amz-meta-author: me"),
        "/bucket/busy" => Reply::status(503, "<Error><Code>SlowDown</Code></Error>"),
        "/bucket/moved" => Reply::status(301, "<Error><Endpoint>elsewhere</Endpoint></Error>"),
        _ => Reply::status(404, "<Error><Key>bucket/x</Key></Error>"),
    });
    let seawall = Setup::bucket(origin.address, "")
        .rule("all", "*", CACHED)
        .start()
        .await;

    let fields = [
        "Cookie: a=1",
        "Authorization: Basic x",
        "X-Other: 1",
        "Origin: https://a.test",
    ];
    let response = seawall.get("/a.txt?acl", &fields).await;
    assert_eq!((response.status, response.text()), (200, "a"));
    assert_eq!(response.field("x-amz-id-2"), None);
    assert_eq!(response.field("x-amz-meta-author"), Some("me"));
    let asked = origin.last();
    assert_eq!(asked.target, "/bucket/a.txt");
    let names: Vec<&str> = asked.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(asked.field("host"), Some(&*origin.address.to_string()));

    for (target, status) in [("/busy", 503), ("/moved", 502), ("/nothing", 404)] {
        let response = seawall.get(target, &[]).await;
        assert_eq!(response.status, status, "{target}");
        assert!(!response.text().contains("Error>"), "{}", response.text());
    }
    let refused = seawall.send("PUT", "/a.txt", &[], "x").await;
    assert_eq!(
        (refused.status, refused.field("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(seawall.send("GET", "/a.txt", &[], "x").await.status, 400);
    assert_eq!(origin.count("/bucket/a.txt"), 1);
}

#[tokio::test]
async fn a_page_of_the_zone_takes_the_place_of_an_error() {
    let origin = Origin::start(|_| Reply::status(403, "<Error/>"));
    let rule = "[[zones.site.error_rules]]\nexpression = 'http.response.code eq 404'\n\
                content = \"not here\"";
    let seawall = Setup::bucket(origin.address, "").zone(rule).start().await;
    let response = seawall.get("/x", &[]).await;
    assert_eq!((response.status, response.text()), (404, "not here"));
}

#[tokio::test]
async fn a_rule_sends_part_of_a_site_to_a_bucket() {
    let app = Origin::start(|_| Reply::ok("app"));
    let storage = Origin::start(|_| Reply::fresh("object"));
    let seawall = Setup::before([&app])
        .section(&format!(
            "[pools.files]\nservers = [\"http://{}\"]\n[pools.files.bucket]\nname = \"bucket\"",
            storage.address
        ))
        .zone(
            "[[zones.site.origin_rules]]\npool = \"files\"\n\
             expression = 'starts_with(http.request.uri.path, \"/media/\")'",
        )
        .start()
        .await;
    let cookie = ["Cookie: sessionid=1"];
    for expected in ["MISS", "HIT"] {
        let response = seawall.get("/media/a", &cookie).await;
        assert_eq!(
            (response.text(), response.cache()),
            ("object", expected),
            "{response:?}"
        );
    }
    assert_eq!(storage.last().target, "/bucket/media/a");
    assert_eq!(seawall.get("/page", &cookie).await.text(), "app");
    assert_eq!(app.last().field("cookie"), Some("sessionid=1"));
}

#[tokio::test]
async fn requests_that_clients_signed_pass_unchanged() {
    let origin = Origin::start(|_| {
        Reply::status(403, "<Error>theirs</Error>")
            .field("x-amz-request-id: 1")
            .field("ETag: \"a\"")
    });
    let signed = "/bucket/up/a%20b.txt?X-Amz-Credential=key%2F1&partNumber=1&X-Amz-Signature=00";
    let seawall = Setup::bucket(origin.address, "presigned = true\nprefix = \"site\"")
        .rule("all", "*", CACHED)
        .start()
        .await;
    let fields = [
        "Content-Type: text/plain",
        "x-amz-acl: private",
        "Cookie: a=1",
    ];
    let response = seawall.send("PUT", signed, &fields, "body").await;
    assert_eq!(
        (response.status, response.text()),
        (403, "<Error>theirs</Error>")
    );
    assert_eq!(response.field("x-amz-request-id"), Some("1"));
    let asked = origin.last();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("PUT", signed)
    );
    assert_eq!(asked.body, b"body");
    assert_eq!(asked.field("host"), Some(&*origin.address.to_string()));
    assert_eq!(asked.field("content-type"), Some("text/plain"));
    assert_eq!(asked.field("x-amz-acl"), Some("private"));
    assert_eq!(asked.field("cookie"), None);
    for _ in 0..2 {
        let response = seawall.get(signed, &[]).await;
        assert_eq!((response.status, response.cache()), (403, "DYNAMIC"));
    }
    assert_eq!(origin.count(signed), 3);

    let unwelcome = Setup::bucket(origin.address, "").start().await;
    assert_eq!(unwelcome.send("PUT", signed, &[], "body").await.status, 405);
}

#[tokio::test]
async fn an_upload_with_a_signed_url_is_there_afterwards() {
    let storage = Storage::start().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let signer = AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", storage.address))
        .with_allow_http(true)
        .with_bucket_name("bucket")
        .with_region("us-east-1")
        .with_access_key_id("key")
        .with_secret_access_key("secret")
        .build()
        .unwrap();
    let url = signer
        .signed_url(
            http::Method::PUT,
            &Path::from("up/a.bin"),
            Duration::from_mins(1),
        )
        .await
        .unwrap();
    let keys = "presigned = true\naccess_key = \"key\"\nsecret_key = \"secret\"";
    let seawall = Setup::bucket(storage.address, keys).start().await;
    let body = "0123456789".repeat(200_000);
    let target = format!("{}?{}", url.path(), url.query().unwrap());
    assert_eq!(seawall.send("PUT", &target, &[], &body).await.status, 200);
    eventually("the object", async || {
        seawall.get("/up/a.bin", &[]).await.text() == body
    })
    .await;
}

fn http2() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy();
    client.build().unwrap()
}
