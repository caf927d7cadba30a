//! `[pools.NAME.health_check]` and `[pools.NAME.outliers]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;

use super::file::{SHORTEST, put, put_number};
use super::reader::Section;

/// When answers take a replica out of service for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outliers {
    /// What counts as a failure.
    pub counts: Counted,
    /// Failures in a row.
    pub consecutive: u32,
    /// Percentage of failures within the window.
    pub failure_ratio: u32,
    /// Requests within the window before a ratio, or a mean time, says anything.
    pub min_requests: u32,
    /// The window.
    pub window: Duration,
    /// How many times the median of the others its mean time may be.
    pub latency_factor: Option<u32>,
    /// How long the first ejection takes; later ones take as much longer each.
    pub ejection: Duration,
    /// The longest.
    pub max_ejection: Duration,
    /// Most replicas of the pool out at once, in percent.
    pub max_ejected: u32,
}

/// What counts as a failure of a replica.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// No connection.
    pub connect: bool,
    /// No answer in time.
    pub timeout: bool,
    /// A connection that ended before the answer.
    pub closed: bool,
    /// 502, 503 and 504.
    pub gateway: bool,
    /// Every 5xx.
    pub server_error: bool,
}

impl Default for Outliers {
    fn default() -> Self {
        Self {
            counts: Counted {
                connect: true,
                timeout: true,
                closed: true,
                gateway: true,
                server_error: false,
            },
            consecutive: 5,
            failure_ratio: 50,
            min_requests: 20,
            window: Duration::from_secs(10),
            latency_factor: None,
            ejection: Duration::from_secs(10),
            max_ejection: Duration::from_mins(5),
            max_ejected: 50,
        }
    }
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is done.
    pub kind: CheckKind,
    /// Path asked with GET.
    pub path: String,
    /// Host sent; by default the server's own name.
    pub host: Option<String>,
    /// Time between two checks of a replica.
    pub interval: Duration,
    /// Deadline of one check.
    pub timeout: Duration,
    /// Successes in a row that bring a replica back.
    pub rise: u32,
    /// Failures in a row that take a replica out.
    pub fall: u32,
    /// The statuses expected.
    pub expected_codes: Vec<RangeInclusive<u16>>,
    /// What the beginning of the body must contain.
    pub expected_body: Option<String>,
    /// Fields that the response must have.
    pub expected_headers: Vec<(HeaderName, String)>,
}

/// What a health check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// It sends a request and looks at the answer.
    Http,
    /// It opens a connection.
    Tcp,
}

/// `None` when they are switched off.
pub(super) fn read_outliers(section: Section<'_>) -> Option<Outliers> {
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

pub(super) fn read_health_check(section: Section<'_>) -> HealthCheck {
    let path = section.parsed("path", "a path", |path| {
        let legal = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
        legal
            .then(|| path.to_owned())
            .ok_or_else(|| "must be a path that begins with `/`".to_owned())
    });
    let kinds = [("http", CheckKind::Http), ("tcp", CheckKind::Tcp)];
    let kind = section.word("type", &kinds);
    let mut check = HealthCheck {
        kind: kind.map_or(CheckKind::Http, |kind| kind.value),
        path: path.map_or_else(|| "/".to_owned(), |path| path.value),
        host: section.string("host").map(|host| host.value),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
        expected_codes: vec![200..=299],
        expected_body: section.string("expected_body").map(|text| text.value),
        expected_headers: read_expected_headers(&section),
    };
    put(
        &mut check.interval,
        section.duration_of("interval", Duration::from_millis(100)),
    );
    put(&mut check.timeout, section.duration_of("timeout", SHORTEST));
    put_number(&mut check.rise, section.integer("rise", 1..=100));
    put_number(&mut check.fall, section.integer("fall", 1..=100));
    if let Some(status) = section.integer("status", 200..=599) {
        let status = u16::try_from(status.value).unwrap_or_default();
        check.expected_codes = vec![status..=status];
    }
    if let Some(codes) = section.strings("expected_codes") {
        let ranges = codes.into_iter().filter_map(|code| {
            let range = parse_codes(&code.value);
            if range.is_none() {
                let message = format!("\"{}\" is no status", code.value);
                let help = "write for example \"204\", \"200-299\" or \"2xx\"".to_owned();
                section.reader.fault(code.span, message, Some(help));
            }
            range
        });
        if !section.has("status") {
            check.expected_codes.clear();
        }
        check.expected_codes.extend(ranges);
    }
    if check.kind == CheckKind::Tcp {
        let of_http = [
            "path",
            "host",
            "status",
            "expected_codes",
            "expected_body",
            "expected_headers",
        ];
        for key in of_http {
            if section.has(key) {
                let message = format!("`{key}` is for checks of the type \"http\"");
                section.reader.fault(section.place_of(key), message, None);
            }
        }
    }
    section.finish();
    check
}

/// `204`, `200-299` or `2xx`.
fn parse_codes(text: &str) -> Option<RangeInclusive<u16>> {
    let range = if let Some(class) = text.strip_suffix("xx") {
        let first = class.parse::<u16>().ok().filter(|class| *class < 6)? * 100;
        first..=first + 99
    } else if let Some((first, last)) = text.split_once('-') {
        first.trim().parse().ok()?..=last.trim().parse().ok()?
    } else {
        let code = text.parse().ok()?;
        code..=code
    };
    (*range.start() >= 200 && *range.end() <= 599 && range.start() <= range.end()).then_some(range)
}

fn read_expected_headers(section: &Section<'_>) -> Vec<(HeaderName, String)> {
    let Some(table) = section.section("expected_headers") else {
        return Vec::new();
    };
    let entries = table.string_entries().into_iter();
    let read = entries.filter_map(|(name, text)| {
        let parsed = HeaderName::try_from(&name.value).ok();
        if parsed.is_none() {
            let message = format!("\"{}\" is not a field name", name.value);
            table.reader.fault(name.span, message, None);
        }
        parsed.map(|name| (name, text.value))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_a_range_or_a_class() {
        assert_eq!(parse_codes("204"), Some(204..=204));
        assert_eq!(parse_codes("200-302"), Some(200..=302));
        assert_eq!(parse_codes("3xx"), Some(300..=399));
        for bad in ["", "xx", "1xx", "6xx", "99", "600", "300-200", "a-b", "2x"] {
            assert_eq!(parse_codes(bad), None, "{bad}");
        }
    }
}
