//! Fields that end at this connection (RFC 9110 §7.6.1) or never enter the store (RFC 9111 §3.1).
//!
//! Strip first, then add our own: what a client nominated in Connection cannot reach the fields
//! that the proxy sets afterwards (`X-Forwarded-For` and its kin, a WebSocket's Upgrade).

use http::{
    HeaderMap, HeaderName,
    header::{
        AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_RANGE, CONTENT_TYPE, COOKIE, DATE, ETAG, EXPIRES, HOST, LAST_MODIFIED, LOCATION,
        PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE, VARY,
    },
};

use super::{cache_control, cdn_loop::CDN_LOOP, syntax};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");

/// Removes what concerns one connection only, from a request or a response about to be forwarded:
/// the fixed hop-by-hop fields and those that Connection nominates.
///
/// Fields that frame the message, name its target, identify its sender or govern caching stay
/// even when nominated: a sender must not nominate them (RFC 9110 §7.6.1), and obeying would make
/// the origin see another request than the one that was decided about.
pub fn strip_for_forwarding(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Removes what must not be stored with a response: everything hop-by-hop, what belongs to this
/// proxy's own authentication (RFC 9111 §3.1), cookies, which belong to one client, and what
/// `no-cache="…"` names (§5.2.2.4).
pub fn strip_for_storing(headers: &mut HeaderMap) {
    strip_for_forwarding(headers);
    for name in cache_control::no_cache_fields(headers) {
        headers.remove(name);
    }
    for name in [
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        PROXY_AUTHENTICATION_INFO,
        SET_COOKIE,
        SET_COOKIE2,
    ] {
        headers.remove(name);
    }
}

/// The options of Connection that steer the connection itself: `close`, `keep-alive`, `upgrade`.
pub fn connection_options(headers: &HeaderMap) -> Vec<&'static str> {
    let given: Vec<&[u8]> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| syntax::members(line.as_bytes()))
        .collect();
    ["close", "keep-alive", "upgrade"]
        .into_iter()
        .filter(|known| {
            given
                .iter()
                .any(|given| given.eq_ignore_ascii_case(known.as_bytes()))
        })
        .collect()
}

/// The fields that Connection nominates, without those that stay even then.
pub fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| syntax::members(line.as_bytes()))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !is_essential(name))
        .collect()
}

/// Fields that frame a message, name its target, identify its sender or govern caching.
pub(super) fn is_essential(name: &HeaderName) -> bool {
    [
        AGE,
        AUTHORIZATION,
        CACHE_CONTROL,
        // RFC 8586 §2: nobody may have it taken out.
        CDN_LOOP,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        COOKIE,
        DATE,
        ETAG,
        EXPIRES,
        HOST,
        LAST_MODIFIED,
        LOCATION,
        SET_COOKIE,
        VARY,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    const EVERYTHING: &[(&str, &str)] = &[
        ("connection", "X-Real-IP , close"),
        ("connection", "x-user"),
        ("x-real-ip", "1.2.3.4"),
        ("x-user", "a"),
        ("x-user", "b"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authorization", "Basic x"),
        ("proxy-authentication-info", "x"),
        ("set-cookie", "a=b"),
        ("set-cookie2", "a=b"),
        ("etag", "\"a\""),
    ];

    #[test]
    fn rfc9110_7_6_1_forwarding_keeps_only_end_to_end_fields() {
        let mut headers = map(EVERYTHING);
        strip_for_forwarding(&mut headers);
        let expected = map(&[
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic x"),
            ("proxy-authentication-info", "x"),
            ("set-cookie", "a=b"),
            ("set-cookie2", "a=b"),
            ("etag", "\"a\""),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn rfc9111_3_1_storing_drops_proxy_authentication_and_cookies_too() {
        let mut headers = map(EVERYTHING);
        strip_for_storing(&mut headers);
        assert_eq!(headers, map(&[("etag", "\"a\"")]));
    }

    #[test]
    fn rfc9111_5_2_2_4_storing_drops_what_a_qualified_no_cache_names() {
        let kept = [
            ("cache-control", "max-age=5, no-cache=\"x-user, x-cart\""),
            ("cdn-cache-control", "no-cache=x-cdn"),
            ("x", "1"),
        ];
        let mut headers = map(&kept);
        for name in ["x-user", "x-cart", "x-cdn"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        strip_for_storing(&mut headers);
        assert_eq!(headers, map(&kept));
        let essential = [("cache-control", "no-cache=\"etag\""), ("etag", "\"a\"")];
        let mut headers = map(&essential);
        strip_for_storing(&mut headers);
        assert_eq!(headers, map(&essential));
    }

    #[test]
    fn nominating_an_essential_field_does_not_remove_it() {
        let fields = [
            ("host", "example.org"),
            ("content-length", "3"),
            ("authorization", "Basic x"),
            ("cookie", "a=b"),
            ("cache-control", "private"),
            ("vary", "cookie"),
        ];
        let mut headers = map(&fields);
        let nominate = "Host, Content-Length, Authorization, Cookie, Cache-Control, Vary";
        headers.insert(CONNECTION, HeaderValue::from_static(nominate));
        strip_for_forwarding(&mut headers);
        assert_eq!(headers, map(&fields));
    }

    #[test]
    fn nominated_fields_added_afterwards_survive() {
        let mut headers = map(&[
            ("connection", "X-Forwarded-For"),
            ("x-forwarded-for", "evil"),
        ]);
        strip_for_forwarding(&mut headers);
        headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        assert_eq!(headers, map(&[("x-forwarded-for", "192.0.2.1")]));
    }

    proptest! {
        #[test]
        fn stripping_is_total_and_idempotent(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = map(&[("host", "a")]);
                headers.insert(CONNECTION, value);
                strip_for_storing(&mut headers);
                prop_assert_eq!(headers, map(&[("host", "a")]));
            }
        }
    }
}
