//! What the guard finds about a request.

use http::{HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

use super::access::Credentials;
use super::limit::{Pending, StrictAsk};
use crate::cache::status::EdgeReason;
use crate::rules::phase::Page;
use crate::rules::{Rule, RuleSource};

/// A part of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Module {
    /// The connection guard, which comes before all rules.
    Connections,
    /// `lockdown_rules`
    LockdownRules,
    /// `ip_access_rules`
    IpAccessRules,
    /// `custom_rules`
    CustomRules,
    /// `rate_limit_rules`
    RateLimitRules,
    /// `request_filters`
    RequestFilters,
    /// Everybody is challenged, as the zone is under attack.
    Challenge,
    /// `access_rules`
    AccessRules,
}

impl Module {
    /// Its name in rules, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::LockdownRules => "lockdown_rules",
            Self::IpAccessRules => "ip_access_rules",
            Self::CustomRules => "custom_rules",
            Self::RateLimitRules => "rate_limit_rules",
            Self::RequestFilters => "request_filters",
            Self::Challenge => "challenge",
            Self::AccessRules => "access_rules",
        }
    }
}

/// What the guard does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is refused.
    Block,
    /// Its sender has to pass a challenge first.
    Challenge,
    /// It is refused, as others of its kind go by.
    Throttle,
    /// It is only told of.
    Log,
    /// Some of the guard is not for it.
    Skip,
    /// Nothing else of the guard is for it.
    Allow,
}

impl Action {
    /// Its name in rules, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Challenge => "challenge",
            Self::Throttle => "throttle",
            Self::Log => "log",
            Self::Skip => "skip",
            Self::Allow => "allow",
        }
    }
}

/// One thing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding<'z> {
    /// By which part.
    pub module: Module,
    /// The name of the rule, or of what stands for one.
    pub rule: &'z str,
    /// Where the rule is written, where it is.
    pub source: Option<&'z RuleSource>,
    /// What is done, or would be.
    pub action: Action,
    /// Whether it is only tried, and nothing done.
    pub dry_run: bool,
}

impl<'z> Finding<'z> {
    /// That `rule` of `module` holds.
    pub const fn of<A>(module: Module, rule: &'z Rule<A>, action: Action, dry_run: bool) -> Self {
        Self {
            module,
            rule: rule.name.as_str(),
            source: Some(&rule.source),
            action,
            dry_run,
        }
    }
}

/// What the client gets in place of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop<'z> {
    /// What Cache-Status tells.
    pub reason: EdgeReason,
    /// The status.
    pub status: StatusCode,
    /// The page; `None` for ours.
    pub page: Option<&'z Page>,
    /// Fields beside those that every such answer has.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

impl Stop<'_> {
    /// A refusal with our own page.
    pub const fn refusal(status: StatusCode) -> Self {
        Self {
            reason: EdgeReason::Blocked,
            status,
            page: None,
            fields: Vec::new(),
        }
    }
}

/// Credentials that a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check<'z> {
    /// What the client says.
    pub credentials: Credentials<'z>,
    /// What is found when they are wrong.
    pub finding: Finding<'z>,
    /// And what the client gets then.
    pub stop: Stop<'z>,
}

/// All that was found about one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assessment<'z> {
    /// In order; where the request is stopped, the last one did it.
    pub findings: SmallVec<[Finding<'z>; 1]>,
    /// What stops it.
    pub stop: Option<Stop<'z>>,
    /// What is still to be found out, all of it, and what stops it if that is wrong.
    pub checks: Vec<Check<'z>>,
    /// Whether Authorization was for the guard, and is nobody else's matter.
    pub takes_authorization: bool,
    /// A parameter of the query that was for the guard.
    pub takes_parameter: Option<&'z str>,
    /// Fields that the answer gets otherwise.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Where it counts once it is answered.
    pub pending: Vec<Pending>,
    /// What all nodes must be asked before anything else is decided: then the request is to be assessed
    /// again, and nothing of this is to be told.
    pub asks: Vec<StrictAsk>,
}
