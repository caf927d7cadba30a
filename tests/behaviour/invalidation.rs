//! What an unsafe request changed is not served as it was before (RFC 9111 §4.4), and the answer to
//! a POST may serve later GETs where a rule says so (RFC 9110 §9.3.3).

use crate::support::{Gate, Origin, Received, Reply, Seawall, Setup};

/// An origin that counts what it answers to GETs; `answer` is for everything else.
async fn counting(
    answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
) -> (Origin, Seawall) {
    let origin = Origin::start(move |request| match request.method.as_str() {
        "GET" => Reply::fresh(format!("page {}", request.nth)),
        _ => answer(request),
    });
    let seawall = Seawall::before(&origin).await;
    (origin, seawall)
}

/// Stores `target` and sees that it is.
async fn store(seawall: &Seawall, target: &str) {
    for word in ["MISS", "HIT"] {
        assert_eq!(seawall.get(target, &[]).await.cache(), word, "{target}");
    }
}

#[tokio::test]
async fn unsafe_methods_that_succeed_invalidate_their_target() {
    let (_origin, seawall) = counting(|request| {
        let status = request.field("x-status").unwrap().parse().unwrap();
        Reply::status(status, "")
    })
    .await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "FROBNICATE"] {
        for status in [200, 201, 303, 307] {
            let target = format!("/{method}/{status}?a=1");
            store(&seawall, &target).await;
            let asked = format!("X-Status: {status}");
            let answer = seawall.send(method, &target, &[&asked], "change").await;
            assert_eq!(answer.status, status);
            let next = seawall.get(&target, &[]).await;
            assert_eq!((next.text(), next.cache()), ("page 2", "MISS"), "{target}");
        }
    }
}

#[tokio::test]
async fn errors_invalidate_nothing() {
    let (_origin, seawall) = counting(|request| {
        let status = request.field("x-status").unwrap().parse().unwrap();
        Reply::status(status, "").field("Location: /other")
    })
    .await;
    store(&seawall, "/p").await;
    store(&seawall, "/other").await;
    for method in ["POST", "PUT", "DELETE", "FROBNICATE"] {
        for status in [400, 401, 403, 404, 409, 422, 500, 503] {
            let asked = format!("X-Status: {status}");
            seawall.send(method, "/p", &[&asked], "change").await;
            for target in ["/p", "/other"] {
                let word = seawall.get(target, &[]).await.cache().to_owned();
                assert_eq!(word, "HIT", "{target} after {method} {status}");
            }
        }
    }
}

#[tokio::test]
async fn safe_methods_invalidate_nothing() {
    let (_origin, seawall) = counting(|_| Reply::status(200, "").field("Location: /other")).await;
    store(&seawall, "/p").await;
    store(&seawall, "/other").await;
    seawall.send("OPTIONS", "/p", &[], "").await;
    seawall.head("/p", &[]).await;
    for target in ["/p", "/other"] {
        assert_eq!(seawall.get(target, &[]).await.cache(), "HIT", "{target}");
    }
}

#[tokio::test]
async fn what_the_answer_names_at_the_same_origin_is_invalidated_too() {
    let (_origin, seawall) = counting(|request| {
        Reply::status(201, "")
            .field(request.field("x-name").unwrap())
            .field("Cache-Control: no-store")
    })
    .await;
    for (named, other, word) in [
        ("Location: /list", "/list", "MISS"),
        ("Content-Location: /list?page=2", "/list?page=2", "MISS"),
        ("Location: http://site.test/absolute", "/absolute", "MISS"),
        ("Location: http://SITE.test:80/port", "/port", "MISS"),
        ("Content-Location: beside", "/dir/beside", "MISS"),
        ("Location: ../%75p", "/up", "MISS"),
        ("Location: /fragment#part", "/fragment", "MISS"),
        ("Location: http://elsewhere.test/a", "/a", "HIT"),
        ("Location: //elsewhere.test/b", "/b", "HIT"),
        ("Location: http://site.test:8080/c", "/c", "HIT"),
        ("Content-Location: https://site.test/d", "/d", "HIT"),
    ] {
        store(&seawall, other).await;
        let name = format!("X-Name: {named}");
        seawall.send("POST", "/dir/form", &[&name], "x").await;
        assert_eq!(seawall.get(other, &[]).await.cache(), word, "{named}");
    }
}

