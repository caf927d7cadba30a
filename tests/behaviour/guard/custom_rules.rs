//! Custom rules and security events.

use serde_json::Value;

use crate::support::{Origin, Reply, Seawall, Setup, eventually};

fn rule(name: &str, expression: &str, rest: &str) -> String {
    format!("[[zones.site.custom_rules]]\nname = \"{name}\"\nexpression = '{expression}'\n{rest}\n")
}

#[tokio::test]
async fn what_a_rule_blocks_reaches_neither_cache_nor_origin_and_a_hit_is_guarded_as_a_miss_is() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = Setup::before([&origin])
        .rule("pages", "/a", "cache = \"eligible\"")
        .zone(&rule(
            "curl",
            r#"http.user_agent contains "curl""#,
            r#"action = "block""#,
        ))
        .start()
        .await;
    assert_eq!(seawall.get("/a", &[]).await.cache(), "MISS");
    let blocked = seawall.get("/a", &["User-Agent: curl/8"]).await;
    assert_eq!(blocked.status, 403);
    assert_eq!(
        (blocked.cache(), blocked.cache_status()),
        ("NONE", "detail=blocked")
    );
    assert_eq!(blocked.field("cache-control"), Some("no-store"));
    assert_eq!(blocked.field("age"), None);
    assert_eq!(seawall.get("/a", &[]).await.cache(), "HIT");
    let unseen = seawall.send("POST", "/b", &["User-Agent: curl/8"], "x=1");
    assert_eq!(unseen.await.status, 403);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn the_answer_has_the_form_that_the_client_accepts_or_the_rules_own_page() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Setup::before([&origin])
        .file("gone.html", "<h1>{{status}}</h1>")
        .zone(&rule(
            "php",
            r#"ends_with(http.request.uri.path, ".php")"#,
            "action = \"block\"\nstatus = 410\nfile = \"gone.html\"",
        ))
        .zone(&rule("admin", "true", r#"action = "block""#))
        .start()
        .await;
    let page = seawall.get("/wp-login.php", &[]).await;
    assert_eq!((page.status, page.text()), (410, "<h1>410</h1>"));
    for (accept, media_type) in [
        ("text/html", "text/html; charset=utf-8"),
        ("application/json", "application/problem+json"),
        ("text/plain", "text/plain; charset=utf-8"),
    ] {
        let answer = seawall.get("/x", &[&format!("Accept: {accept}")]).await;
        assert_eq!(answer.field("content-type"), Some(media_type));
    }
    let head = seawall.head("/wp-login.php", &[]).await;
    assert_eq!((head.status, head.text()), (410, ""));
}

#[tokio::test]
async fn rules_are_asked_in_order_until_one_blocks_allows_or_skips_the_rest() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Setup::before([&origin])
        .zone(&rule("tried", "true", "action = \"block\"\ndry_run = true"))
        .zone(&rule(
            "key",
            r#"http.request.headers["x-key"][0] eq "letmein""#,
            r#"action = "allow""#,
        ))
        .zone(&rule(
            "feed",
            r#"http.request.uri.path eq "/feed""#,
            "action = \"skip\"\nskip = [\"custom_rules\"]",
        ))
        .zone(&rule("all", "true", r#"action = "block""#))
        .start()
        .await;
    for (target, fields, status) in [
        ("/a", vec![], 403),
        ("/a", vec!["X-Key: letmein"], 200),
        ("/feed", vec![], 200),
    ] {
        assert_eq!(
            seawall.get(target, &fields).await.status,
            status,
            "{target}"
        );
    }
    let found = |rule: &str, action: &str| {
        format!(
            "seawall_guard_total{{action=\"{action}\",module=\"custom_rules\",rule=\"{rule}\",zone=\"site\"}}"
        )
    };
    for (rule, action, count) in [
        ("tried", "dry_run", 3.0),
        ("key", "allow", 1.0),
        ("feed", "skip", 1.0),
        ("all", "block", 1.0),
    ] {
        assert!(
            (seawall.metric(&found(rule, action)).await - count).abs() < 0.1,
            "{rule}"
        );
    }
}

#[tokio::test]
async fn events_tell_rule_network_and_template_and_no_value_that_the_client_sent() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Setup::before([&origin])
        .zone(&rule(
            "tokens",
            r#"http.request.uri.query contains "token""#,
            r#"action = "block""#,
        ))
        .start()
        .await;
    for number in 0..40 {
        let target = format!("/reset/{number}?token=verysecret");
        let cookie = "Cookie: sid=alsosecret";
        assert_eq!(seawall.get(&target, &[cookie]).await.status, 403);
    }
    let listed = seawall.admin("/security/events?rule=tokens").await;
    let listed: Value = serde_json::from_str(listed.text()).unwrap();
    let [group] = listed.as_array().unwrap().as_slice() else {
        panic!("{listed}")
    };
    for (field, expected) in [
        ("zone", "site"),
        ("module", "custom_rules"),
        ("action", "block"),
        ("client", "127.0.0.0/24"),
        ("path", "/reset/*"),
    ] {
        assert_eq!(group[field], expected);
    }
    assert_eq!(group["count"], 40);
    let events = |seawall: &Seawall| {
        let lines = seawall.stdout();
        let lines = lines
            .lines()
            .filter(|line| line.contains(r#""event":"security""#));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("every event to be told", async || {
        let counts = events(&seawall);
        let count = |line: &String| serde_json::from_str::<Value>(line).unwrap()["count"].as_u64();
        counts.iter().filter_map(count).sum::<u64>() == 40
    })
    .await;
    let lines = events(&seawall);
    assert!(lines.len() <= 20, "{lines:?}");
    assert!(
        lines.iter().all(|line| !line.contains("secret")),
        "{lines:?}"
    );
}
