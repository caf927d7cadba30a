//! What is found out, as plain text and numbers: what the command line prints, the admin listener
//! sends, and tests compare.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use serde::Serialize;

use crate::cache::settings::VarySettings;
use crate::cache::status::CacheStatus;
use crate::fields::vary::Vary;
use crate::rules::phase::{Described, Phase};

/// Everything about one request.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What becomes of the request.
    pub verdict: Verdict,
    /// The token of the reason, where there is one.
    pub reason: Option<String>,
    /// The verdict in a sentence.
    pub because: String,
    /// The rule that decided; `None` for a built-in default.
    pub decided_by: Option<RuleRef>,
    /// The request as the rules saw it.
    pub request: RequestFacts,
    /// The zone that answers.
    pub zone: Option<ZoneFacts>,
    /// The rules that held, in the order in which the request met them.
    pub rules: Vec<Step>,
    /// The edge's own answer.
    pub answer: Option<EdgeFacts>,
    /// The variant of each split.
    pub splits: BTreeMap<String, String>,
    /// How the origin is asked.
    pub origin: Option<OriginFacts>,
    /// What cache rules set in the end.
    pub settings: Vec<SettingFact>,
    /// Under which key it is looked up; `None` when it is not.
    pub key: Option<KeyFacts>,
    /// What becomes of the origin's answer.
    pub response: Option<ResponseFacts>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is looked up in the store.
    Lookup,
    /// It goes past the store.
    Bypass,
    /// The edge sends it elsewhere.
    Redirect,
    /// The edge answers with the maintenance page.
    Maintenance,
    /// The guard stops it.
    Blocked,
    /// The guard asks who sent it to pass a challenge.
    Challenged,
    /// It is refused before the rules see it.
    Refused,
}

impl Verdict {
    /// All of them by their words.
    pub const WORDS: &[(&'static str, Self)] = &[
        ("lookup", Self::Lookup),
        ("bypass", Self::Bypass),
        ("redirect", Self::Redirect),
        ("maintenance", Self::Maintenance),
        ("blocked", Self::Blocked),
        ("challenged", Self::Challenged),
        ("refused", Self::Refused),
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        let words = Self::WORDS.iter();
        words
            .filter(|(_, verdict)| *verdict == self)
            .map(|(word, _)| *word)
            .next()
            .unwrap_or_default()
    }
}

/// A rule, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRef {
    /// Its name.
    pub name: String,
    /// File and line.
    pub at: String,
}

impl RuleRef {
    pub(super) fn of(rule: &Described<'_>) -> Self {
        Self {
            name: rule.name.to_owned(),
            at: rule.source.to_string(),
        }
    }
}

/// The request in canonical form.
#[derive(Clone, Debug, Serialize)]
pub struct RequestFacts {
    /// Its method.
    pub method: String,
    /// Its URL.
    pub url: String,
    /// What was changed to get there.
    pub changes: Vec<String>,
    /// Address of the client.
    pub client: String,
    /// Country of the client.
    pub country: Option<String>,
    /// Name of the cookie that makes it one of a session.
    pub session_cookie: Option<String>,
    /// Whether it has a body.
    pub has_body: bool,
}

/// The zone.
#[derive(Clone, Debug, Serialize)]
pub struct ZoneFacts {
    /// Its name.
    pub name: String,
    /// Which of its hosts it is by.
    pub host: String,
}

/// One rule and one request.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The key of its phase in the file.
    pub phase: &'static str,
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// Whether it held.
    pub held: bool,
    /// Why it did nothing although it held.
    pub without_effect: Option<&'static str>,
    /// Its expression.
    pub expression: String,
    /// What it sets: key and value.
    pub sets: Vec<(String, String)>,
}

impl Step {
    pub(super) fn of(phase: Phase, rule: &Described<'_>, held: bool) -> Self {
        let owned = |(key, value): &(&'static str, String)| ((*key).to_owned(), value.clone());
        Self {
            phase: phase.as_str(),
            rule: RuleRef::of(rule),
            held,
            without_effect: None,
            expression: rule.expression.trim().to_owned(),
            sets: rule.sets.iter().map(owned).collect(),
        }
    }
}

/// An answer of the edge itself.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeFacts {
    /// Its status.
    pub status: u16,
    /// Where it sends the client.
    pub location: Option<String>,
    /// When to come again, in seconds.
    pub retry_after: Option<u64>,
    /// What the client is told about the cache; nothing with a refusal.
    pub told: Option<Told>,
}

