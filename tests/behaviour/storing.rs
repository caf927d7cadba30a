//! What is stored, what never is, and what clients are told about it.

use crate::support::{Gate, Origin, Reply, Seawall, Setup};

#[tokio::test]
async fn a_page_with_a_lifetime_is_a_miss_and_then_a_hit() {
    let origin = Origin::start(|_| Reply::fresh("hello").field("Age: 7"));
    let seawall = Seawall::before(&origin).await;

    let first = seawall.get("/page", &[]).await;
    assert_eq!(
        (first.status, first.text(), first.cache()),
        (200, "hello", "MISS")
    );
    let told = "fwd=uri-miss; fwd-status=200; stored; ttl=5";
    assert!(
        first.cache_status().starts_with(told),
        "{}",
        first.cache_status()
    );

    let second = seawall.get("/page", &[]).await;
    assert_eq!(
        (second.status, second.text(), second.cache()),
        (200, "hello", "HIT")
    );
    assert!(
        second.cache_status().starts_with("hit; ttl=5"),
        "{}",
        second.cache_status()
    );
    let age: u64 = second.field("age").unwrap().parse().unwrap();
    assert!(
        (7..20).contains(&age),
        "the origin's age goes on, got {age}"
    );
    assert_eq!(second.all("age").len(), 1);
    assert_eq!(second.field("content-length"), Some("5"));
    assert_eq!(origin.count("/page"), 1);
}

#[tokio::test]
async fn what_must_not_be_shared_is_never_stored() {
    let rows = [
        ("/private", "Cache-Control: private, max-age=60", "private"),
        ("/upper", "Cache-Control: PRIVATE, max-age=60", "private"),
        (
            "/no-store",
            "Cache-Control: no-store, max-age=60",
            "no-store",
        ),
        ("/cookie", "Set-Cookie: a=b", "set-cookie"),
        ("/vary", "Vary: Accept, *", "vary-any"),
    ];
    let origin = Origin::start(move |request| {
        let row = rows.iter().find(|row| row.0 == request.target).unwrap();
        let reply = Reply::ok(format!("answer {}", request.nth)).field(row.1);
        if row.1.contains("max-age") {
            reply
        } else {
            reply.field("Cache-Control: public, max-age=60")
        }
    });
    let seawall = Seawall::before(&origin).await;

    for (target, _, reason) in rows {
        for nth in 0..3 {
            let response = seawall.get(target, &[]).await;
            assert_eq!(response.text(), format!("answer {nth}"), "{target}");
            assert_eq!(response.cache(), "BYPASS", "{target}");
            let told = format!("detail={reason}");
            assert!(
                response.cache_status().contains(&told),
                "{target}: {response:?}"
            );
        }
    }
}

#[tokio::test]
async fn without_an_explicit_lifetime_nothing_is_stored() {
    let origin = Origin::start(|request| {
        let reply = Reply::ok(format!("answer {}", request.nth));
        match request.target.as_str() {
            "/guess" => reply.field("Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"),
            "/expires-0" => reply.field("Expires: 0"),
            "/expired" => reply.field("Expires: Thu, 01 Jan 1970 00:00:00 GMT"),
            _ => reply,
        }
    });
    let seawall = Seawall::before(&origin).await;

    for target in ["/plain", "/guess", "/expires-0", "/expired"] {
        for nth in 0..2 {
            let response = seawall.get(target, &[]).await;
            assert_eq!(response.text(), format!("answer {nth}"), "{target}");
        }
    }
}

#[tokio::test]
async fn errors_are_not_stored_and_hide_nothing_when_they_pass() {
    let statuses = [400, 403, 404, 405, 413, 414, 416, 431, 500, 502, 503, 504];
    let origin = Origin::start(|request| {
        if request.nth == 0 {
            let status = request.target.trim_start_matches('/').parse().unwrap();
            Reply::status(status, "error")
        } else {
            Reply::fresh("recovered")
        }
    });
    let seawall = Seawall::before(&origin).await;

    for status in statuses {
        let target = format!("/{status}");
        assert_eq!(seawall.get(&target, &[]).await.status, status);
        let next = seawall.get(&target, &[]).await;
        assert_eq!(
            (next.status, next.text()),
            (200, "recovered"),
            "after {status}"
        );
    }
}

