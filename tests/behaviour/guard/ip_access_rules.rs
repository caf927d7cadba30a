//! IP access rules, lockdown rules, and the lists behind them.

use crate::support::{Origin, Reply, Setup, eventually};

fn access(rules: &[&str]) -> String {
    let rule = |rule: &&str| format!("[[zones.site.ip_access_rules]]\n{rule}\n");
    rules.iter().map(rule).collect()
}

#[tokio::test]
async fn whoever_a_reputation_list_names_is_refused_hit_or_miss_until_the_list_changes() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = Setup::before([&origin])
        .section(
            "[lists]\ndrop = { file = \"drop.json\", format = \"spamhaus_drop\", private = true }",
        )
        .file(
            "drop.json",
            "{\"cidr\":\"203.0.113.0/24\",\"sblid\":\"SBL1\"}\n{\"type\":\"metadata\"}\n",
        )
        .zone(&access(&[
            "name = \"reputation\"\naction = \"block\"\nip = \"$drop\"",
        ]))
        .rule("pages", "/a", "cache = \"eligible\"")
        .start()
        .await;
    assert_eq!(seawall.get("/a", &[]).await.cache(), "MISS");
    assert_eq!(seawall.get("/a", &[]).await.cache(), "HIT");
    // Replaced as a whole, as whoever fetches lists should.
    let next = seawall.path("next.json");
    std::fs::write(&next, "{\"cidr\":\"127.0.0.0/8\",\"sblid\":\"SBL2\"}\n").unwrap();
    std::fs::rename(next, seawall.path("drop.json")).unwrap();
    eventually("the new list", async || {
        seawall.get("/a", &[]).await.status == 403
    })
    .await;
    let refused = seawall.get("/a", &[]).await;
    assert_eq!(refused.field("cache-control"), Some("no-store"));
    assert_eq!(
        (refused.cache(), refused.cache_status()),
        ("NONE", "detail=blocked")
    );
    std::fs::write(seawall.path("drop.json"), "{\"cidr\":\"127.0").unwrap();
    eventually("the fault to be told", async || {
        seawall
            .metric("seawall_config_last_reload_successful")
            .await
            < 0.5
    })
    .await;
    assert_eq!(
        seawall.get("/a", &[]).await.status,
        403,
        "the last good list stays"
    );
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn an_address_of_ours_is_not_refused_for_what_a_list_of_others_says() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = Setup::before([&origin])
        .section("[lists]\nlevel1 = { file = \"level1.netset\", format = \"netset\" }")
        .file(
            "level1.netset",
            "# bogons and more\n127.0.0.0/8\n10.0.0.0/8\n203.0.113.7/24\n",
        )
        .zone(&access(&["action = \"block\"\nip = \"$level1\""]))
        .start()
        .await;
    assert_eq!(seawall.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn allow_goes_before_block_and_before_everything_else_the_guard_finds() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let block_all =
        "[[zones.site.custom_rules]]\nname = \"all\"\nexpression = 'true'\naction = \"block\"\n";
    for (rules, status) in [
        (
            vec![
                "action = \"allow\"\nip = \"127.0.0.0/8\"",
                "action = \"block\"\nip = \"127.0.0.1\"",
            ],
            200,
        ),
        (vec!["action = \"log\"\nip = \"127.0.0.1\""], 403),
    ] {
        let seawall = Setup::before([&origin])
            .zone(&access(&rules))
            .zone(block_all)
            .start()
            .await;
        assert_eq!(
            seawall.get("/..%2Fx", &[]).await.status,
            status,
            "{rules:?}"
        );
    }
}

#[tokio::test]
async fn a_user_agent_is_blocked_and_counted_by_its_rule() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = Setup::before([&origin])
        .zone(&access(&[
            "name = \"bots\"\naction = \"block\"\nuser_agent = [\"*BadBot*\", \"\"]",
        ]))
        .start()
        .await;
    for (fields, status) in [
        (vec!["User-Agent: Mozilla/5.0 badbot/2"], 403),
        (vec![], 403),
        (vec!["User-Agent: Mozilla/5.0"], 200),
    ] {
        assert_eq!(seawall.get("/", &fields).await.status, status, "{fields:?}");
    }
    let series = "seawall_guard_total{action=\"block\",module=\"ip_access_rules\",rule=\"bots\",zone=\"site\"}";
    assert!((seawall.metric(series).await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn a_locked_path_is_refused_in_every_spelling_and_to_those_who_are_allowed_elsewhere() {
    let origin = Origin::start(|request| Reply::ok(request.target.clone()));
    let seawall = Setup::before([&origin])
        .section("[lists]\noffice = [\"192.0.2.0/24\"]")
        .zone("[[zones.site.lockdown_rules]]\nname = \"staff\"\npaths = \"/admin*\"\nallow = \"$office\"\n")
        .zone("[[zones.site.lockdown_rules]]\npaths = \"/internal/*\"\nallow = \"$office\"\n")
        .zone("[[zones.site.lockdown_rules]]\nname = \"open\"\npaths = \"/lab*\"\nallow = [\"127.0.0.0/8\", \"::1\"]\n")
        .zone(&access(&["action = \"allow\"\nip = \"127.0.0.0/8\""]))
        .start()
        .await;
    for target in [
        "/admin",
        "/ADMIN/users?x=1",
        "/%61dmin",
        "//admin",
        "/x/../admin",
        "/x/..%2fadmin",
        "/x/%252e%252e/admin",
        "/;a/admin",
        "/internal",
        "//internal/",
        "/%2finternal/",
        "/internal;a/",
        "/lab%2f..%2fadmin",
    ] {
        assert_eq!(seawall.get(target, &[]).await.status, 403, "{target}");
    }
    assert_eq!(origin.requests().len(), 0);
    for target in ["/lab", "/shop/admin"] {
        assert_eq!(seawall.get(target, &[]).await.text(), target);
    }
}

#[tokio::test]
async fn whom_a_rule_challenges_gets_a_challenge_unless_another_lets_them_in() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let challenge = "action = \"challenge\"\nip = \"127.0.0.0/8\"";
    let browser = [
        "Accept: text/html",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    ];
    let allow = "action = \"allow\"\nip = \"127.0.0.1\"";
    for (rules, status, told) in [
        (vec![challenge], 403, "detail=challenge"),
        (
            vec![challenge, "action = \"block\"\nip = \"127.0.0.0/8\""],
            403,
            "detail=blocked",
        ),
    ] {
        let seawall = Setup::before([&origin]).zone(&access(&rules)).start().await;
        let answer = seawall.get("/", &browser).await;
        assert_eq!((answer.status, answer.cache_status()), (status, told));
    }
    let seawall = Setup::before([&origin])
        .zone(&access(&[challenge, allow]))
        .start()
        .await;
    assert_eq!(seawall.get("/", &browser).await.status, 200);
}
