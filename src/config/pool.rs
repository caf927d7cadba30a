//! `[pools.NAME]`: origin servers, health checks, deadlines, retries.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::affinity::{read_affinity, read_balance};
use super::bucket::{needs, read_bucket};
use super::file::{SHORTEST, put, put_number};
use super::health::{read_health_check, read_outliers};
use super::overload::{read_adaptive, read_breaker, read_queue};
use super::reader::Section;
use super::rule::RuleFile;
use super::servers::read_servers;
use super::{
    Balance, Http2, OriginTimeouts, OriginTls, Outliers, Pool, QueueSettings, Retries, TlsFiles,
};

/// Reads one pool of a node at `locality`.
pub(super) fn read_pool(
    name: String,
    section: Section<'_>,
    locality: Option<&str>,
    from: RuleFile<'_>,
) -> Pool {
    let mut local_percent = 70;
    put_number(
        &mut local_percent,
        section.integer("locality_min_healthy", 0..=100),
    );
    let mut panic_threshold = 25;
    put_number(
        &mut panic_threshold,
        section.integer("panic_threshold", 0..=100),
    );
    let affinity = section.section("affinity");
    let affinity = affinity.and_then(|affinity| read_affinity(&name, affinity, from));
    let mut pool = Pool {
        host_header: read_host_header(&section),
        balance: read_balance(&section, from),
        locality: locality.map(str::to_owned),
        local_percent,
        affinity,
        slow_start: section.duration("slow_start").map(|over| over.value),
        panic_threshold,
        outliers: match section.section("outliers") {
            Some(outliers) => read_outliers(outliers),
            None => Some(Outliers::default()),
        },
        bucket: section.section("bucket").and_then(read_bucket),
        max_body_size: section.size("max_body_size").map(|size| size.value),
        ..read_peers(name, &section, OriginTimeouts::default(), true)
    };
    read_http2(&section, &mut pool);
    read_limits(&section, &mut pool);
    if let Some(bucket) = pool.bucket.as_ref().filter(|bucket| !bucket.path_style) {
        for server in &mut pool.servers {
            server.host = format!("{}.{}", bucket.name, server.host);
        }
    }
    section.finish();
    pool
}

/// Reads the keys that pools have in common with tiers, which get the client's host and are not chosen as
/// replicas are. `timeouts` are those where nothing is written; `upgrades` tells whether there are
/// connections that are upgraded.
pub(super) fn read_peers(
    name: String,
    section: &Section<'_>,
    timeouts: OriginTimeouts,
    upgrades: bool,
) -> Pool {
    let servers = read_servers(section);
    let mut resolve_interval = Duration::from_secs(10);
    // More often, resolving would be a load of its own.
    put(
        &mut resolve_interval,
        section.duration_of("resolve_interval", Duration::from_secs(1)),
    );
    let mut max_requests = 1000;
    put_number(
        &mut max_requests,
        section.integer("max_requests", 1..=100_000),
    );
    Pool {
        servers,
        servers_file: section
            .string("servers_file")
            .map(|path| PathBuf::from(path.value)),
        resolver: section
            .parsed("resolver", "an address with its port", |text| {
                let address = text.parse::<SocketAddr>();
                address.map_err(|_| "is no address with its port, such as 127.0.0.1:53".to_owned())
            })
            .map(|address| address.value),
        balance: Balance::RoundRobin,
        locality: None,
        local_percent: 0,
        affinity: None,
        slow_start: None,
        panic_threshold: 0,
        outliers: None,
        max_requests,
        max_requests_per_replica: None,
        queue: QueueSettings::default(),
        breaker: None,
        adaptive_concurrency: None,
        health_check: section.section("health_check").map(read_health_check),
        host_header: None,
        timeouts: match section.section("timeouts") {
            Some(section) => read_timeouts(section, timeouts, upgrades),
            None => timeouts,
        },
        retries: section
            .section("retries")
            .map(read_retries)
            .unwrap_or_default(),
        tls: section.section("tls").map(read_tls).unwrap_or_default(),
        resolve_interval,
        http2: Http2::Off,
        http2_max_streams: 100,
        max_body_size: None,
        bucket: None,
        name,
    }
}

