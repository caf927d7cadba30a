//! What cache rules set: the settings that hold for one request, and which rule set each.

use std::sync::Arc;
use std::time::Duration;

/// Position of a rule in its zone's cache rules; names the rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u16);

/// A setting with the rule that set it; `None` is the built-in default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// The rule that set it.
    pub rule: Option<RuleId>,
}

impl<T> Setting<T> {
    /// The built-in default, set by no rule.
    pub const fn default_value(value: T) -> Self {
        Self { value, rule: None }
    }
}

/// Whether rules let a request use the cache at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// The store may be read and written.
    Eligible,
    /// The store is neither read nor written.
    Bypass,
}

/// What a credential in the request (Authorization, a session cookie) does to caching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialPolicy {
    /// The request bypasses the cache, response included. The safe default.
    Bypass,
    /// The credential does not matter to this resource. For Authorization RFC 9111 §3.5 still
    /// decides whether the response may be stored.
    Ignore,
}

/// Where the edge's freshness lifetime comes from; Cloudflare's three modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeTtlMode {
    /// The origin's fields decide; `default` applies where it gave no lifetime.
    RespectOrigin,
    /// `default` and `status` decide; the origin's lifetimes are ignored. Its `no-store` and
    /// `private` still hold.
    OverrideOrigin,
    /// The origin's fields decide; without them nothing is stored.
    BypassByDefault,
}

/// One lifetime given for a status code or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusTtl {
    /// First status of the range.
    pub from: u16,
    /// Last status of the range, inclusive.
    pub to: u16,
    /// What to do with such a response.
    pub ttl: TtlValue,
}

/// A lifetime or a refusal to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlValue {
    /// Fresh for this long; zero means "store, but validate before each reuse".
    For(Duration),
    /// Never stored.
    NoStore,
}

/// How long the edge keeps a response fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeTtl {
    /// Who decides.
    pub mode: EdgeTtlMode,
    /// Lifetime for successful responses (200, 203, 204, 300, 301, 308); see the mode.
    pub default: Option<Duration>,
    /// Lifetimes by status, the narrowest range first; the first that contains the status wins,
    /// before `default`.
    pub status: Vec<StatusTtl>,
}

/// What the client's own cache is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrowserTtl {
    /// The origin's Cache-Control and Expires pass unchanged.
    RespectOrigin,
    /// `Cache-Control: public, max-age=N`, with `immutable` (RFC 8246) when asked.
    Override {
        /// max-age.
        ttl: Duration,
        /// Whether to add `immutable`.
        immutable: bool,
    },
    /// `Cache-Control: no-store` towards the client.
    Bypass,
}

/// How long a stale response may still be served (RFC 5861); `None` leaves it to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StaleWindows {
    /// After freshness ends, while a validation runs in the background.
    pub while_revalidating: Option<Duration>,
    /// After freshness ends, when the origin fails.
    pub if_error: Option<Duration>,
}

/// Everything the cache rules decided for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Eligible or bypass.
    pub eligibility: Setting<Eligibility>,
    /// What an Authorization field does.
    pub authorization: Setting<CredentialPolicy>,
    /// What a session cookie does.
    pub session_cookie: Setting<CredentialPolicy>,
    /// Edge lifetime.
    pub edge_ttl: Setting<Arc<EdgeTtl>>,
    /// Browser lifetime.
    pub browser_ttl: Setting<BrowserTtl>,
    /// Stale windows.
    pub serve_stale: Setting<StaleWindows>,
    /// Whether Set-Cookie is removed from a response so that it may be stored.
    pub strip_set_cookie: Setting<bool>,
    /// Largest body to store, in bytes.
    pub max_object_size: Setting<u64>,
}
