//! What the documentation shows of the file: every TOML block, and in the pages for newcomers every
//! `key = value` in a line, is taken by the reader.

use seawall::config::parse;
use toml::{Table, Value};

use super::read;
use super::reference::tokens;

const PAGES: [&str; 8] = [
    "README.md",
    "docs/explain.md",
    "docs/pools.md",
    "docs/origins.md",
    "docs/rules.md",
    "docs/store.md",
    "docs/from-nginx.md",
    "docs/from-cloudflare.md",
];

/// What a block or line leaves out.
const SITE: &str = r#"
listen = "[::]:8080"
pools.app.servers = "http://127.0.0.1:8000"
zones.site = { hosts = "*", pool = "app", cache_rules = [{ expression = "true", cache = "eligible" }] }
"#;

/// The tables for which a line may be meant, beside the file itself.
const TABLES: [&[&str]; 11] = [
    &["server"],
    &["client"],
    &["cache"],
    &["log"],
    &["admin"],
    &["pools", "app"],
    &["pools", "app", "timeouts"],
    &["pools", "app", "retries"],
    &["pools", "app", "tls"],
    &["zones", "site"],
    &["zones", "site", "cache_rules", "0"],
];

#[test]
fn every_toml_block_is_a_configuration_or_a_part_of_one() {
    for page in PAGES {
        let text = read(page);
        let blocks: Vec<&str> = text
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .collect();
        assert!(!blocks.is_empty(), "{page} shows nothing");
        for block in blocks {
            let table: Table = block
                .parse()
                .unwrap_or_else(|error| panic!("{page}:\n{block}\n{error}"));
            let whole = toml::to_string(&completed(table)).unwrap();
            if let Err(faults) = parse(page, &whole, &tokens) {
                panic!("{page}:\n{block}\n{faults}");
            }
        }
    }
}

#[test]
fn every_line_of_toml_is_for_some_table() {
    let mut lines = 0;
    for page in PAGES.iter().filter(|page| page.starts_with("docs/")) {
        let text = read(page);
        for row in text.lines().filter(|line| line.starts_with('|')) {
            // Within a cell a `|` has a backslash; the first cell is what others write.
            let row = row.replace("\\|", "\0");
            let ours = row
                .split('|')
                .skip(2)
                .flat_map(|cell| cell.split('`').skip(1).step_by(2));
            for line in ours.map(|line| line.replace('\0', "|")) {
                if line.split_once(" = ").is_some_and(|(key, _)| is_key(key)) {
                    assert!(fits(&line), "{page}: no table takes `{line}`");
                    lines += 1;
                }
            }
        }
    }
    assert!(lines > 20, "only {lines} lines");
}

fn is_key(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || b"_.".contains(&byte);
    !text.is_empty() && text.bytes().all(legal)
}

fn fits(line: &str) -> bool {
    let Ok(written) = line.parse::<Table>() else {
        return false;
    };
    let within = |path: &[&str]| {
        let mut document = Value::Table(SITE.parse().unwrap());
        let mut place = &mut document;
        for step in path {
            place = match place {
                Value::Table(table) => table
                    .entry(*step)
                    .or_insert_with(|| Value::Table(Table::new())),
                Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
                other => panic!("{step} in {other}"),
            };
        }
        place.as_table_mut().unwrap().extend(written.clone());
        parse("line", &toml::to_string(&document).unwrap(), &tokens).is_ok()
    };
    std::iter::once(&[][..]).chain(TABLES).any(within)
}

/// With listener, pools and zones where they are left out.
fn completed(mut table: Table) -> Table {
    let mut site: Table = SITE.parse().unwrap();
    table
        .entry("listen")
        .or_insert_with(|| site.remove("listen").unwrap());
    let zones = table
        .entry("zones")
        .or_insert_with(|| site.remove("zones").unwrap());
    let mut needed = Vec::new();
    for (name, zone) in zones.as_table_mut().unwrap() {
        let zone = zone.as_table_mut().unwrap();
        zone.entry("hosts")
            .or_insert_with(|| format!("{name}.test").into());
        let pool = zone.entry("pool").or_insert_with(|| "app".into());
        needed.push(pool.as_str().unwrap().to_owned());
    }
    let pools = table
        .entry("pools")
        .or_insert_with(|| Value::Table(Table::new()));
    let pools = pools.as_table_mut().unwrap();
    for name in needed {
        pools
            .entry(name)
            .or_insert_with(|| Value::Table(Table::new()));
    }
    for (_, pool) in pools {
        let servers = || "http://127.0.0.1:8000".into();
        pool.as_table_mut()
            .unwrap()
            .entry("servers")
            .or_insert_with(servers);
    }
    table
}