/// What the pool does when it has too much to do.
fn read_limits(section: &Section<'_>, pool: &mut Pool) {
    pool.max_requests_per_replica = section
        .integer("max_requests_per_replica", 1..=100_000)
        .and_then(|most| usize::try_from(most.value).ok());
    let (queue, timeout) = read_queue(section);
    pool.queue = queue;
    pool.timeouts.queue = timeout.unwrap_or(pool.timeouts.queue);
    pool.breaker = read_breaker(section);
    pool.adaptive_concurrency = read_adaptive(section, pool.max_requests);
}

fn read_http2(section: &Section<'_>, pool: &mut Pool) {
    let words = [
        ("off", Http2::Off),
        ("negotiate", Http2::Negotiate),
        ("prior_knowledge", Http2::PriorKnowledge),
    ];
    let http2 = section.word("http2", &words);
    if let Some(http2) = &http2
        && http2.value == Http2::Negotiate
        && !pool.servers.is_empty()
        && !pool.servers.iter().any(|server| server.https)
    {
        let message = "`http2 = \"negotiate\"` needs a server with https";
        let help = "without TLS nothing is negotiated; write \"prior_knowledge\" for servers that \
                    speak nothing else";
        section
            .reader
            .fault(http2.span.clone(), message, Some(help.to_owned()));
    }
    put(&mut pool.http2, http2);
    let streams = section.integer("http2_max_streams", 1..=1000);
    put_number(&mut pool.http2_max_streams, streams);
}

pub(super) fn read_host_header(section: &Section<'_>) -> Option<String> {
    let written = section.string("host_header")?;
    if written.value == "pass" {
        return None;
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    if written.value.is_empty() || !written.value.bytes().all(legal) {
        let message = format!("`host_header = \"{}\"` is not a host", written.value);
        let help = "\"pass\" sends the client's host; a name is sent as it is".to_owned();
        section.reader.fault(written.span, message, Some(help));
        return None;
    }
    Some(written.value)
}

fn read_timeouts(
    section: Section<'_>,
    mut timeouts: OriginTimeouts,
    upgrades: bool,
) -> OriginTimeouts {
    put(
        &mut timeouts.queue,
        section.duration_of("queue_timeout", SHORTEST),
    );
    put(
        &mut timeouts.connect,
        section.duration_of("connect", SHORTEST),
    );
    let first_byte = section.duration_of("first_byte", SHORTEST);
    let between_bytes = section.duration_of("between_bytes", SHORTEST);
    put(&mut timeouts.first_byte, first_byte);
    timeouts.between_bytes = timeouts.between_bytes.max(timeouts.first_byte);
    if let Some(pause) = between_bytes {
        if pause.value < timeouts.first_byte {
            section.reader.fault(
                pause.span,
                "`between_bytes` must be at least `first_byte`",
                Some(
                    "one timer watches the reads; the shorter `first_byte` sits within it"
                        .to_owned(),
                ),
            );
        }
        timeouts.between_bytes = pause.value;
    }
    put(&mut timeouts.total, section.duration_of("total", SHORTEST));
    if upgrades {
        put(
            &mut timeouts.upgraded_idle,
            section.duration_of("upgraded_idle", SHORTEST),
        );
    }
    put(&mut timeouts.idle, section.duration("idle"));
    section.finish();
    timeouts
}

fn read_retries(section: Section<'_>) -> Retries {
    let mut retries = Retries::default();
    put_number(&mut retries.max, section.integer("max", 0..=10));
    put_number(
        &mut retries.budget_percent,
        section.integer("budget_percent", 0..=100),
    );
    put(&mut retries.on_timeout, section.boolean("on_timeout"));
    section.finish();
    retries
}

fn read_tls(section: Section<'_>) -> OriginTls {
    let mut tls = OriginTls::default();
    put(&mut tls.verify, section.boolean("verify"));
    tls.server_name = section.string("server_name").map(|name| name.value);
    tls.ca = section.string("ca").map(|path| PathBuf::from(path.value));
    tls.client = read_client_certificate(&section);
    section.finish();
    tls
}

fn read_client_certificate(section: &Section<'_>) -> Option<TlsFiles> {
    let certificate = section.string("client_certificate");
    let key = section.string("client_key");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate: PathBuf::from(certificate.value),
            key: PathBuf::from(key.value),
        }),
        (None, None) => None,
        (Some(_), None) => needs(section, "client_certificate", "client_key"),
        (None, Some(_)) => needs(section, "client_key", "client_certificate"),
    }
}
