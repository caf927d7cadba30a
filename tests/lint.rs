//! What `seawall check` finds odd.
//!
//! `tests/lint/NAME.toml` is a file without fault and `NAME.txt` what is found in it;
//! `UPDATE_GOLDENS=1 cargo test --test lint` writes the latter anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use seawall::config::{PRESETS, Preset, parse};
use seawall::lint::{CODES, Findings, lint};
use serde_json::Value;

/// 2026.
const NOW: i64 = 1_790_000_000;
const EVERYTHING: &str = "tests/lint/everything.toml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn lint_file(name: &str, source: &str) -> Findings {
    let config = parse(name, source, &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
    lint(name, source, &config, NOW)
}

fn assert_clean(findings: &Findings) {
    assert!(findings.list().is_empty(), "{findings}");
}

#[test]
fn every_code_is_found_where_everything_is_wrong() {
    let findings = lint_file("everything.toml", &read(EVERYTHING));
    let found: BTreeSet<_> = findings.list().iter().map(|one| one.code.name).collect();
    let known: BTreeSet<_> = CODES.iter().map(|code| code.name).collect();
    assert_eq!(found, known);
    let actual = format!("{findings}\n");
    let golden = root().join(EVERYTHING).with_extension("txt");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&golden, &actual).unwrap();
    }
    assert_eq!(
        actual,
        std::fs::read_to_string(&golden).unwrap_or_default(),
        "UPDATE_GOLDENS=1 cargo test --test lint"
    );
}

#[test]
fn every_finding_names_the_line_of_its_text() {
    let source = read(EVERYTHING);
    let lines: Vec<_> = source.lines().collect();
    for (code, text) in [
        ("unused-pool", "[pools.old]"),
        ("unused-list", "bots = "),
        ("expired-rule", "expires = "),
        ("regex-could-be-wildcard", "matches"),
        ("never-matches", "Shop.Example"),
    ] {
        let findings = lint_file("everything.toml", &source);
        let finding = findings.list().iter().find(|one| one.code.name == code);
        let line = lines[finding.unwrap().line - 1];
        assert!(line.contains(text), "{code}: {line}");
    }
}

#[test]
fn shipped_files_have_no_findings() {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["conf", "load", "examples"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        assert_clean(&lint_file(&path.display().to_string(), &read(&path)));
    }
}

#[test]
fn presets_have_no_findings_alone_and_together() {
    for preset in PRESETS {
        let config = preset.alone().unwrap();
        assert_clean(&lint(preset.name, "", &config, NOW));
    }
    let frameworks = PRESETS.iter().map(|preset: &Preset| preset.name);
    for framework in frameworks.filter(|name| !["bypass_private", "hashed_assets"].contains(name)) {
        let source = format!(
            "listen = \"[::]:80\"\npools.app.servers = \"http://localhost\"\n\
             zones.site = {{ hosts = \"*\", pool = \"app\", \
             presets = [\"bypass_private\", \"{framework}\", \"hashed_assets\"] }}"
        );
        assert_clean(&lint_file("together.toml", &source));
    }
}

fn check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command.arg("check").args(arguments).current_dir(root());
    command.output().unwrap()
}

/// A file with a note and nothing else.
fn with_a_note(folder: &Path) -> String {
    let path = folder.join("note.toml");
    let unused = "[pools.other]\nservers = \"http://127.0.0.1:1\"\n";
    std::fs::write(&path, format!("{}\n{unused}", read("conf/seawall.toml"))).unwrap();
    path.display().to_string()
}

#[test]
fn the_exit_status_tells_faults_from_findings() {
    let folder = tempfile::tempdir().unwrap();
    let note = with_a_note(folder.path());
    for (arguments, status) in [
        (&["conf/seawall.toml"][..], 0),
        (&["conf/seawall.toml", "--strict"], 0),
        (&["tests/config/no_zone.toml"], 1),
        (&["no/such/file.toml"], 1),
        (&[EVERYTHING], 2),
        (&[&note], 0),
        (&[&note, "--strict"], 2),
        (&["--codes"], 0),
        (&["--explain", "undone-bypass"], 0),
        (&["--explain", "undone-bypas"], 1),
    ] {
        let output = check(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn the_summary_comes_before_the_findings() {
    let output = String::from_utf8(check(&[EVERYTHING]).stdout).unwrap();
    let first = output.lines().next().unwrap();
    assert!(
        first.starts_with("tests/lint/everything.toml: ok: 1 listener"),
        "{first}"
    );
    assert!(output.contains("warning[undone-bypass]"), "{output}");
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_slice(&check(arguments).stdout).unwrap()
}

#[test]
fn json_has_faults_or_findings() {
    let found = json(&[EVERYTHING, "--json"]);
    assert_eq!(found["ok"], true);
    assert_eq!(found["faults"].as_array().unwrap().len(), 0);
    let findings = found["findings"].as_array().unwrap();
    let undone = findings.iter().find(|one| one["code"] == "undone-bypass");
    let undone = undone.unwrap();
    assert_eq!(undone["severity"], "warning");
    assert_eq!(undone["rule"], "everything");
    assert_eq!(undone["file"], EVERYTHING);
    for key in ["message", "why", "help"] {
        assert!(
            undone[key].as_str().is_some_and(|text| !text.is_empty()),
            "{key}"
        );
    }
    let faulty = json(&["tests/config/no_zone.toml", "--json"]);
    assert_eq!(faulty["ok"], false);
    assert_eq!(faulty["faults"][1]["line"], 5);
    assert!(faulty["summary"].is_null());
}

#[test]
fn codes_are_listed_and_explained() {
    let listed = String::from_utf8(check(&["--codes"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), CODES.len());
    for code in CODES {
        assert!(listed.contains(code.name));
        let explained = check(&["--explain", code.name]).stdout;
        assert!(String::from_utf8(explained).unwrap().contains(code.why));
    }
    let unknown = String::from_utf8(check(&["--explain", "undone-bypas"]).stderr).unwrap();
    assert!(
        unknown.contains("did you mean `undone-bypass`?"),
        "{unknown}"
    );
}
