//! The file as written: every section read into typed values, names not yet looked up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::diagnostics::Diagnostic;
use super::listen::{read_admin, read_listeners};
use super::lists::read_lists;
use super::outside::{Outside, no_files};
use super::pool::read_pool;
use super::purge::{Purge, read_purge};
use super::reader::{Located, Reader, Section};
use super::rule::RuleFile;
use super::secret::read_secret;
use super::zone::read_cache_rules;
use super::{Cache, Client, Listener, Log, Pool, Server};
use crate::rules::{CacheRule, Lists};
use crate::zone::HostPattern;

/// Below this a deadline would fail what it should guard.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);

/// What the file says.
#[derive(Default)]
pub(super) struct ConfigFile {
    pub(super) listeners: Vec<Located<Listener>>,
    pub(super) admin: Option<Located<SocketAddr>>,
    pub(super) server: Server,
    pub(super) client: Client,
    pub(super) cache: Cache,
    pub(super) purge: Option<Purge>,
    pub(super) log: Log,
    pub(super) pools: Vec<Pool>,
    pub(super) zones: Vec<ZoneFile>,
    /// The other files that it names.
    pub(super) files: Vec<PathBuf>,
}

/// A zone as written.
pub(super) struct ZoneFile {
    pub(super) name: Located<String>,
    pub(super) hosts: Vec<Located<HostPattern>>,
    pub(super) pool: Option<Located<String>>,
    pub(super) presets: Vec<Located<String>>,
    pub(super) merge_slashes: bool,
    pub(super) session_cookies: Vec<Located<String>>,
    pub(super) rules: Vec<CacheRule>,
}

/// Reads `source`; what could be read comes back beside all faults.
pub(super) fn read(source: &str, outside: Outside<'_>) -> (ConfigFile, Vec<Diagnostic>) {
    let (table, syntax) = DeTable::parse_recoverable(source);
    if !syntax.is_empty() {
        // A recovered tree is guesswork, and so are the faults after the first.
        let faults = syntax.iter().take(1).map(syntax_fault).collect();
        return (ConfigFile::default(), faults);
    }
    let reader = Reader::new(outside);
    let mut file = read_document(Section::document(&reader, &table), source);
    let (faults, files) = reader.finish();
    file.files = files;
    (file, faults)
}

fn syntax_fault(error: &toml::de::Error) -> Diagnostic {
    Diagnostic {
        span: error.span().unwrap_or(0..0),
        message: format!("not valid TOML: {}", error.message()),
        help: None,
    }
}

fn read_document(root: Section<'_>, source: &str) -> ConfigFile {
    let lists = read_lists(&root);
    let from = RuleFile {
        source,
        preset: None,
        lists: &lists,
    };
    let file = ConfigFile {
        listeners: read_listeners(&root),
        admin: read_admin(&root),
        server: root.section("server").map(read_server).unwrap_or_default(),
        client: root.section("client").map(read_client).unwrap_or_default(),
        cache: root.section("cache").map(read_cache).unwrap_or_default(),
        purge: root
            .section_or(
                "purge",
                "write `[purge]` and below it `token = \"${SEAWALL_PURGE_TOKEN}\"`",
            )
            .and_then(read_purge),
        log: root.section("log").map(read_log).unwrap_or_default(),
        pools: root
            .named_sections("pools")
            .into_iter()
            .map(|(name, section)| read_pool(name.value, section))
            .collect(),
        zones: root
            .named_sections("zones")
            .into_iter()
            .map(|(name, section)| read_zone(name, section, from))
            .collect(),
        files: Vec::new(),
    };
    if !root.has("zones") {
        let help = "add `[zones.site]` with `hosts = [\"*\"]` and `pool = \"app\"`".to_owned();
        let message = "there is no zone, so no host would be answered";
        root.reader
            .fault(source.len()..source.len(), message, Some(help));
    }
    root.finish();
    file
}

fn read_server(section: Section<'_>) -> Server {
    let threads = section.integer("threads", 1..=1024);
    let mut server = Server {
        threads: threads.and_then(|threads| usize::try_from(threads.value).ok()),
        ..Server::default()
    };
    put(&mut server.drain_timeout, section.duration("drain_timeout"));
    if let Some(path) = section.string("upgrade_socket") {
        server.upgrade_socket = PathBuf::from(path.value);
    }
    section.finish();
    server
}

