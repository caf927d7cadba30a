//! `[pools.NAME]`: origin servers, health checks, deadlines, retries.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::file::{SHORTEST, put, put_number};
use super::reader::{Located, Section, StringOrSection};
use super::rule::{RuleFile, read_value_expression};
use super::{
    Affinity, AffinityBy, Balance, Counted, Failover, HealthCheck, OriginServer, OriginTimeouts,
    OriginTls, Outliers, Pool, Retries,
};

/// Reads one pool of a node at `locality`.
pub(super) fn read_pool(
    name: String,
    section: Section<'_>,
    locality: Option<&str>,
    from: RuleFile<'_>,
) -> Pool {
    let servers = read_servers(&name, &section);
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
    let pool = Pool {
        servers,
        balance: read_balance(&section, from),
        locality: locality.map(str::to_owned),
        local_percent,
        affinity: section
            .section("affinity")
            .and_then(|affinity| read_affinity(&name, affinity, from)),
        slow_start: section.duration("slow_start").map(|over| over.value),
        panic_threshold,
        outliers: match section.section("outliers") {
            Some(outliers) => read_outliers(outliers),
            None => Some(Outliers::default()),
        },
        max_requests,
        health_check: section.section("health_check").map(read_health_check),
        host_header: read_host_header(&section),
        timeouts: section
            .section("timeouts")
            .map(read_timeouts)
            .unwrap_or_default(),
        retries: section
            .section("retries")
            .map(read_retries)
            .unwrap_or_default(),
        tls: section.section("tls").map(read_tls).unwrap_or_default(),
        resolve_interval,
        name,
    };
    section.finish();
    pool
}

const METHODS: &[(&str, Balance)] = &[
    ("least_outstanding", Balance::LeastOutstanding),
    ("round_robin", Balance::RoundRobin),
    ("random", Balance::Random),
    (
        "hash",
        Balance::Hash {
            by: None,
            bound: None,
        },
    ),
];

fn read_balance(section: &Section<'_>, from: RuleFile<'_>) -> Balance {
    let names: Vec<(&str, usize)> = METHODS
        .iter()
        .enumerate()
        .map(|(index, (name, _))| (*name, index))
        .collect();
    let written = section.word("balance", &names);
    let method = written
        .and_then(|index| METHODS.get(index.value))
        .map_or(Balance::LeastOutstanding, |(_, method)| method.clone());
    if !matches!(method, Balance::Hash { .. }) {
        for key in ["hash_by", "hash_bound"] {
            if section.has(key) {
                let message = format!("`{key}` needs `balance = \"hash\"`");
                section.reader.fault(section.place_of(key), message, None);
            }
        }
        let _ = (
            section.string("hash_by"),
            section.integer("hash_bound", 101..=1000),
        );
        return method;
    }
    let bound = section.integer("hash_bound", 101..=1000);
    Balance::Hash {
        by: section
            .required_string("hash_by", "'http.request.uri.path'")
            .and_then(|text| read_value_expression(section, &text, from)),
        bound: bound.and_then(|bound| u32::try_from(bound.value).ok()),
    }
}

fn read_servers(name: &str, section: &Section<'_>) -> Vec<OriginServer> {
    let items = section.strings_or_sections("servers").unwrap_or_default();
    if items.is_empty() {
        let message = format!("[pools.{name}] has no `servers`");
        let help = "write `servers = [\"http://127.0.0.1:8000\"]`".to_owned();
        section
            .reader
            .fault(section.span.clone(), message, Some(help));
    }
    items
        .into_iter()
        .filter_map(|item| match item {
            StringOrSection::String(url) => read_url(section, url),
            StringOrSection::Section(server) => {
                let url = server.required_string("url", "\"http://127.0.0.1:8000\"");
                let mut weight = 1;
                put_number(&mut weight, server.integer("weight", 1..=256));
                let mut priority = 0;
                put_number(&mut priority, server.integer("priority", 0..=9));
                let locality = server.string("locality").map(|place| place.value);
                let read = url.and_then(|url| read_url(&server, url));
                server.finish();
                read.map(|read| OriginServer {
                    weight,
                    priority,
                    locality,
                    ..read
                })
            }
        })
        .collect()
}

