//! The rooms under `src/` and what each may know: the core decides over plain values, the shell
//! owns sockets, clocks, tasks and Pingora. This test is a reader of text, not of Rust: it sees
//! paths as written, in `use` lists as well, and passes comments over.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// The rooms and files that decide; each name is a path under `src/` without `.rs`.
const CORE: &[&str] = &[
    "cache",
    "config",
    "explain",
    "fields",
    "guard/access",
    "guard/assess",
    "guard/bots",
    "guard/bucket",
    "guard/challenge",
    "guard/client",
    "guard/connections",
    "guard/custom",
    "guard/decision",
    "guard/events",
    "guard/filters",
    "guard/http2",
    "guard/ip_access",
    "guard/limit",
    "guard/limiter",
    "guard/lockdown",
    "guard/pace",
    "guard/proxy_header",
    "guard/rates",
    "guard/spelling",
    "guard/template",
    "guard/token",
    "lint",
    "purge",
    "request",
    "rules",
    "tier",
    "waiting_room",
    "zone",
    "edge/chunked",
    "edge/head",
    "origin/adaptive",
    "origin/affinity",
    "origin/breaker",
    "origin/health",
    "origin/outlier",
    "origin/queue",
    "origin/retry",
    "shared_state/continuity",
    "shared_state/outbox",
    "shared_state/record",
    "origin/select",
];

/// What core code must not name, and what to do instead.
const SHELL_ONLY: &[(&str, &str)] = &[
    ("pingora", SPLIT),
    ("tokio", SPLIT),
    ("std::fs", SPLIT),
    ("std::net::Tcp", SPLIT),
    ("std::net::Udp", SPLIT),
    ("std::process", SPLIT),
    ("std::thread", SPLIT),
    ("crate::clock", TAKE_THE_TIME),
    ("crate::edge", SPLIT),
    ("crate::proxy", SPLIT),
    ("crate::store", SPLIT),
    ("crate::server", SPLIT),
    ("crate::admin", SPLIT),
    ("crate::observe", SPLIT),
    ("crate::origin", SPLIT),
    ("crate::cli", SPLIT),
];
const SPLIT: &str = "take plain values as arguments and return the decision; a shell room \
                     (edge, proxy, store, server, origin, …) does what it says";
const TAKE_THE_TIME: &str = "take the time as an argument";

/// What reads a clock. Only `src/clock.rs` may.
const CLOCKS: &[&str] = &["SystemTime::now", "Instant::now", ".elapsed()", "now_v7"];
const READ_THE_CLOCK: &str = "call crate::clock at the shell's edge and pass the time on";

/// What is allowed all the same: file, name, reason. An entry that nothing needs fails the test.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "server/drain.rs",
    ".elapsed()",
    "how long the process has been draining, at its very end",
)];

/// Lines of a file before its test module.
const LONGEST: usize = 500;