fn read_client(section: Section<'_>) -> Client {
    let mut client = Client::default();
    put(
        &mut client.header_timeout,
        section.duration_of("header_timeout", SHORTEST),
    );
    put(
        &mut client.idle_timeout,
        section.duration_of("idle_timeout", SHORTEST),
    );
    put(
        &mut client.body_timeout,
        section.duration_of("body_timeout", SHORTEST),
    );
    put(
        &mut client.write_timeout,
        section.duration_of("write_timeout", SHORTEST),
    );
    // Pingora's own ceilings: 1 MiB of head and 256 fields.
    put_number(
        &mut client.max_header_size,
        bounded_size(&section, "max_header_size", 1024..=1_000_000),
    );
    put_number(
        &mut client.max_headers,
        section.integer("max_headers", 8..=250),
    );
    put_number(
        &mut client.max_uri_length,
        bounded_size(&section, "max_uri_length", 256..=1_000_000),
    );
    put(&mut client.max_body_size, section.size("max_body_size"));
    put_number(
        &mut client.max_requests_per_connection,
        section.integer("max_requests_per_connection", 1..=u64::from(u32::MAX)),
    );
    put_number(
        &mut client.http2_max_streams,
        section.integer("http2_max_streams", 1..=10_000),
    );
    section.finish();
    client
}

fn bounded_size(
    section: &Section<'_>,
    key: &'static str,
    bounds: std::ops::RangeInclusive<u64>,
) -> Option<Located<u64>> {
    let size = section.size(key)?;
    if bounds.contains(&size.value) {
        return Some(size);
    }
    let message = format!(
        "`{key}` must be from {} to {} bytes",
        bounds.start(),
        bounds.end()
    );
    section.reader.fault(size.span, message, None);
    None
}

fn read_cache(section: Section<'_>) -> Cache {
    let mut cache = Cache::default();
    put(&mut cache.memory, section.size("memory"));
    put(&mut cache.max_object_size, section.size("max_object_size"));
    put(
        &mut cache.collapse_timeout,
        section.duration_of("collapse_timeout", SHORTEST),
    );
    cache.debug_token = section
        .string("debug_token")
        .and_then(|text| read_secret(&section, "debug_token", text));
    section.finish();
    cache
}

fn read_log(section: Section<'_>) -> Log {
    let mut log = Log::default();
    put(&mut log.access, section.boolean("access"));
    section.finish();
    log
}

fn read_zone(name: Located<String>, section: Section<'_>, from: RuleFile<'_>) -> ZoneFile {
    let hosts = section.strings("hosts").unwrap_or_default();
    if hosts.is_empty() {
        let help = "write `hosts = [\"*\"]` to answer for every host".to_owned();
        let message = format!("[zones.{}] names no `hosts`", name.value);
        section
            .reader
            .fault(section.span.clone(), message, Some(help));
    }
    let zone = ZoneFile {
        hosts: hosts
            .into_iter()
            .filter_map(|host| read_host(&section, host))
            .collect(),
        pool: section.required_string("pool", "\"app\""),
        presets: section.strings("presets").unwrap_or_default(),
        merge_slashes: section
            .boolean("merge_slashes")
            .is_some_and(|merge| merge.value),
        session_cookies: section.strings("session_cookies").unwrap_or_default(),
        rules: read_cache_rules(&section, from),
        name,
    };
    section.finish();
    zone
}

fn read_host(section: &Section<'_>, text: Located<String>) -> Option<Located<HostPattern>> {
    match HostPattern::parse(&text.value) {
        Ok(value) => Some(Located {
            value,
            span: text.span,
        }),
        Err(why) => {
            section.reader.fault(
                text.span,
                format!("the host \"{}\" {why}", text.value),
                None,
            );
            None
        }
    }
}

/// Takes a value over when it was written.
pub(super) fn put<T>(target: &mut T, written: Option<Located<T>>) {
    if let Some(written) = written {
        *target = written.value;
    }
}

/// Takes a number over when it was written; bounds were checked when it was read.
pub(super) fn put_number<T: TryFrom<u64>>(target: &mut T, written: Option<Located<u64>>) {
    if let Some(number) = written.and_then(|written| T::try_from(written.value).ok()) {
        *target = number;
    }
}

/// Reads a preset: session cookies, rules, faults.
pub(super) fn read_preset(
    source: &str,
    file: &str,
) -> (Vec<String>, Vec<CacheRule>, Vec<Diagnostic>) {
    let (table, syntax) = DeTable::parse_recoverable(source);
    let env = |_: &str| None;
    let reader = Reader::new(Outside {
        env: &env,
        files: &no_files,
    });
    let root = Section::document(&reader, &table);
    let cookies = root.strings("session_cookies").unwrap_or_default();
    let from = RuleFile {
        source,
        preset: Some(file),
        lists: &Lists::default(),
    };
    let rules = read_cache_rules(&root, from);
    root.finish();
    let mut faults: Vec<_> = syntax.iter().map(syntax_fault).collect();
    faults.extend(reader.finish().0);
    (
        cookies.into_iter().map(|cookie| cookie.value).collect(),
        rules,
        faults,
    )
}
