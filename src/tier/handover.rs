//! What a lower tier hands over with a request: who the client is, and what its rules made of the request.
//! Signed together with the request's head, so that an upper tier takes nobody else's word for it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderValue, Method, Version};
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::SEAWALL_TIER;
use crate::cache::key::write_bytes;
use crate::purge::Position;
use crate::request::{Scheme, SplitChoice};

/// The form of what is handed over. Members that a node does not know are passed over; another number
/// says that they matter.
const FORM: u8 = 1;

/// How far apart the clocks of two tiers may be, the way between them included.
pub const LONGEST_SKEW: Duration = Duration::from_mins(1);

/// What begins everything that is signed, so that a signature is good for nothing else.
const PURPOSE: &[u8] = b"seawall tier request 1";

/// What a tier is signed with.
#[derive(Clone, Debug)]
pub struct TierKey(hmac::Key);

impl TierKey {
    /// The key that all nodes with this secret have.
    pub fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }
}

/// How the node that asks stands to the one that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// It asks a tier above it.
    Lower,
    /// It asks the owner of the key among its like, which asks none of them in turn.
    Sibling,
}

/// What a lower tier hands over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    form: u8,
    /// Seconds since 1970 when it was signed.
    sent: u64,
    /// The node that sends it.
    pub node: String,
    /// What that is to the node that is asked.
    pub relation: Relation,
    /// The request's name in the logs.
    pub request_id: String,
    /// The client's address.
    pub client: IpAddr,
    tls: bool,
    /// 10, 11 or 20.
    protocol: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    /// The client's autonomous system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Path and query before rules rewrote them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_target: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    splits: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purges: Option<String>,
}

/// What there is to hand over.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The node that sends it.
    pub node: &'a str,
    /// What that is to the node that is asked.
    pub relation: Relation,
    /// The request's name in the logs.
    pub request_id: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The scheme under which the client came.
    pub scheme: Scheme,
    /// The protocol that the client speaks.
    pub version: Version,
    /// Where the client is.
    pub country: Option<[u8; 2]>,
    /// In which network.
    pub asn: Option<u32>,
    /// Path and query before rules rewrote them.
    pub raw_target: Option<&'a str>,
    /// The variants that splits chose.
    pub splits: &'a [SplitChoice],
    /// What rules added to the key.
    pub key: &'a [u8],
    /// Up to where in the stream of purges the node knows them.
    pub purges: Option<Position>,
}

/// The head of a request between tiers, all of which is signed.
#[derive(Clone, Copy, Debug)]
pub struct SignedHead<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The value of Host.
    pub host: &'a [u8],
    /// Path and query.
    pub target: &'a str,
    /// Its fields.
    pub fields: &'a HeaderMap,
}

/// Why a field is not taken for what a tier handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthentic {
    /// Nobody who knows the secret signed this.
    #[error("the signature is not ours")]
    Forged,
    /// Signed, and not to be read: another version of Seawall.
    #[error("the form is not known")]
    Unknown,
    /// Signed too long ago, or in the future.
    #[error("the time is more than a minute from this node's")]
    Stale,
}

impl Handover {
    /// What is handed over at `now`.
    pub fn new(facts: &Facts<'_>, now: SystemTime) -> Self {
        let country = facts.country.as_ref();
        Self {
            form: FORM,
            sent: unix_seconds(now),
            node: facts.node.to_owned(),
            relation: facts.relation,
            request_id: facts.request_id.to_owned(),
            client: facts.client,
            tls: facts.scheme == Scheme::Https,
            protocol: match facts.version {
                Version::HTTP_10 => 10,
                Version::HTTP_2 => 20,
                _ => 11,
            },
            country: country.map(|code| String::from_utf8_lossy(code).into_owned()),
            asn: facts.asn,
            raw_target: facts.raw_target.map(str::to_owned),
            splits: facts
                .splits
                .iter()
                .map(|choice| (choice.split.to_string(), choice.variant.to_string()))
                .collect(),
            key: BASE64.encode(facts.key),
            purges: facts.purges.map(|position| position.to_string()),
        }
    }

