//! Cache rules of a zone, in order: they stack, and for each setting the last match wins.

use std::sync::Arc;

use super::rule::{Rule, Ruleset};
use crate::cache::settings::{
    BrowserTtl, CacheSettings, CredentialPolicy, EdgeTtl, EdgeTtlMode, Eligibility, KeySettings,
    RequestCacheControl, RuleId, Setting, StaleWindows, VarySettings,
};
use crate::request::RequestView;

/// The cache rules of one zone, and what holds where no rule says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRuleset {
    /// The rules.
    pub rules: Ruleset<CachePatch>,
    defaults: CacheSettings,
}

/// One cache rule.
pub type CacheRule = Rule<CachePatch>;

/// The settings one rule sets; `None` leaves what earlier rules said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePatch {
    /// Eligible or bypass.
    pub eligibility: Option<Eligibility>,
    /// What an Authorization field does.
    pub authorization: Option<CredentialPolicy>,
    /// What a session cookie does.
    pub session_cookie: Option<CredentialPolicy>,
    /// Edge lifetime.
    pub edge_ttl: Option<Arc<EdgeTtl>>,
    /// Browser lifetime.
    pub browser_ttl: Option<BrowserTtl>,
    /// Stale windows.
    pub serve_stale: Option<StaleWindows>,
    /// Whether Set-Cookie is removed.
    pub strip_set_cookie: Option<bool>,
    /// Whether a response is stored together with its Set-Cookie.
    pub store_set_cookie: Option<bool>,
    /// Largest body to store.
    pub max_object_size: Option<u64>,
    /// What the client's Cache-Control does.
    pub request_cache_control: Option<RequestCacheControl>,
    /// Whether answers that blame the request may be stored.
    pub cache_client_errors: Option<bool>,
    /// Whether the answer to a POST may serve later GETs.
    pub cache_post: Option<bool>,
    /// What the key holds.
    pub key: Option<Arc<KeySettings>>,
    /// How selecting fields are told apart.
    pub vary: Option<Arc<VarySettings>>,
    /// Whether cache tags are passed on to clients.
    pub pass_cache_tags: Option<bool>,
}

impl CacheRuleset {
    /// Rules in order of precedence, the strongest last.
    pub fn new(rules: Vec<CacheRule>, max_object_size: u64) -> Self {
        Self {
            rules: Ruleset::new(rules),
            defaults: safe_defaults(max_object_size),
        }
    }

    /// What holds for `request`.
    pub fn evaluate(&self, request: &RequestView<'_>) -> CacheSettings {
        let mut settings = self.no_settings();
        for (id, rule) in self.rules.matching(request) {
            rule.action.apply(id, &mut settings);
        }
        settings
    }

    /// What holds when no rule matches.
    pub fn no_settings(&self) -> CacheSettings {
        self.defaults.clone()
    }
}

/// What holds when no rule speaks: the origin decides, credentials bypass.
fn safe_defaults(max_object_size: u64) -> CacheSettings {
    CacheSettings {
        eligibility: Setting::default_value(Eligibility::Eligible),
        authorization: Setting::default_value(CredentialPolicy::Bypass),
        session_cookie: Setting::default_value(CredentialPolicy::Bypass),
        edge_ttl: Setting::default_value(Arc::new(EdgeTtl {
            mode: EdgeTtlMode::RespectOrigin,
            default: None,
            status: Vec::new(),
            heuristic: None,
        })),
        browser_ttl: Setting::default_value(BrowserTtl::RespectOrigin),
        serve_stale: Setting::default_value(StaleWindows::default()),
        strip_set_cookie: Setting::default_value(false),
        store_set_cookie: Setting::default_value(false),
        max_object_size: Setting::default_value(max_object_size),
        request_cache_control: Setting::default_value(RequestCacheControl::Ignore),
        cache_client_errors: Setting::default_value(false),
        cache_post: Setting::default_value(false),
        key: Setting::default_value(Arc::default()),
        vary: Setting::default_value(Arc::default()),
        pass_cache_tags: Setting::default_value(false),
    }
}