#[test]
fn core_rooms_name_nothing_of_the_shell_and_only_the_clock_reads_the_time() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        found.extend(violations(&path, &text));
    }
    let excepted = |violation: &Violation| {
        EXCEPTIONS
            .iter()
            .any(|(path, name, _)| violation.path == *path && violation.name == *name)
    };
    let mut report = String::new();
    for violation in found.iter().filter(|violation| !excepted(violation)) {
        let _ = writeln!(report, "{violation}");
    }
    for (path, name, _) in EXCEPTIONS {
        if !found.iter().any(|v| v.path == *path && v.name == *name) {
            let _ = writeln!(
                report,
                "src/{path} no longer names `{name}`: drop its exception"
            );
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn no_file_is_too_long() {
    let mut report = String::new();
    for (path, text) in sources() {
        let lines = lines_before_tests(&text);
        if lines > LONGEST {
            let _ = writeln!(
                report,
                "src/{path} has {lines} lines before its tests, more than {LONGEST}: \
                 split it by concern"
            );
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_room_is_in_the_tables_of_rooms() {
    let rooms = rooms();
    let listed = rows(&read("src/lib.rs"));
    let names: BTreeSet<_> = listed.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(
        names, rooms,
        "the table in src/lib.rs (left) and the folders of src/ (right) differ: add or remove a row"
    );
    let path = root().join("ARCHITECTURE.md");
    if path.exists() {
        let text = std::fs::read_to_string(path).unwrap();
        for room in rooms {
            assert!(
                ["`{}`", "`{}/`", "src/{}"]
                    .iter()
                    .any(|form| text.contains(&form.replace("{}", &room))),
                "ARCHITECTURE.md does not speak of `{room}`: add it to its table of rooms"
            );
        }
    }
}

#[test]
fn the_table_of_rooms_says_core_and_shell_as_this_test_does() {
    for (name, kind) in rows(&read("src/lib.rs")) {
        let whole = CORE.contains(&name.as_str());
        let some = CORE
            .iter()
            .any(|core| core.starts_with(&format!("{name}/")));
        let expected: &[&str] = match (whole, some) {
            (true, _) => &["core"],
            // A room may be called after its better part.
            (false, true) => &["core + shell", "shell"],
            (false, false) => &["shell"],
        };
        assert!(
            expected.contains(&kind.as_str()),
            "`{name}` is {kind} in src/lib.rs but {expected:?} in tests/architecture.rs: \
             change one of them"
        );
    }
}

#[test]
fn every_core_path_exists() {
    for core in CORE {
        let folder = root().join("src").join(core);
        assert!(
            folder.is_dir() || folder.with_extension("rs").is_file(),
            "src/{core} is gone: bring CORE in tests/architecture.rs up to date"
        );
    }
}

/// Something named where it must not be.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    path: String,
    line: usize,
    name: &'static str,
    advice: &'static str,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            line,
            name,
            advice,
        } = self;
        write!(
            f,
            "src/{path}:{line} names `{name}`: {advice}, or make it an exception with its reason in tests/architecture.rs"
        )
    }
}

/// What the file at `path`, relative to `src/`, names against the rules.
fn violations(path: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut report = |line, name, advice| {
        let violation = Violation {
            path: path.to_owned(),
            line,
            name,
            advice,
        };
        if !found.contains(&violation) {
            found.push(violation);
        }
    };
    let tests_begin = lines_before_tests(text);
    for (line, code) in statements(text) {
        // `super` of the test module is the file itself.
        let module = if line > tests_begin {
            format!("{}/tests", path.trim_end_matches(".rs"))
        } else {
            path.to_owned()
        };
        if path != "clock.rs" {
            for clock in CLOCKS.iter().filter(|clock| code.contains(**clock)) {
                report(line, *clock, READ_THE_CLOCK);
            }
        }
        if is_core(path) {
            let named: Vec<String> = match use_tree(&code) {
                Some(tree) => expand(tree),
                None => vec![code],
            };
            let named: Vec<String> = named
                .iter()
                .map(|text| without_core(&absolute(text, &module)))
                .collect();
            for (name, advice) in SHELL_ONLY {
                if named.iter().any(|text| names(text, name)) {
                    report(line, name, advice);
                }
            }
        }
    }
    found
}

fn is_core(path: &str) -> bool {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    CORE.iter().any(|core| {
        path.strip_prefix(core)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Lines of code without comments, each with its number; a `use` of several lines is one.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        let code = match line.split_once("//") {
            // Not within a URL, the only place where code has two slashes.
            Some((before, _)) if !before.ends_with(':') => before,
            _ => line,
        }
        .trim();
        if code.is_empty() {
            continue;
        }
        match found.last_mut().filter(|_| open) {
            Some((_, statement)) => {
                statement.push(' ');
                statement.push_str(code);
            }
            None => found.push((number, code.to_owned())),
        }
        open = found
            .last()
            .is_some_and(|(_, code)| use_tree(code).is_some() && !code.ends_with(';'));
    }
    found
}

/// What stands behind `use` or `pub(…) use`.
fn use_tree(code: &str) -> Option<&str> {
    let code = match code.strip_prefix("pub") {
        Some(rest) => match rest.strip_prefix('(') {
            Some(rest) => rest.split_once(')')?.1.trim_start(),
            None => rest.trim_start(),
        },
        None => code,
    };
    Some(code.strip_prefix("use ")?.trim_end_matches(';'))
}

/// The paths of a use tree: `a::{b, c::{d}}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, list)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let mut depth = 0;
    list.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .flat_map(expand)
    .filter(|item| !item.is_empty())
    .map(|item| format!("{prefix}{item}"))
    .collect()
}

/// `text` with a leading or inner chain of `super::` and `self::` written out from the crate.
fn absolute(text: &str, path: &str) -> String {
    let module: Vec<&str> = path
        .strip_suffix(".rs")
        .unwrap_or(path)
        .split('/')
        .filter(|part| *part != "mod")
        .collect();
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = ["super::", "self::"]
        .iter()
        .filter_map(|word| rest.find(word))
        .min()
    {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let mut depth = module.len();
        loop {
            if let Some(tail) = rest.strip_prefix("super::") {
                depth = depth.saturating_sub(1);
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix("self::") {
                rest = tail;
            } else {
                break;
            }
        }
        out.push_str("crate::");
        for part in &module[..depth] {
            out.push_str(part);
            out.push_str("::");
        }
    }
    out.push_str(rest);
    out
}

/// `text` without the paths of core files, which lie in rooms of the shell.
fn without_core(text: &str) -> String {
    CORE.iter().fold(text.to_owned(), |text, core| {
        text.replace(&format!("crate::{}::", core.replace('/', "::")), "")
    })
}

/// Whether `text` names the path `name`, or, where `name` is a crate or ends within a word
/// (`std::net::Tcp`), something that begins with it.
fn names(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let whole = name.starts_with("crate::");
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        let begins = before.is_none_or(|c| !word(c) && c != '/');
        let ends = !whole || after.is_none_or(|c| !word(c));
        begins && ends
    })
}

fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let starts_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ");
    lines
        .windows(2)
        .position(starts_tests)
        .unwrap_or(lines.len())
}

