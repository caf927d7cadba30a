//! Methods of choosing a replica, backups, places, what operators and bad answers do to it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::support::{Gate, Origin, Reply, Seawall, Setup, TOKEN, Traffic, eventually};

const NO_PANIC: &str = "panic_threshold = 0";

fn named(names: &[&'static str]) -> Vec<Origin> {
    let start = |name: &&'static str| {
        let name = *name;
        Origin::start(move |_| Reply::ok(name))
    };
    names.iter().map(start).collect()
}

fn server(origin: &Origin, keys: &str) -> String {
    format!("{{ url = \"http://{}\"{keys} }}", origin.address)
}

async fn change(seawall: &Seawall, origin: &Origin, body: &str) -> (u16, Value) {
    let path = format!("/pools/app/replicas/{}", origin.address);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let response = seawall.post_admin(&path, &[&bearer], body).await;
    let report = serde_json::from_str(response.text()).unwrap();
    (response.status, report)
}

async fn state(seawall: &Seawall, index: usize) -> String {
    let pools: Value = serde_json::from_str(seawall.admin("/pools").await.text()).unwrap();
    let state = &pools[0]["replicas"][index]["state"];
    state.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_busy_replica_gets_nothing_while_another_is_idle() {
    let gate = Gate::closed();
    let held = gate.clone();
    let busy = Origin::start(move |_| Reply::ok("busy").behind(&held));
    let idle = Origin::start(|_| Reply::ok("idle"));
    let seawall = Setup::before([&busy, &idle]).start().await;
    let mut waiting = Vec::new();
    for nth in 0.. {
        let mut client = seawall.connect().await;
        client
            .request("POST", &format!("/first/{nth}"), &["Content-Length: 0"])
            .await;
        waiting.push(client);
        eventually("one of them to be asked", async || {
            busy.requests().len() + idle.requests().len() > nth
        })
        .await;
        if busy.requests().len() == 1 {
            break;
        }
        waiting.pop().unwrap().response().await;
    }
    for nth in 0..20 {
        assert_eq!(
            seawall.get(&format!("/then/{nth}"), &[]).await.text(),
            "idle"
        );
    }
    let outstanding = "seawall_origin_outstanding{pool=\"app\"}";
    assert_eq!(seawall.metric(outstanding).await, 1.0);
    gate.open();
    for mut client in waiting {
        client.response().await;
    }
    eventually("nothing to be outstanding", async || {
        seawall.metric(outstanding).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn equal_values_go_to_the_same_replica_through_the_cache_and_past_it() {
    let origins = named(&["a", "b", "c"]);
    let seawall = Setup::before(&origins)
        .pool("balance = \"hash\"\nhash_by = 'http.request.uri.path'")
        .start()
        .await;
    let mut used = HashSet::new();
    for nth in 0..20 {
        let first = seawall.get(&format!("/{nth}?1"), &[]).await;
        let second = seawall
            .get(&format!("/{nth}?2"), &["Authorization: Basic eA=="])
            .await;
        let posted = seawall.send("POST", &format!("/{nth}"), &[], "x").await;
        assert_eq!(first.text(), second.text(), "{nth}");
        assert_eq!(first.text(), posted.text(), "{nth}");
        used.insert(first.text().to_owned());
    }
    assert!(used.len() > 1);
}

#[tokio::test]
async fn backups_are_asked_when_the_others_are_gone() {
    let mut main = Origin::start(|_| Reply::ok("main"));
    let backup = Origin::start(|_| Reply::ok("backup"));
    let seawall = Setup::servers([server(&backup, ", priority = 1"), server(&main, "")])
        .start()
        .await;
    for nth in 0..6 {
        assert_eq!(seawall.get(&format!("/{nth}"), &[]).await.text(), "main");
    }
    main.stop().await;
    for nth in 0..6 {
        let response = seawall.get(&format!("/down/{nth}"), &[]).await;
        assert_eq!((response.status, response.text()), (200, "backup"));
    }
    main.listen();
    eventually("the first to be asked again", async || {
        seawall
            .get("/again", &["Authorization: Basic eA=="])
            .await
            .text()
            == "main"
    })
    .await;
}

#[tokio::test]
async fn servers_of_the_same_place_are_preferred() {
    let origins = named(&["here", "there"]);
    let seawall = Setup::servers([
        server(&origins[0], ", locality = \"fra\""),
        server(&origins[1], ", locality = \"ams\""),
    ])
    .server("locality = \"fra\"")
    .start()
    .await;
    for nth in 0..8 {
        assert_eq!(seawall.get(&format!("/{nth}"), &[]).await.text(), "here");
    }
}

#[tokio::test]
async fn a_drained_replica_gets_nothing_new_and_no_request_fails() {
    let origins = named(&["a", "b"]);
    let seawall = Setup::before(&origins).purging().start().await;
    let traffic = Traffic::start(seawall.address);
    let (status, report) = change(&seawall, &origins[0], r#"{"drain": true}"#).await;
    assert_eq!((status, &report["state"]), (200, &Value::from("drained")));
    let before = origins[0].requests().len();
    for nth in 0..10 {
        assert_eq!(seawall.get(&format!("/{nth}"), &[]).await.text(), "b");
    }
    let drained = "seawall_origin_replicas{pool=\"app\",state=\"drained\"}";
    assert_eq!(seawall.metric(drained).await, 1.0);
    // What was on its way when it was drained may have come after.
    assert!(origins[0].requests().len() <= before + 1);

    // A reload forgets nothing, even of a pool that changed.
    seawall.reconfigure(|setup| setup.pool("max_requests = 99"));
    seawall.signal("HUP");
    eventually("the reload", async || {
        seawall
            .metric("seawall_config_reloads_total{result=\"success\"}")
            .await
            >= 1.0
    })
    .await;
    assert_eq!(state(&seawall, 0).await, "drained");

    change(&seawall, &origins[0], r#"{"drain": false, "weight": 200}"#).await;
    assert_eq!(state(&seawall, 0).await, "healthy");
    eventually("it to be asked again", async || {
        seawall
            .get("/back", &["Authorization: Basic eA=="])
            .await
            .text()
            == "a"
    })
    .await;
    traffic.ends_without_a_failure().await;
    assert!(seawall.stderr().contains("replica"), "the audit log tells");
}

#[tokio::test]
async fn changes_by_hand_need_the_token_and_a_replica_that_exists() {
    let origins = named(&["a"]);
    let seawall = Setup::before(&origins).purging().start().await;
    let path = format!("/pools/app/replicas/{}", origins[0].address);
    let drain = r#"{"drain": true}"#;
    assert_eq!(seawall.post_admin(&path, &[], drain).await.status, 401);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for (path, body, status) in [
        ("/pools/app/replicas/127.0.0.1:1", drain, 404),
        ("/pools/other/replicas/127.0.0.1:1", drain, 404),
        (&*path, r#"{"weight": 0}"#, 400),
        (&*path, "{}", 400),
    ] {
        let response = seawall.post_admin(path, &[&bearer], body).await;
        assert_eq!(response.status, status, "{path} {body}");
    }
    assert_eq!(seawall.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn a_replica_with_bad_answers_is_ejected_and_comes_back() {
    let status = Arc::new(AtomicU16::new(503));
    let of = status.clone();
    let moody = Origin::start(move |_| Reply::status(of.load(Ordering::Relaxed), "moody"));
    let steady = Origin::start(|_| Reply::ok("steady"));
    let seawall = Setup::before([&moody, &steady])
        .pool(&format!("balance = \"round_robin\"\n{NO_PANIC}"))
        .pool("outliers = { consecutive = 3, ejection = \"1s\" }")
        .start()
        .await;
    for nth in 0..6 {
        seawall.get(&format!("/{nth}"), &[]).await;
    }
    assert_eq!(state(&seawall, 0).await, "ejected");
    let asked = moody.requests().len();
    assert_eq!(asked, 3);
    status.store(200, Ordering::Relaxed);
    eventually("it to be asked again", async || {
        seawall.get("/again", &["Authorization: Basic eA=="]).await;
        moody.requests().len() > asked
    })
    .await;
    assert_eq!(state(&seawall, 0).await, "healthy");
    let ejections = "seawall_origin_ejections_total{pool=\"app\"}";
    assert_eq!(seawall.metric(ejections).await, 1.0);
    for event in ["replica ejected", "replica returned"] {
        assert!(seawall.stderr().contains(event), "{event}");
    }
}

#[tokio::test]
async fn with_too_few_healthy_replicas_all_are_used() {
    let sick = |name: &'static str| {
        Origin::start(move |request| match request.target.as_str() {
            "/healthz" => Reply::status(500, "ill"),
            _ => Reply::ok(name),
        })
    };
    let origins = [sick("a"), sick("b"), Origin::start(|_| Reply::ok("c"))];
    let check = "health_check = { path = \"/healthz\", interval = \"100ms\", fall = 1 }";
    let pool = format!("balance = \"round_robin\"\npanic_threshold = 50\n{check}");
    let seawall = Setup::before(&origins).pool(&pool).start().await;
    eventually("the checks to fail", async || {
        state(&seawall, 0).await == "unhealthy" && state(&seawall, 1).await == "unhealthy"
    })
    .await;
    let mut seen = HashSet::new();
    for nth in 0..6 {
        seen.insert(seawall.get(&format!("/{nth}"), &[]).await.text().to_owned());
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(
        seawall.metric("seawall_origin_panic{pool=\"app\"}").await,
        1.0
    );
    assert!(seawall.stderr().contains("panic begins"));
}

/// A pool that keeps sessions by cookie.
fn keeping(origins: &[Origin], failover: &str) -> Setup {
    Setup::before(origins)
        .top("secret = \"0123456789abcdef\"")
        .pool(&format!(
            "affinity = {{ by = \"cookie\", failover = \"{failover}\" }}\nretries = {{ max = 0 }}"
        ))
        .purging()
}

/// A request past the cache; the cookie to send from then on, and what was answered.
async fn visit(seawall: &Seawall, cookie: Option<&str>) -> (Option<String>, u16, String) {
    let line = cookie.map(|cookie| format!("Cookie: {cookie}; other=1"));
    let mut fields = vec!["Authorization: Basic eA=="];
    fields.extend(line.as_deref());
    let response = seawall.get("/cart", &fields).await;
    let set = response.field("set-cookie").map(|set| {
        let pair = set.split(';').next().unwrap();
        pair.to_owned()
    });
    (set, response.status, response.text().to_owned())
}

#[tokio::test]
async fn a_session_stays_at_its_replica_and_no_origin_sees_its_cookie() {
    let origins = named(&["a", "b", "c"]);
    let seawall = keeping(&origins, "temporary").start().await;
    let (cookie, _, home) = visit(&seawall, None).await;
    let cookie = cookie.expect("a cookie is set");
    for _ in 0..12 {
        let (again, status, text) = visit(&seawall, Some(&cookie)).await;
        assert_eq!((again, status, &text), (None, 200, &home));
    }
    // Requests with a body take another way.
    let sent = format!("Cookie: other=1; {cookie}");
    let posted = seawall.send("POST", "/cart", &[&sent], "x").await;
    assert_eq!(posted.text(), home);
    for origin in &origins {
        for request in origin.requests() {
            let cookies = request.field("cookie").unwrap_or_default();
            assert!(!cookies.contains("affinity"), "{cookies}");
        }
    }
    assert!(origins.iter().any(|origin| {
        origin
            .requests()
            .iter()
            .any(|request| request.field("cookie") == Some("other=1"))
    }));
    let forged = cookie.replace('.', ".1");
    assert!(
        visit(&seawall, Some(&forged)).await.0.is_some(),
        "a forged cookie is none"
    );
}

#[tokio::test]
async fn what_is_shared_sets_no_session_cookie_and_none_counts_in_its_key() {
    let origins = [
        Origin::start(|_| Reply::fresh("page")),
        Origin::start(|_| Reply::fresh("page")),
    ];
    let seawall = keeping(&origins, "temporary").start().await;
    let first = seawall.get("/page", &[]).await;
    assert_eq!(first.field("set-cookie"), None);
    let (cookie, ..) = visit(&seawall, None).await;
    let with = cookie.map(|cookie| format!("Cookie: {cookie}"));
    let with: Vec<&str> = with.as_deref().into_iter().collect();
    let second = seawall.get("/page", &with).await;
    assert_eq!((second.cache(), second.field("set-cookie")), ("HIT", None));
}

#[tokio::test]
async fn a_session_whose_replica_is_gone_fails_stays_or_moves() {
    for (failover, status) in [("none", 503), ("temporary", 200), ("sticky", 200)] {
        let mut origins = named(&["a", "b"]);
        let check = "health_check = { interval = \"100ms\", rise = 1, fall = 1 }";
        let seawall = keeping(&origins, failover).pool(check).start().await;
        let (cookie, _, home) = visit(&seawall, None).await;
        let cookie = cookie.unwrap();
        let index = usize::from(home == "b");
        origins[index].stop().await;
        eventually("the check to fail", async || {
            state(&seawall, index).await == "unhealthy"
        })
        .await;
        let (moved, answered, text) = visit(&seawall, Some(&cookie)).await;
        assert_eq!(answered, status, "{failover}");
        assert_eq!(moved.is_some(), failover == "sticky", "{failover}");
        assert_ne!(text, home, "{failover}");
        origins[index].listen();
        eventually("the check to succeed", async || {
            state(&seawall, index).await == "healthy"
        })
        .await;
        let sent = moved.as_deref().unwrap_or(&cookie);
        let (_, _, back) = visit(&seawall, Some(sent)).await;
        assert_eq!(back == home, failover != "sticky", "{failover}");
    }
}

#[tokio::test]
async fn a_drained_replica_keeps_its_sessions() {
    let origins = named(&["a", "b"]);
    let seawall = keeping(&origins, "temporary").start().await;
    let (cookie, _, home) = visit(&seawall, None).await;
    let origin = &origins[usize::from(home == "b")];
    change(&seawall, origin, r#"{"drain": true}"#).await;
    for _ in 0..5 {
        assert_eq!(visit(&seawall, cookie.as_deref()).await.2, home);
        assert_ne!(visit(&seawall, None).await.2, home);
    }
}

#[tokio::test]
async fn a_field_keeps_a_session_at_its_replica() {
    let origins = named(&["a", "b", "c"]);
    let seawall = Setup::before(&origins)
        .pool("affinity = { by = \"header\", name = \"x-user\" }")
        .start()
        .await;
    let mut used = HashSet::new();
    for user in 0..12 {
        let field = format!("X-User: {user}");
        let ask = async || {
            let fields = ["Authorization: Basic eA==", field.as_str()];
            seawall.get("/cart", &fields).await.text().to_owned()
        };
        let home = ask().await;
        for _ in 0..3 {
            assert_eq!(ask().await, home);
        }
        used.insert(home);
    }
    assert!(used.len() > 1);
}

#[tokio::test]
async fn a_replica_that_comes_back_gets_its_weight_little_by_little() {
    let origins = named(&["a", "b"]);
    let seawall = Setup::before(&origins)
        .pool("balance = \"round_robin\"\nslow_start = \"1h\"")
        .purging()
        .start()
        .await;
    change(&seawall, &origins[0], r#"{"drain": true}"#).await;
    change(&seawall, &origins[0], r#"{"drain": false}"#).await;
    for nth in 0..22 {
        seawall.get(&format!("/{nth}"), &[]).await;
    }
    // A tenth of its weight.
    assert_eq!(origins[0].requests().len(), 2);
}