impl CachePatch {
    /// Sets what the rule `id` sets.
    pub(super) fn apply(&self, id: RuleId, settings: &mut CacheSettings) {
        set(&mut settings.eligibility, self.eligibility, id);
        set(&mut settings.authorization, self.authorization, id);
        set(&mut settings.session_cookie, self.session_cookie, id);
        set(&mut settings.edge_ttl, self.edge_ttl.clone(), id);
        set(&mut settings.browser_ttl, self.browser_ttl, id);
        if let Some(windows) = self.serve_stale {
            let earlier = settings.serve_stale.value;
            let merged = StaleWindows {
                while_revalidating: windows.while_revalidating.or(earlier.while_revalidating),
                if_error: windows.if_error.or(earlier.if_error),
                with_s_maxage: windows.with_s_maxage.or(earlier.with_s_maxage),
            };
            set(&mut settings.serve_stale, Some(merged), id);
        }
        set(&mut settings.strip_set_cookie, self.strip_set_cookie, id);
        set(&mut settings.store_set_cookie, self.store_set_cookie, id);
        set(&mut settings.max_object_size, self.max_object_size, id);
        set(
            &mut settings.request_cache_control,
            self.request_cache_control,
            id,
        );
        set(
            &mut settings.cache_client_errors,
            self.cache_client_errors,
            id,
        );
        set(&mut settings.cache_post, self.cache_post, id);
        set(&mut settings.key, self.key.clone(), id);
        set(&mut settings.vary, self.vary.clone(), id);
        set(&mut settings.pass_cache_tags, self.pass_cache_tags, id);
    }
}

fn set<T>(setting: &mut Setting<T>, value: Option<T>, id: RuleId) {
    if let Some(value) = value {
        *setting = Setting {
            value,
            rule: Some(id),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleSource;
    use crate::rules::expression::{Environment, Expression};
    use std::net::{IpAddr, Ipv4Addr};

    fn rule(name: &str, expression: &str, patch: CachePatch) -> CacheRule {
        CacheRule {
            name: name.to_owned(),
            source: RuleSource {
                file: "test".into(),
                line: 1,
            },
            expression: Expression::compile(expression, &Environment::default()).unwrap(),
            expires: None,
            action: patch,
        }
    }

    #[test]
    fn rules_stack_and_the_last_match_wins_setting_by_setting() {
        let bypass = CachePatch {
            eligibility: Some(Eligibility::Bypass),
            ..CachePatch::default()
        };
        let eligible = CachePatch {
            eligibility: Some(Eligibility::Eligible),
            strip_set_cookie: Some(true),
            ..CachePatch::default()
        };
        let rules = CacheRuleset::new(
            vec![
                rule(
                    "eligible",
                    r#"http.request.uri.path wildcard "/a/*""#,
                    eligible,
                ),
                rule(
                    "bypass",
                    r#"http.request.uri.path wildcard "/a/b*""#,
                    bypass,
                ),
            ],
            1,
        );
        let headers = http::HeaderMap::new();
        let at = |path| {
            rules.evaluate(&RequestView {
                method: &http::Method::GET,
                scheme: crate::request::Scheme::Http,
                host: "a.test",
                path,
                query: None,
                version: http::Version::HTTP_11,
                headers: &headers,
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
                session_cookie: false,
                has_body: false,
                facts: crate::request::Facts::default(),
            })
        };
        let both = at("/a/b");
        assert_eq!(
            both.eligibility,
            Setting {
                value: Eligibility::Bypass,
                rule: Some(RuleId(1))
            }
        );
        assert_eq!(
            both.strip_set_cookie,
            Setting {
                value: true,
                rule: Some(RuleId(0))
            }
        );
        assert_eq!(at("/a/c").eligibility.rule, Some(RuleId(0)));
        assert_eq!(
            at("/b").eligibility,
            Setting::default_value(Eligibility::Eligible)
        );
    }
}
