//! What the cache did with a request, told to the client, the log and the metrics (RFC 9211).

use std::fmt;

use http::{HeaderValue, StatusCode};

use super::eligibility::BypassReason;
use super::reuse::{ForwardReason, StaleMode};
use super::settings::RuleId;
use super::storing::NoStoreReason;

/// This cache's name in Cache-Status.
pub const CACHE_NAME: &str = "Seawall";

/// How a request was answered: the one value that Cache-Status, X-Cache, the access log and the
/// metrics render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// Where the answer came from.
    pub outcome: Outcome,
    /// Whole seconds of freshness left, negative when stale; `None` where nothing is stored.
    pub ttl: Option<i64>,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From the store, fresh.
    Hit,
    /// From the store, stale; also after the origin was asked and failed (RFC 9211 §2.1).
    StaleHit(StaleMode),
    /// Past the cache: neither read nor written.
    Bypassed {
        /// Why.
        reason: BypassReason,
        /// The origin's status, once it answered.
        status: Option<StatusCode>,
    },
    /// Through the cache, to the origin.
    Forwarded(Forwarded),
    /// 504: the request wanted nothing from the origin, and nothing stored could be reused
    /// (RFC 9111 §5.2.1.7).
    GatewayTimeout,
    /// A rule answered at the edge.
    AnsweredAtEdge(EdgeReason),
}

/// Which kind of rule answered at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeReason {
    /// The maintenance page.
    Maintenance,
    /// A redirect rule.
    Redirect,
    /// A bulk redirect.
    BulkRedirect,
    /// The client waits for its turn, or was sent away.
    WaitingRoom,
    /// The guard refused it.
    Blocked,
    /// It did not show what lets it in.
    Unauthorized,
    /// The guard challenged who sent it, or answered who took the challenge.
    Challenge,
    /// It was more than a limit allows.
    RateLimited,
}

impl EdgeReason {
    /// The reason as a kebab-case token for Cache-Status and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Maintenance => "maintenance",
            Self::Redirect => "redirect",
            Self::BulkRedirect => "bulk-redirect",
            Self::WaitingRoom => "waiting-room",
            Self::Blocked => "blocked",
            Self::Unauthorized => "unauthorized",
            Self::Challenge => "challenge",
            Self::RateLimited => "rate-limited",
        }
    }
}

/// A request that went forward through the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Why it went forward.
    pub reason: ForwardReason,
    /// The origin's status, once it answered.
    pub status: Option<StatusCode>,
    /// What became of the answer.
    pub storing: Storing,
    /// Whether it waited for another request's answer instead of asking the origin itself.
    pub collapsed: bool,
}

/// What became of the origin's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    /// No answer came, or its fate is not known.
    Unknown,
    /// It was stored.
    Stored,
    /// A 304 freshened the stored response.
    Freshened,
    /// It was not stored.
    NotStored(NoStoreReason),
}

impl CacheStatus {
    /// Answered from the store, fresh for `ttl` seconds.
    pub const fn hit(ttl: i64) -> Self {
        Self {
            outcome: Outcome::Hit,
            ttl: Some(ttl),
        }
    }

    /// Answered from the store, stale since `-ttl` seconds.
    pub const fn stale_hit(ttl: i64, mode: StaleMode) -> Self {
        Self {
            outcome: Outcome::StaleHit(mode),
            ttl: Some(ttl),
        }
    }

    /// Bypassing the cache; no answer yet.
    pub const fn bypassed(reason: BypassReason) -> Self {
        Self {
            outcome: Outcome::Bypassed {
                reason,
                status: None,
            },
            ttl: None,
        }
    }

    /// Going forward through the cache; no answer yet.
    pub const fn forwarded(reason: ForwardReason) -> Self {
        Self {
            outcome: Outcome::Forwarded(Forwarded {
                reason,
                status: None,
                storing: Storing::Unknown,
                collapsed: false,
            }),
            ttl: None,
        }
    }

