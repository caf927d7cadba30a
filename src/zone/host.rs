//! Host names in one canonical form (RFC 3986 §6.2.2.1, RFC 9110 §7.2), and patterns over them.

use std::fmt;

use crate::request::Scheme;

/// The host and port a request is for, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    text: String,
    host_len: usize,
}

impl Authority {
    /// Reads a Host field or an authority.
    ///
    /// Lower case, no trailing dot, no port that is the scheme's default. `None` when it is not a
    /// plain host with an optional port: user information, spaces, empty labels and the like have
    /// no business in a request to a shared cache.
    pub fn parse(raw: &str, scheme: Scheme) -> Option<Self> {
        let (host, port) = split_port(raw)?;
        let mut text = if host.starts_with('[') {
            let inner = host.strip_prefix('[')?.strip_suffix(']')?;
            format!("[{}]", inner.parse::<std::net::Ipv6Addr>().ok()?)
        } else {
            let host = host.strip_suffix('.').unwrap_or(host);
            if !is_reg_name(host) {
                return None;
            }
            host.to_ascii_lowercase()
        };
        let host_len = text.len();
        let default_port = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        if let Some(port) = port.filter(|port| *port != default_port) {
            text.push(':');
            text.push_str(&port.to_string());
        }
        Some(Self { text, host_len })
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        self.text.get(..self.host_len).unwrap_or(&self.text)
    }

    /// Host and, unless it is the default, port: what is forwarded and what the key holds.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn split_port(raw: &str) -> Option<(&str, Option<u16>)> {
    let after_host = match raw.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => raw.find(':').unwrap_or(raw.len()),
    };
    let (host, rest) = raw.split_at_checked(after_host)?;
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        // RFC 3986 §3.2.3 allows an empty port, which means the default.
        Some("") => Some((host, None)),
        Some(port) if port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        _ => None,
    }
}

fn is_reg_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// A host as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: every host that no other zone names.
    Any,
    /// `*.example.com`: every name below, at any depth; holds `.example.com`.
    Below(String),
    /// One name.
    Exact(String),
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence saying what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.contains("://") || text.contains('/') {
            return Err("must be a host name alone, without scheme and path".to_owned());
        }
        let canonical = |name: &str| {
            let parsed = Authority::parse(name, Scheme::Http)
                .ok_or_else(|| "is not a host name".to_owned())?;
            if parsed.as_str() != parsed.host()
                || name.contains("]:")
                || (!name.starts_with('[') && name.contains(':'))
            {
                return Err("must not have a port; every port of the listeners is meant".to_owned());
            }
            Ok(parsed.host().to_owned())
        };
        match text.strip_prefix("*.") {
            Some(name) => Ok(Self::Below(format!(".{}", canonical(name)?))),
            None if text.contains('*') => {
                Err("may have a `*` only alone or as the first label, `*.example.com`".to_owned())
            }
            None => Ok(Self::Exact(canonical(text)?)),
        }
    }

    /// How specifically this pattern names `host`; `None` when it does not. More is more specific.
    pub fn specificity(&self, host: &str) -> Option<usize> {
        match self {
            Self::Any => Some(0),
            Self::Below(suffix) => {
                (host.len() > suffix.len() && host.ends_with(suffix)).then_some(suffix.len())
            }
            Self::Exact(name) => (name == host).then_some(usize::MAX),
        }
    }
}

/// As the configuration names it.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(suffix) => write!(f, "*{suffix}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(raw: &str) -> Option<String> {
        Authority::parse(raw, Scheme::Http).map(|authority| authority.as_str().to_owned())
    }

    #[test]
    fn equal_hosts_have_one_form() {
        for (raw, expected) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("example.com:80", "example.com"),
            ("example.com:", "example.com"),
            ("example.com:0080", "example.com"),
            ("example.com:8080", "example.com:8080"),
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            ("[::1]:80", "[::1]"),
            ("[0:0:0:0:0:0:0:1]:81", "[::1]:81"),
        ] {
            assert_eq!(canonical(raw).as_deref(), Some(expected), "{raw}");
        }
        let https = Authority::parse("a.test:443", Scheme::Https).unwrap();
        assert_eq!((https.as_str(), https.host()), ("a.test", "a.test"));
    }

    #[test]
    fn what_is_not_a_plain_host_is_refused() {
        for raw in [
            "",
            ".",
            "a..b",
            "a@b",
            "a b",
            "a/b",
            "a:99999",
            "a:+80",
            "a:80:80",
            "[::1",
            "[::1]x",
            "[nonsense]",
            "a,b",
            "a\tb",
            "exa%6dple.com",
            "..",
            "a.test:80a",
        ] {
            assert_eq!(canonical(raw), None, "{raw:?}");
        }
    }

    #[test]
    fn patterns_refuse_what_they_cannot_mean() {
        assert_eq!(HostPattern::parse("*"), Ok(HostPattern::Any));
        assert_eq!(
            HostPattern::parse("A.test"),
            Ok(HostPattern::Exact("a.test".into()))
        );
        assert_eq!(
            HostPattern::parse("*.a.test"),
            Ok(HostPattern::Below(".a.test".into()))
        );
        for (text, why) in [
            ("https://a.test", "without scheme"),
            ("a.test:80", "must not have a port"),
            ("a.*.test", "only alone or as the first label"),
            ("a b", "not a host name"),
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
