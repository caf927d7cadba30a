//! `[pools.NAME]`: origin servers, health checks, deadlines, retries.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::bucket::{needs, read_bucket};
use super::file::{SHORTEST, put, put_number};
use super::reader::{Located, Section, StringOrSection};
use super::{HealthCheck, Http2, OriginServer, OriginTimeouts, OriginTls, Pool, Retries, TlsFiles};

/// Reads one pool.
pub(super) fn read_pool(name: String, section: Section<'_>) -> Pool {
    let mut pool = Pool {
        host_header: read_host_header(&section),
        bucket: section.section("bucket").and_then(read_bucket),
        max_body_size: section.size("max_body_size").map(|size| size.value),
        ..read_peers(name, &section, OriginTimeouts::default(), true)
    };
    read_http2(&section, &mut pool);
    if let Some(bucket) = pool.bucket.as_ref().filter(|bucket| !bucket.path_style) {
        for server in &mut pool.servers {
            server.host = format!("{}.{}", bucket.name, server.host);
        }
    }
    section.finish();
    pool
}

/// Reads the keys that pools have in common with tiers, which get the client's host. `timeouts` are those
/// where nothing is written; `upgrades` tells whether there are connections that are upgraded.
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
        max_requests,
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

fn read_servers(section: &Section<'_>) -> Vec<OriginServer> {
    let items = section.strings_or_sections("servers").unwrap_or_default();
    if items.is_empty() {
        let message = format!("[{}] has no `servers`", section.name());
        let help = "write `servers = [\"http://127.0.0.1:8000\"]`".to_owned();
        section
            .reader
            .fault(section.span.clone(), message, Some(help));
    }
    items
        .into_iter()
        .filter_map(|item| match item {
            StringOrSection::String(url) => read_url(section, url, 1),
            StringOrSection::Section(server) => {
                let url = server.required_string("url", "\"http://127.0.0.1:8000\"");
                let mut weight = 1;
                put_number(&mut weight, server.integer("weight", 1..=256));
                let read = url.and_then(|url| read_url(&server, url, weight));
                server.finish();
                read
            }
        })
        .collect()
}

fn read_url(section: &Section<'_>, url: Located<String>, weight: u16) -> Option<OriginServer> {
    match parse_url(&url.value, weight) {
        Ok(server) => Some(server),
        Err(why) => {
            // A password in the URL must not end up in a log.
            let shown = url
                .value
                .rsplit_once('@')
                .map_or(&*url.value, |(_, host)| host);
            let message = format!("the server \"{shown}\" {why}");
            let help = "write for example \"http://127.0.0.1:8000\" or \"https://app.internal\"";
            section
                .reader
                .fault(url.span, message, Some(help.to_owned()));
            None
        }
    }
}

pub(super) fn parse_url(text: &str, weight: u16) -> Result<OriginServer, &'static str> {
    let (https, rest) = match text.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(_) => return Err("must begin with http:// or https://"),
        None => return Err("needs its scheme, http:// or https://"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@', ' ']) {
        return Err("must be scheme, host and port alone");
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or("has a `[` without its `]`")?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| "has a malformed IPv6 address")?;
            (host, port.strip_prefix(':'))
        }
        None if rest.matches(':').count() > 1 => {
            return Err("has an IPv6 address without its brackets");
        }
        None => match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port {
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or("has a bad port")?,
        None if https => 443,
        None => 80,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    if host.is_empty() || !host.chars().all(legal) {
        return Err("has no valid host name");
    }
    Ok(OriginServer {
        https,
        host: host.to_ascii_lowercase(),
        port,
        weight,
    })
}

fn read_health_check(section: Section<'_>) -> HealthCheck {
    let path = section.parsed("path", "a path", |path| {
        let legal = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
        legal
            .then(|| path.to_owned())
            .ok_or_else(|| "must be a path that begins with `/`".to_owned())
    });
    let mut check = HealthCheck {
        path: path.map_or_else(|| "/".to_owned(), |path| path.value),
        host: section.string("host").map(|host| host.value),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
        status: None,
    };
    put(
        &mut check.interval,
        section.duration_of("interval", Duration::from_millis(100)),
    );
    put(&mut check.timeout, section.duration_of("timeout", SHORTEST));
    put_number(&mut check.rise, section.integer("rise", 1..=100));
    put_number(&mut check.fall, section.integer("fall", 1..=100));
    check.status = section
        .integer("status", 200..=599)
        .and_then(|status| u16::try_from(status.value).ok());
    section.finish();
    check
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls_are_scheme_host_and_port() {
        let server = |text| parse_url(text, 1).map(|s| (s.https, s.host, s.port));
        assert_eq!(
            server("http://127.0.0.1:8001"),
            Ok((false, "127.0.0.1".into(), 8001))
        );
        assert_eq!(
            server("https://App.internal/"),
            Ok((true, "app.internal".into(), 443))
        );
        assert_eq!(server("http://[::1]:81"), Ok((false, "::1".into(), 81)));
        assert_eq!(server("http://[::1]"), Ok((false, "::1".into(), 80)));
        for bad in [
            "127.0.0.1:80",
            "ftp://a",
            "http://a/b",
            "http://a:0",
            "http://a:x",
            "http://",
            "http://u@a",
            "http://::1",
            "http://::1:8001",
            "http://[::1",
            "http://a b",
        ] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }
}
