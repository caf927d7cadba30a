//! What a rate limiting rule says, and under which key it counts a request.

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use siphasher::sip::SipHasher13;

use super::table::COMMON;
use super::{Key, Verdict};
use crate::cache::key::short_hash;
use crate::cache::response::ResponseView;
use crate::guard::decision::Action;
use crate::request::RequestView;
use crate::rules::expression::{Expression, ValueExpression};
use crate::rules::phase::Page;

/// Bits of an IPv6 address that stand for one client.
const CLIENT_BITS_V6: usize = 64;
/// The network `64:ff9b::/96`, in which translators write the IPv4 addresses of clients (RFC 6052 §2.1).
const TRANSLATED: u128 = 0x0064_ff9b << 96;

/// A rule of `rate_limit_rules`; its expression says which requests it may stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRule {
    /// Which requests count, and how much.
    pub counting: Counting,
    /// What requests that count together have in common.
    pub characteristics: Vec<Characteristic>,
    /// So many a period are within the limit.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// For how long requests are stopped once it was too much; zero for as long as it is.
    pub mitigation_timeout: Duration,
    /// What becomes of a request that is too much.
    pub action: LimitAction,
    /// Whether it is only told of.
    pub dry_run: bool,
    /// Whether answers tell what is left of the limit.
    pub tells: bool,
    /// Whether all nodes are asked before a request goes on.
    pub strict: bool,
    /// What holds while nodes cannot tell each other.
    pub on_failure: Failing,
    /// What is counted under this has been counted in the same way.
    pub identity: u64,
}

/// Which requests count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// Which; `None` for those that the rule may stop.
    pub expression: Option<Expression>,
    /// Whether the expression names fields of the response.
    pub by_response: bool,
    /// Whether only those that reached the origin do.
    pub to_origin: bool,
    /// The field of the answer that says how much one counts.
    pub score: Option<HeaderName>,
}

impl Counting {
    /// Whether the answer must be known.
    pub const fn is_after(&self) -> bool {
        self.by_response || self.to_origin || self.score.is_some()
    }

    /// Whether the fields of the answer must be.
    pub const fn reads_fields(&self) -> bool {
        self.by_response || self.score.is_some()
    }

    /// How much an answered request counts.
    pub fn weight(
        &self,
        request: &RequestView<'_>,
        response: &ResponseView<'_>,
        reached_origin: bool,
    ) -> u32 {
        if self.to_origin && !reached_origin {
            return 0;
        }
        if let Some(expression) = &self.expression
            && !expression.matches_response(request, response)
        {
            return 0;
        }
        self.score
            .as_ref()
            .map_or(1, |name| score(response.headers, name))
    }
}

/// A number that is too large counts for as much as can be.
fn score(headers: &HeaderMap, name: &HeaderName) -> u32 {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let digits = value.unwrap_or_default().trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    digits.parse().unwrap_or(u32::MAX)
}

/// What becomes of a request that is too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitAction {
    /// It is refused.
    Block(Refusal),
    /// It is refused, and others go by at the rate of the limit.
    Throttle {
        /// So many may come at once.
        burst: u32,
        /// The answer.
        refusal: Refusal,
    },
    /// Its sender has to pass a challenge first.
    Challenge,
    /// It is only told of.
    Log,
}

/// The answer to a request that is too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The page; `None` for ours.
    pub page: Option<Page>,
}

/// What holds for a rule while nodes cannot tell each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failing {
    /// Each node has its share of the limit.
    #[default]
    Local,
    /// There is no limit.
    Open,
    /// Nothing is within it.
    Closed,
}

impl Failing {
    /// Its word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// Something that requests have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Characteristic {
    /// As it is written.
    pub text: String,
    /// What it is.
    pub source: CharacteristicSource,
}

/// Where a characteristic is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CharacteristicSource {
    /// The client: its IPv4 address, or the network of its IPv6 address.
    Client,
    /// All lines of a field.
    Header(HeaderName),
    /// What an expression gives.
    Value(ValueExpression),
}

/// What keys are hashed with, so that nobody can choose requests whose keys are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seed(pub u64, pub u64);

impl LimitRule {
    /// Gives it the identity of what it counts: `name` and `expression` are its own. Limit and answer may
    /// change without what was counted being forgotten.
    pub fn identify(&mut self, zone: &str, name: &str, expression: &Expression) {
        let mut parts = vec![zone, name, expression.source()];
        let texts = self.characteristics.iter();
        parts.extend(texts.map(|characteristic| characteristic.text.as_str()));
        let counting = self.counting.expression.as_ref();
        parts.extend(counting.map(Expression::source));
        parts.extend(self.counting.score.as_ref().map(HeaderName::as_str));
        let shape = format!(
            "{} {} {}",
            self.period.as_secs_f64(),
            self.counting.to_origin,
            matches!(self.action, LimitAction::Throttle { .. })
        );
        parts.push(&shape);
        self.identity = short_hash(parts.join("\0").as_bytes());
    }

    /// What a request has in common with those that it counts with, hashed. What it lacks is not the same as
    /// what is empty.
    pub(super) fn common(&self, request: &RequestView<'_>, seed: Seed) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(seed.0, seed.1);
        for characteristic in &self.characteristics {
            characteristic.hash(request, &mut hasher);
        }
        hasher.finish()
    }

