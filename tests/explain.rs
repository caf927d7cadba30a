//! `seawall explain` and `seawall test` from the command line, and the tests that shipped
//! configurations and presets carry.
//!
//! `tests/explain/NAME.txt` is what a command must print; `UPDATE_GOLDENS=1 cargo test --test explain`
//! writes it anew, to be read before it is committed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test may fail as the test does"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use seawall::config::{Config, PRESETS, parse};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seawall(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(arguments)
        .current_dir(root())
        .env_remove("PORT")
        .output()
        .unwrap()
}

/// Compares what a command prints with the golden of this name.
fn expect_golden(name: &str, status: i32, arguments: &[&str]) {
    let output = seawall(arguments);
    let printed = format!(
        "$ seawall {}\n{}{}",
        arguments.join(" "),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    );
    let golden = root()
        .join("tests/explain")
        .join(name)
        .with_extension("txt");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&golden, &printed).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        printed == expected,
        "=== {name}: expected ===\n{expected}=== but was ===\n{printed}"
    );
    assert_eq!(output.status.code(), Some(status), "{name}");
}

#[test]
fn requests_for_the_sample_shop_are_explained() {
    let shop = ["--config", "conf/seawall.toml"];
    let cases: &[(&str, &[&str])] = &[
        (
            "catalogue",
            &[
                "--response",
                "200",
                "--response-header",
                "Content-Type: text/html",
                "--after",
                "70s",
                "/catalog/boats/?page=2",
            ],
        ),
        (
            "logged_in",
            &[
                "-H",
                "Cookie: theme=dark; sessionid=x",
                "http://shop.example:8080/a/../catalog/",
            ],
        ),
        (
            "hashed_file",
            &[
                "-H",
                "Cookie: sessionid=x",
                "--response-header",
                "Content-Type: text/javascript",
                "/static/app.3f2a9c1b.js",
            ],
        ),
        (
            "sets_a_cookie",
            &[
                "--response",
                "200",
                "--response-header",
                "Set-Cookie: csrftoken=x",
                "/catalog/",
            ],
        ),
        ("post", &["-X", "POST", "-H", "Content-Length: 3", "/cart/"]),
        ("api_with_all_rules", &["--all", "/api/stock"]),
        ("refused", &["/a%zz"]),
    ];
    for (name, arguments) in cases {
        let arguments = [&["explain"], &shop[..], arguments].concat();
        expect_golden(name, 0, &arguments);
    }
}

#[test]
fn a_bucket_gets_its_own_requests() {
    let config = "tests/explain/bucket.toml";
    let cookie = "Cookie: sessionid=x";
    let asked = ["explain", "--config", config, "-H", cookie, "/docs/?v=1"];
    expect_golden("bucket", 0, &asked);
    expect_golden("bucket_tests", 0, &["test", config]);
}

#[test]
fn a_client_is_a_verified_bot_when_the_question_says_so() {
    let config = "tests/explain/bots.toml";
    let asked = ["explain", "--config", config, "/"];
    expect_golden("stranger", 0, &asked);
    let asked = ["explain", "--config", config, "--verified-bot", "/"];
    expect_golden("verified_bot", 0, &asked);
}

#[test]
fn a_question_that_cannot_be_understood_is_refused_with_the_way_out() {
    for (name, arguments) in [
        (
            "not_a_url",
            &["explain", "--config", "conf/seawall.toml", "shop/catalog"][..],
        ),
        (
            "not_a_field",
            &[
                "explain",
                "--config",
                "conf/seawall.toml",
                "-H",
                "Cookie",
                "/",
            ],
        ),
        ("no_file", &["explain", "--config", "nowhere.toml", "/"]),
    ] {
        expect_golden(name, 1, arguments);
    }
}

#[test]
fn failing_tests_are_told_with_what_was_and_the_rule_behind_it() {
    expect_golden("failing", 1, &["test", "tests/explain/failing.toml"]);
    expect_golden(
        "filtered",
        0,
        &["test", "--filter", "passes", "tests/explain/failing.toml"],
    );
    expect_golden(
        "no_test",
        1,
        &[
            "test",
            "--filter",
            "nothing like it",
            "tests/explain/failing.toml",
        ],
    );
}

#[test]
fn results_come_as_junit_and_as_json_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.xml");
    let output = seawall(&[
        "test",
        "--json",
        "--junit",
        file.to_str().unwrap(),
        "tests/explain/failing.toml",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let suites: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let tests = suites.pointer("/0/tests").unwrap().as_array().unwrap();
    let passed: Vec<_> = tests.iter().map(|test| &test["passed"]).collect();
    assert_eq!(passed, [true, false, false], "{suites}");
    let xml = std::fs::read_to_string(file).unwrap();
    assert!(xml.contains("tests=\"3\""), "{xml}");
    assert!(xml.contains("failures=\"2\""), "{xml}");
    assert!(xml.contains("tests/explain/failing.toml:"), "{xml}");
}

#[test]
fn json_is_the_whole_explanation() {
    let output = seawall(&[
        "explain",
        "--config",
        "conf/seawall.toml",
        "--json",
        "--response",
        "200",
        "/catalog/",
    ]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["verdict"], "lookup");
    assert_eq!(told["response"]["ttl"], 60);
    assert_eq!(told["response"]["decided_by"]["name"], "catalogue pages");
    assert_eq!(told["zone"]["host"], "*");
}

#[test]
fn shipped_configurations_and_presets_pass_their_own_tests() {
    let mut configs: Vec<(String, Config)> = PRESETS
        .iter()
        .map(|preset| (preset.name.to_owned(), preset.alone().unwrap()))
        .collect();
    for file in std::fs::read_dir(root().join("conf")).unwrap() {
        let path: PathBuf = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let name = path.display().to_string();
            let source = std::fs::read_to_string(&path).unwrap();
            configs.push((name.clone(), parse(&name, &source, &|_| None).unwrap()));
        }
    }
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let mut run = 0;
    for (name, config) in configs {
        for test in &config.tests {
            let outcome = seawall::explain::run(&config, test, now).unwrap();
            assert!(
                outcome.passed(),
                "{name}, {}: {:#?}",
                test.name,
                outcome.mismatches
            );
            run += 1;
        }
    }
    assert!(run >= 20, "only {run} tests");
}