/// How the origin is asked.
#[derive(Clone, Debug, Serialize)]
pub struct OriginFacts {
    /// The tiers that are asked before, where any are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upper_tiers: Vec<String>,
    /// The pool.
    pub pool: String,
    /// How it chooses who is asked.
    pub balance: &'static str,
    /// How many requests it may have, and how many wait for how long.
    pub limits: Vec<String>,
    /// The Host sent.
    pub host: String,
    /// The name for TLS, where a rule sets one.
    pub sni: Option<String>,
    /// The port, where a rule sets one.
    pub port: Option<u16>,
    /// Path as sent.
    pub path: String,
    /// Query as sent.
    pub query: Option<String>,
    /// What rules change of the fields.
    pub headers: Vec<FieldChange>,
}

/// A field that rules set, add to or remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// Its name.
    pub name: String,
    /// What was done: `set`, `add` or `remove`.
    pub change: &'static str,
    /// The value.
    pub value: Option<String>,
}

/// A setting in force.
#[derive(Clone, Debug, Serialize)]
pub struct SettingFact {
    /// Its key in the file.
    pub key: &'static str,
    /// Its value in words.
    pub value: String,
    /// The rule that set it; `None` for the default.
    pub rule: Option<RuleRef>,
}

/// The key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyFacts {
    /// For people.
    pub text: String,
    /// The hash that the access log has.
    pub hash: String,
    /// What counts: equal bytes are equal keys.
    #[serde(skip)]
    pub identity: Identity,
    #[serde(skip)]
    pub(super) fields: HeaderMap,
    #[serde(skip)]
    pub(super) vary: Arc<VarySettings>,
}

impl KeyFacts {
    /// Whether a response that varies by `vary`, stored for requests with this selecting `key`, answers
    /// the request (RFC 9111 §4.1). Selection by Content-Language is not looked at.
    pub fn selects(&self, vary: &Vary, key: &[u8]) -> bool {
        let mut own = self.identity.extras.clone();
        vary.write_selecting_key(&self.fields, &self.vary, &mut own) && own == key
    }
}

/// What stored responses are told apart by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The primary key.
    pub primary: Vec<u8>,
    /// What rules add.
    pub extras: Vec<u8>,
    /// The fields that the described response varies by.
    pub selecting: Vec<u8>,
}

/// What becomes of the origin's answer.
#[derive(Clone, Debug, Serialize)]
pub struct ResponseFacts {
    /// The origin's status.
    pub status: u16,
    /// Whether it is stored.
    pub stored: bool,
    /// The token of the reason why not, or of what gave the lifetime.
    pub reason: String,
    /// The same in words.
    pub because: String,
    /// The rule that decided.
    pub decided_by: Option<RuleRef>,
    /// For how long it is fresh, in seconds from now.
    pub ttl: Option<u64>,
    /// Whether it is validated before each reuse.
    pub validate_always: bool,
    /// For how long after that it is served while it is validated, in seconds.
    pub stale_while_revalidate: Option<u64>,
    /// For how long it is served when the origin fails, in seconds.
    pub stale_if_error: Option<u64>,
    /// For how many seconds after that it may be served when the origin has as much to do as it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_when_overloaded: Option<u64>,
    /// Its cache tags.
    pub tags: Vec<String>,
    /// What this request is told, with an empty store.
    pub first: Told,
    /// What the same request is told later.
    pub second: Later,
    /// What the client gets.
    pub client: ClientFacts,
}

/// What a client is told about the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The word of X-Cache.
    pub x_cache: &'static str,
    /// The value of Cache-Status.
    pub cache_status: String,
}

impl From<CacheStatus> for Told {
    fn from(status: CacheStatus) -> Self {
        Self {
            x_cache: status.x_cache().as_str(),
            cache_status: status.to_string(),
        }
    }
}

/// What a later request is told.
#[derive(Clone, Debug, Serialize)]
pub struct Later {
    /// How much later, in seconds.
    pub after: u64,
    /// What it is told, if the origin is asked and answers the same again.
    #[serde(flatten)]
    pub told: Told,
    /// Whether it is answered while the origin is asked in the background, or only once the origin
    /// has confirmed what is stored.
    pub note: Option<&'static str>,
}

/// The response as the client gets it.
#[derive(Clone, Debug, Serialize)]
pub struct ClientFacts {
    /// Its status.
    pub status: u16,
    /// Its Cache-Control.
    pub cache_control: Option<String>,
    /// A page in place of the origin's.
    pub page: Option<RuleRef>,
    /// Its other fields but those about the connection, the cache and the time.
    pub headers: Vec<(String, String)>,
}
