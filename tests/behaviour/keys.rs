//! Which requests share a stored page: those that are the same to the origin, and no others.

use crate::support::{Origin, Reply, Seawall, Setup};

async fn mirror() -> (Origin, Seawall) {
    let origin = Origin::start(|request| {
        let host = request.field("host").unwrap_or_default();
        Reply::fresh(format!("{host} {}", request.target))
    });
    let seawall = Seawall::before(&origin).await;
    (origin, seawall)
}

#[tokio::test]
async fn spellings_of_one_path_share_a_page() {
    let (origin, seawall) = mirror().await;
    assert_eq!(seawall.get("/a/b~", &[]).await.cache(), "MISS");
    for target in [
        "/a/./b~",
        "/x/../a/b~",
        "/%61/b%7e",
        "/a/%62%7E",
        "/../a/b~",
        "http://site.test/a/b~",
    ] {
        let response = seawall.get(target, &[]).await;
        assert_eq!(
            (response.text(), response.cache()),
            ("site.test /a/b~", "HIT"),
            "{target}"
        );
    }
    assert_eq!(origin.count("/a/b~"), 1);
}

#[tokio::test]
async fn different_resources_do_not_share_a_page() {
    let (_origin, seawall) = mirror().await;
    let targets = [
        "/a",
        "/A",
        "/a/",
        "//a",
        "/a?",
        "/a?x=1",
        "/a?x=1&y=2",
        "/a?y=2&x=1",
        "/a?x=2",
        "/a%3Fx=1",
        "/a+b",
        "/a%20b",
        "/a?x=%31",
    ];
    for target in targets {
        assert_eq!(seawall.get(target, &[]).await.cache(), "MISS", "{target}");
    }
    for target in targets {
        let response = seawall.get(target, &[]).await;
        let expected = format!("site.test {target}");
        assert_eq!((response.text(), response.cache()), (&*expected, "HIT"));
    }
}

#[tokio::test]
async fn hosts_and_ports_are_kept_apart_and_their_spellings_together() {
    let (_origin, seawall) = mirror().await;
    for (host, forwarded, word) in [
        ("a.test", "a.test", "MISS"),
        ("A.TEST", "a.test", "HIT"),
        ("a.test.", "a.test", "HIT"),
        ("a.test:80", "a.test", "HIT"),
        ("a.test:8080", "a.test:8080", "MISS"),
        ("b.test", "b.test", "MISS"),
        ("a.testx", "a.testx", "MISS"),
        ("[::1]", "[::1]", "MISS"),
    ] {
        let response = seawall.get("/", &[&format!("Host: {host}")]).await;
        let expected = format!("{forwarded} /");
        assert_eq!(
            (response.text(), response.cache()),
            (&*expected, word),
            "{host}"
        );
    }
}

#[tokio::test]
async fn fields_that_are_not_in_the_key_do_not_reach_the_page() {
    let names = [
        "X-Forwarded-Host",
        "X-Forwarded-Scheme",
        "X-Forwarded-Prefix",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-Host",
        "Forwarded",
    ];
    let origin = Origin::start(move |request| {
        let marked = request
            .fields
            .iter()
            .any(|(_, value)| value.contains("evil"));
        Reply::fresh(if marked { "poisoned" } else { "clean" })
    });
    let seawall = Seawall::before(&origin).await;
    for name in names {
        let target = format!("/{name}");
        let attack = seawall.get(&target, &[&format!("{name}: evil")]).await;
        assert_eq!(attack.text(), "clean", "{name}");
        let victim = seawall.get(&target, &[]).await;
        assert_eq!(victim.text(), "clean", "{name}");
    }
}

#[tokio::test]
async fn zones_are_kept_apart() {
    let origin = Origin::start(|request| Reply::fresh(format!("{}", request.nth)));
    let seawall = Setup::before([&origin])
        .hosts("[\"a.test\"]")
        .zone("[zones.other]\nhosts = [\"b.test\"]\npool = \"app\"")
        .start()
        .await;
    assert_eq!(seawall.get("/", &["Host: a.test"]).await.text(), "0");
    assert_eq!(seawall.get("/", &["Host: b.test"]).await.text(), "1");
    assert_eq!(seawall.get("/", &["Host: a.test"]).await.text(), "0");
}