    /// The key of requests that have that in common. All keys of these are near each other in
    /// the table.
    pub(super) fn key_of(&self, common: u64) -> Key {
        // As the hash is secret, so is what this makes of it.
        let mut mixed = common ^ self.identity;
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            mixed = (mixed ^ (mixed >> 33)).wrapping_mul(factor);
        }
        mixed ^= mixed >> 33;
        // Zero is no key.
        ((mixed & !COMMON) | (common & COMMON)).max(1)
    }

    /// The answer to a request that is too much; `None` when it is only told of.
    pub const fn refusal(&self) -> Option<&Refusal> {
        match &self.action {
            LimitAction::Block(refusal) | LimitAction::Throttle { refusal, .. } => Some(refusal),
            LimitAction::Challenge | LimitAction::Log => None,
        }
    }

    /// Whether a request that is too much may go no further.
    pub const fn stops(&self) -> bool {
        !self.dry_run && !matches!(self.action, LimitAction::Log)
    }

    /// Whether a request that is too much is refused, whoever sends it.
    pub const fn refuses(&self) -> bool {
        self.stops() && self.refusal().is_some()
    }

    /// What it does, as events have it.
    pub const fn action(&self) -> Action {
        match self.action {
            LimitAction::Block(_) => Action::Block,
            LimitAction::Throttle { .. } => Action::Throttle,
            LimitAction::Challenge => Action::Challenge,
            LimitAction::Log => Action::Log,
        }
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let names: Vec<&str> = self
            .characteristics
            .iter()
            .map(|characteristic| characteristic.text.as_str())
            .collect();
        let limit = if self.counting.score.is_some() {
            "score_per_period"
        } else {
            "requests_per_period"
        };
        let mut sets = vec![
            ("action", self.action().as_str().to_owned()),
            (limit, self.limit.to_string()),
            ("period", shown(self.period)),
            ("characteristics", names.join(", ")),
        ];
        if let Some(expression) = &self.counting.expression {
            sets.push(("counting_expression", expression.source().to_owned()));
        }
        if self.counting.to_origin {
            sets.push(("requests_to_origin", "true".to_owned()));
        }
        if let Some(name) = &self.counting.score {
            sets.push(("score_response_header", name.to_string()));
        }
        if !self.mitigation_timeout.is_zero() {
            sets.push(("mitigation_timeout", shown(self.mitigation_timeout)));
        }
        if let LimitAction::Throttle { burst, .. } = self.action {
            sets.push(("burst", burst.to_string()));
        }
        if let Some(refusal) = self.refusal() {
            sets.push(("status", refusal.status.as_u16().to_string()));
            sets.extend(refusal.page.as_ref().map(Page::describe));
        }
        if self.strict {
            sets.push(("strict", "true".to_owned()));
        }
        if self.dry_run {
            sets.push(("dry_run", "true".to_owned()));
        }
        sets
    }

    /// The fields that tell a client of the limit: `Retry-After` where it is over it (RFC 9110 §10.2.3),
    /// and those of draft-ietf-httpapi-ratelimit-headers where the rule says so.
    pub fn fields(&self, name: &str, verdict: &Verdict) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = Vec::new();
        if let Verdict::Over { retry_after } = verdict {
            fields.push((RETRY_AFTER, seconds(*retry_after).into()));
        }
        if !self.tells {
            return fields;
        }
        let (remaining, reset) = match verdict {
            Verdict::Within { remaining, reset } => (*remaining, *reset),
            Verdict::Over { retry_after } => (0, *retry_after),
        };
        let name = quoted(name);
        let (limit, window) = (self.limit, self.period.as_secs());
        let policy = format!("{name};q={limit};w={window}");
        let state = format!("{name};r={remaining};t={}", seconds(reset));
        for (name, value) in [(RATELIMIT_POLICY, policy), (RATELIMIT, state)] {
            fields.extend(
                HeaderValue::try_from(value)
                    .ok()
                    .map(|value| (name.clone(), value)),
            );
        }
        fields
    }
}

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Whole seconds, never too few.
fn seconds(duration: Duration) -> u64 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    whole.max(1)
}

fn shown(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// A String of RFC 9651 §3.3.3; what it cannot hold becomes a question mark.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}

impl Characteristic {
    fn hash(&self, request: &RequestView<'_>, into: &mut SipHasher13) {
        match &self.source {
            CharacteristicSource::Client => match request.client.to_canonical() {
                IpAddr::V4(address) => into.write_u32(address.to_bits()),
                IpAddr::V6(address) if address.to_bits() >> 32 == TRANSLATED >> 32 => {
                    let address = address.to_bits() & u128::from(u32::MAX);
                    into.write_u32(u32::try_from(address).unwrap_or_default());
                }
                IpAddr::V6(address) => {
                    let network = address.to_bits() >> (128 - CLIENT_BITS_V6);
                    into.write_u64(u64::try_from(network).unwrap_or_default());
                }
            },
            CharacteristicSource::Header(name) => {
                let mut lines = 0;
                for line in request.headers.get_all(name) {
                    part(line.as_bytes(), into);
                    lines += 1;
                }
                into.write_u32(lines);
            }
            CharacteristicSource::Value(value) => {
                value.read(request, None, |text| match text {
                    Some(text) => part(text, into),
                    None => into.write_u64(u64::MAX),
                });
            }
        }
    }
}

/// Hashes a part so that it cannot be taken for another one and the next.
fn part(bytes: &[u8], into: &mut SipHasher13) {
    into.write_u64(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    into.write(bytes);
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
