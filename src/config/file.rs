//! The file as written: every section read into typed values, names not yet looked up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::challenge::{read_challenge, read_verified_bots};
use super::client::{Client, read_client};
use super::diagnostics::Diagnostic;
use super::disk::read_disk;
use super::guard::{Guard, read_guard};
use super::listen::{read_admin, read_listeners};
use super::lists::read_lists;
use super::outside::{Outside, no_files};
use super::phase::read_phases;
use super::pool::read_pool;
use super::presets::PresetRules;
use super::purge::{Purge, read_purge};
use super::reader::{Located, Reader, Section};
use super::reserve::read_reserve;
use super::rule::RuleFile;
use super::secret::{Secret, read_secret};
use super::shared::{SharedState, read_shared};
use super::test::read_tests;
use super::tiers::{Tiers, read_tiers};
use super::token::read_tokens;
use super::zone::{ZoneFile, read_zone};
use super::{Cache, Challenge, Geo, Listener, Log, Pool, Server};
use crate::explain::RuleTest;
use crate::guard::bots::VerifiedBot;
use crate::guard::token::Tokens;
use crate::rules::Lists;

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
    pub(super) guard: Guard,
    pub(super) geo: Geo,
    pub(super) purge: Option<Purge>,
    pub(super) shared: Option<SharedState>,
    pub(super) log: Log,
    pub(super) secret: Option<Secret>,
    pub(super) challenge: Challenge,
    pub(super) verified_bots: Vec<VerifiedBot>,
    pub(super) pools: Vec<Pool>,
    pub(super) tiers: Option<Tiers>,
    /// Their names.
    pub(super) tokens: Tokens,
    pub(super) lists: Vec<String>,
    pub(super) zones: Vec<ZoneFile>,
    pub(super) tests: Vec<RuleTest>,
}

/// Reads `source`; what could be read comes back beside all faults.
pub(super) fn read(
    name: &str,
    source: &str,
    outside: Outside<'_>,
) -> (ConfigFile, Vec<Diagnostic>) {
    let (table, syntax) = DeTable::parse_recoverable(source);
    if !syntax.is_empty() {
        // A recovered tree is guesswork, and so are the faults after the first.
        let faults = syntax.iter().take(1).map(syntax_fault).collect();
        return (ConfigFile::default(), faults);
    }
    let reader = Reader::new(outside);
    let file = read_document(Section::document(&reader, &table), name, source);
    (file, reader.finish())
}

fn syntax_fault(error: &toml::de::Error) -> Diagnostic {
    Diagnostic {
        span: error.span().unwrap_or(0..0),
        message: format!("not valid TOML: {}", error.message()),
        help: None,
    }
}

