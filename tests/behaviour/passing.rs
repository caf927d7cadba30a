//! What goes past the cache, on either lane: the client gets what the origin says, as it says it.

use crate::support::{Client, Gate, Origin, Reply, Seawall, Setup};

const LANES: [bool; 2] = [true, false];

async fn past_the_cache(origin: &Origin, lane: bool) -> Seawall {
    Setup::before([origin])
        .server(&format!("hit_lane = {lane}"))
        .rule("past the cache", "/*", "cache = \"bypass\"")
        .start()
        .await
}

/// A client whose request the origin has, and keeps.
async fn waiting(seawall: &Seawall, origin: &Origin) -> Client {
    let mut client = seawall.connect().await;
    client.request("GET", "/slow", &[]).await;
    origin.asked("/slow", 1).await;
    client
}

#[tokio::test]
async fn every_framing_reaches_the_client_on_a_connection_that_is_kept() {
    for lane in LANES {
        let origin = Origin::start(|request| match request.target.as_str() {
            "/chunked" => Reply::chunked(["one, ", "two, ", "three"]),
            "/trailer" => Reply::raw_kept(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX: y\r\n\r\n",
            ),
            "/closed" => Reply::raw("HTTP/1.0 200 OK\r\nX-Old: 1\r\n\r\nuntil the end"),
            "/large" => Reply::ok("x".repeat(300 << 10)),
            "/empty" => Reply::status(204, ""),
            "/same" => Reply::status(304, ""),
            _ => Reply::ok("whole"),
        });
        let seawall = past_the_cache(&origin, lane).await;
        let mut client = seawall.connect().await;
        for _ in 0..2 {
            for (target, status, body) in [
                ("/chunked", 200, "one, two, three"),
                ("/trailer", 200, "abcde"),
                ("/closed", 200, "until the end"),
                ("/empty", 204, ""),
                ("/same", 304, ""),
                ("/whole", 200, "whole"),
            ] {
                let answer = client.get(target, &[]).await;
                let seen = (answer.status, answer.text(), answer.cache());
                assert_eq!(seen, (status, body, "BYPASS"), "{target} {lane}");
                assert_eq!(answer.field("connection"), Some("keep-alive"), "{target}");
                assert_eq!(answer.all("date").len(), 1, "{target}");
            }
            assert_eq!(client.get("/large", &[]).await.body.len(), 300 << 10);
            client.request("HEAD", "/whole", &[]).await;
            let head = client.response_to_head().await;
            assert_eq!(head.field("content-length"), Some("5"), "{lane}");
        }
        assert_eq!(seawall.logged("/chunked").await["response_bytes"], 15);
    }
}

#[tokio::test]
async fn what_comes_is_passed_on_at_once() {
    for lane in LANES {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |_| Reply::chunked(["one"]).then("two", &held));
        let seawall = past_the_cache(&origin, lane).await;
        let mut client = seawall.connect().await;
        client.request("GET", "/p", &[]).await;
        assert_eq!(client.response_head().await.unwrap().status, 200);
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"one", "{lane}");
        gate.open();
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"two", "{lane}");
        assert_eq!(client.chunk().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_body_cut_short_never_looks_whole() {
    for lane in LANES {
        let origin = Origin::start(|request| match request.target.as_str() {
            "/length" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
            _ => Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        });
        let seawall = past_the_cache(&origin, lane).await;
        for target in ["/length", "/chunked"] {
            let mut client = seawall.connect().await;
            client.request("GET", target, &[]).await;
            assert!(client.try_response("GET").await.is_err(), "{target} {lane}");
            let line = seawall.logged(target).await;
            assert_eq!(line["status"], 200, "{target} {lane}");
            assert!(line["error"].is_string(), "{target} {lane}");
        }
        let failures = "seawall_origin_failures_total{kind=\"connection\",pool=\"app\"}";
        assert_eq!(seawall.metric(failures).await, 2.0, "{lane}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_sets_its_place_at_the_origin_free() {
    for lane in LANES {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.target.as_str() {
            "/slow" => Reply::ok("late").behind(&held),
            _ => Reply::ok("quick"),
        });
        let seawall = Setup::before([&origin])
            .server(&format!("hit_lane = {lane}"))
            .pool("max_requests = 1")
            .rule("past the cache", "/*", "cache = \"bypass\"")
            .start()
            .await;
        drop(waiting(&seawall, &origin).await);
        let line = seawall.logged("/slow").await;
        assert_eq!(line["status"], 499, "{lane}");
        assert!(
            line["error"]
                .as_str()
                .unwrap()
                .starts_with("ConnectionClosed")
        );
        assert_eq!(seawall.get("/next", &[]).await.text(), "quick", "{lane}");
        gate.open();
    }
}

#[tokio::test]
async fn what_is_sent_ahead_is_answered_afterwards() {
    for lane in LANES {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |request| match request.target.as_str() {
            "/slow" => Reply::ok("late").behind(&held),
            target => Reply::ok(target),
        });
        let seawall = past_the_cache(&origin, lane).await;
        let mut client = waiting(&seawall, &origin).await;
        client.request("GET", "/a", &[]).await;
        client.request("POST", "/b", &["Content-Length: 0"]).await;
        client.request("GET", "/c", &[]).await;
        gate.open();
        for expected in ["late", "/a", "/b", "/c"] {
            assert_eq!(client.response().await.text(), expected, "{lane}");
        }
    }
}

#[tokio::test]
async fn an_origin_that_fails_is_told_in_a_page_and_counted_once() {
    for lane in LANES {
        let origin = Origin::start(|_| Reply::hang_up());
        let seawall = past_the_cache(&origin, lane).await;
        let answer = seawall.get("/p", &["Accept: application/json"]).await;
        assert_eq!(answer.status, 502, "{lane}");
        assert_eq!(
            answer.field("content-type"),
            Some("application/problem+json")
        );
        let line = seawall.logged("/p").await;
        assert_eq!(
            (&line["status"], &line["cache"]),
            (&502.into(), &"BYPASS".into())
        );
        assert!(line["error"].is_string(), "{lane}");
        assert_eq!(
            line["attempts"].as_u64(),
            Some(origin.requests().len() as u64)
        );
    }
}

#[tokio::test]
async fn an_absolute_target_reaches_the_origin_in_the_form_that_was_decided_on() {
    for lane in LANES {
        let origin = Origin::start(|_| Reply::ok("ok"));
        let seawall = past_the_cache(&origin, lane).await;
        for method in ["GET", "DELETE"] {
            let mut client = seawall.connect().await;
            let head =
                format!("{method} http://site.test:80/p?q HTTP/1.1\r\nHost: site.test:80\r\n\r\n");
            client.send(head).await;
            assert_eq!(client.response().await.status, 200, "{method} {lane}");
            assert_eq!(origin.last().target, "/p?q", "{method} {lane}");
        }
    }
}