    /// The value of the field, signed together with `head`.
    pub fn sign(&self, head: &SignedHead<'_>, key: &TierKey) -> Option<HeaderValue> {
        let content = serde_json::to_vec(self).ok()?;
        let tag = hmac::sign(&key.0, &signed_bytes(&content, head));
        let text = format!("{}.{}", BASE64.encode(&content), BASE64.encode(tag));
        HeaderValue::try_from(text).ok()
    }

    /// What `value` hands over with `head`.
    ///
    /// # Errors
    /// Why it is not to be believed.
    pub fn verify(
        value: &[u8],
        head: &SignedHead<'_>,
        key: &TierKey,
        now: SystemTime,
    ) -> Result<Self, NotAuthentic> {
        let (content, tag) = decode(value).ok_or(NotAuthentic::Forged)?;
        // In constant time.
        hmac::verify(&key.0, &signed_bytes(&content, head), &tag)
            .map_err(|_| NotAuthentic::Forged)?;
        let handover: Self = serde_json::from_slice(&content).map_err(|_| NotAuthentic::Unknown)?;
        if handover.form != FORM {
            return Err(NotAuthentic::Unknown);
        }
        if unix_seconds(now).abs_diff(handover.sent) > LONGEST_SKEW.as_secs() {
            return Err(NotAuthentic::Stale);
        }
        Ok(handover)
    }

    /// The scheme under which the client came.
    pub fn scheme(&self) -> Scheme {
        Scheme::of(self.tls)
    }

    /// The protocol that the client speaks.
    pub fn version(&self) -> Version {
        match self.protocol {
            10 => Version::HTTP_10,
            20 => Version::HTTP_2,
            _ => Version::HTTP_11,
        }
    }

    /// Where the client is.
    pub fn country(&self) -> Option<[u8; 2]> {
        self.country.as_deref()?.as_bytes().try_into().ok()
    }

    /// The variants that splits chose.
    pub fn splits(&self) -> Vec<SplitChoice> {
        let choices = self.splits.iter();
        choices
            .map(|(split, variant)| SplitChoice {
                split: split.as_str().into(),
                variant: variant.as_str().into(),
            })
            .collect()
    }

    /// Up to where in the stream of purges the lower tier knows them: an answer that they reach is none.
    pub fn purges(&self) -> Option<Position> {
        self.purges.as_deref()?.parse().ok()
    }

    /// What the lower tier's rules added to the key.
    pub fn key(&self) -> Vec<u8> {
        // What is signed is what was encoded.
        BASE64.decode(&self.key).unwrap_or_default()
    }
}

fn decode(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = std::str::from_utf8(value).ok()?;
    let (content, tag) = text.split_once('.')?;
    Some((BASE64.decode(content).ok()?, BASE64.decode(tag).ok()?))
}

fn unix_seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// What is signed, each part after its length. The order of fields of different names does not count, as
/// HTTP gives it no meaning (RFC 9110 §5.3).
fn signed_bytes(content: &[u8], head: &SignedHead<'_>) -> Vec<u8> {
    let mut fields: Vec<(&[u8], &[u8])> = head
        .fields
        .iter()
        .filter(|(name, _)| ![SEAWALL_TIER, HOST, CONNECTION].contains(name))
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes().trim_ascii()))
        .collect();
    fields.sort_by_key(|(name, _)| *name);
    let parts = [
        PURPOSE,
        content,
        head.method.as_str().as_bytes(),
        head.host,
        head.target.as_bytes(),
    ];
    let fields = fields.iter().flat_map(|(name, value)| [*name, *value]);
    let mut bytes = Vec::with_capacity(1024);
    for part in parts.into_iter().chain(fields) {
        write_bytes(part, &mut bytes);
    }
    bytes
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