    /// Answered from what another request is fetching (RFC 9211 §2.6): without its wait it would
    /// have gone forward for `reason`.
    pub const fn collapsed(
        reason: ForwardReason,
        status: Option<StatusCode>,
        storing: Storing,
        ttl: Option<i64>,
    ) -> Self {
        Self {
            outcome: Outcome::Forwarded(Forwarded {
                reason,
                status,
                storing,
                collapsed: true,
            }),
            ttl,
        }
    }

    /// Answered with a 504, because the request wanted only what is stored.
    pub const fn gateway_timeout() -> Self {
        Self {
            outcome: Outcome::GatewayTimeout,
            ttl: None,
        }
    }

    /// The edge answered by a rule; no cache had to do with it.
    pub const fn answered_at_edge(reason: EdgeReason) -> Self {
        Self {
            outcome: Outcome::AnsweredAtEdge(reason),
            ttl: None,
        }
    }

    /// The short word for it.
    pub const fn x_cache(&self) -> XCache {
        match self.outcome {
            Outcome::Hit => XCache::Hit,
            Outcome::StaleHit(StaleMode::WhileRevalidating) => XCache::Updating,
            Outcome::StaleHit(
                StaleMode::IfError | StaleMode::WhenOverloaded | StaleMode::ClientAccepts,
            ) => XCache::Stale,
            Outcome::Bypassed { reason, .. } => match reason {
                BypassReason::Rule(_)
                | BypassReason::AmbiguousPath
                | BypassReason::Authorization(_)
                | BypassReason::SessionCookie(_) => XCache::Bypass,
                BypassReason::Method
                | BypassReason::NotEligible
                | BypassReason::DevelopmentMode
                | BypassReason::Upgrade
                | BypassReason::Body
                | BypassReason::Presigned => XCache::Dynamic,
            },
            Outcome::Forwarded(forwarded) => match (forwarded.storing, forwarded.reason) {
                (Storing::NotStored(reason), _) if !reason.is_rarity() => XCache::Bypass,
                (Storing::Freshened, _) => XCache::Revalidated,
                (_, ForwardReason::Stale) => XCache::Expired,
                _ => XCache::Miss,
            },
            Outcome::GatewayTimeout => XCache::Miss,
            Outcome::AnsweredAtEdge(_) => XCache::None,
        }
    }

    /// The Cache-Status field value; also what `Display` writes.
    pub fn to_value(&self) -> HeaderValue {
        HeaderValue::try_from(self.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static(CACHE_NAME))
    }

    /// The reason beyond RFC 9211's own words, and the rule that decided.
    pub const fn detail(&self) -> Option<(&'static str, Option<RuleId>)> {
        match self.outcome {
            Outcome::StaleHit(mode) => Some((mode.as_str(), None)),
            Outcome::Bypassed { reason, .. } => Some((reason.as_str(), reason.rule())),
            Outcome::Forwarded(Forwarded {
                storing: Storing::NotStored(reason),
                ..
            }) => Some((reason.as_str(), reason.rule())),
            Outcome::GatewayTimeout => Some(("only-if-cached", None)),
            Outcome::AnsweredAtEdge(reason) => Some((reason.as_str(), None)),
            Outcome::Hit | Outcome::Forwarded(_) => None,
        }
    }
}

/// A Structured Fields item with parameters (RFC 9211 §2, RFC 8941 §3.3). Every value is an
/// integer, a boolean or a token, so nothing needs escaping. A rule is written as `:rule-N` after
/// the reason it decided.
impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_as(CACHE_NAME, f)
    }
}

/// A status under the name of a node, which is a token.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a>(pub &'a CacheStatus, pub &'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_as(self.1, f)
    }
}

impl CacheStatus {
    fn write_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name)?;
        match self.outcome {
            Outcome::Hit | Outcome::StaleHit(_) => f.write_str("; hit")?,
            // RFC 9211 §2.1, §2.2: neither from the store nor forwarded.
            Outcome::GatewayTimeout | Outcome::AnsweredAtEdge(_) => {}
            Outcome::Bypassed { reason, status } => {
                write_forward(f, ForwardReason::from(reason), status)?;
            }
            Outcome::Forwarded(forwarded) => {
                write_forward(f, forwarded.reason, forwarded.status)?;
                if matches!(forwarded.storing, Storing::Stored | Storing::Freshened) {
                    f.write_str("; stored")?;
                }
                if forwarded.collapsed {
                    f.write_str("; collapsed")?;
                }
            }
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={}", ttl.clamp(-LARGEST_INTEGER, LARGEST_INTEGER))?;
        }
        match self.detail() {
            None => Ok(()),
            Some((reason, None)) => write!(f, "; detail={reason}"),
            Some((reason, Some(RuleId(rule)))) => write!(f, "; detail={reason}:rule-{rule}"),
        }
    }
}

