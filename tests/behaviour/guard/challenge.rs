//! The challenge: who is asked, how it is passed, and what does not pass it.

use ring::digest;

use crate::support::{
    NameServer, Origin, Records, Reply, Response, Seawall, Setup, TOKEN, eventually,
};

const PAGE: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";
const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)";
const PATH: &str = "/.seawall/challenge";

fn easy(origin: &Origin) -> Setup {
    Setup::before([origin]).section("[challenge]\ndifficulty = 8\nnoscript_delay = \"1s\"")
}

async fn under_attack(origin: &Origin) -> Seawall {
    easy(origin).zone("under_attack = true").start().await
}

/// What a browser's script finds out.
fn solution(page: &Response) -> String {
    let text = page.text();
    let part = |before: &str| {
        text.split_once(before)
            .unwrap()
            .1
            .split('"')
            .next()
            .unwrap()
    };
    let (puzzle, bits) = (part("data-puzzle=\""), part("data-bits=\""));
    let bits: u32 = bits.parse().unwrap();
    let mut tried = (0..u32::MAX).map(|n| format!("{puzzle}{n:08x}"));
    let solves = |text: &String| {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        u64::from_be_bytes(*hash.as_ref().first_chunk().unwrap()).leading_zeros() >= bits
    };
    tried.find(solves).unwrap()
}

async fn sent(seawall: &Seawall, solution: &str, fields: &[&str]) -> Response {
    let field = format!("Seawall-Solution: {solution}");
    seawall
        .send("POST", PATH, &[&[field.as_str()], fields].concat(), "")
        .await
}

