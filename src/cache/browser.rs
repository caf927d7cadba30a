//! What the client's own cache is told.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AGE, CACHE_CONTROL, EXPIRES, PRAGMA, SET_COOKIE},
};

use super::control::is_restricted_anywhere;
use super::settings::BrowserTtl;

/// How the response's age is shown to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAge {
    /// Send Age and the origin's Date: the client's lifetime began at the origin.
    Continue,
    /// Send a Date of now, and an Age of 0 with what comes from the store (RFC 9111 §5.1): the
    /// lifetime given here begins now. Otherwise an object that is older at the edge than the
    /// browser TTL would never be fresh in any browser.
    Restart,
}

/// Rewrites the fields that govern the client's cache. `headers` are those about to be sent.
///
/// An override applies to successful responses, 304, 301 and 308 only, so that no error or
/// temporary redirect becomes long-lived or immutable; and never to a response that is
/// `no-store`, `private` or sets a cookie, which it would make public. A bypass applies to every
/// response. Rewriting removes Expires and Pragma, which would contradict it. An Age among
/// `headers` becomes 0 where the lifetime restarts; one is not added, as what the origin has just
/// sent has none.
pub fn apply_browser_ttl(
    headers: &mut HeaderMap,
    ttl: BrowserTtl,
    status: StatusCode,
) -> ClientAge {
    match ttl {
        BrowserTtl::Bypass => {
            replace_cache_control(headers, HeaderValue::from_static("no-store"));
            ClientAge::Continue
        }
        BrowserTtl::Override { ttl, immutable } if may_override(headers, status) => {
            replace_cache_control(headers, public_for(ttl, immutable));
            if headers.contains_key(AGE) {
                headers.insert(AGE, HeaderValue::from_static("0"));
            }
            ClientAge::Restart
        }
        BrowserTtl::Override { .. } | BrowserTtl::RespectOrigin => ClientAge::Continue,
    }
}

fn may_override(headers: &HeaderMap, status: StatusCode) -> bool {
    (status.is_success() || matches!(status.as_u16(), 301 | 304 | 308))
        && !is_restricted_anywhere(headers)
        && !headers.contains_key(SET_COOKIE)
}

fn replace_cache_control(headers: &mut HeaderMap, value: HeaderValue) {
    headers.remove(EXPIRES);
    headers.remove(PRAGMA);
    headers.insert(CACHE_CONTROL, value);
}

fn public_for(ttl: Duration, immutable: bool) -> HeaderValue {
    let immutable = if immutable { ", immutable" } else { "" };
    let text = format!("public, max-age={}{immutable}", ttl.as_secs());
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("no-cache"))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{map, seconds};
    use super::*;

    const YEAR: BrowserTtl = BrowserTtl::Override {
        ttl: Duration::from_hours(24 * 365),
        immutable: true,
    };

    fn apply(
        ttl: BrowserTtl,
        status: u16,
        fields: &[(&'static str, &str)],
    ) -> (HeaderMap, ClientAge) {
        let mut headers = map(fields);
        let age = apply_browser_ttl(&mut headers, ttl, StatusCode::from_u16(status).unwrap());
        (headers, age)
    }

    #[test]
    fn an_override_replaces_what_the_origin_said() {
        let origin = [
            ("cache-control", "max-age=1"),
            ("cache-control", "no-cache"),
            ("expires", "0"),
            ("pragma", "no-cache"),
            ("age", "5"),
        ];
        for status in [200, 203, 206, 301, 304, 308] {
            let (headers, age) = apply(YEAR, status, &origin);
            let expected = map(&[
                ("cache-control", "public, max-age=31536000, immutable"),
                ("age", "0"),
            ]);
            assert_eq!(headers, expected, "{status}");
            assert_eq!(age, ClientAge::Restart);
        }
        let minute = BrowserTtl::Override {
            ttl: seconds(60),
            immutable: false,
        };
        let (headers, _) = apply(minute, 200, &[]);
        assert_eq!(headers, map(&[("cache-control", "public, max-age=60")]));
    }

    #[test]
    fn an_error_never_becomes_immutable() {
        let origin = [("cache-control", "max-age=5"), ("expires", "0")];
        for status in [302, 303, 307, 400, 404, 410, 500, 503] {
            let (headers, age) = apply(YEAR, status, &origin);
            assert_eq!((headers, age), (map(&origin), ClientAge::Continue));
        }
    }

    #[test]
    fn an_override_never_publishes_what_is_private() {
        for field in [
            ("cache-control", "private, max-age=5"),
            ("cache-control", "no-store"),
            ("cdn-cache-control", "private"),
            ("set-cookie", "a=b"),
        ] {
            assert_eq!(apply(YEAR, 200, &[field]).0, map(&[field]));
        }
    }

    #[test]
    fn a_bypass_forbids_the_client_to_store() {
        let origin = [("cache-control", "public, max-age=9"), ("expires", "0")];
        for status in [200, 404, 500] {
            let (headers, _) = apply(BrowserTtl::Bypass, status, &origin);
            assert_eq!(headers, map(&[("cache-control", "no-store")]));
        }
    }

    #[test]
    fn respecting_the_origin_changes_nothing() {
        let origin = [
            ("cache-control", "max-age=9"),
            ("expires", "0"),
            ("age", "5"),
        ];
        let (headers, age) = apply(BrowserTtl::RespectOrigin, 200, &origin);
        assert_eq!((headers, age), (map(&origin), ClientAge::Continue));
    }
}