/// RFC 8941 §3.3.1: integers have at most 15 digits.
const LARGEST_INTEGER: i64 = 999_999_999_999_999;

fn write_forward(
    f: &mut fmt::Formatter<'_>,
    reason: ForwardReason,
    status: Option<StatusCode>,
) -> fmt::Result {
    write!(f, "; fwd={}", reason.as_str())?;
    match status {
        Some(status) => write!(f, "; fwd-status={}", status.as_u16()),
        None => Ok(()),
    }
}

/// The short word of the X-Cache kind, after CF-Cache-Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XCache {
    /// Fresh, from the store.
    Hit,
    /// Not in the store; fetched.
    Miss,
    /// Stale in the store; fetched anew.
    Expired,
    /// Stale, served because the origin failed.
    Stale,
    /// Stale, served while it is validated.
    Updating,
    /// Stale in the store; the origin confirmed it.
    Revalidated,
    /// A rule or a credential bypassed the cache, or the response turned out not to be storable.
    Bypass,
    /// Not eligible by its method, form or by default.
    Dynamic,
    /// No cache had to do with it.
    None,
}

impl XCache {
    /// All words.
    pub const WORDS: &[&'static str] = &[
        Self::Hit.as_str(),
        Self::Miss.as_str(),
        Self::Expired.as_str(),
        Self::Stale.as_str(),
        Self::Updating.as_str(),
        Self::Revalidated.as_str(),
        Self::Bypass.as_str(),
        Self::Dynamic.as_str(),
        Self::None.as_str(),
    ];