#[tokio::test]
async fn other_origins_pages_are_not_for_this_one_to_invalidate() {
    let (_origin, seawall) =
        counting(|_| Reply::status(201, "").field("Location: http://victim.test/")).await;
    let victim = ["Host: victim.test"];
    seawall.get("/", &victim).await;
    seawall.send("POST", "/", &["Host: evil.test"], "x").await;
    assert_eq!(seawall.get("/", &victim).await.cache(), "HIT");
}

#[tokio::test]
async fn a_fetch_from_before_the_change_is_neither_joined_nor_reused() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(
        move |request| match (request.method.as_str(), request.nth) {
            ("GET", 0) => Reply::fresh("old").behind(&held),
            ("GET", _) => Reply::fresh("new"),
            _ => Reply::status(204, ""),
        },
    );
    let seawall = Seawall::before(&origin).await;
    let mut early = seawall.connect().await;
    early.request("GET", "/p", &[]).await;
    origin.asked("/p", 1).await;

    assert_eq!(seawall.send("PUT", "/p", &[], "new").await.status, 204);
    let late = seawall.get("/p", &[]).await;
    assert_eq!((late.text(), late.cache()), ("new", "MISS"));

    gate.open();
    assert_eq!(early.response().await.text(), "old");
    let next = seawall.get("/p", &[]).await;
    assert_eq!((next.text(), next.cache()), ("new", "HIT"));
}

#[tokio::test]
async fn the_answer_to_a_post_serves_later_gets_where_a_rule_says_so() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "GET" => Reply::fresh("from GET"),
        _ => {
            let body = String::from_utf8_lossy(&request.body);
            let reply = Reply::ok(format!("posted {body}"));
            match request.target.rsplit('/').next().unwrap() {
                "good" => reply
                    .field("Cache-Control: max-age=60")
                    .field(format!("Content-Location: {}", request.target)),
                "nowhere" => reply.field("Cache-Control: max-age=60"),
                "other" => reply
                    .field("Cache-Control: max-age=60")
                    .field("Content-Location: /api/good"),
                "timeless" => reply.field(format!("Content-Location: {}", request.target)),
                _ => reply
                    .field("Cache-Control: no-store, max-age=60")
                    .field(format!("Content-Location: {}", request.target)),
            }
        }
    });
    let seawall = Setup::before([&origin])
        .rule("api", "/api/*", "cache_post = true")
        .start()
        .await;

    for round in ["1", "2"] {
        let posted = seawall.send("POST", "/api/good", &[], round).await;
        assert_eq!(posted.text(), format!("posted {round}"));
        let next = seawall.get("/api/good", &[]).await;
        let expected = format!("posted {round}");
        assert_eq!((next.text(), next.cache()), (&*expected, "HIT"));
    }
    for target in [
        "/api/nowhere",
        "/api/other",
        "/api/timeless",
        "/api/no-store",
        "/plain/good",
    ] {
        seawall.send("POST", target, &[], "x").await;
        let next = seawall.get(target, &[]).await;
        assert_eq!(
            (next.text(), next.cache()),
            ("from GET", "MISS"),
            "{target}"
        );
    }
    // A POST always reaches the origin, whatever is stored.
    seawall.send("POST", "/api/good", &[], "3").await;
    let posts = origin.requests();
    let posts = posts.iter().filter(|request| request.method == "POST");
    assert_eq!(posts.filter(|post| post.target == "/api/good").count(), 3);
}