#[tokio::test]
async fn a_status_that_blames_the_request_is_not_stored_even_with_a_lifetime() {
    let origin = Origin::start(|request| {
        let status = request.target.trim_start_matches('/').parse().unwrap();
        Reply::status(status, format!("{}", request.nth)).field("Cache-Control: max-age=60")
    });
    let seawall = Seawall::before(&origin).await;

    for status in [400, 405, 413, 414, 416, 417, 421, 431, 501] {
        for nth in 0..2 {
            let response = seawall.get(&format!("/{status}"), &[]).await;
            assert_eq!(
                (response.status, response.text()),
                (status, &*nth.to_string())
            );
        }
    }
}

#[tokio::test]
async fn part_of_a_page_that_nobody_asked_for_is_not_stored() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::status(206, "par")
            .field("Content-Range: bytes 0-2/4")
            .field("Cache-Control: max-age=60"),
        _ => Reply::fresh("part"),
    });
    let seawall = Seawall::before(&origin).await;

    seawall.get("/p", &[]).await;
    let whole = seawall.get("/p", &[]).await;
    assert_eq!((whole.status, whole.text()), (200, "part"));
}

#[tokio::test]
async fn a_page_that_becomes_cacheable_is_cached() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::ok("first").field("Cache-Control: no-store"),
        _ => Reply::fresh("later"),
    });
    let seawall = Seawall::before(&origin).await;

    let mut words = Vec::new();
    for _ in 0..5 {
        words.push(seawall.get("/p", &[]).await.cache().to_owned());
    }
    assert_eq!(words.last().unwrap(), "HIT", "{words:?}");
}

#[tokio::test]
async fn other_methods_pass_through_and_invalidate_the_stored_page() {
    let origin = Origin::start(|request| {
        Reply::fresh(format!(
            "{} {}",
            request.method,
            String::from_utf8_lossy(&request.body)
        ))
    });
    let seawall = Seawall::before(&origin).await;

    for method in ["POST", "PUT", "PATCH", "DELETE", "UNHEARD-OF"] {
        assert_eq!(seawall.get("/form", &[]).await.cache(), "MISS");
        assert_eq!(seawall.get("/form", &[]).await.cache(), "HIT");
        let response = seawall.send(method, "/form", &[], "a=1").await;
        assert_eq!(response.text(), format!("{method} a=1"));
        assert_eq!(response.cache(), "DYNAMIC");
    }
    let page = seawall.get("/form", &[]).await;
    assert_eq!((page.text(), page.cache()), ("GET ", "MISS"));
}

#[tokio::test]
async fn a_get_with_a_body_bypasses_the_store() {
    let origin = Origin::start(|request| {
        Reply::fresh(format!("q={}", String::from_utf8_lossy(&request.body)))
    });
    let seawall = Seawall::before(&origin).await;

    let fat = seawall.send("GET", "/search", &[], "evil").await;
    assert_eq!((fat.text(), fat.cache()), ("q=evil", "DYNAMIC"));
    let clean = seawall.get("/search", &[]).await;
    assert_eq!((clean.text(), clean.cache()), ("q=", "MISS"));
    let fat = seawall.send("GET", "/search", &[], "evil").await;
    assert_eq!(fat.text(), "q=evil");
}

#[tokio::test]
async fn a_head_is_answered_from_the_stored_page() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/page", &[]).await;

    let head = seawall.head("/page", &[]).await;
    assert_eq!((head.status, head.cache()), (200, "HIT"));
    assert_eq!(head.field("content-length"), Some("5"));
    assert_eq!(origin.count("/page"), 1);
}

#[tokio::test]
async fn a_head_that_misses_never_leaves_a_page_without_its_body() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let seawall = Seawall::before(&origin).await;

    let head = seawall.head("/page", &[]).await;
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("5"))
    );
    assert_eq!(seawall.get("/page", &[]).await.text(), "hello");
}

#[tokio::test]
async fn a_body_shorter_than_announced_fails_and_is_not_stored() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::raw(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhalf",
        ),
        _ => Reply::fresh("whole page"),
    });
    let seawall = Seawall::before(&origin).await;

    let mut client = seawall.connect().await;
    client.request("GET", "/p", &[]).await;
    let cut = client.try_response("GET").await;
    let failed = cut.as_ref().map_or(true, |response| response.status == 502);
    assert!(failed, "the client must see the failure: {cut:?}");
    let next = seawall.get("/p", &[]).await;
    assert_eq!((next.text(), next.cache()), ("whole page", "MISS"));
}