    /// The word in capitals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Expired => "EXPIRED",
            Self::Stale => "STALE",
            Self::Updating => "UPDATING",
            Self::Revalidated => "REVALIDATED",
            Self::Bypass => "BYPASS",
            Self::Dynamic => "DYNAMIC",
            Self::None => "NONE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(
        reason: ForwardReason,
        status: u16,
        storing: Storing,
        ttl: Option<i64>,
    ) -> CacheStatus {
        CacheStatus {
            outcome: Outcome::Forwarded(Forwarded {
                reason,
                status: StatusCode::from_u16(status).ok(),
                storing,
                collapsed: false,
            }),
            ttl,
        }
    }

    fn bypassed(reason: BypassReason) -> CacheStatus {
        CacheStatus {
            outcome: Outcome::Bypassed {
                reason,
                status: Some(StatusCode::OK),
            },
            ttl: None,
        }
    }

    #[test]
    fn rfc9211_2_field_and_word_for_every_outcome() {
        use ForwardReason::{Partial, Request, Stale, UriMiss, VaryMiss};
        use Storing::{Freshened, NotStored, Stored, Unknown};
        let table = [
            (CacheStatus::hit(30), "hit; ttl=30", "HIT"),
            (
                CacheStatus::stale_hit(-5, StaleMode::WhileRevalidating),
                "hit; ttl=-5; detail=stale-while-revalidate",
                "UPDATING",
            ),
            (
                CacheStatus::stale_hit(-412, StaleMode::IfError),
                "hit; ttl=-412; detail=stale-if-error",
                "STALE",
            ),
            (
                forwarded(UriMiss, 200, Stored, Some(60)),
                "fwd=uri-miss; fwd-status=200; stored; ttl=60",
                "MISS",
            ),
            (
                forwarded(VaryMiss, 200, NotStored(NoStoreReason::Private), None),
                "fwd=vary-miss; fwd-status=200; detail=private",
                "BYPASS",
            ),
            (
                forwarded(
                    UriMiss,
                    404,
                    NotStored(NoStoreReason::RuleNoStore(Some(RuleId(3)))),
                    None,
                ),
                "fwd=uri-miss; fwd-status=404; detail=rule-no-store:rule-3",
                "BYPASS",
            ),
            (
                forwarded(
                    UriMiss,
                    200,
                    NotStored(NoStoreReason::MinUses(Some(RuleId(3)))),
                    None,
                ),
                "fwd=uri-miss; fwd-status=200; detail=min-uses:rule-3",
                "MISS",
            ),
            (
                forwarded(Stale, 304, Freshened, Some(60)),
                "fwd=stale; fwd-status=304; stored; ttl=60",
                "REVALIDATED",
            ),
            (
                forwarded(Stale, 200, Stored, Some(60)),
                "fwd=stale; fwd-status=200; stored; ttl=60",
                "EXPIRED",
            ),
            (
                CacheStatus::stale_hit(-5, StaleMode::ClientAccepts),
                "hit; ttl=-5; detail=max-stale",
                "STALE",
            ),
            (
                forwarded(Request, 304, Freshened, Some(60)),
                "fwd=request; fwd-status=304; stored; ttl=60",
                "REVALIDATED",
            ),
            (
                forwarded(Partial, 206, Stored, Some(60)),
                "fwd=partial; fwd-status=206; stored; ttl=60",
                "MISS",
            ),
            (
                CacheStatus::gateway_timeout(),
                "detail=only-if-cached",
                "MISS",
            ),
            (forwarded(Stale, 0, Unknown, None), "fwd=stale", "EXPIRED"),
            (CacheStatus::forwarded(UriMiss), "fwd=uri-miss", "MISS"),
        ];
        for (status, field, word) in table {
            assert_eq!(status.to_value(), &*format!("Seawall; {field}"));
            assert_eq!(status.x_cache().as_str(), word, "{field}");
        }
    }

    #[test]
    fn bypass_reasons_tell_policy_from_what_is_dynamic() {
        let rule = Some(RuleId(2));
        let table = [
            (
                BypassReason::Method,
                "fwd=method; fwd-status=200; detail=method",
                "DYNAMIC",
            ),
            (
                BypassReason::NotEligible,
                "fwd=bypass; fwd-status=200; detail=not-eligible",
                "DYNAMIC",
            ),
            (
                BypassReason::Upgrade,
                "fwd=bypass; fwd-status=200; detail=upgrade",
                "DYNAMIC",
            ),
            (
                BypassReason::Body,
                "fwd=bypass; fwd-status=200; detail=request-body",
                "DYNAMIC",
            ),
            (
                BypassReason::Rule(RuleId(2)),
                "fwd=bypass; fwd-status=200; detail=rule:rule-2",
                "BYPASS",
            ),
            (
                BypassReason::Authorization(None),
                "fwd=bypass; fwd-status=200; detail=authorization",
                "BYPASS",
            ),
            (
                BypassReason::SessionCookie(rule),
                "fwd=bypass; fwd-status=200; detail=session-cookie:rule-2",
                "BYPASS",
            ),
        ];
        for (reason, field, word) in table {
            let status = bypassed(reason);
            assert_eq!(status.to_string(), format!("Seawall; {field}"));
            assert_eq!(status.x_cache().as_str(), word, "{field}");
        }
        let early = CacheStatus::bypassed(BypassReason::Method).to_string();
        assert_eq!(early, "Seawall; fwd=method; detail=method");
    }

    #[test]
    fn a_collapsed_request_says_so() {
        let status = CacheStatus::collapsed(
            ForwardReason::UriMiss,
            Some(StatusCode::OK),
            Storing::Stored,
            Some(60),
        );
        let expected = "Seawall; fwd=uri-miss; fwd-status=200; stored; collapsed; ttl=60";
        assert_eq!(status.to_string(), expected);
    }

    #[test]
    fn rfc8941_3_3_1_integers_have_at_most_15_digits() {
        let text = CacheStatus::hit(i64::MAX).to_string();
        assert_eq!(text, "Seawall; hit; ttl=999999999999999");
    }
}
