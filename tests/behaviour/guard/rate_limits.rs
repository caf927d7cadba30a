//! Rate limits of one node.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Origin, Reply, Response, Seawall, Setup, eventually};

pub(super) fn limit(name: &str, rest: &str) -> String {
    format!("[[zones.site.rate_limit_rules]]\nname = \"{name}\"\n{rest}\n")
}

/// Statuses of so many requests, one after the other.
async fn statuses(seawall: &Seawall, target: &str, fields: &[&str], count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(seawall.get(target, fields).await.status);
    }
    statuses
}

fn retry_after(answer: &Response) -> u64 {
    answer.field("retry-after").unwrap().parse().unwrap()
}

#[tokio::test]
async fn beyond_the_limit_requests_are_answered_at_the_edge_hit_or_not() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let rule = limit(
        "pages",
        "expression = 'http.request.uri.path eq \"/a\"'\nrequests_per_period = 3\nperiod = \"1m\"",
    );
    let seawall = Setup::before([&origin])
        .rule("pages", "/", "cache = \"eligible\"")
        .zone(&rule)
        .start()
        .await;
    assert_eq!(statuses(&seawall, "/a", &[], 3).await, [200, 200, 200]);
    let over = seawall.get("/a", &[]).await;
    assert_eq!(over.status, 429);
    assert_eq!(
        (over.cache(), over.cache_status()),
        ("NONE", "detail=rate-limited")
    );
    assert_eq!(over.field("cache-control"), Some("no-store"));
    assert!((1..=120).contains(&retry_after(&over)));
    assert_eq!(over.field("ratelimit"), None);
    assert_eq!(seawall.get("/b", &[]).await.status, 200);
    assert_eq!(origin.requests().len(), 2);
    let found = "seawall_guard_total{action=\"block\",module=\"rate_limit_rules\",rule=\"pages\",zone=\"site\"}";
    assert_eq!(seawall.metric(found).await, 1.0);
    assert_eq!(seawall.metric("seawall_rate_limit_keys").await, 1.0);
    assert_eq!(seawall.metric("seawall_rate_limit_degraded").await, 0.0);
}

#[tokio::test]
async fn a_client_waits_as_long_as_it_is_told() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let rule = limit(
        "all",
        "requests_per_period = 2\nperiod = \"1s\"\nmitigation_timeout = \"3s\"\nstatus = 503\ncontent = \"slow\"",
    );
    let seawall = Setup::before([&origin]).zone(&rule).start().await;
    let began = Instant::now();
    let mut over = seawall.get("/", &[]).await;
    while over.status == 200 {
        over = seawall.get("/", &[]).await;
    }
    assert_eq!((over.status, over.text()), (503, "slow"));
    assert_eq!(retry_after(&over), 3);
    eventually("the timeout to end", async || {
        seawall.get("/", &[]).await.status == 200
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn answers_are_counted_by_their_status_and_stop_the_next_attempt() {
    let origin = Origin::start(|request| {
        if request.target.contains("right") {
            Reply::ok("in")
        } else {
            Reply::status(401, "out")
        }
    });
    let rule = limit(
        "logins",
        "expression = 'http.request.uri.path eq \"/login\"'\ncounting_expression = 'http.request.uri.path eq \"/login\" and http.response.code eq 401'\nrequests_per_period = 2\nperiod = \"1h\"\nmitigation_timeout = \"1h\"",
    );
    let seawall = Setup::before([&origin]).zone(&rule).start().await;
    assert_eq!(
        statuses(&seawall, "/login?right", &[], 4).await,
        [200, 200, 200, 200]
    );
    assert_eq!(statuses(&seawall, "/login", &[], 2).await, [401, 401]);
    eventually("the answers are counted", async || {
        seawall.get("/login?right", &[]).await.status == 429
    })
    .await;
    assert_eq!(seawall.get("/other", &[]).await.status, 401);
}

#[tokio::test]
async fn requests_are_counted_by_what_they_have_in_common() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let rule = limit(
        "keys",
        "characteristics = ['http.request.headers[\"x-key\"]', 'http.request.uri.args[\"q\"]']\nrequests_per_period = 1\nperiod = \"1h\"",
    );
    let seawall = Setup::before([&origin]).zone(&rule).start().await;
    for (target, key, expected) in [
        ("/?q=1", "X-Key: a", 200),
        ("/other?q=1", "X-Key: a", 429),
        ("/?q=%31", "X-Key: a", 429),
        ("/?a=b&q=1&q=2", "X-Key: a", 429),
        ("/?q=2", "X-Key: a", 200),
        ("/?q=1", "X-Key: b", 200),
        ("/", "X-Key: a", 200),
        ("/", "X-Key: a", 429),
    ] {
        assert_eq!(
            seawall.get(target, &[key]).await.status,
            expected,
            "{target} {key}"
        );
    }
}

#[tokio::test]
async fn a_throttled_client_is_let_through_at_an_even_rate() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let rule = limit(
        "even",
        "action = \"throttle\"\nrequests_per_period = 5\nperiod = \"1s\"\nburst = 1",
    );
    let seawall = Setup::before([&origin]).zone(&rule).start().await;
    let (began, mut passed) = (Instant::now(), 0_u32);
    while began.elapsed() < Duration::from_secs(2) {
        let answer = seawall.get("/", &[]).await;
        if answer.status == 200 {
            passed += 1;
        } else {
            assert_eq!((answer.status, retry_after(&answer)), (429, 1));
        }
    }
    // One at once and five a second, if the machine has the time.
    assert!((6..=12).contains(&passed), "{passed}");
}

