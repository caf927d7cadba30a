//! Where clients are, from databases. `tests/fixtures` has two that place 127.0.0.0/8 in Germany and in
//! AS 64496.

use crate::support::{Origin, Reply, Setup};

fn geo() -> String {
    let fixture = |name| format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    format!(
        "[geo]\ncountry_database = \"{}\"\nasn_database = \"{}\"",
        fixture("country.mmdb"),
        fixture("asn.mmdb")
    )
}

#[tokio::test]
async fn a_visitor_is_redirected_by_country() {
    let origin = Origin::start(|_| Reply::ok("here"));
    let seawall = Setup::before([&origin])
        .section(&geo())
        .zone("[[zones.site.redirect_rules]]\nexpression = 'ip.src.country eq \"DE\" and http.request.uri.path eq \"/\"'\ntarget = \"/de/\"")
        .start()
        .await;
    assert_eq!(seawall.get("/", &[]).await.field("location"), Some("/de/"));
}

#[tokio::test]
async fn a_country_in_the_key_reaches_the_origin_and_no_forged_one_does() {
    let origin =
        Origin::start(|request| Reply::fresh(request.field("x-country").unwrap_or("none")));
    let seawall = Setup::before([&origin])
        .section(&geo())
        .rule("by country", "/keyed", "key = { country = true }")
        .zone("[[zones.site.request_header_rules]]\nexpression = 'ip.src.asnum eq 64496 and http.request.uri.path eq \"/asn\"'\nset = { \"X-Country\" = \"AS 64496\" }")
        .start()
        .await;
    let forged = &["X-Country: FR"];
    assert_eq!(seawall.get("/keyed", forged).await.text(), "DE");
    assert_eq!(seawall.get("/plain", forged).await.text(), "none");
    assert_eq!(seawall.get("/asn", forged).await.text(), "AS 64496");
}

#[tokio::test]
async fn what_is_no_database_keeps_the_configuration_in_force() {
    let origin = Origin::start(|_| Reply::ok("here"));
    let seawall = Setup::before([&origin])
        .section(&geo())
        .file("broken.mmdb", "not a database")
        .start()
        .await;
    let broken = seawall.path("broken.mmdb");
    seawall.reconfigure(|_| {
        let section = format!("[geo]\ncountry_database = \"{}\"", broken.display());
        Setup::before([&origin]).section(&section)
    });
    crate::support::eventually("the fault in the log", async || {
        seawall.stderr().contains("broken.mmdb")
    })
    .await;
    assert_eq!(seawall.get("/", &[]).await.text(), "here");
}
