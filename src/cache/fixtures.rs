//! Requests, settings and header maps for the tests of this room.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, Version};

use super::settings::{
    BrowserTtl, CacheSettings, CredentialPolicy, EdgeTtl, EdgeTtlMode, Eligibility,
    RequestCacheControl, RuleId, Setting, StaleWindows, StatusTtl, TtlValue,
};
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
        eligibility: Setting::default_value(Eligibility::Eligible),
        authorization: Setting::default_value(CredentialPolicy::Bypass),
        session_cookie: Setting::default_value(CredentialPolicy::Bypass),
        edge_ttl: Setting::default_value(Arc::new(ttl(EdgeTtlMode::RespectOrigin, None, &[]))),
        browser_ttl: Setting::default_value(BrowserTtl::RespectOrigin),
        serve_stale: Setting::default_value(StaleWindows::default()),
        strip_set_cookie: Setting::default_value(false),
        store_set_cookie: Setting::default_value(false),
        max_object_size: Setting::default_value(1000),
        request_cache_control: Setting::default_value(RequestCacheControl::Ignore),
        cache_client_errors: Setting::default_value(false),
        cache_post: Setting::default_value(false),
        key: Setting::default_value(Arc::default()),
        vary: Setting::default_value(Arc::default()),
        pass_cache_tags: Setting::default_value(false),
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
