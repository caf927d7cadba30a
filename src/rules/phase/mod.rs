//! The phases of a zone in the order in which a request meets them, with Cloudflare's names.

mod bulk;
mod headers;
mod origin;
mod page;
mod redirect;
mod response;
mod rewrite;
mod split;
mod waiting_room;

use std::fmt;

use http::HeaderName;

pub use bulk::{BulkItem, BulkRedirect, BulkRedirects};
pub use headers::{HeaderEdit, HeaderOperation, HeaderTransform, apply, believed};
pub use origin::{OriginPatch, Priority};
pub use page::{Page, PageRule};
pub use redirect::{Redirect, RedirectTarget};
pub use response::{DirectiveEdit, ResponseEdits, ResponsePatch, TagEdit};
pub use rewrite::Rewrite;
pub use split::{Split, SplitBy, SplitKey, Variant, cookie_name};
pub use waiting_room::{Guards, WaitingRoom};

use super::{CachePatch, CacheRuleset, Rule, RuleSource, Ruleset};
use crate::cache::settings::RuleId;
use crate::guard::access::AccessRule;
use crate::guard::{
    CustomRule, IpAccessRules, LimitRule, LockdownRule, RateLimits, RequestFilters,
};

/// All rules of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phases {
    /// What only some addresses may reach.
    pub lockdown_rules: Vec<LockdownRule>,
    /// Who may come in.
    pub ip_access_rules: IpAccessRules,
    /// Which form requests may have.
    pub request_filters: RequestFilters,
    /// What the guard stops, in order.
    pub custom_rules: Ruleset<CustomRule>,
    /// What the guard stops when there is too much of it, in order.
    pub rate_limits: RateLimits,
    /// What requests must show to be let in.
    pub access_rules: Ruleset<AccessRule>,
    /// Answers everything with one page while it holds; the first match answers.
    pub maintenance: Ruleset<PageRule>,
    /// Redirects; the first match answers.
    pub redirect_rules: Ruleset<Redirect>,
    /// Redirects looked up by URL.
    pub bulk_redirects: BulkRedirects,
    /// Rooms in front of the application; the first match guards.
    pub waiting_rooms: Ruleset<WaitingRoom>,
    /// Choices among variants.
    pub splits: Ruleset<Split>,
    /// Rewrites of path and query.
    pub rewrite_rules: Ruleset<Rewrite>,
    /// Changes of the request's fields for the origin.
    pub request_header_rules: Ruleset<HeaderTransform>,
    /// The fields that these rules set and that count in the key; see [`believed`].
    pub believed: Vec<HeaderName>,
    /// Which origin is asked, and how.
    pub origin_rules: Ruleset<OriginPatch>,
    /// What the cache does.
    pub cache_rules: CacheRuleset,
    /// Changes of what the origin answered, before the cache sees it.
    pub cache_response_rules: Ruleset<ResponsePatch>,
    /// Pages in place of errors; the first match answers.
    pub error_rules: Ruleset<PageRule>,
    /// Changes of the response's fields for the client.
    pub response_header_rules: Ruleset<HeaderTransform>,
    /// Until when nothing is cached, in seconds since 1970.
    pub development_mode_until: Option<i64>,
}

impl Phases {
    /// No rules but those of the cache.
    pub fn of_cache(cache_rules: CacheRuleset) -> Self {
        Self {
            lockdown_rules: Vec::new(),
            ip_access_rules: IpAccessRules::default(),
            request_filters: RequestFilters::default(),
            custom_rules: Ruleset::default(),
            rate_limits: RateLimits::default(),
            access_rules: Ruleset::default(),
            maintenance: Ruleset::default(),
            redirect_rules: Ruleset::default(),
            bulk_redirects: BulkRedirects::default(),
            waiting_rooms: Ruleset::default(),
            splits: Ruleset::default(),
            rewrite_rules: Ruleset::default(),
            request_header_rules: Ruleset::default(),
            believed: Vec::new(),
            origin_rules: Ruleset::default(),
            cache_rules,
            cache_response_rules: Ruleset::default(),
            error_rules: Ruleset::default(),
            response_header_rules: Ruleset::default(),
            development_mode_until: None,
        }
    }

