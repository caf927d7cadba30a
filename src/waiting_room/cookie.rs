//! The cookie by which a client keeps its place, signed for one room of one zone.

use http::{HeaderMap, HeaderValue};

use super::queue::KEPT;
use super::room::Claim;
use crate::config::Secret;
use crate::fields::cookies::cookies;

/// What these signatures are for: none is worth anything elsewhere.
const PURPOSE: &str = "waiting room";

/// Browsers take a cookie of this name over TLS alone, and from this host alone (RFC 6265bis §4.1.3.2).
pub const COOKIE_PREFIX: &str = "__Host-";

/// What the request's cookie `name` says, if it is genuine.
pub fn read(
    headers: &HeaderMap,
    name: &str,
    secret: &Secret,
    (zone, room): (&str, &str),
) -> Option<Claim> {
    let (_, value) = cookies(headers).find(|(sent, _)| *sent == name.as_bytes())?;
    let (text, signature) = std::str::from_utf8(value).ok()?.rsplit_once('.')?;
    let expected = secret.sign(PURPOSE, &[zone, room, text]);
    let genuine = subtle::ConstantTimeEq::ct_eq(signature.as_bytes(), expected.as_bytes());
    if !bool::from(genuine) {
        return None;
    }
    let mut parts = text.split('.');
    let kind = parts.next()?;
    let instance = u32::from_str_radix(parts.next()?, 16).ok()?;
    let mut number = || parts.next()?.parse().ok();
    match kind {
        "in" => Some(Claim::Inside {
            instance,
            seen: number()?,
        }),
        "wait" => Some(Claim::Waiting {
            instance,
            arrived: number()?,
            asked: number()?,
        }),
        _ => None,
    }
}

/// The cookie that says `claim`, for `session_lifetime` seconds if the client is inside.
pub fn cookie(
    claim: &Claim,
    (name, secure): (&str, bool),
    secret: &Secret,
    (zone, room): (&str, &str),
    session_lifetime: u64,
) -> Option<HeaderValue> {
    let (text, lifetime) = match claim {
        Claim::Inside { instance, seen } => (format!("in.{instance:08x}.{seen}"), session_lifetime),
        Claim::Waiting {
            instance,
            arrived,
            asked,
        } => (format!("wait.{instance:08x}.{arrived}.{asked}"), KEPT),
    };
    let signature = secret.sign(PURPOSE, &[zone, room, &text]);
    let secure = if secure { "; Secure" } else { "" };
    HeaderValue::try_from(format!(
        "{name}={text}.{signature}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Lax{secure}"
    ))
    .ok()
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    const CLAIMS: [Claim; 2] = [
        Claim::Inside {
            instance: 0xfe,
            seen: 1000,
        },
        Claim::Waiting {
            instance: 1,
            arrived: 900,
            asked: 1000,
        },
    ];

    fn secret() -> Secret {
        Secret::new("0123456789abcdef")
    }

    #[test]
    fn a_cookie_is_believed_for_its_zone_and_room_alone() {
        for claim in CLAIMS {
            let set = cookie(&claim, ("room", true), &secret(), ("shop", "sale"), 310).unwrap();
            let set = set.to_str().unwrap();
            for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
                assert!(set.contains(part), "{set}");
            }
            let pair = set.split(';').next().unwrap();
            let reads = |pair: &str, secret: &Secret, of| {
                let value = HeaderValue::try_from(format!("x=1; {pair}")).unwrap();
                read(&HeaderMap::from_iter([(COOKIE, value)]), "room", secret, of)
            };
            assert_eq!(reads(pair, &secret(), ("shop", "sale")), Some(claim));
            for of in [("shop", "other"), ("other", "sale"), ("shops", "ale")] {
                assert_eq!(reads(pair, &secret(), of), None);
            }
            let other = Secret::new("another secret 1");
            assert_eq!(reads(pair, &other, ("shop", "sale")), None);
            for forged in [
                pair.replace("1000", "1001"),
                pair.replace("900", "100"),
                pair.replace("wait", "in"),
                "room=in.000000fe.1000".to_owned(),
                "room=".to_owned(),
            ] {
                if forged != pair {
                    assert_eq!(
                        reads(&forged, &secret(), ("shop", "sale")),
                        None,
                        "{forged}"
                    );
                }
            }
        }
    }
}
