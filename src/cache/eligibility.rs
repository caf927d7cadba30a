//! Whether a request may use the cache at all, before anything is looked up.

use http::{
    Method,
    header::{AUTHORIZATION, UPGRADE},
};

use super::settings::{CacheSettings, CredentialPolicy, Eligibility, RuleId, Setting};
use crate::request::RequestView;

/// Whether to look the request up in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestDecision {
    /// Look it up; its response may be stored.
    Lookup,
    /// Forward it; the store is neither read nor written.
    Bypass(BypassReason),
}

/// Why a request bypasses the cache. The rule is the one that set the deciding policy; without
/// one it is the built-in default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BypassReason {
    /// Neither GET nor HEAD (RFC 9110 §9.2.3).
    Method,
    /// A rule says bypass.
    Rule(RuleId),
    /// No rule made it eligible, and by default it is not.
    NotEligible,
    /// The zone is in development mode.
    DevelopmentMode,
    /// It asks to leave HTTP for another protocol (RFC 9110 §7.8).
    Upgrade,
    /// It carries a body, which the key does not hold (RFC 9110 §9.3.1).
    Body,
    /// Its path has an encoded slash or backslash, or a `;`, which origins read differently.
    AmbiguousPath,
    /// It carries Authorization, which bypasses (RFC 9111 §3.5 is stricter than needed here).
    Authorization(Option<RuleId>),
    /// It carries a session cookie, which bypasses.
    SessionCookie(Option<RuleId>),
    /// It has a signature of its own for the bucket that it goes to.
    Presigned,
}

/// Every token that [`BypassReason::as_str`] gives.
pub const BYPASS_REASONS: &[&str] = &[
    "method",
    "rule",
    "not-eligible",
    "development-mode",
    "upgrade",
    "request-body",
    "ambiguous-path",
    "authorization",
    "session-cookie",
    "presigned",
];

impl BypassReason {
    /// The reason as a kebab-case token for Cache-Status, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Rule(_) => "rule",
            Self::NotEligible => "not-eligible",
            Self::DevelopmentMode => "development-mode",
            Self::Upgrade => "upgrade",
            Self::Body => "request-body",
            Self::AmbiguousPath => "ambiguous-path",
            Self::Authorization(_) => "authorization",
            Self::SessionCookie(_) => "session-cookie",
            Self::Presigned => "presigned",
        }
    }

    /// The rule that decided.
    pub const fn rule(self) -> Option<RuleId> {
        match self {
            Self::Rule(rule) => Some(rule),
            Self::Authorization(rule) | Self::SessionCookie(rule) => rule,
            Self::Method
            | Self::NotEligible
            | Self::DevelopmentMode
            | Self::Upgrade
            | Self::Body
            | Self::AmbiguousPath
            | Self::Presigned => None,
        }
    }
}

/// Decides eligibility. What no setting could change comes first, then what an operator wrote,
/// then the shape of the request, then its credentials.
pub fn eligibility(request: &RequestView<'_>, settings: &CacheSettings) -> RequestDecision {
    bypass_reason(request, settings).map_or(RequestDecision::Lookup, RequestDecision::Bypass)
}

/// Whether the answer to a POST may be stored for later GETs (RFC 9110 §9.3.3), as far as the
/// request goes: the settings allow it, and a GET like it could be looked up. The POST itself
/// always goes to the origin.
pub fn post_may_fill(request: &RequestView<'_>, settings: &CacheSettings) -> bool {
    let as_get = RequestView {
        method: &Method::GET,
        has_body: false,
        ..*request
    };
    *request.method == Method::POST
        && settings.cache_post.value
        && bypass_reason(&as_get, settings).is_none()
}

fn bypass_reason(request: &RequestView<'_>, settings: &CacheSettings) -> Option<BypassReason> {
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return Some(BypassReason::Method);
    }
    match settings.eligibility.value {
        Eligibility::Eligible => {}
        Eligibility::DevelopmentMode => return Some(BypassReason::DevelopmentMode),
        Eligibility::Bypass => {
            let by_rule = settings.eligibility.rule.map(BypassReason::Rule);
            return Some(by_rule.unwrap_or(BypassReason::NotEligible));
        }
    }
    if request.headers.contains_key(UPGRADE) {
        return Some(BypassReason::Upgrade);
    }
    if request.has_body {
        return Some(BypassReason::Body);
    }
    if is_ambiguous(request.path) {
        return Some(BypassReason::AmbiguousPath);
    }
    if request.headers.contains_key(AUTHORIZATION) && bypasses(settings.authorization) {
        return Some(BypassReason::Authorization(settings.authorization.rule));
    }
    if request.session_cookie && bypasses(settings.session_cookie) {
        return Some(BypassReason::SessionCookie(settings.session_cookie.rule));
    }
    None
}

/// Whether origins differ about where the path's segments end.
fn is_ambiguous(path: &str) -> bool {
    path.contains(';')
        || (path.contains('%') && ["%2F", "%5C"].iter().any(|slash| path.contains(slash)))
}

