//! A changed configuration takes effect without a restart; a broken one never does.

use crate::support::{Origin, Reply, Seawall, Setup, Traffic, eventually};

const SUCCESSES: &str = "seawall_config_reloads_total{result=\"success\"}";
const FAILURES: &str = "seawall_config_reloads_total{result=\"failure\"}";

#[tokio::test]
async fn a_valid_change_takes_effect_and_keeps_the_cache() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Seawall::before(&origin).await;
    seawall.get("/kept", &[]).await;
    seawall.get("/private/1", &[]).await;
    let before = seawall.metric(SUCCESSES).await;

    seawall.reconfigure(|setup| setup.rule("private", "/private/*", "cache = \"bypass\""));
    seawall.signal("HUP");
    eventually("the reload", async || {
        seawall.metric(SUCCESSES).await > before
    })
    .await;

    assert_eq!(seawall.get("/private/1", &[]).await.cache(), "BYPASS");
    assert_eq!(seawall.get("/kept", &[]).await.cache(), "HIT");
    assert_eq!(
        seawall
            .metric("seawall_config_last_reload_successful")
            .await,
        1.0
    );
}

#[tokio::test]
async fn a_change_is_noticed_without_a_signal() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Seawall::before(&origin).await;
    seawall.reconfigure(|setup| setup.rule("all", "/*", "cache = \"bypass\""));
    eventually("the change", async || {
        seawall.get("/p", &[]).await.cache() == "BYPASS"
    })
    .await;
}

#[tokio::test]
async fn a_broken_file_leaves_the_last_good_one_and_no_request_fails() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Seawall::before(&origin).await;
    let traffic = Traffic::start(seawall.address);
    let before = seawall.metric(FAILURES).await;

    seawall.reconfigure(|setup| setup.rule("typo", "/*", "cache = \"bypas\""));
    seawall.signal("HUP");
    eventually("the failure to be counted", async || {
        seawall.metric(FAILURES).await > before
    })
    .await;

    assert_eq!(
        seawall
            .metric("seawall_config_last_reload_successful")
            .await,
        0.0
    );
    let config = std::fs::read_to_string(seawall.path("seawall.toml")).unwrap();
    let line = config
        .lines()
        .position(|line| line.contains("bypas"))
        .unwrap()
        + 1;
    let place = format!("seawall.toml:{line}:");
    eventually("the fault on stderr", async || {
        seawall.stderr().contains(&place)
    })
    .await;
    assert!(
        seawall.stderr().contains("bypass"),
        "it says what was meant"
    );

    seawall.reconfigure(|setup| setup.rule("all", "/x", "cache = \"bypass\""));
    seawall.signal("HUP");
    eventually("the recovery", async || {
        seawall
            .metric("seawall_config_last_reload_successful")
            .await
            == 1.0
    })
    .await;
    traffic.ends_without_a_failure().await;
}

#[tokio::test]
async fn origins_can_be_exchanged() {
    let old = Origin::start(|_| Reply::ok("old"));
    let new = Origin::start(|_| Reply::ok("new"));
    let seawall = Seawall::before(&old).await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "old");

    let address = new.address;
    seawall.reconfigure(move |_| Setup::servers([format!("\"http://{address}\"")]));
    seawall.signal("HUP");
    eventually("the new origin", async || {
        seawall.get("/p", &[]).await.text() == "new"
    })
    .await;
}

#[tokio::test]
async fn a_process_does_not_start_with_a_broken_file() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let seawall = Seawall::before(&origin).await;
    seawall.reconfigure(|setup| setup.zone("pol = \"app\""));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["serve", seawall.path("seawall.toml").to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("pol") && told.contains("seawall.toml"),
        "{told}"
    );
}

#[tokio::test]
async fn mending_a_file_that_a_broken_configuration_names_is_enough() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let seawall = Setup::before([&origin]).start().await;
    let before = seawall.metric(FAILURES).await;
    seawall.reconfigure(|setup| setup.zone("[[zones.site.maintenance]]\nfile = \"closed.html\""));
    eventually("the failure", async || {
        seawall.metric(FAILURES).await > before
    })
    .await;
    assert_eq!(seawall.get("/p", &[]).await.text(), "x");
    std::fs::write(seawall.path("closed.html"), "closed").unwrap();
    eventually("the page", async || {
        seawall.get("/p", &[]).await.text() == "closed"
    })
    .await;
}
