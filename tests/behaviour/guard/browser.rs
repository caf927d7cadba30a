//! The challenge in a real browser: `make browser`.

use serde_json::json;
use tokio::time::Instant;

use crate::support::{Browser, Origin, Reply, Seawall, Setup, eventually};

async fn under_attack(origin: &Origin, settings: &str) -> Seawall {
    Setup::before([origin])
        .section(&format!("[challenge]\n{settings}"))
        .zone("under_attack = true")
        // A policy for the site's own pages is not for this one.
        .zone("[[zones.site.response_header_rules]]\nexpression = \"true\"\nset = { content-security-policy = \"default-src 'self'\" }")
        .start()
        .await
}

fn origin() -> Origin {
    Origin::start(|request| {
        let asked = request.target.clone();
        Reply::ok(format!(
            "<!doctype html><title>ok</title><p>Welcome to {asked}"
        ))
        .field("Content-Type: text/html")
    })
}

fn url(seawall: &Seawall, path: &str) -> String {
    // Not a secure context, so that nothing of WebCrypto is there.
    format!("http://site.test:{}{path}", seawall.address.port())
}

#[tokio::test]
#[ignore = "needs Chromium: make browser"]
async fn a_browser_solves_the_challenge_and_what_it_got_is_nobody_elses() {
    let origin = origin();
    let seawall = under_attack(&origin, "").await;
    let mut browser = Browser::start().await;
    let keep = "const f = fetch; fetch = (u, o) => {
        if (o && o.headers) sessionStorage.solution = o.headers['seawall-solution'];
        return f(u, o); };";
    let keep = json!({"source": keep});
    browser
        .call("Page.addScriptToEvaluateOnNewDocument", keep)
        .await;
    let mut times = Vec::new();
    for run in 0..8 {
        browser.call("Network.clearBrowserCookies", json!({})).await;
        let begun = Instant::now();
        browser
            .go(&url(&seawall, &format!("/a/b?q={run}#part")))
            .await;
        browser.shows(&format!("Welcome to /a/b?q={run}")).await;
        times.push(begun.elapsed());
        assert_eq!(browser.value("location.hash").await, "#part");
        assert_eq!(browser.value("isSecureContext").await, false);
    }
    times.sort_unstable();
    println!("from the first request to the page: {times:?}");
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.field("cookie").is_none())
    );

    let replay = "fetch('/.seawall/challenge', {method: 'POST', headers: \
                  {'seawall-solution': sessionStorage.solution}}).then(answer => answer.status)";
    assert_eq!(browser.value("sessionStorage.solution.length").await, 48);
    assert_eq!(browser.value(replay).await, 403);
    let cookies = browser.call("Network.getCookies", json!({})).await;
    let cookie = &cookies["cookies"][0];
    assert_eq!(
        (&cookie["httpOnly"], &cookie["sameSite"]),
        (&json!(true), &json!("Lax"))
    );
    let pair = format!(
        "Cookie: {}={}",
        cookie["name"].as_str().unwrap(),
        cookie["value"].as_str().unwrap()
    );
    let host = format!("Host: site.test:{}", seawall.address.port());
    let agent = browser.value("navigator.userAgent").await;
    let agent = format!("User-Agent: {}", agent.as_str().unwrap());
    let own = seawall.get("/", &[&pair, &host, &agent]).await;
    assert_eq!(own.status, 200);
    for foreign in [
        [pair.as_str(), &host, "User-Agent: curl/8"],
        [&pair, "Host: www.site.test", &agent],
    ] {
        assert_eq!(seawall.get("/", &foreign).await.status, 403);
    }
}

#[tokio::test]
#[ignore = "needs Chromium: make browser"]
async fn without_scripts_a_browser_passes_by_waiting() {
    let origin = origin();
    let seawall = under_attack(&origin, "noscript_delay = \"2s\"").await;
    let mut browser = Browser::start().await;
    let disabled = json!({"value": true});
    browser
        .call("Emulation.setScriptExecutionDisabled", disabled)
        .await;
    browser.go(&url(&seawall, "/a?b=1&c=%22")).await;
    browser
        .shows("JavaScript is off, so it takes 3 seconds.")
        .await;
    browser.shows("Welcome to /a?b=1&c=%22").await;
}

#[tokio::test]
#[ignore = "needs Chromium: make browser"]
async fn the_page_tells_how_far_it_is_and_what_went_wrong_in_light_and_dark() {
    let origin = origin();
    let seawall = under_attack(&origin, "difficulty = 26").await;
    let mut browser = Browser::start().await;
    browser.go(&url(&seawall, "/")).await;
    browser.shows("Checking.").await;
    eventually("progress", async || {
        let done = browser
            .value("document.querySelector('progress').value")
            .await;
        done.as_f64().is_some_and(|done| done > 0.001)
    })
    .await;
    let mut pictures = Vec::new();
    for scheme in ["light", "dark"] {
        let picture = browser.picture(scheme).await;
        if let Ok(folder) = std::env::var("PICTURES") {
            std::fs::write(format!("{folder}/challenge-{scheme}.png"), &picture).unwrap();
        }
        pictures.push(picture);
    }
    assert_ne!(pictures[0], pictures[1]);
    // What a screen reader is told of.
    let tree = browser.call("Accessibility.getFullAXTree", json!({})).await;
    let nodes = tree["nodes"].as_array().unwrap();
    for role in ["heading", "status", "progressbar"] {
        assert!(
            nodes.iter().any(|node| node["role"]["value"] == role),
            "{role}"
        );
    }

    let seawall = under_attack(&origin, "difficulty = 4").await;
    let none =
        json!({"source": "const f = fetch; fetch = (u, o) => f(u, {...o, credentials: 'omit'});"});
    browser
        .call("Page.addScriptToEvaluateOnNewDocument", none)
        .await;
    browser.go(&url(&seawall, "/")).await;
    browser.shows("Please allow cookies for this site.").await;
    browser.shows("Try again").await;
    // Who has no pointer finds the way out at once.
    let focused = browser.value("document.activeElement.id").await;
    assert_eq!(focused, "again");
    assert_eq!(origin.requests().len(), 0);
}