fn read_url(section: &Section<'_>, url: Located<String>) -> Option<OriginServer> {
    match parse_url(&url.value) {
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

fn parse_url(text: &str) -> Result<OriginServer, &'static str> {
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
        weight: 1,
        priority: 0,
        locality: None,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SessionBy {
    Cookie,
    Header,
}

fn read_affinity(pool: &str, section: Section<'_>, from: RuleFile<'_>) -> Option<Affinity> {
    section.required("by", "\"cookie\"");
    let words = [("cookie", SessionBy::Cookie), ("header", SessionBy::Header)];
    let by = section.word("by", &words).map(|by| by.value);
    let words = [
        ("none", Failover::None),
        ("temporary", Failover::Temporary),
        ("sticky", Failover::Sticky),
    ];
    let written = section.word("failover", &words);
    let name = section.string("name");
    let ttl = section.duration_of("ttl", Duration::from_secs(1));
    let fault = |message: &str, help: Option<&str>| {
        let help = help.map(str::to_owned);
        section.reader.fault(section.span.clone(), message, help);
    };
    let by = match by? {
        SessionBy::Cookie => {
            let name = name.map_or_else(|| format!("seawall_affinity_{pool}"), |name| name.value);
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            if name.is_empty() || !name.bytes().all(legal) {
                let help = "give it a `name` of letters, digits, `_`, `-` and `.`";
                fault(
                    &format!("\"{name}\" cannot be the name of a cookie"),
                    Some(help),
                );
            }
            let help = "write `secret = \"${SEAWALL_SECRET}\"` at the top of the file: it signs the \
                        cookies that keep a session's replica";
            if from.secret.is_none() {
                fault("affinity by cookie needs a `secret`", Some(help));
            }
            from.secret.map(|secret| AffinityBy::Cookie {
                name,
                ttl: ttl.map_or(Duration::from_hours(1), |ttl| ttl.value),
                secret: secret.clone(),
            })
        }
        SessionBy::Header => {
            if ttl.is_some() {
                fault("`ttl` is for affinity by cookie", None);
            }
            if written
                .as_ref()
                .is_some_and(|word| word.value == Failover::Sticky)
            {
                let help = "a field says the same before and after a move; use \"temporary\"";
                fault(
                    "`failover = \"sticky\"` is for affinity by cookie",
                    Some(help),
                );
            }
            if name.is_none() {
                fault("affinity by header needs the `name` of the field", None);
            }
            name.and_then(|name| {
                let parsed = HeaderName::try_from(&name.value).ok();
                if parsed.is_none() {
                    fault(&format!("\"{}\" is not a field name", name.value), None);
                }
                parsed.map(AffinityBy::Header)
            })
        }
    };
    section.finish();
    Some(Affinity {
        by: by?,
        failover: written.map_or(Failover::Temporary, |word| word.value),
    })
}

/// `None` when they are switched off.
fn read_outliers(section: Section<'_>) -> Option<Outliers> {
    let mut limits = Outliers::default();
    let mut enabled = true;
    put(&mut enabled, section.boolean("enabled"));
    if let Some(words) = section.strings("counts") {
        limits.counts = Counted::default();
        for word in words {
            match &*word.value {
                "connect" => limits.counts.connect = true,
                "timeout" => limits.counts.timeout = true,
                "closed" => limits.counts.closed = true,
                "gateway" => limits.counts.gateway = true,
                "5xx" => limits.counts.server_error = true,
                _ => {
                    let known = ["connect", "timeout", "closed", "gateway", "5xx"];
                    section.unknown_word("counts", &word, known.into_iter());
                }
            }
        }
    }
    for (number, key, most) in [
        (&mut limits.consecutive, "consecutive", 10_000),
        (&mut limits.failure_ratio, "failure_ratio", 100),
        (&mut limits.min_requests, "min_requests", 1_000_000),
    ] {
        put_number(number, section.integer(key, 1..=most));
    }
    put_number(
        &mut limits.max_ejected,
        section.integer("max_ejected", 0..=100),
    );
    let factor = section.integer("latency_factor", 2..=1000);
    limits.latency_factor = factor.and_then(|factor| u32::try_from(factor.value).ok());
    for (time, key) in [
        (&mut limits.window, "window"),
        (&mut limits.ejection, "ejection"),
        (&mut limits.max_ejection, "max_ejection"),
    ] {
        put(time, section.duration_of(key, Duration::from_millis(100)));
    }
    section.finish();
    enabled.then_some(limits)
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

fn read_timeouts(section: Section<'_>) -> OriginTimeouts {
    let mut timeouts = OriginTimeouts::default();
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
    put(
        &mut timeouts.upgraded_idle,
        section.duration_of("upgraded_idle", SHORTEST),
    );
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
    section.finish();
    tls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls_are_scheme_host_and_port() {
        let server = |text| parse_url(text).map(|s| (s.https, s.host, s.port));
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