fn read_document(root: Section<'_>, name: &str, source: &str) -> ConfigFile {
    let (mut lists, of_others) = read_lists(&root);
    let client = root.section("client");
    let client = client.map(|section| read_client(section, &lists));
    let client = client.unwrap_or_default();
    // Others may not keep out who vouches for clients.
    let trusted = &client.trust.proxies;
    for name in of_others.iter().filter(|_| !trusted.is_empty()) {
        lists.spare(name, trusted.parts());
    }
    let tokens = read_tokens(&root);
    let server = root.section("server").map(read_server).unwrap_or_default();
    let sections = root.named_sections("pools");
    let names: Vec<String> = sections
        .iter()
        .map(|(name, _)| name.value.clone())
        .collect();
    let secret = root
        .string("secret")
        .and_then(|text| read_secret(&root, "secret", text));
    let from = RuleFile {
        source,
        name,
        lists: &lists,
        pools: &names,
        tokens: &tokens,
        secret: secret.as_ref(),
    };
    let locality = server.locality.as_deref();
    let pools: Vec<Pool> = sections
        .into_iter()
        .map(|(name, section)| read_pool(name.value, section, locality, from))
        .collect();
    let file = ConfigFile {
        listeners: read_listeners(&root, &lists),
        admin: read_admin(&root),
        server,
        client,
        cache: root.section("cache").map(read_cache).unwrap_or_default(),
        guard: root.section("guard").map(read_guard).unwrap_or_default(),
        geo: root.section("geo").map(read_geo).unwrap_or_default(),
        purge: root
            .section_or(
                "purge",
                "write `[purge]` and below it `token = \"${SEAWALL_PURGE_TOKEN}\"`",
            )
            .and_then(read_purge),
        shared: root
            .section_or(
                "shared",
                "write `[shared]` and below it `redis = \"redis://redis.internal:6379\"`",
            )
            .and_then(read_shared),
        log: root.section("log").map(read_log).unwrap_or_default(),
        challenge: root
            .section("challenge")
            .map(read_challenge)
            .unwrap_or_default(),
        verified_bots: read_verified_bots(&root),
        pools,
        tiers: root
            .section_or(
                "tiers",
                "write `[tiers]` and below it `name` and `secret = \"${SEAWALL_TIER_SECRET}\"`",
            )
            .and_then(read_tiers),
        lists: lists.names().map(str::to_owned).collect(),
        tokens: tokens.clone(),
        zones: root
            .named_sections("zones")
            .into_iter()
            .map(|(name, section)| read_zone(name, section, from))
            .collect(),
        tests: read_tests(&root, from),
        secret: secret.clone(),
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
    server.locality = section.string("locality").map(|place| place.value);
    put(&mut server.drain_timeout, section.duration("drain_timeout"));
    if let Some(path) = section.string("upgrade_socket") {
        server.upgrade_socket = PathBuf::from(path.value);
    }
    put(&mut server.hit_lane, section.boolean("hit_lane"));
    section.finish();
    server
}

/// A size within `bounds`, in bytes.
pub(super) fn bounded_size(
    section: &Section<'_>,
    key: &'static str,
    bounds: std::ops::RangeInclusive<u64>,
) -> Option<Located<u64>> {
    let size = section.size(key)?;
    if bounds.contains(&size.value) {
        return Some(size);
    }
    let message = match *bounds.end() {
        u64::MAX => format!("`{key}` must be at least {} bytes", bounds.start()),
        end => format!("`{key}` must be from {} to {end} bytes", bounds.start()),
    };
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
    cache.disk = section
        .section_or(
            "disk",
            "write `[cache.disk]` and below it `directory` and `capacity`",
        )
        .and_then(read_disk);
    cache.reserve = section
        .section_or(
            "reserve",
            "write `[cache.reserve]` and below it `endpoint`, `bucket`, `access_key` and `secret_key`",
        )
        .and_then(read_reserve);
    if section.is_table("reserve") && !section.has("disk") {
        let help = "add `[cache.disk]`: purges are written down there, and hold for what is in the \
                    reserve after a restart";
        let message = "`[cache.reserve]` needs `[cache.disk]`";
        let place = section.place_of("reserve");
        section.reader.fault(place, message, Some(help.to_owned()));
    }
    cache.debug_token = section
        .string("debug_token")
        .and_then(|text| read_secret(&section, "debug_token", text));
    section.finish();
    cache
}

fn read_geo(section: Section<'_>) -> Geo {
    let path = |key| section.string(key).map(|path| PathBuf::from(path.value));
    let geo = Geo {
        country_database: path("country_database"),
        asn_database: path("asn_database"),
    };
    section.finish();
    geo
}

fn read_log(section: Section<'_>) -> Log {
    let mut log = Log::default();
    put(&mut log.access, section.boolean("access"));
    put(&mut log.security_events, section.boolean("security_events"));
    section.finish();
    log
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

/// Reads a preset, and all its faults.
pub(super) fn read_preset(source: &str, name: &str) -> (PresetRules, Vec<Diagnostic>) {
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
        name,
        lists: &Lists::default(),
        pools: &[],
        tokens: &Tokens::default(),
        secret: None,
    };
    let preset = PresetRules {
        session_cookies: cookies.into_iter().map(|cookie| cookie.value).collect(),
        phases: read_phases(&root, from),
        tests: read_tests(&root, from),
    };
    root.finish();
    let mut faults: Vec<_> = syntax.iter().map(syntax_fault).collect();
    faults.extend(reader.finish());
    (preset, faults)
}
