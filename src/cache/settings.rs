//! What cache rules set: the settings that hold for one request, and which rule set each.

mod table;
mod words;

use std::time::Duration;

use http::HeaderName;
use http::header::ACCEPT_ENCODING;

pub use table::{CachePatch, CacheSettings};
pub use words::duration as duration_in_words;

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
    /// The same, for a while: development mode.
    DevelopmentMode,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeTtlMode {
    /// The origin's fields decide; `default` applies where it gave no lifetime.
    #[default]
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

/// How long the edge keeps a response fresh. By default the origin decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeTtl {
    /// Who decides.
    pub mode: EdgeTtlMode,
    /// Lifetime for successful responses (200, 203, 204, 300, 301, 308); see the mode.
    pub default: Option<Duration>,
    /// Lifetimes by status, the narrowest range first; the first that contains the status wins,
    /// before `default`.
    pub status: Vec<StatusTtl>,
    /// Whether, and how long, a response without any lifetime is taken for fresh.
    pub heuristic: Option<Heuristic>,
}

/// Heuristic freshness (RFC 9111 §4.2.2): a share of the time since the last modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// The share, in percent.
    pub percent: u8,
    /// No heuristic lifetime is longer.
    pub longest: Duration,
}

/// What the client's own Cache-Control and Pragma do (RFC 9111 §5.2.1, §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestCacheControl {
    /// Nothing: a visitor's reload, or an attacker, does not reach the origin. The default.
    Ignore,
    /// They are followed.
    Respect,
}

/// What of a request, beside zone, scheme, host and path, tells stored responses apart. What is
/// dropped from the query here is dropped from the forwarded request as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// Which query parameters count.
    pub query: QueryKey,
    /// Whether the order of parameters with different names is made one.
    pub sort_query: bool,
    /// Request fields whose values count, lower case.
    pub headers: Vec<String>,
    /// Request fields of which only the presence counts, lower case.
    pub header_presence: Vec<String>,
    /// Cookies whose values count.
    pub cookies: Vec<String>,
    /// Cookies of which only the presence counts.
    pub cookie_presence: Vec<String>,
    /// Request fields of which only counts which of these texts they contain: names, lower case, and
    /// texts in the order in which the origin gets those that were found.
    pub header_contains: Vec<(String, Vec<String>)>,
    /// Whether mobile, tablet and desktop are told apart.
    pub device: bool,
    /// Whether the countries of clients are told apart.
    pub country: bool,
    /// Which host counts.
    pub host: HostKey,
}

/// Which host is part of the key. The origin does not learn of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostKey {
    /// The client's.
    #[default]
    AsSent,
    /// The one sent to the origin.
    Resolved,
}

/// Which query parameters are part of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryKey {
    /// All of them.
    #[default]
    All,
    /// None: the query is dropped.
    None,
    /// Those named; a trailing `*` stands for any ending.
    Include(Vec<String>),
    /// All but those named; a trailing `*` stands for any ending.
    Exclude(Vec<String>),
}

/// How request fields that Vary names are told apart. The origin gets them in the same form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VarySettings {
    /// Fields with a form of their own, sorted by name, each once.
    pub fields: Vec<(HeaderName, VaryForm)>,
    /// Whether a response that varies by any other field is not stored.
    pub bypass_others: bool,
    /// Whether the origin may choose among the stored variants by entity tag when none of them was
    /// stored for such a request (RFC 9111 §4.1 and §4.3.1). It must not use a tag twice.
    pub validate_variants: bool,
}

/// What happens to a request field that Vary names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaryForm {
    /// Whitespace and empty members aside it counts as it is sent.
    PassThrough,
    /// Its spelling does not count: case, whitespace, order and, where it has them, weights. For
    /// Accept-Language, a stored response whose Content-Language is the client's first choice is
    /// selected too.
    Normalize,
    /// The best of these, media types for Accept and languages for Accept-Language, stands for the
    /// whole field; the first for no match.
    Best(Vec<String>),
    /// A response that varies by it is not stored.
    Bypass,
}

impl VarySettings {
    /// What happens to the field `name`. Without a word Accept-Encoding is normalised.
    pub fn form_of(&self, name: &HeaderName) -> &VaryForm {
        let own = self.fields.iter().find(|(known, _)| known == name);
        match own {
            Some((_, form)) => form,
            None if *name == ACCEPT_ENCODING => &VaryForm::Normalize,
            None if self.bypass_others => &VaryForm::Bypass,
            None => &VaryForm::PassThrough,
        }
    }
}

/// How long the origin has from the request sent to the response's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadTimeout {
    /// As long as its pool says.
    #[default]
    OfPool,
    /// So long.
    After(Duration),
}

impl ReadTimeout {
    /// The time, where the pool gives `first_byte`.
    pub const fn or(self, first_byte: Duration) -> Duration {
        match self {
            Self::OfPool => first_byte,
            Self::After(time) => time,
        }
    }
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
    /// After freshness ends, when the origin has as much to do as it may, or is left alone.
    pub when_overloaded: Option<Duration>,
    /// Whether windows that the origin or a rule states hold beside `s-maxage`, which by RFC 9111
    /// §5.2.2.10 forbids stale responses; `None` means yes (Next.js sends that very pair).
    pub with_s_maxage: Option<bool>,
}
