//! Each bad file gets exactly its diagnostics: message, place, offending text, help.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use seawall::config::{Config, Diagnostics, Outside, parse_with};

use super::files;

/// The environment of the bad files.
fn env(name: &str) -> Option<String> {
    let value = match name {
        "NOT_A_NUMBER" => "many",
        "NOT_A_URL" => "app.internal",
        _ => return None,
    };
    Some(value.to_owned())
}

/// The files that the bad files name.
fn named_file(path: &Path) -> Result<String, String> {
    match path.to_str() {
        Some("blocked.txt") => Ok("# faulty\n192.0.2.0/24\n192.0.2\n".to_owned()),
        _ => Err("no such file".to_owned()),
    }
}

fn parse(name: &str, source: &str) -> Result<Config, Diagnostics> {
    let outside = Outside {
        env: &env,
        files: &named_file,
    };
    parse_with(name, source, outside)
}

#[test]
fn every_bad_file_gets_exactly_its_diagnostics() {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut wrong = String::new();
    for path in files("tests/config", "toml") {
        let actual = diagnostics(&path);
        let golden = path.with_extension("txt");
        if update {
            std::fs::write(&golden, &actual).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if actual != expected {
            let name = path.file_name().unwrap().display();
            let _ = write!(
                wrong,
                "\n=== {name}: expected ===\n{expected}=== but was ===\n{actual}"
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong}\nIf this is what it should be: UPDATE_GOLDENS=1 cargo test --test config"
    );
}

fn diagnostics(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    let source = std::fs::read_to_string(path).unwrap();
    match parse(name, &source) {
        Ok(_) => panic!("{name} is not bad"),
        Err(faults) => format!("{faults}\n"),
    }
}

#[test]
fn every_golden_has_its_bad_file() {
    let stems = |extension| -> BTreeSet<_> {
        files("tests/config", extension)
            .iter()
            .map(|path| path.with_extension(""))
            .collect()
    };
    assert_eq!(stems("txt"), stems("toml"));
}

#[test]
fn every_fault_is_one_line_in_a_log() {
    for path in files("tests/config", "toml") {
        let source = std::fs::read_to_string(&path).unwrap();
        let faults = parse("bad.toml", &source).unwrap_err();
        for line in faults.lines() {
            assert!(line.starts_with("bad.toml:"), "{line}");
            assert!(!line.contains('\n'), "{}: {line:?}", path.display());
        }
        assert_eq!(faults.lines().count(), faults.list().len());
    }
}

#[test]
fn every_fault_points_into_its_file() {
    for path in files("tests/config", "toml") {
        let source = std::fs::read_to_string(&path).unwrap();
        for fault in parse("bad.toml", &source).unwrap_err().list() {
            assert!(
                source.get(fault.span.clone()).is_some(),
                "{}: {fault:?}",
                path.display()
            );
        }
    }
}