    /// The rule that a trace names; `None` for a bulk redirect, which is no rule.
    pub fn find(&self, phase: Phase, id: RuleId) -> Option<Described<'_>> {
        match phase {
            Phase::CustomRules => described(self.custom_rules.get(id), CustomRule::describe),
            Phase::RateLimitRules => described(self.rate_limits.rules.get(id), LimitRule::describe),
            Phase::AccessRules => described(self.access_rules.get(id), AccessRule::describe),
            Phase::Maintenance => described(self.maintenance.get(id), PageRule::describe),
            Phase::Redirects => described(self.redirect_rules.get(id), Redirect::describe),
            Phase::BulkRedirects => None,
            Phase::WaitingRooms => described(self.waiting_rooms.get(id), WaitingRoom::describe),
            Phase::Splits => described(self.splits.get(id), Split::describe),
            Phase::Rewrites => described(self.rewrite_rules.get(id), Rewrite::describe),
            Phase::RequestHeaders => {
                let rule = self.request_header_rules.get(id);
                described(rule, HeaderTransform::describe)
            }
            Phase::OriginRules => described(self.origin_rules.get(id), OriginPatch::describe),
            Phase::CacheRules => described(self.cache_rules.rules.get(id), CachePatch::describe),
            Phase::CacheResponseRules => {
                described(self.cache_response_rules.get(id), ResponsePatch::describe)
            }
            Phase::ErrorPages => described(self.error_rules.get(id), PageRule::describe),
            Phase::ResponseHeaders => {
                let rule = self.response_header_rules.get(id);
                described(rule, HeaderTransform::describe)
            }
        }
    }
}

/// A rule of any phase, for people.
#[derive(Clone, Debug)]
pub struct Described<'r> {
    /// Its name.
    pub name: &'r str,
    /// Where it is written.
    pub source: &'r RuleSource,
    /// Its expression as written.
    pub expression: &'r str,
    /// What it sets: the key in the file, and the value in words.
    pub sets: Vec<(&'static str, String)>,
}

fn described<A>(
    rule: Option<&Rule<A>>,
    sets: impl Fn(&A) -> Vec<(&'static str, String)>,
) -> Option<Described<'_>> {
    rule.map(|rule| Described {
        name: &rule.name,
        source: &rule.source,
        expression: rule.expression.source(),
        sets: sets(&rule.action),
    })
}

/// A phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// `custom_rules`
    CustomRules,
    /// `rate_limit_rules`
    RateLimitRules,
    /// `access_rules`
    AccessRules,
    /// `maintenance`
    Maintenance,
    /// `redirect_rules`
    Redirects,
    /// `bulk_redirects`
    BulkRedirects,
    /// `waiting_rooms`
    WaitingRooms,
    /// `splits`
    Splits,
    /// `rewrite_rules`
    Rewrites,
    /// `request_header_rules`
    RequestHeaders,
    /// `origin_rules`
    OriginRules,
    /// `cache_rules`
    CacheRules,
    /// `cache_response_rules`
    CacheResponseRules,
    /// `error_rules`
    ErrorPages,
    /// `response_header_rules`
    ResponseHeaders,
}

impl Phase {
    /// All phases in order.
    pub const ALL: &[Self] = &[
        Self::CustomRules,
        Self::RateLimitRules,
        Self::AccessRules,
        Self::Maintenance,
        Self::Redirects,
        Self::BulkRedirects,
        Self::WaitingRooms,
        Self::Splits,
        Self::Rewrites,
        Self::RequestHeaders,
        Self::OriginRules,
        Self::CacheRules,
        Self::CacheResponseRules,
        Self::ErrorPages,
        Self::ResponseHeaders,
    ];

    /// The key of its rules in a zone of the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CustomRules => "custom_rules",
            Self::RateLimitRules => "rate_limit_rules",
            Self::AccessRules => "access_rules",
            Self::Maintenance => "maintenance",
            Self::Redirects => "redirect_rules",
            Self::BulkRedirects => "bulk_redirects",
            Self::WaitingRooms => "waiting_rooms",
            Self::Splits => "splits",
            Self::Rewrites => "rewrite_rules",
            Self::RequestHeaders => "request_header_rules",
            Self::OriginRules => "origin_rules",
            Self::CacheRules => "cache_rules",
            Self::CacheResponseRules => "cache_response_rules",
            Self::ErrorPages => "error_rules",
            Self::ResponseHeaders => "response_header_rules",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Is told which rules hold, in order. `()` does not listen.
pub trait Trace {
    /// A rule holds.
    fn matched(&mut self, phase: Phase, rule: RuleId);
    /// A rule holds and does nothing all the same.
    fn without_effect(&mut self, phase: Phase, rule: RuleId, why: &'static str);
}

impl Trace for () {
    fn matched(&mut self, _: Phase, _: RuleId) {}
    fn without_effect(&mut self, _: Phase, _: RuleId, _: &'static str) {}
}