fn bypasses(policy: Setting<CredentialPolicy>) -> bool {
    policy.value == CredentialPolicy::Bypass
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{by_rule, get, map, settings};
    use super::*;
    use http::HeaderMap;

    fn decide(headers: &HeaderMap, settings: &CacheSettings) -> RequestDecision {
        eligibility(&get("/", headers), settings)
    }

    #[test]
    fn rfc9110_9_2_3_only_get_and_head_are_looked_up() {
        let headers = HeaderMap::new();
        for (method, expected) in [
            (Method::GET, RequestDecision::Lookup),
            (Method::HEAD, RequestDecision::Lookup),
            (Method::POST, RequestDecision::Bypass(BypassReason::Method)),
            (
                Method::OPTIONS,
                RequestDecision::Bypass(BypassReason::Method),
            ),
        ] {
            let request = RequestView {
                method: &method,
                ..get("/", &headers)
            };
            assert_eq!(eligibility(&request, &settings()), expected, "{method}");
        }
    }

    #[test]
    fn rfc9110_9_3_3_a_post_may_fill_the_cache_where_a_rule_says_so() {
        let headers = HeaderMap::new();
        let post = RequestView {
            method: &Method::POST,
            has_body: true,
            ..get("/", &headers)
        };
        assert!(!post_may_fill(&post, &settings()));
        let mut allowing = settings();
        allowing.cache_post = by_rule(true);
        assert!(post_may_fill(&post, &allowing));
        assert_eq!(
            eligibility(&post, &allowing),
            RequestDecision::Bypass(BypassReason::Method)
        );
        let session = RequestView {
            session_cookie: true,
            ..post
        };
        assert!(!post_may_fill(&session, &allowing));
        let put = RequestView {
            method: &Method::PUT,
            ..post
        };
        assert!(!post_may_fill(&put, &allowing));
    }

    #[test]
    fn a_bypass_rule_is_named_and_the_default_is_told_apart() {
        let headers = HeaderMap::new();
        let mut settings = settings();
        settings.eligibility = by_rule(Eligibility::Bypass);
        assert_eq!(
            decide(&headers, &settings),
            RequestDecision::Bypass(BypassReason::Rule(RuleId(7)))
        );
        settings.eligibility = Setting::default_value(Eligibility::Bypass);
        assert_eq!(
            decide(&headers, &settings),
            RequestDecision::Bypass(BypassReason::NotEligible)
        );
    }

    #[test]
    fn credentials_bypass_unless_ignored() {
        let headers = map(&[("authorization", "Basic x")]);
        let request = RequestView {
            session_cookie: true,
            ..get("/", &headers)
        };
        let mut settings = settings();
        assert_eq!(
            eligibility(&request, &settings),
            RequestDecision::Bypass(BypassReason::Authorization(None))
        );
        settings.authorization = by_rule(CredentialPolicy::Ignore);
        settings.session_cookie = by_rule(CredentialPolicy::Bypass);
        assert_eq!(
            eligibility(&request, &settings),
            RequestDecision::Bypass(BypassReason::SessionCookie(Some(RuleId(7))))
        );
        settings.session_cookie = by_rule(CredentialPolicy::Ignore);
        assert_eq!(eligibility(&request, &settings), RequestDecision::Lookup);
    }

    #[test]
    fn bodies_and_upgrades_bypass() {
        let none = HeaderMap::new();
        let request = RequestView {
            has_body: true,
            ..get("/", &none)
        };
        assert_eq!(
            eligibility(&request, &settings()),
            RequestDecision::Bypass(BypassReason::Body)
        );
        assert_eq!(
            decide(&map(&[("upgrade", "websocket")]), &settings()),
            RequestDecision::Bypass(BypassReason::Upgrade)
        );
    }

    #[test]
    fn paths_that_origins_read_differently_bypass() {
        let none = HeaderMap::new();
        for path in [
            "/static/..%2Faccount",
            "/static/..%5Caccount",
            "/static/..;/account",
        ] {
            assert_eq!(
                eligibility(&get(path, &none), &settings()),
                RequestDecision::Bypass(BypassReason::AmbiguousPath)
            );
        }
    }

    #[test]
    fn the_most_telling_reason_comes_first() {
        let headers = map(&[("authorization", "x"), ("upgrade", "websocket")]);
        let request = RequestView {
            method: &Method::POST,
            has_body: true,
            session_cookie: true,
            ..get("/", &headers)
        };
        let mut settings = settings();
        settings.eligibility = by_rule(Eligibility::Bypass);
        assert_eq!(
            eligibility(&request, &settings),
            RequestDecision::Bypass(BypassReason::Method)
        );
    }

    #[test]
    fn every_reason_is_among_the_tokens() {
        let all = [
            BypassReason::Method,
            BypassReason::Rule(RuleId(1)),
            BypassReason::NotEligible,
            BypassReason::DevelopmentMode,
            BypassReason::Upgrade,
            BypassReason::Body,
            BypassReason::AmbiguousPath,
            BypassReason::Authorization(None),
            BypassReason::SessionCookie(None),
            BypassReason::Presigned,
        ];
        assert_eq!(all.map(BypassReason::as_str), *BYPASS_REASONS);
    }
}