/// A Cookie field with what an answer sets.
fn cookie(answer: &Response) -> String {
    let pair = answer
        .field("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    format!("Cookie: theme=dark; {pair}")
}

/// Passes the challenge of `path`; the cookie for it.
async fn passed(seawall: &Seawall, path: &str) -> String {
    let page = seawall.get(path, &[PAGE, BROWSER]).await;
    assert_eq!(page.status, 403);
    let answer = sent(seawall, &solution(&page), &[BROWSER]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    cookie(&answer)
}

#[tokio::test]
async fn a_browser_that_solves_the_puzzle_is_answered_and_the_origin_sees_nothing_of_it() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = easy(&origin)
        .zone("under_attack = true")
        .rule("pages", "/a*", "cache = \"eligible\"")
        .start()
        .await;
    let page = seawall.get("/a", &[PAGE, BROWSER]).await;
    assert_eq!((page.status, page.cache()), (403, "NONE"));
    assert_eq!(page.cache_status(), "detail=challenge");
    assert!(page.body.len() < 6 << 10, "{} bytes", page.body.len());
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-robots-tag", "noindex"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.field(name), Some(value));
    }
    let policy = page.field("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    let head = seawall.head("/a", &[PAGE, BROWSER]).await;
    assert_eq!((head.status, head.text()), (403, ""));
    let solution = solution(&page);
    let state = async |cookie: &str| seawall.get(PATH, &[BROWSER, cookie]).await.status;
    assert_eq!(state("X: y").await, 403);
    assert_eq!(origin.requests().len(), 0);

    let answer = sent(&seawall, &solution, &[BROWSER]).await;
    assert_eq!(
        (answer.status, answer.cache_status()),
        (200, "detail=challenge")
    );
    let set = answer.field("set-cookie").unwrap();
    assert!(set.starts_with("seawall_clearance="), "{set}");
    assert!(
        set.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"),
        "{set}"
    );
    let cookie = cookie(&answer);
    assert_eq!(state(&cookie).await, 200);
    let first = seawall.get("/a", &[PAGE, BROWSER, &cookie]).await;
    assert_eq!((first.text(), first.cache()), ("page", "MISS"));
    assert_eq!(origin.last().field("cookie"), Some("theme=dark"));
    // Neither key nor session: all who have passed share the response.
    let again = seawall
        .get("/a", &[PAGE, BROWSER, &cookie.replace("theme=dark; ", "")])
        .await;
    assert_eq!((again.text(), again.cache()), ("page", "HIT"));
    let posted = seawall.send("POST", "/b", &[BROWSER, &cookie], "x=1").await;
    assert_eq!(posted.status, 200);
    assert_eq!(seawall.get("/a", &[PAGE, BROWSER]).await.status, 403);
    let solved = r#"seawall_challenges_total{outcome="solved",zone="site"}"#;
    assert!((seawall.metric(solved).await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn replayed_foreign_and_tampered_texts_are_refused() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = under_attack(&origin).await;
    let page = seawall.get("/", &[PAGE, BROWSER]).await;
    let solution = solution(&page);
    let other = "User-Agent: Mozilla/5.0 (Windows NT 10.0)";
    let host = "Host: www.site.test";
    for (text, fields) in [
        (solution.clone(), [other, "X: y"]),
        (solution.clone(), [BROWSER, host]),
        (solution.replace(&solution[..2], "zz"), [BROWSER, "X: y"]),
        (solution[..47].to_owned(), [BROWSER, "X: y"]),
        (String::new(), [BROWSER, "X: y"]),
    ] {
        let refused = sent(&seawall, &text, &fields).await;
        assert_eq!((refused.status, refused.field("set-cookie")), (403, None));
    }
    let answer = sent(&seawall, &solution, &[BROWSER]).await;
    assert_eq!(answer.status, 200);
    let replayed = sent(&seawall, &solution, &[BROWSER]).await;
    assert_eq!((replayed.status, replayed.field("set-cookie")), (403, None));
    let cookie = cookie(&answer);
    assert_eq!(
        seawall.get("/", &[PAGE, BROWSER, &cookie]).await.status,
        200
    );
    let last = cookie.chars().last().unwrap();
    let changed = if last == 'A' { 'B' } else { 'A' };
    let tampered = format!("{}{changed}", &cookie[..cookie.len() - 1]);
    for fields in [
        [PAGE, BROWSER, &tampered, "X: y"],
        [PAGE, other, &cookie, "X: y"],
        [PAGE, BROWSER, &cookie, host],
    ] {
        let answer = seawall.get("/", &fields).await;
        assert_eq!(answer.status, 403, "{fields:?}");
    }
    // A puzzle is not leave to pass.
    let puzzle = format!("Cookie: seawall_clearance={}", &solution[..40]);
    assert_eq!(
        seawall.get("/", &[PAGE, BROWSER, &puzzle]).await.status,
        403
    );
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn programs_are_told_and_what_is_theirs_is_not_challenged() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = under_attack(&origin).await;
    for accept in ["Accept: application/json", "Accept: */*", "X: y"] {
        let answer = seawall.get("/api", &[accept]).await;
        assert_eq!(answer.status, 403);
        assert_eq!(
            answer.field("content-type"),
            Some("application/problem+json")
        );
        assert!(answer.text().contains("in a browser"), "{}", answer.text());
    }
    let posted = seawall.send("POST", "/form", &[PAGE, BROWSER], "a=1").await;
    assert_eq!(posted.status, 403);
    assert_eq!(
        posted.field("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(origin.requests().len(), 0);
    for path in [
        "/robots.txt",
        "/.well-known/security.txt",
        "/blog/feed/",
        "/news.rss",
    ] {
        assert_eq!(seawall.get(path, &[]).await.status, 200, "{path}");
        assert_eq!(
            seawall.send("POST", path, &[], "a=1").await.status,
            403,
            "{path}"
        );
    }
    // Anybody can send that.
    let feed = seawall
        .get("/search", &["Accept: application/rss+xml"])
        .await;
    assert_eq!(feed.status, 403);
}

#[tokio::test]
async fn a_rule_challenges_whom_it_is_about_and_later_rules_are_for_who_has_passed() {
    let rule = |name: &str, expression: &str, rest: &str| {
        format!(
            "[[zones.site.custom_rules]]\nname = \"{name}\"\nexpression = '{expression}'\n{rest}\n"
        )
    };
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = easy(&origin)
        .zone(&rule(
            "tried",
            "true",
            "action = \"challenge\"\ndry_run = true",
        ))
        .zone(&rule(
            "login",
            r#"http.request.uri.path eq "/login""#,
            r#"action = "challenge""#,
        ))
        .zone(&rule(
            "query",
            r#"http.request.uri.query contains "bad""#,
            r#"action = "block""#,
        ))
        .start()
        .await;
    assert_eq!(seawall.get("/", &[PAGE, BROWSER]).await.status, 200);
    let cookie = passed(&seawall, "/login").await;
    let fields = [PAGE, BROWSER, &cookie];
    assert_eq!(seawall.get("/login", &fields).await.status, 200);
    let blocked = seawall.get("/login?bad", &fields).await;
    assert_eq!(
        (blocked.status, blocked.cache_status()),
        (403, "detail=blocked")
    );
    let found = |rule: &str, action: &str| {
        format!(
            "seawall_guard_total{{action=\"{action}\",module=\"custom_rules\",rule=\"{rule}\",zone=\"site\"}}"
        )
    };
    // Who has passed is not counted.
    for (rule, action, count) in [("login", "challenge", 1.0), ("tried", "dry_run", 2.0)] {
        let counted = seawall.metric(&found(rule, action)).await;
        assert!((counted - count).abs() < 0.1, "{rule}: {counted}");
    }
}

#[tokio::test]
async fn an_operator_says_that_a_zone_is_under_attack() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = easy(&origin).purging().start().await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let switch = async |fields: &[&str], body: &str| {
        let path = "/zones/site/under_attack";
        seawall.post_admin(path, fields, body).await.status
    };
    let status = async || seawall.get("/", &[PAGE]).await.status;
    assert_eq!(status().await, 200);
    assert_eq!(switch(&[], r#"{"value": "on"}"#).await, 401);
    assert_eq!(
        switch(&[&bearer], r#"{"value": "on", "seconds": 9999999}"#).await,
        400
    );
    assert_eq!(status().await, 200);
    assert_eq!(
        switch(&[&bearer], r#"{"value": "on", "seconds": 600}"#).await,
        200
    );
    assert_eq!(status().await, 403);
    let question = r#"{"url": "http://site.test/"}"#;
    let explained = seawall.post_admin("/explain", &[], question).await;
    assert!(
        explained.text().contains("\"challenged\""),
        "{}",
        explained.text()
    );
    assert_eq!(switch(&[&bearer], r#"{"value": "off"}"#).await, 200);
    assert_eq!(status().await, 200);
    assert_eq!(
        switch(&[&bearer], r#"{"value": "on", "seconds": 1}"#).await,
        200
    );
    assert_eq!(status().await, 403);
    eventually("the time to be over", async || status().await == 200).await;
}

#[tokio::test]
async fn paths_of_seawalls_own_are_neither_the_origins_nor_a_rules() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = Setup::before([&origin])
        .zone("[[zones.site.custom_rules]]\nexpression = \"true\"\naction = \"allow\"")
        .zone("[[zones.site.redirect_rules]]\nexpression = \"true\"\ntarget = \"/x\"")
        .start()
        .await;
    for (target, status) in [
        (PATH, 403),
        ("/.seawall/else", 404),
        ("/.seawall/", 404),
        ("/%2eseawall/challenge", 403),
        ("/a/../.seawall/challenge?a=b", 403),
        ("/.seawall", 302),
    ] {
        assert_eq!(seawall.get(target, &[]).await.status, status, "{target}");
    }
    assert_eq!(seawall.send("PUT", PATH, &[], "x").await.status, 403);
    assert_eq!(origin.requests().len(), 0);
}

/// The target of the page's refresh.
fn refresh(page: &Response) -> String {
    let (_, rest) = page.text().split_once("; url=").expect("a refresh");
    rest.split('"').next().unwrap().replace("&amp;", "&")
}

#[tokio::test]
async fn who_has_no_scripts_passes_by_waiting_and_comes_back_to_where_they_were() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = under_attack(&origin).await;
    let page = seawall.get("/a/b?q=%22x%22&r=1", &[PAGE, BROWSER]).await;
    assert!(page.text().contains("<noscript>"));
    let url = refresh(&page);
    let early = seawall.get(&url, &[PAGE, BROWSER]).await;
    assert_eq!((early.status, early.field("set-cookie")), (403, None));
    assert_eq!(refresh(&early), url);
    let mut answer = early;
    eventually("the ticket to be good", async || {
        answer = seawall.get(&url, &[PAGE, BROWSER]).await;
        answer.status != 403
    })
    .await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.field("location"), Some("/a/b?q=%22x%22&r=1"));
    let cookie = cookie(&answer);
    assert_eq!(
        seawall.get("/a/b", &[PAGE, BROWSER, &cookie]).await.status,
        200
    );
    let replayed = seawall.get(&url, &[PAGE, BROWSER]).await;
    assert_eq!((replayed.status, replayed.field("set-cookie")), (403, None));
    // Once more by who has passed, as when a link is pressed twice.
    let twice = seawall.get(&url, &[PAGE, BROWSER, &cookie]).await;
    assert_eq!((twice.status, twice.field("set-cookie")), (303, None));
    let (ticket, _) = url.split_once("&to=").unwrap();
    for to in [
        "//evil.test/",
        "https%3A//evil.test/",
        "/%5Cevil.test",
        "/else",
        "%0d%0aA:b",
    ] {
        let answer = seawall
            .get(&format!("{ticket}&to={to}"), &[PAGE, BROWSER, &cookie])
            .await;
        assert_eq!(answer.field("location"), None, "{to}");
    }
    // Nor does a page make a target of a path that begins a host.
    let page = seawall.get("//evil.test/", &[PAGE, BROWSER]).await;
    assert!(refresh(&page).ends_with("&to=/"), "{}", refresh(&page));
}

#[tokio::test]
async fn leave_to_pass_outlasts_a_reload_and_with_a_secret_the_process() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = easy(&origin)
        .top("secret = \"0123456789abcdef\"")
        .zone("under_attack = true")
        .start()
        .await;
    let cookie = passed(&seawall, "/").await;
    let seawall = seawall.restarted().await;
    assert_eq!(
        seawall.get("/", &[PAGE, BROWSER, &cookie]).await.status,
        200
    );

    let seawall = under_attack(&origin).await;
    let cookie = passed(&seawall, "/").await;
    seawall.reconfigure(|setup| {
        setup.zone("[[zones.site.redirect_rules]]\nexpression = 'http.request.uri.path eq \"/new\"'\ntarget = \"/x\"")
    });
    eventually("the reload", async || {
        seawall.get("/new", &[PAGE, BROWSER, &cookie]).await.status == 302
    })
    .await;
    assert_eq!(
        seawall.get("/", &[PAGE, BROWSER, &cookie]).await.status,
        200
    );
}

#[tokio::test]
async fn bots_are_known_by_their_networks_and_never_by_their_words_alone() {
    let google = "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1)";
    let bing = "User-Agent: Mozilla/5.0 (compatible; bingbot/2.0)";
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = easy(&origin)
        .file("google.json", r#"{"prefixes": [{"ipv4Prefix": "127.0.0.0/8"}]}"#)
        .file("bing.txt", "192.0.2.0/24\n")
        .section("[[verified_bots]]\nname = \"Google\"\nuser_agent = \"Googlebot\"\nranges_file = \"google.json\"")
        .section("[[verified_bots]]\nname = \"Bing\"\nuser_agent = \"bingbot\"\nranges_file = \"bing.txt\"")
        .zone("under_attack = true")
        .zone("[[zones.site.custom_rules]]\nexpression = 'cf.client.bot and http.request.uri.path eq \"/private\"'\naction = \"block\"")
        .start()
        .await;
    let status = async |path: &str, agent: &str| seawall.get(path, &[PAGE, agent]).await.status;
    assert_eq!(status("/", google).await, 200);
    assert_eq!(status("/", bing).await, 403);
    assert_eq!(status("/", BROWSER).await, 403);
    let blocked = seawall.get("/private", &[PAGE, google]).await;
    assert_eq!(blocked.cache_status(), "detail=blocked");
    let stranger = seawall.get("/private", &[PAGE, bing]).await;
    assert_eq!(stranger.cache_status(), "detail=challenge");
}

#[tokio::test]
async fn bots_are_known_by_a_name_that_has_their_address() {
    let server = NameServer::start().await;
    server.set(
        "1.66.249.66.in-addr.arpa",
        60,
        Records::Ptr("crawl.googlebot.com"),
    );
    server.set(
        "crawl.googlebot.com",
        60,
        Records::A(vec![[66, 249, 66, 1].into()]),
    );
    // Whoever owns an address gives it any name.
    server.set(
        "7.113.0.203.in-addr.arpa",
        60,
        Records::Ptr("crawl.googlebot.com"),
    );
    server.set(
        "8.113.0.203.in-addr.arpa",
        60,
        Records::Ptr("googlebot.com.evil.test"),
    );
    server.set(
        "googlebot.com.evil.test",
        60,
        Records::A(vec![[203, 0, 113, 8].into()]),
    );
    let source = format!(
        "listen = \"[::]:1\"\n[[verified_bots]]\nname = \"Google\"\nuser_agent = \"Googlebot\"\n\
         domains = [\"googlebot.com\"]\nresolver = \"{}\"\n\
         [pools.app]\nservers = \"http://127.0.0.1:2\"\n[zones.shop]\nhosts = \"*\"\npool = \"app\"\n",
        server.address
    );
    let config = seawall::config::parse("test.toml", &source, &|_| None).unwrap();
    let bots = seawall::server::Bots::new(config.verified_bots);
    let claims = http::HeaderMap::from_iter([(
        http::header::USER_AGENT,
        http::HeaderValue::from_static("Mozilla/5.0 (compatible; Googlebot/2.1)"),
    )]);
    let verified = |address: [u8; 4]| bots.is_verified(&claims, address.into(), 1000);
    assert!(!verified([66, 249, 66, 1]), "before there is an answer");
    eventually("an answer", async || verified([66, 249, 66, 1])).await;
    let asked = server.asked();
    assert!(verified([66, 249, 66, 1]));
    assert_eq!(server.asked(), asked);
    for stranger in [[203, 0, 113, 7], [203, 0, 113, 8], [203, 0, 113, 9]] {
        let before = server.asked();
        assert!(!verified(stranger));
        eventually("a question", async || server.asked() > before).await;
        eventually("an answer", async || bots.is_idle()).await;
        assert!(!verified(stranger), "{stranger:?}");
    }
    let asked = server.asked();
    let browser = http::HeaderMap::new();
    assert!(!bots.is_verified(&browser, [66, 249, 66, 1].into(), 1000));
    assert_eq!(server.asked(), asked);
}

#[tokio::test]
async fn who_is_over_a_rate_limit_has_to_pass_it_and_may_then_have_more() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = easy(&origin)
        .zone(
            "[[zones.site.rate_limit_rules]]\nname = \"pages\"\naction = \"challenge\"\nrequests_per_period = 2\nperiod = \"1h\"",
        )
        .start()
        .await;
    for _ in 0..2 {
        assert_eq!(seawall.get("/", &[PAGE, BROWSER]).await.status, 200);
    }
    let page = seawall.get("/", &[PAGE, BROWSER]).await;
    assert_eq!(
        (page.status, page.cache_status()),
        (403, "detail=challenge")
    );
    assert_eq!(page.field("retry-after"), None);
    let posted = seawall.send("POST", "/", &[BROWSER], "x=1").await;
    assert_eq!(posted.status, 403);
    assert_eq!(
        posted.field("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(seawall.get("/robots.txt", &[BROWSER]).await.status, 200);
    let cookie = passed(&seawall, "/").await;
    for _ in 0..10 {
        let answer = seawall.get("/", &[PAGE, BROWSER, &cookie]).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(seawall.get("/", &[PAGE, BROWSER]).await.status, 403);
    // Those that were refused, and none of those that passed.
    let found = "seawall_guard_total{action=\"challenge\",module=\"rate_limit_rules\",rule=\"pages\",zone=\"site\"}";
    assert_eq!(seawall.metric(found).await, 4.0);
}
