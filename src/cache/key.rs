//! The primary key under which responses are stored (RFC 9111 §2).

use std::fmt;

use super::settings::{HostKey, KeySettings};
use crate::request::{RequestView, Scheme};

/// What identifies a resource in the store. Two requests share stored responses exactly when
/// their keys are equal, and keys are equal exactly when their encodings are equal bytes.
///
/// The method is not part of it: a HEAD is answered from what a GET stored (RFC 9110 §9.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey<'a> {
    /// The zone's name.
    pub zone: &'a str,
    /// Scheme of the listener.
    pub scheme: Scheme,
    /// Canonical host, and the port unless it is the scheme's default: it is forwarded, and pages
    /// hold absolute links.
    pub host: &'a str,
    /// Path as forwarded.
    pub path: &'a str,
    /// Query as forwarded; an empty one differs from none (RFC 3986 §6.2.3).
    pub query: Option<&'a str>,
}

impl<'a> CacheKey<'a> {
    /// The key of a request in `zone` to `authority`, the one that [`keyed_host`] chose, whose query
    /// counts as `query`: what [`keyed_query`](super::query::keyed_query) made of it.
    pub const fn of(
        zone: &'a str,
        authority: &'a str,
        request: &RequestView<'a>,
        query: Option<&'a str>,
    ) -> Self {
        Self {
            zone,
            scheme: request.scheme,
            host: authority,
            path: request.path,
            query,
        }
    }

    /// The key as bytes; see [`Self::write`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.capacity());
        self.write(&mut out);
        out
    }

    /// Appends the key: every text preceded by its length, so that nothing in one part can pass
    /// for the beginning of the next. Further parts may be appended after it in the same way.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_text(self.zone, out);
        out.push(match self.scheme {
            Scheme::Http => 0,
            Scheme::Https => 1,
        });
        write_text(self.host, out);
        write_text(self.path, out);
        match self.query {
            None => out.push(0),
            Some(query) => {
                out.push(1);
                write_text(query, out);
            }
        }
    }

    /// The key that these bytes are; `None` when they are none.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (zone, rest) = read_text(bytes)?;
        let (scheme, rest) = rest.split_first()?;
        let scheme = match scheme {
            0 => Scheme::Http,
            1 => Scheme::Https,
            _ => return None,
        };
        let (host, rest) = read_text(rest)?;
        let (path, rest) = read_text(rest)?;
        let (query, rest) = match rest.split_first()? {
            (0, rest) => (None, rest),
            (1, rest) => read_text(rest).map(|(query, rest)| (Some(query), rest))?,
            _ => return None,
        };
        rest.is_empty().then_some(Self {
            zone,
            scheme,
            host,
            path,
            query,
        })
    }

    fn capacity(&self) -> usize {
        let texts = [self.zone, self.host, self.path, self.query.unwrap_or("")];
        texts.iter().map(|text| text.len() + 2).sum::<usize>() + 2
    }
}

impl fmt::Display for CacheKey<'_> {
    /// `shop https://shop.test/a?b=1`; for people alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_str();
        write!(f, "{} {scheme}://{}{}", self.zone, self.host, self.path)?;
        match self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// 64-bit FNV-1a of an encoded key. For display in logs only: it is short and stable across
/// builds, but anyone can make two keys collide.
pub fn short_hash(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The authority that counts: the client's, or the one that the origin is asked with.
pub fn keyed_host<'a>(settings: &KeySettings, sent: &'a str, resolved: &'a str) -> &'a str {
    match settings.host {
        HostKey::AsSent => sent,
        HostKey::Resolved => resolved,
    }
}

pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    write_bytes(text.as_bytes(), out);
}

pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, lowest first, the high bit telling that more follow: one byte for most
/// lengths, and no length's encoding begins another's.
fn write_length(length: usize, out: &mut Vec<u8>) {
    let mut rest = length;
    while rest > 0x7f {
        out.push(0x80 | low_bits(rest));
        rest >>= 7;
    }
    out.push(low_bits(rest));
}

/// The text at the beginning, and what follows it.
fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = read_length(bytes)?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let (written, rest) = bytes.split_at_checked(end + 1)?;
    let length = written.iter().rev().try_fold(0_usize, |length, byte| {
        let low = usize::from(byte & 0x7f);
        Some(length.checked_mul(0x80)? | low)
    });
    Some((length?, rest))
}

fn low_bits(number: usize) -> u8 {
    number.to_le_bytes().first().map_or(0, |byte| byte & 0x7f)
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
