//! Those who wait for another's request: what they get when it fails, is not for them, takes too
//! long, or its client leaves.

use crate::support::{Gate, Origin, Reply, Seawall, Setup, answers, connected, crowd};

#[tokio::test]
async fn a_page_cut_short_fails_all_its_readers_and_is_not_stored() {
    for framing in ["Content-Length: 20", "Transfer-Encoding: chunked"] {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.nth {
            0 => Reply::raw(format!(
                "HTTP/1.1 200 OK\r\n{framing}\r\nCache-Control: max-age=60\r\n\r\n5\r\nhello\r\n"
            ))
            .behind(&held),
            _ => Reply::fresh("whole"),
        });
        let seawall = Seawall::before(&origin).await;
        let clients = crowd(&seawall, 20, "/p").await;
        connected(&seawall, 20).await;
        origin.asked("/p", 1).await;
        gate.open();
        for mut client in clients {
            // Who came too late for the first answer has the second; nobody has half of one.
            if let Ok(page) = client.try_response("GET").await {
                assert_eq!((page.status, page.text()), (200, "whole"), "{framing}");
            }
        }
        let page = seawall.get("/p", &[]).await;
        assert_eq!((page.status, page.text()), (200, "whole"), "{framing}");
    }
}

#[tokio::test]
async fn who_reads_along_sees_that_the_page_was_cut_short() {
    let never = Gate::closed();
    let mut origin = Origin::start(move |_| {
        Reply::chunked(["first "])
            .then("second", &never)
            .field("Cache-Control: max-age=60")
    });
    let seawall = Seawall::before(&origin).await;
    let mut clients = crowd(&seawall, 20, "/p").await;
    for client in &mut clients {
        assert_eq!(client.response_head().await.unwrap().status, 200);
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"first ");
    }
    origin.stop().await;
    for client in &mut clients {
        assert!(client.chunk().await.is_err(), "no last chunk");
    }
    assert_eq!(seawall.metric("seawall_store_objects").await, 0.0);
    assert_eq!(seawall.get("/p", &[]).await.status, 502);
}

#[tokio::test]
async fn who_differs_in_what_the_page_varies_by_has_a_page_of_its_own() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let kind = request.field("x-kind").unwrap_or("none");
        let reply = Reply::fresh(kind).field("Vary: X-Kind");
        match request.nth {
            0 => reply.behind(&held),
            _ => reply,
        }
    });
    let seawall = Seawall::before(&origin).await;
    let mut clients = Vec::new();
    for kind in ["a", "b", "c"] {
        for _ in 0..20 {
            let mut client = seawall.connect().await;
            let field = format!("X-Kind: {kind}");
            client.request("GET", "/p", &[&field]).await;
            clients.push((kind, client));
        }
    }
    connected(&seawall, 60).await;
    origin.asked("/p", 1).await;
    gate.open();
    for (kind, mut client) in clients {
        assert_eq!(client.response().await.text(), kind);
    }
    // One that was between two looks at the store may have asked once more.
    assert!((3..=5).contains(&origin.count("/p")));
}

#[tokio::test]
async fn who_waits_too_long_for_its_turn_is_told_to_come_back() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("page").behind(&held));
    let seawall = Setup::before([&origin])
        .pool("max_requests = 2\ntimeouts = { queue_timeout = \"200ms\" }")
        .start()
        .await;
    let first = crowd(&seawall, 1, "/a").await;
    let second = crowd(&seawall, 1, "/b").await;
    origin.asked("/a", 1).await;
    origin.asked("/b", 1).await;

    for busy in [
        seawall.get("/c", &[]).await,
        seawall.head("/c", &[]).await,
        seawall.send("POST", "/c", &[], "x").await,
    ] {
        assert_eq!(busy.status, 503);
        assert!(busy.field("retry-after").is_some());
    }
    assert_eq!(origin.count("/c"), 0);
    gate.open();
    for page in answers(first.into_iter().chain(second).collect()).await {
        assert_eq!((page.status, page.text()), (200, "page"));
    }
    assert_eq!(seawall.get("/c", &[]).await.status, 200);
}

