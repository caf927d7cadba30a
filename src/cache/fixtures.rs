//! Requests, settings and header maps for the tests of this room.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, Version};

use super::settings::{CacheSettings, EdgeTtl, EdgeTtlMode, RuleId, Setting, StatusTtl, TtlValue};
use crate::request::{RequestView, Scheme};

pub(crate) fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// 6 Nov 1994 08:49:37 GMT, give or take `offset` seconds.
pub(crate) fn at(offset: i64) -> SystemTime {
    UNIX_EPOCH + seconds(784_111_777_u64.saturating_add_signed(offset))
}

pub(crate) fn http_date(offset: i64) -> String {
    httpdate::fmt_http_date(at(offset))
}

pub(crate) fn get<'a>(path: &'a str, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        method: &Method::GET,
        scheme: Scheme::Https,
        host: "example.org",
        path,
        query: None,
        version: Version::HTTP_11,
        headers,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        session_cookie: false,
        has_body: false,
        facts: crate::request::Facts::default(),
    }
}

pub(crate) fn by_rule<T>(value: T) -> Setting<T> {
    Setting {
        value,
        rule: Some(RuleId(7)),
    }
}

pub(crate) fn settings() -> CacheSettings {
    CacheSettings {
        max_object_size: Setting::default_value(1000),
        ..CacheSettings::default()
    }
}

pub(crate) fn with_ttl(
    mode: EdgeTtlMode,
    default: Option<u64>,
    status: &[(u16, u16, TtlValue)],
) -> CacheSettings {
    CacheSettings {
        edge_ttl: by_rule(Arc::new(ttl(mode, default, status))),
        ..settings()
    }
}

fn ttl(mode: EdgeTtlMode, default: Option<u64>, status: &[(u16, u16, TtlValue)]) -> EdgeTtl {
    EdgeTtl {
        mode,
        default: default.map(seconds),
        status: status
            .iter()
            .map(|&(from, to, ttl)| StatusTtl { from, to, ttl })
            .collect(),
        heuristic: None,
    }
}
