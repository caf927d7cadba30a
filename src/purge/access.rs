//! Who may purge: an address from the list, with the token.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::limiter::Limiter;
use crate::config::Purge;

/// Why a purge is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The configuration has no `[purge]`.
    #[error("purging is off: add `[purge]` with a `token` to the configuration")]
    Off,
    /// The client's address is not in `allow`.
    #[error("purging is not allowed from this address")]
    Address,
    /// No token was sent.
    #[error("purging needs the token: `Authorization: Bearer TOKEN`")]
    NoToken,
    /// The token is another.
    #[error("the token is wrong")]
    WrongToken,
    /// The rate is exceeded; the next one may come after this time.
    #[error("more purges than `rate` allows a minute")]
    TooMany(Duration),
    /// It is in force, but the journal on disk could not be written.
    #[error(
        "the purge is in force, but it cannot be written down and may not outlive a restart: try again"
    )]
    Unwritten,
}

impl Refusal {
    /// The status that says so.
    pub const fn status(self) -> u16 {
        match self {
            Self::Off | Self::Address => 403,
            Self::NoToken | Self::WrongToken => 401,
            Self::TooMany(_) => 429,
            Self::Unwritten => 503,
        }
    }

    /// Whole seconds after which to try again.
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::TooMany(wait) => Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            _ => None,
        }
    }
}

/// Whether `client`, which sent `token`, may purge now, at the monotonic time `now`.
///
/// # Errors
/// Why not.
pub fn admit(
    config: Option<&Purge>,
    limiter: &mut Limiter,
    token: Option<&[u8]>,
    client: IpAddr,
    now: Duration,
) -> Result<(), Refusal> {
    let config = config.ok_or(Refusal::Off)?;
    authorise(config, token, client)?;
    limiter.take(config.rate, now).map_err(Refusal::TooMany)
}

/// Whether `client`, which sent `token`, may purge.
///
/// # Errors
/// Why not.
pub fn authorise(config: &Purge, token: Option<&[u8]>, client: IpAddr) -> Result<(), Refusal> {
    let client = client.to_canonical();
    // First, so that who is not on the list cannot try tokens.
    if !config.allow.iter().any(|network| network.contains(&client)) {
        return Err(Refusal::Address);
    }
    match token {
        None => Err(Refusal::NoToken),
        Some(token) if config.token.matches(token) => Ok(()),
        Some(_) => Err(Refusal::WrongToken),
    }
}

/// What a request with the method PURGE says: its token, and whether responses become stale (soft)
/// rather than gone.
pub fn purge_method(headers: &HeaderMap) -> (Option<&[u8]>, bool) {
    let is = |name, word: &[u8]| {
        headers
            .get(name)
            .is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(word))
    };
    let soft = is("seawall-purge", b"soft") || is("x-purge-soft", b"1");
    (token(headers), soft)
}

/// The token of a request: `Authorization: Bearer TOKEN` (RFC 6750 §2.1), or `X-Purge-Token`. Two
/// fields of a name are as none.
pub fn token(headers: &HeaderMap) -> Option<&[u8]> {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?;
        values.next().is_none().then(|| value.as_bytes())
    };
    let bearer = only(AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme
            .eq_ignore_ascii_case(b"Bearer ")
            .then(|| token.trim_ascii())
    });
    bearer
        .or_else(|| only("x-purge-token").map(<[u8]>::trim_ascii))
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use http::HeaderValue;

    fn config() -> Purge {
        Purge {
            token: Secret::new("0123456789abcdef"),
            allow: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            rate: 60,
            refetch_rate: 10,
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn address_and_token_must_both_be_right() {
        let local: IpAddr = "127.0.0.9".parse().unwrap();
        let good = Some(&b"0123456789abcdef"[..]);
        assert_eq!(authorise(&config(), good, local), Ok(()));
        for client in ["::1", "::ffff:127.0.0.1"] {
            assert_eq!(authorise(&config(), good, client.parse().unwrap()), Ok(()));
        }
        for client in ["10.0.0.1", "::2", "::ffff:10.0.0.1"] {
            assert_eq!(
                authorise(&config(), good, client.parse().unwrap()),
                Err(Refusal::Address),
                "{client}"
            );
        }
        assert_eq!(authorise(&config(), None, local), Err(Refusal::NoToken));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdeg"] {
            assert_eq!(
                authorise(&config(), Some(wrong), local),
                Err(Refusal::WrongToken)
            );
        }
    }

    #[test]
    fn tokens_come_in_either_field_and_soft_in_either_word() {
        for (fields, expected, soft) in [
            (&[("authorization", "Bearer abc")][..], Some("abc"), false),
            (&[("authorization", "bearer  abc ")], Some("abc"), false),
            (&[("x-purge-token", "abc")], Some("abc"), false),
            (&[("authorization", "Basic abc")], None, false),
            (&[("authorization", "Bearer ")], None, false),
            (&[("authorization", "Bearer")], None, false),
            (
                &[
                    ("authorization", "Bearer abc"),
                    ("authorization", "Bearer x"),
                ],
                None,
                false,
            ),
            (&[("seawall-purge", "soft")], None, true),
            (&[("x-purge-soft", "1")], None, true),
            (
                &[("x-purge-soft", "0"), ("seawall-purge", "hard")],
                None,
                false,
            ),
        ] {
            let headers = headers(fields);
            let expected = (expected.map(str::as_bytes), soft);
            assert_eq!(purge_method(&headers), expected, "{fields:?}");
        }
    }
}