#[tokio::test]
async fn what_the_cache_answers_need_not_count() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let rule = limit(
        "origin",
        "requests_to_origin = true\nrequests_per_period = 2\nperiod = \"1h\"",
    );
    let seawall = Setup::before([&origin])
        .rule("pages", "/a", "cache = \"eligible\"")
        .zone(&rule)
        .start()
        .await;
    assert_eq!(statuses(&seawall, "/a", &[], 20).await, [200; 20]);
    assert_eq!(seawall.get("/b", &[]).await.status, 200);
    eventually("the limit is reached", async || {
        seawall.get("/b", &[]).await.status == 429
    })
    .await;
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn an_answer_counts_for_as_much_as_it_says() {
    let origin = Origin::start(|_| Reply::ok("x").field("X-Score: 40"));
    let rule = limit(
        "costly",
        "score_per_period = 100\nscore_response_header = \"x-score\"\nperiod = \"1h\"",
    );
    let seawall = Setup::before([&origin]).zone(&rule).start().await;
    assert_eq!(statuses(&seawall, "/", &[], 2).await, [200, 200]);
    eventually("the limit is reached", async || {
        seawall.get("/", &[]).await.status == 429
    })
    .await;
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn answers_tell_what_is_left_where_the_rule_says_so_on_hits_too() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let rule = limit(
        "told",
        "requests_per_period = 3\nperiod = \"1h\"\nratelimit_headers = true",
    );
    let seawall = Setup::before([&origin])
        .rule("pages", "/a", "cache = \"eligible\"")
        .zone(&rule)
        .start()
        .await;
    for (word, left) in [("MISS", 2), ("HIT", 1), ("HIT", 0), ("NONE", 0)] {
        let answer = seawall.get("/a", &[]).await;
        assert_eq!(answer.cache(), word);
        assert_eq!(
            answer.field("ratelimit-policy"),
            Some("\"told\";q=3;w=3600")
        );
        let state = answer.field("ratelimit").unwrap();
        assert!(
            state.starts_with(&format!("\"told\";r={left};t=")),
            "{state}"
        );
    }
}

#[tokio::test]
async fn a_rule_may_be_tried_or_tell_alone_and_custom_rules_may_spare_it() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Setup::before([&origin])
        .zone(
            "[[zones.site.custom_rules]]\nname = \"key\"\nexpression = 'http.request.headers[\"x-key\"][0] eq \"k\"'\naction = \"skip\"\nskip = [\"rate_limit_rules\"]\n",
        )
        .zone(&limit("tried", "requests_per_period = 1\nperiod = \"1h\"\ndry_run = true"))
        .zone(&limit("told", "requests_per_period = 1\nperiod = \"1h\"\naction = \"log\""))
        .zone(&limit("real", "requests_per_period = 3\nperiod = \"1h\""))
        .start()
        .await;
    assert_eq!(statuses(&seawall, "/", &["X-Key: k"], 5).await, [200; 5]);
    assert_eq!(
        statuses(&seawall, "/", &[], 5).await,
        [200, 200, 200, 429, 429]
    );
    for (rule, action, count) in [
        ("tried", "dry_run", 4.0),
        ("told", "log", 4.0),
        ("real", "block", 2.0),
    ] {
        let found = format!(
            "seawall_guard_total{{action=\"{action}\",module=\"rate_limit_rules\",rule=\"{rule}\",zone=\"site\"}}"
        );
        assert_eq!(seawall.metric(&found).await, count, "{rule}");
    }
}

#[tokio::test]
async fn requests_that_a_rule_may_not_stop_count_where_it_says_so() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let rule = limit(
        "searches",
        "expression = 'http.request.uri.path eq \"/login\"'\ncounting_expression = 'http.request.uri.path eq \"/search\"'\nrequests_per_period = 2\nperiod = \"1h\"",
    );
    let seawall = Setup::before([&origin]).zone(&rule).start().await;
    assert_eq!(statuses(&seawall, "/login", &[], 4).await, [200; 4]);
    assert_eq!(statuses(&seawall, "/search", &[], 4).await, [200; 4]);
    assert_eq!(seawall.get("/login", &[]).await.status, 429);
    assert_eq!(seawall.get("/search", &[]).await.status, 200);
}

#[tokio::test]
async fn what_was_counted_outlives_a_reload_that_leaves_the_rule_as_it_is() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let kept = limit("kept", "requests_per_period = 2\nperiod = \"1h\"");
    let seawall = Setup::before([&origin]).zone(&kept).start().await;
    assert_eq!(statuses(&seawall, "/", &[], 3).await, [200, 200, 429]);
    let more = limit("kept", "requests_per_period = 4\nperiod = \"1h\"");
    let success = "seawall_config_reloads_total{result=\"success\"}";
    let before = seawall.metric(success).await;
    seawall.reconfigure(|_| Setup::before([&origin]).zone(&more));
    seawall.signal("HUP");
    eventually("the reload", async || {
        seawall.metric(success).await > before
    })
    .await;
    assert_eq!(statuses(&seawall, "/", &[], 3).await, [200, 200, 429]);
}

#[tokio::test]
async fn rules_that_differ_in_nothing_but_their_limits_count_each_for_itself() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Setup::before([&origin])
        .zone(&limit(
            "twin",
            "requests_per_period = 1\nperiod = \"1h\"\naction = \"log\"",
        ))
        .zone(&limit("twin", "requests_per_period = 4\nperiod = \"1h\""))
        .start()
        .await;
    assert_eq!(
        statuses(&seawall, "/", &[], 5).await,
        [200, 200, 200, 200, 429]
    );
}
