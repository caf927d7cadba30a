//! The request as every decision sees it: a borrowed view of plain values.
//!
//! Shell code builds one [`RequestView`] per request from whatever it parsed; core code (rules,
//! eligibility, key, storing) reads nothing else. It owns nothing and knows no Pingora type.

pub mod arrival;
pub mod object;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Version};

/// The scheme under which the client reached the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Cleartext.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// That of a connection which is encrypted, or is not.
    pub const fn of(tls: bool) -> Self {
        if tls { Self::Https } else { Self::Http }
    }

    /// The scheme as it is written in a URI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A borrowed view of one client request (RFC 9110 §3.4).
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The request method.
    pub method: &'a Method,
    /// Scheme of the listener that accepted the request.
    pub scheme: Scheme,
    /// Canonical host: lower case, without a trailing dot or default port.
    pub host: &'a str,
    /// Path as it will be forwarded; begins with `/`.
    pub path: &'a str,
    /// Query without its `?`, as it will be forwarded; `None` when there is no `?`.
    pub query: Option<&'a str>,
    /// Protocol version on the client's connection.
    pub version: Version,
    /// All header fields the client sent.
    pub headers: &'a HeaderMap,
    /// Address of the client.
    pub client: IpAddr,
    /// Whether a cookie's name is one of the zone's session cookies.
    pub session_cookie: bool,
    /// Whether the request announces a body (RFC 9112 §6).
    pub has_body: bool,
    /// What is known of the request beside its head.
    pub facts: Facts<'a>,
}

/// What is known of a request beside its head: where it comes from, when, and what rules have made
/// of it so far. The default knows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// When it arrived, in seconds since 1970.
    pub unix_seconds: i64,
    /// Length of the body in bytes, where it is announced.
    pub body_size: Option<u64>,
    /// Country of the client, ISO 3166-1 alpha-2 in capitals, where it is known.
    pub country: Option<[u8; 2]>,
    /// Number of the client's autonomous system, where it is known.
    pub asn: Option<u32>,
    /// Whether it is of the bot that it says it is of, and that is a known one.
    pub verified_bot: bool,
    /// Path and query as the client sent them, in canonical form; `None` when no rule rewrote them.
    pub raw_target: Option<&'a str>,
    /// The variants that splits chose.
    pub splits: &'a [SplitChoice],
}

/// The variant that a split chose for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitChoice {
    /// Name of the split.
    pub split: Arc<str>,
    /// Name of the variant.
    pub variant: Arc<str>,
}
