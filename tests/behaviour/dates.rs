//! Date is when the origin made the page, for as long as it is stored; Age is what grows.

use crate::support::{Origin, Reply, Seawall, Setup, eventually};

/// Some years ago: what is told must not be made here.
const DATE: &str = "Sun, 06 Nov 2022 08:49:37 GMT";

#[tokio::test]
async fn a_hit_has_the_origins_date_and_an_age_that_grows() {
    let origin = Origin::start(|_| {
        // An old Date makes old (RFC 9111 §4.2.3): the lifetime is longer than that.
        Reply::ok("page")
            .field("Cache-Control: max-age=2000000000")
            .field(format!("Date: {DATE}"))
    });
    let seawall = Seawall::before(&origin).await;
    let miss = seawall.get("/p", &[]).await;
    assert_eq!((miss.all("date"), miss.cache()), (vec![DATE], "MISS"));
    let age = async || {
        let hit = seawall.get("/p", &[]).await;
        assert_eq!((hit.all("date"), hit.cache()), (vec![DATE], "HIT"));
        let head = seawall.head("/p", &[]).await;
        assert_eq!((head.all("date"), head.cache()), (vec![DATE], "HIT"));
        hit.field("age").unwrap().parse::<u64>().unwrap()
    };
    let first = age().await;
    assert!(first > 365 * 86400, "{first}");
    eventually("the age to grow", async || age().await > first).await;
}

#[tokio::test]
async fn a_page_without_a_date_gets_one_once() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let seawall = Seawall::before(&origin).await;
    let miss = seawall.get("/p", &[]).await;
    let [date] = miss.all("date")[..] else {
        panic!("one Date: {miss:?}");
    };
    eventually("the clock to go on", async || {
        let hit = seawall.get("/p", &[]).await;
        assert_eq!((hit.all("date"), hit.cache()), (vec![date], "HIT"));
        hit.field("age") > Some("0")
    })
    .await;
}

#[tokio::test]
async fn a_validation_brings_its_own_date() {
    let origin = Origin::start(|request| match request.nth {
        0 => Reply::stale("page").field(format!("Date: {DATE}")),
        _ => Reply::not_modified().field("Cache-Control: max-age=60"),
    });
    let seawall = Seawall::before(&origin).await;
    seawall.get("/p", &[]).await;
    let validated = seawall.get("/p", &[]).await;
    assert_eq!(validated.cache(), "REVALIDATED");
    let [date] = validated.all("date")[..] else {
        panic!("one Date: {validated:?}");
    };
    assert_ne!(date, DATE, "of the validation, not of the old page");
    let hit = seawall.get("/p", &[]).await;
    assert_eq!((hit.all("date"), hit.cache()), (vec![date], "HIT"));
}

#[tokio::test]
async fn what_goes_past_the_cache_keeps_its_date_too() {
    let origin = Origin::start(|_| Reply::ok("page").field(format!("Date: {DATE}")));
    let seawall = Setup::before([&origin])
        .rule("past", "/past", "cache = \"bypass\"")
        .start()
        .await;
    assert_eq!(seawall.get("/past", &[]).await.all("date"), [DATE]);
    let posted = seawall.send("POST", "/p", &[], "x").await;
    assert_eq!(posted.all("date"), [DATE]);
}
