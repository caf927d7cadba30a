//! The files that are shipped: they check clean, and `conf/reference.toml` tells the truth.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use http::{HeaderMap, Method, Version};
use seawall::config::{Config, Outside, PRESETS, parse, parse_with};
use seawall::request::{RequestView, Scheme};
use toml::{Table, Value};

use super::reference::{BOGUS, REFERENCE, tokens, uncommented};
use super::{files, parse_bare, read};

#[test]
fn every_shipped_file_checks_clean() {
    let shipped = files("conf", "toml");
    assert!(shipped.len() >= 2, "{shipped:?}");
    for path in shipped {
        let name = path.display().to_string();
        let source = std::fs::read_to_string(&path).unwrap();
        if let Err(faults) = parse(&name, &source, &|_| None) {
            panic!("{faults}");
        }
    }
}

#[test]
fn every_preset_is_listed_and_the_reference_names_it() {
    let listed: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    for path in files("conf/presets", "toml") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(listed.contains(&name), "{name} is not a preset");
        assert!(
            read(REFERENCE).contains(&format!("\"{name}\"")),
            "{REFERENCE} does not name {name}"
        );
    }
}

#[test]
fn the_references_defaults_are_the_defaults() {
    let as_shipped = config(&read(REFERENCE));
    let with_defaults = config(&uncommented(&read(REFERENCE), false));
    assert_eq!(without_rules(&with_defaults), without_rules(&as_shipped));
    assert_eq!(
        settings(&with_defaults),
        settings(&as_shipped),
        "a cache rule's default"
    );
}

#[test]
fn the_references_examples_check_clean() {
    let everything = config(&uncommented(&read(REFERENCE), true));
    assert!(everything.admin.is_some());
    assert!(everything.listeners.iter().any(|l| l.tls.is_some()));
    assert!(everything.pools[0].health_check.is_some());
    assert!(everything.purge.is_some());
    assert!(everything.cache.debug_token.is_some());
}

/// The reader lists the keys of a table when it is given one that it does not know.
#[test]
fn the_reference_names_every_key_that_the_reader_knows() {
    let reference = uncommented(&read(REFERENCE), true);
    let reference: Table = reference.parse().unwrap();
    let tables = table_paths(&reference);
    let mut asked = 0;
    let mut missing = Vec::new();
    for path in &tables {
        let mut probe = reference.clone();
        table_at(&mut probe, path).insert(BOGUS.to_owned(), Value::Integer(0));
        let Some(known) = known_keys(&toml::to_string(&probe).unwrap()) else {
            continue; // a table whose keys are the user's
        };
        asked += 1;
        let written = keys_at(&reference, path);
        missing.extend(
            known
                .into_iter()
                .filter(|key| !written.contains(key))
                .map(|key| format!("{} in [{}]", key, path.join("."))),
        );
    }
    assert!(
        asked >= 25,
        "only {asked} tables listed their keys: {tables:?}"
    );
    assert!(
        missing.is_empty(),
        "{REFERENCE} does not name: {missing:#?}"
    );
}

fn config(source: &str) -> Config {
    let files = |file: &Path| Ok(super::reference::file(file));
    let outside = Outside {
        env: &tokens,
        files: &files,
    };
    parse_with(REFERENCE, source, outside).unwrap_or_else(|faults| panic!("{faults}"))
}

/// All but the rules, which say more when their defaults are written.
fn without_rules(config: &Config) -> impl PartialEq + std::fmt::Debug {
    let zones: Vec<_> = config
        .zones
        .iter()
        .map(|zone| {
            let zone = zone.as_ref().clone();
            (
                zone.name,
                zone.hosts,
                zone.pool,
                zone.merge_slashes,
                zone.session_cookies,
            )
        })
        .collect();
    let mut rest = config.clone();
    rest.zones.clear();
    (rest, zones)
}

/// What the reference's rule sets for a request that it matches, without who set it.
fn settings(config: &Config) -> Vec<(&'static str, String)> {
    let settings = config.zones[0].rules.cache_rules.evaluate(&RequestView {
        method: &Method::GET,
        scheme: Scheme::Http,
        host: "site.test",
        path: "/static/app.js",
        query: None,
        version: Version::HTTP_11,
        headers: &HeaderMap::new(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        session_cookie: false,
        has_body: false,
        facts: seawall::request::Facts::default(),
    });
    let told = settings.describe().into_iter();
    told.map(|(key, words, _)| (key, words)).collect()
}

fn known_keys(source: &str) -> Option<Vec<String>> {
    let faults = parse_bare(source).unwrap_err();
    let fault = faults
        .list()
        .iter()
        .find(|fault| fault.message.starts_with(&format!("unknown key `{BOGUS}`")))?;
    let list = fault.help.as_deref()?.strip_prefix("known here: ")?;
    Some(list.split(", ").map(str::to_owned).collect())
}

/// The way to every table, an array's index being a step of its own.
fn table_paths(table: &Table) -> Vec<Vec<String>> {
    let mut paths = vec![Vec::new()];
    for (key, value) in table {
        for (step, inner) in tables_in(value) {
            for path in table_paths(inner) {
                paths.push([vec![key.clone()], step.clone(), path].concat());
            }
        }
    }
    paths
}

fn tables_in(value: &Value) -> Vec<(Vec<String>, &Table)> {
    match value {
        Value::Table(table) => vec![(Vec::new(), table)],
        Value::Array(items) => items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| Some((vec![index.to_string()], item.as_table()?)))
            .collect(),
        _ => Vec::new(),
    }
}

fn table_at<'t>(table: &'t mut Table, path: &[String]) -> &'t mut Table {
    let Some((key, rest)) = path.split_first() else {
        return table;
    };
    match table.get_mut(key).unwrap() {
        Value::Table(inner) => table_at(inner, rest),
        Value::Array(items) => {
            let index: usize = rest[0].parse().unwrap();
            table_at(items[index].as_table_mut().unwrap(), &rest[1..])
        }
        other => panic!("{path:?} leads to {other}"),
    }
}

/// The keys of the table at `path`; of a list's tables, and the tables in them, the keys of all.
fn keys_at(table: &Table, path: &[String]) -> Vec<String> {
    let Some((key, rest)) = path.split_first() else {
        return table.keys().cloned().collect();
    };
    let Some(value) = table.get(key) else {
        return Vec::new();
    };
    match value {
        Value::Table(inner) => keys_at(inner, rest),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_table)
            .flat_map(|item| keys_at(item, &rest[1..]))
            .collect(),
        // In another item a table may be a word.
        _ => Vec::new(),
    }
}