#[tokio::test]
async fn a_stale_page_is_validated_once_for_all_who_ask() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.field("if-none-match") {
        None => Reply::stale("page"),
        Some(_) => Reply::not_modified()
            .field("Cache-Control: max-age=60")
            .behind(&held),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let clients = crowd(&seawall, 50, "/p").await;
    connected(&seawall, 50).await;
    origin.asked("/p", 2).await;
    gate.open();
    for page in answers(clients).await {
        assert_eq!((page.status, page.text()), (200, "page"));
    }
    assert_eq!(origin.count("/p"), 2);
}

#[tokio::test]
async fn a_conditional_client_decides_for_itself_about_what_it_waited_for() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::fresh("0123456789")
            .field("ETag: \"v1\"")
            .behind(&held)
    });
    let seawall = Seawall::before(&origin).await;
    let leader = crowd(&seawall, 1, "/p").await;
    origin.asked("/p", 1).await;
    let mut clients = Vec::new();
    for (fields, expected) in [
        (&["If-None-Match: \"v1\""][..], (304, "")),
        (&["If-None-Match: \"v0\""], (200, "0123456789")),
        (&["Range: bytes=2-3"], (206, "23")),
        (&["Range: bytes=2-3", "If-Range: \"v1\""], (206, "23")),
        (
            &["Range: bytes=2-3", "If-Range: \"v0\""],
            (200, "0123456789"),
        ),
        (&["Range: bytes=-2"], (206, "89")),
    ] {
        let mut client = seawall.connect().await;
        client.request("GET", "/p", fields).await;
        clients.push((fields, expected, client));
    }
    connected(&seawall, 7).await;
    gate.open();
    for (fields, expected, mut client) in clients {
        let page = client.response().await;
        assert_eq!((page.status, page.text()), expected, "{fields:?}");
    }
    assert_eq!(answers(leader).await[0].text(), "0123456789");
    assert_eq!(origin.count("/p"), 1, "the ranges come out of the whole");
}

#[tokio::test]
async fn a_second_herd_on_a_private_page_does_not_wait_for_its_first() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok(request.nth.to_string()).field("Cache-Control: private");
        match request.nth {
            0 => reply,
            _ => reply.behind(&held),
        }
    });
    let seawall = Setup::before([&origin])
        .pool("max_requests = 20")
        .start()
        .await;
    seawall.get("/p", &[]).await;
    let clients = crowd(&seawall, 1000, "/p").await;
    // None is answered yet, and as many as may be are under way.
    origin.asked("/p", 21).await;
    gate.open();
    let pages = answers(clients).await;
    assert!(pages.iter().all(|page| page.status == 200));
    assert_eq!(origin.count("/p"), 1001);
    assert_eq!(origin.most_outstanding(), 20);
}

#[tokio::test]
async fn a_thousand_clients_of_a_silent_origin_are_told_in_time() {
    let never = Gate::closed();
    let origin = Origin::start(move |_| Reply::fresh("late").behind(&never));
    let seawall = Setup::before([&origin])
        .pool("timeouts = { first_byte = \"3s\" }")
        .start()
        .await;
    let pages = answers(crowd(&seawall, 1000, "/p").await).await;
    assert!(pages.iter().all(|page| page.status == 504));
    let count = origin.count("/p");
    assert!(count <= 3, "{count} requests");
}

#[tokio::test]
async fn when_the_first_leaves_before_the_answer_it_is_stored_for_the_others() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh("page").behind(&held));
    let seawall = Seawall::before(&origin).await;
    let first = crowd(&seawall, 1, "/p").await;
    origin.asked("/p", 1).await;
    let others = crowd(&seawall, 100, "/p").await;
    connected(&seawall, 101).await;
    drop(first);
    gate.open();
    for page in answers(others).await {
        assert_eq!((page.status, page.text()), (200, "page"));
    }
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    assert_eq!(origin.count("/p"), 1);
}

#[tokio::test]
async fn when_all_leave_the_page_is_stored_all_the_same() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::chunked(["first "])
            .then("second", &held)
            .field("Cache-Control: max-age=60")
    });
    let seawall = Seawall::before(&origin).await;
    let mut clients = crowd(&seawall, 10, "/p").await;
    for client in &mut clients {
        client.response_head().await.unwrap();
    }
    drop(clients);
    gate.open();
    assert_eq!(seawall.get("/p", &[]).await.text(), "first second");
    assert_eq!(seawall.get("/p", &[]).await.cache(), "HIT");
    assert_eq!(origin.count("/p"), 1);
}