#[tokio::test]
async fn a_chunked_body_without_its_end_fails_and_is_not_stored() {
    for end in ["", "4\r\nha", "zz\r\n", "0\r\n"] {
        let broken = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nhalf\r\n{end}"
        );
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::raw(&broken),
            _ => Reply::fresh("whole page"),
        });
        let seawall = Seawall::before(&origin).await;

        let mut client = seawall.connect().await;
        client.request("GET", "/p", &[]).await;
        let cut = client.try_response("GET").await;
        let failed = cut.as_ref().map_or(true, |response| response.status == 502);
        assert!(failed, "after {end:?} the client got {cut:?}");
        let next = seawall.get("/p", &[]).await;
        assert_eq!(
            (next.text(), next.cache()),
            ("whole page", "MISS"),
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_only_the_connection_ends_is_passed_on_but_not_stored() {
    let origin = Origin::start(|request| {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n";
        Reply::raw(format!("{head}answer {}", request.nth))
    });
    let seawall = Seawall::before(&origin).await;

    for nth in 0..2 {
        let response = seawall.get("/p", &[]).await;
        assert_eq!(response.text(), format!("answer {nth}"));
        assert!(response.cache_status().contains("detail=unknown-length"));
    }
}

#[tokio::test]
async fn a_page_under_an_assets_name_is_not_stored() {
    let origin = Origin::start(|request| {
        let cookie = request.field("cookie").unwrap_or("nobody").to_owned();
        Reply::fresh(format!("account of {cookie}")).field("Content-Type: text/html")
    });
    // The guard refuses the last one, unless it is told not to.
    let seawall = Setup::before([&origin])
        .zone("request_filters = { path_traversal = \"off\" }")
        .start()
        .await;

    for target in [
        "/account/x.css",
        "/account;x.js",
        "/account/x.pdf",
        "/account%2fx.css",
        "/static/..%2faccount",
    ] {
        let victim = seawall.get(target, &["Cookie: who=victim"]).await;
        assert_eq!(victim.text(), "account of who=victim");
        let attacker = seawall.get(target, &[]).await;
        assert_eq!(attacker.text(), "account of nobody", "{target}");
    }
}

#[tokio::test]
async fn an_empty_and_a_large_chunked_page_are_stored_whole() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    let chunks: Vec<Vec<u8>> = large.chunks(70_001).map(<[u8]>::to_vec).collect();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/empty" => Reply::fresh(""),
        _ => Reply::chunked(&chunks).field("Cache-Control: max-age=60"),
    });
    let seawall = Seawall::before(&origin).await;

    for word in ["MISS", "HIT"] {
        let empty = seawall.get("/empty", &[]).await;
        assert_eq!((empty.text(), empty.cache()), ("", word));
        let response = seawall.get("/large", &[]).await;
        assert_eq!(response.cache(), word);
        assert!(response.body == large, "{} bytes", response.body.len());
    }
}

#[tokio::test]
async fn the_memory_budget_holds() {
    let origin = Origin::start(|_| Reply::fresh("x".repeat(100_000)));
    let seawall = Setup::before([&origin])
        .section("[cache]\nmemory = \"1 MiB\"")
        .start()
        .await;

    for n in 0..40 {
        seawall.get(&format!("/{n}"), &[]).await;
    }
    let stored = seawall.metric("seawall_store_bytes").await;
    assert!(stored > 100_000.0 && stored <= 1_048_576.0, "{stored}");
}

#[tokio::test]
async fn a_connection_goes_on_while_the_page_behind_a_head_is_fetched() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/page" => Reply::chunked(["one"])
            .then("two", &held)
            .field("Cache-Control: max-age=60"),
        _ => Reply::ok("other"),
    });
    let seawall = Seawall::before(&origin).await;

    let mut client = seawall.connect().await;
    client.request("HEAD", "/page", &[]).await;
    assert_eq!(client.response_to_head().await.status, 200);
    // The client has its whole answer and asks on; Seawall is still busy with the page.
    client.request("GET", "/other", &[]).await;
    for nth in 0..5 {
        seawall.get(&format!("/{nth}"), &[]).await;
    }
    gate.open();
    assert_eq!(client.response().await.text(), "other");
}

#[tokio::test]
async fn the_origins_date_stays_with_the_page() {
    const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
    let origin = Origin::start(|_| {
        Reply::ok("page")
            .field("Cache-Control: max-age=2000000000")
            .field(format!("Date: {DATE}"))
    });
    let seawall = Seawall::before(&origin).await;
    for word in ["MISS", "HIT", "HIT"] {
        let response = seawall.get("/p", &[]).await;
        assert_eq!(response.cache(), word);
        assert_eq!(response.all("date"), [DATE], "{word}");
    }
}