/// Name and kind of each row: ``//! | [`cache`] | core | … |``.
fn rows(lib: &str) -> Vec<(String, String)> {
    lib.lines()
        .filter_map(|line| {
            let row = line.strip_prefix("//! | [`")?;
            let (name, rest) = row.split_once("`]")?;
            let kind = rest.split('|').nth(1)?.trim();
            // A row may be about a module that is one file.
            root()
                .join("src")
                .join(name)
                .is_dir()
                .then(|| (name.to_owned(), kind.to_owned()))
        })
        .collect()
}

fn rooms() -> BTreeSet<String> {
    std::fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// Every file under `src/`: its path from there, and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    assert!(found.len() > 50, "only {} files under src/", found.len());
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root().join("src")).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((relative.to_str().unwrap().to_owned(), text));
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

mod the_checker {
    use super::{lines_before_tests, violations};

    fn named(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        violations(path, text)
            .iter()
            .map(|violation| (violation.line, violation.name))
            .collect()
    }

    #[test]
    fn finds_what_is_planted_in_a_core_room() {
        for (text, name) in [
            ("use pingora_http::RequestHeader;", "pingora"),
            ("async fn f() { tokio::time::sleep(d).await }", "tokio"),
            ("let text = std::fs::read(path);", "std::fs"),
            ("use std::{fs, io};", "std::fs"),
            ("use std::net::{IpAddr, TcpStream};", "std::net::Tcp"),
            (
                "use std::net::{\n    IpAddr,\n    TcpStream,\n};",
                "std::net::Tcp",
            ),
            ("use crate::clock;", "crate::clock"),
            ("use crate::{clock, request};", "crate::clock"),
            ("use crate::{request, store::{self, Fill}};", "crate::store"),
            ("pub(crate) use crate::proxy::Gateway;", "crate::proxy"),
            ("fn f(pool: &crate::origin::OriginPool) {}", "crate::origin"),
            ("use super::super::edge::Front;", "crate::edge"),
            ("let now = SystemTime::now();", "SystemTime::now"),
            ("let now = std::time::Instant::now();", "Instant::now"),
        ] {
            assert_eq!(named("cache/reuse.rs", text), [(1, name)], "{text}");
        }
    }

    #[test]
    fn lets_pass_what_core_rooms_may_name() {
        for text in [
            "use std::time::{Duration, SystemTime};",
            "use std::net::{IpAddr, SocketAddr};",
            "use crate::request::RequestView;",
            "use super::storing::store;",
            "use super::super::store_key;",
            "// pingora and tokio are spoken of, not used",
            "/// As in [`crate::store`].",
            "let message = \"http://crate::store\";",
            "use crate::stored::Thing;",
            "use crate::origin::health::Transition;",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n}",
        ] {
            assert_eq!(named("cache/reuse.rs", text), [], "{text}");
        }
    }

    #[test]
    fn leaves_shell_rooms_all_but_the_clock() {
        let text = "use pingora_core::Server;\n\nlet now = Instant::now();";
        assert_eq!(named("server/drain.rs", text), [(3, "Instant::now")]);
        assert_eq!(named("origin/pool.rs", text), [(3, "Instant::now")]);
        assert_eq!(named("clock.rs", text), []);
        assert_eq!(
            named("origin/select.rs", text),
            [(1, "pingora"), (3, "Instant::now")]
        );
        assert_eq!(named("edge/header.rs", "use tokio::net;"), []);
        let tests = "#[cfg(test)]\nmod tests {\n    use super::*;\n    use super::super::Front;\n}";
        assert_eq!(named("edge/head.rs", tests), [(4, "crate::edge")]);
    }

    #[test]
    fn counts_the_lines_before_the_test_module() {
        assert_eq!(lines_before_tests("a\nb\n"), 2);
        assert_eq!(lines_before_tests("a\n#[cfg(test)]\nmod tests {\n}\n"), 1);
        assert_eq!(lines_before_tests("#[cfg(test)]\nuse a;\nb\n"), 3);
        assert_eq!(
            lines_before_tests("a\nb\n#[cfg(test)]\npub(super) mod testing {\n}\n"),
            2
        );
    }
}
