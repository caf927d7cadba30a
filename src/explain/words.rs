//! Reasons in words, with the clause of the standard behind them.

use crate::cache::eligibility::BypassReason;
use crate::cache::freshness::FreshnessSource;
use crate::cache::storing::NoStoreReason;

/// Why a request goes past the cache.
pub(super) const fn bypass(reason: BypassReason) -> &'static str {
    match reason {
        BypassReason::Method => "the method is neither GET nor HEAD (RFC 9110 §9.2.3)",
        BypassReason::Rule(_) => "a rule says so",
        BypassReason::NotEligible => "no rule made it eligible",
        BypassReason::DevelopmentMode => "the zone is in development mode",
        BypassReason::Upgrade => "it asks for another protocol (RFC 9110 §7.8)",
        BypassReason::Body => "it has a body, which the key does not hold (RFC 9110 §9.3.1)",
        BypassReason::AmbiguousPath => "origins read its path differently (`;`, %2F or %5C)",
        BypassReason::Authorization(_) => "it has Authorization",
        BypassReason::SessionCookie(_) => "it has a session cookie",
        BypassReason::Presigned => "it has a signature of its own for the bucket",
    }
}

/// Why a response is not stored.
pub(super) const fn not_stored(reason: NoStoreReason) -> &'static str {
    match reason {
        NoStoreReason::Bypassed(reason) => bypass(reason),
        NoStoreReason::RequestNoStore => "the request says no-store (RFC 9111 §5.2.1.5)",
        NoStoreReason::Method => "it answers a HEAD, so there is no body to store",
        NoStoreReason::NotRepresentation => {
            "it answers a POST and is not what a GET would get (RFC 9110 §9.3.3)"
        }
        NoStoreReason::PartialContent => "it is a part without one Content-Range",
        NoStoreReason::Status => "its status is none to store (RFC 9111 §3)",
        NoStoreReason::NotUnderstood => {
            "must-understand, and the status is not understood (RFC 9111 §5.2.2.3)"
        }
        NoStoreReason::OriginRejected => {
            "its status blames the request for what the key does not hold"
        }
        NoStoreReason::NoStore => "the origin says no-store (RFC 9111 §5.2.2.5)",
        NoStoreReason::Private => "the origin says private (RFC 9111 §5.2.2.7)",
        NoStoreReason::SetCookie => "it sets a cookie; `strip_set_cookie` would remove it",
        NoStoreReason::VaryAny => "it varies by everything, `Vary: *` (RFC 9111 §4.1)",
        NoStoreReason::VaryBypass(_) => "it varies by a field for which `vary` says bypass",
        NoStoreReason::MinUses(_) => "its key was not asked for `min_uses` times yet",
        NoStoreReason::UpperTier { .. } => "the upper tier that it comes from did not store it",
        NoStoreReason::Authorization => {
            "the request has Authorization, and the origin does not let it be shared (RFC 9111 §3.5)"
        }
        NoStoreReason::ContentType => "its type is not what the file name promises",
        NoStoreReason::TooLarge(_) => "it is larger than `max_object_size`",
        NoStoreReason::UnknownLength => "only the end of the connection would end it",
        NoStoreReason::StoreBusy => "what is being stored holds all the memory there is for it",
        NoStoreReason::RuleNoStore(_) => "`edge_ttl` refuses this status",
        NoStoreReason::NoExplicitFreshness => "neither the origin nor a rule gives a lifetime",
        NoStoreReason::NoCacheWithoutValidator => "no-cache, and there is nothing to validate by",
        NoStoreReason::ExpiredWithoutValidator => {
            "it is stale already, and there is nothing to validate by"
        }
    }
}

/// What gave a lifetime.
pub(super) const fn lifetime(source: FreshnessSource) -> &'static str {
    match source {
        FreshnessSource::SMaxage => "the origin's s-maxage (RFC 9111 §5.2.2.10)",
        FreshnessSource::MaxAge => "the origin's max-age (RFC 9111 §5.2.2.1)",
        FreshnessSource::Expires => "the origin's Expires (RFC 9111 §5.3)",
        FreshnessSource::Targeted => "a targeted field such as CDN-Cache-Control (RFC 9213)",
        FreshnessSource::Heuristic => "a share of the time since Last-Modified (RFC 9111 §4.2.2)",
        FreshnessSource::NoCache => "no-cache: validated each time (RFC 9111 §5.2.2.4)",
        FreshnessSource::StatusRule(_) => "`edge_ttl` for this status",
        FreshnessSource::DefaultRule(_) => "`edge_ttl`",
    }
}
