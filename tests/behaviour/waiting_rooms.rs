//! Waiting rooms: who goes on to the application, who waits, and what it is shown.

use crate::support::{Origin, Reply, Response, Seawall, Setup, eventually};

const SECRET: &str = "room-secret-0123456789";
const SESSION: &str = "Cookie: sessionid=1";

fn room(more: &str) -> String {
    format!("[[zones.site.waiting_rooms]]\nname = \"sale\"\n{more}")
}

fn before(origin: &Origin, more: &str) -> Setup {
    Setup::before([origin])
        .top(&format!("secret = \"{SECRET}\""))
        .zone(&room(more))
}

/// The cookie that an answer sets.
fn set(response: &Response) -> Option<String> {
    let cookie = response.all("set-cookie").into_iter();
    let mut cookie = cookie.filter(|cookie| cookie.starts_with("seawall_room_sale="));
    let cookie = cookie.next()?.split(';').next()?;
    Some(format!("Cookie: sessionid=1; {cookie}"))
}

async fn enters(seawall: &Seawall, cookie: &str) -> Response {
    let response = seawall.get("/private", &[cookie]).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response
}

async fn waits(seawall: &Seawall, fields: &[&str]) -> Response {
    let response = seawall.get("/private", fields).await;
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.cache_status(), "detail=waiting-room");
    response
}

#[tokio::test]
async fn who_finds_no_place_waits_and_goes_in_when_a_session_ends() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = before(
        &origin,
        "total_active_users = 3\nnew_users_per_minute = 100\nsession_duration = \"2s\"",
    )
    .start()
    .await;
    for _ in 0..3 {
        let inside = enters(&seawall, SESSION).await;
        assert!(set(&inside).is_some());
        assert_eq!(inside.field("cache-control"), Some("private, no-cache"));
    }
    let first = waits(&seawall, &[SESSION, "Accept: text/html"]).await;
    assert!(first.text().contains("You are next"), "{}", first.text());
    assert_eq!(first.field("cache-control"), Some("no-store, private"));
    let refresh: u64 = first.field("refresh").unwrap().parse().unwrap();
    assert!((20..=30).contains(&refresh));
    assert_eq!(first.field("retry-after"), first.field("refresh"));
    assert_eq!(seawall.logged("/private").await["zone"], "site");
    let mut cookie = set(&first).unwrap();
    eventually("a session to end", async || {
        let response = seawall.get("/private", &[&cookie]).await;
        cookie = set(&response).unwrap_or(cookie.clone());
        response.status == 200
    })
    .await;
    // The origin saw none of the cookies.
    for request in origin.requests() {
        assert_eq!(request.field("cookie"), Some("sessionid=1"));
    }
}

#[tokio::test]
async fn programs_get_json_and_operators_their_own_page() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = before(&origin, "total_active_users = 1\nqueue_all = true\nstatus = 429\ncontent = \"<p>{{ahead}} {{status}}</p>\"")
        .start()
        .await;
    let own = seawall
        .get("/private", &[SESSION, "Accept: text/html"])
        .await;
    assert_eq!((own.status, own.text()), (429, "<p>0 429</p>"));
    let json = seawall
        .get("/private", &[SESSION, "Accept: application/json"])
        .await;
    let value: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(value["waiting_room"]["queued"], true);
    assert!(origin.requests().is_empty());
    let series = "seawall_waiting_room_users{room=\"sale\",state=\"queued\",zone=\"site\"}";
    assert_eq!(seawall.metric(series).await, 2.0);
    let rooms = seawall.admin("/waiting-rooms").await;
    let rooms: serde_json::Value = serde_json::from_slice(&rooms.body).unwrap();
    assert_eq!(rooms[0]["queued"], 2);
}

#[tokio::test]
async fn what_is_stored_is_for_everybody_and_has_no_cookie() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = before(&origin, "total_active_users = 1").start().await;
    let miss = seawall.get("/p", &[]).await;
    assert_eq!((miss.status, miss.cache()), (200, "MISS"));
    assert!(set(&miss).is_some());
    assert_eq!(miss.field("cache-control"), Some("private, no-cache"));
    let hit = seawall.get("/p", &[]).await;
    assert_eq!((hit.status, hit.cache()), (200, "HIT"));
    assert!(set(&hit).is_none());
    assert_ne!(hit.field("cache-control"), Some("private, no-cache"));
    assert_eq!(seawall.get("/other", &[]).await.status, 503);
    // A browser's key is that of one without the cookie.
    let known = set(&miss).unwrap().replace("sessionid=1; ", "");
    let again = seawall.get("/p", &[&known]).await;
    assert_eq!((again.status, again.cache()), (200, "HIT"));
}

#[tokio::test]
async fn a_room_before_the_cache_guards_hits_as_well() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = before(&origin, "total_active_users = 1\nguards = \"all\"")
        .start()
        .await;
    let inside = seawall.get("/p", &[]).await;
    let cookie = set(&inside).unwrap().replace("sessionid=1; ", "");
    assert_eq!(seawall.get("/p", &[]).await.status, 503);
    let hit = seawall.get("/p", &[&cookie]).await;
    assert_eq!((hit.status, hit.cache()), (200, "HIT"));
}

#[tokio::test]
async fn cookies_of_others_are_those_of_newcomers() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let full = before(&origin, "total_active_users = 1").start().await;
    let inside = set(&enters(&full, SESSION).await).unwrap();
    enters(&full, &inside).await;
    waits(&full, &[&format!("{inside}0")]).await;
    waits(&full, &[&inside.replace("=in.", "=in.0")]).await;
    // Another room of the same secret.
    let other = Setup::before([&origin])
        .top(&format!("secret = \"{SECRET}\""))
        .zone(&room("total_active_users = 1").replace("sale", "other"))
        .start()
        .await;
    let foreign = other.get("/private", &[SESSION]).await;
    let foreign = foreign.all("set-cookie")[0].split(';').next().unwrap();
    let foreign = foreign.replace("seawall_room_other", "seawall_room_sale");
    waits(&full, &[&format!("Cookie: sessionid=1; {foreign}")]).await;
    // The same room at another node.
    let same = before(&origin, "total_active_users = 1\nqueue_all = true")
        .start()
        .await;
    enters(&same, &inside).await;
}

#[tokio::test]
async fn a_reload_forgets_nobody() {
    let origin = Origin::start(|_| Reply::ok("page"));
    let seawall = before(&origin, "total_active_users = 1").start().await;
    enters(&seawall, SESSION).await;
    let waiting = set(&waits(&seawall, &[SESSION]).await).unwrap();
    seawall.reconfigure(|_| before(&origin, "total_active_users = 2"));
    eventually("the room to be larger", async || {
        seawall.get("/private", &[&waiting]).await.status == 200
    })
    .await;
    waits(&seawall, &[SESSION]).await;
}
