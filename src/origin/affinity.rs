//! Session affinity: which replica a client's session is at home at, and the signed cookie that says so.

use std::net::SocketAddr;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::config::{AffinityBy, Pool, Secret};
use crate::fields::cookies::cookies;

/// What these signatures are for.
const PURPOSE: &str = "affinity";

/// Names a replica without telling its address.
pub(super) type Id = String;

/// The name of a replica of `pool` in cookies.
pub(super) fn id(pool: &Pool, secret: &Secret, address: SocketAddr) -> Id {
    secret.sign(PURPOSE, &["replica", &pool.name, &address.to_string()])
}

/// The replica that the request's cookie names, if the cookie is genuine and not past its time; `now` in
/// seconds since 1970.
pub(super) fn remembered(pool: &Pool, headers: &HeaderMap, now: i64) -> Option<Id> {
    let AffinityBy::Cookie { name, secret, .. } = &pool.affinity.as_ref()?.by else {
        return None;
    };
    let (_, value) = cookies(headers).find(|(sent, _)| *sent == name.as_bytes())?;
    let mut parts = std::str::from_utf8(value).ok()?.splitn(3, '.');
    let (id, until, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let expected = secret.sign(PURPOSE, &["session", &pool.name, id, until]);
    let genuine = subtle::ConstantTimeEq::ct_eq(signature.as_bytes(), expected.as_bytes());
    let lasts = until.parse::<i64>().is_ok_and(|until| now < until);
    (bool::from(genuine) && lasts).then(|| id.to_owned())
}

/// The cookie for a client whose session begins, or moves, at the replica `id`.
pub(super) fn cookie(pool: &Pool, id: &str, secure: bool, now: i64) -> Option<HeaderValue> {
    let AffinityBy::Cookie { name, ttl, secret } = &pool.affinity.as_ref()?.by else {
        return None;
    };
    let ttl = ttl.as_secs();
    let until = now.saturating_add_unsigned(ttl).to_string();
    let signature = secret.sign(PURPOSE, &["session", &pool.name, id, &until]);
    let secure = if secure { "; Secure" } else { "" };
    HeaderValue::try_from(format!(
        "{name}={id}.{until}.{signature}; Path=/; Max-Age={ttl}; HttpOnly; SameSite=Lax{secure}"
    ))
    .ok()
}

/// Takes the cookies out of a request whose names `gone` tells.
pub fn remove_cookies(headers: &mut HeaderMap, gone: impl Fn(&[u8]) -> bool) {
    if !cookies(headers).any(|(name, _)| gone(name)) {
        return;
    }
    let pairs = headers.get_all(COOKIE).iter();
    let pairs = pairs.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let left: Vec<&[u8]> = pairs
        .map(<[u8]>::trim_ascii)
        .filter(|pair| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            !pair.is_empty() && !gone(name.trim_ascii())
        })
        .collect();
    let left = left.join(&b"; "[..]);
    match HeaderValue::from_bytes(&left) {
        Ok(value) if !left.is_empty() => drop(headers.insert(COOKIE, value)),
        _ => drop(headers.remove(COOKIE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn pool() -> std::sync::Arc<Pool> {
        let source = "listen = \"[::]:1\"\nsecret = \"0123456789abcdef\"\n\
             [pools.app]\nservers = \"http://127.0.0.1:2\"\naffinity = { by = \"cookie\", ttl = \"60s\" }\n\
             [zones.shop]\nhosts = \"shop.test\"\npool = \"app\"\n";
        parse("test.toml", source, &|_| None).unwrap().pools[0].clone()
    }

    fn sent(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::try_from(cookie).unwrap())])
    }

    #[test]
    fn a_cookie_is_believed_until_its_time_is_over() {
        let pool = pool();
        let set = cookie(&pool, "abc", true, 1000).unwrap();
        let set = set.to_str().unwrap();
        for part in ["Max-Age=60", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(set.contains(part), "{set}");
        }
        let pair = set.split(';').next().unwrap();
        let headers = sent(&format!("x=1; {pair}"));
        assert_eq!(remembered(&pool, &headers, 1059).as_deref(), Some("abc"));
        assert_eq!(remembered(&pool, &headers, 1060), None);
        for forged in [pair.replace("abc", "abd"), pair.replace("1060", "9060")] {
            assert_eq!(remembered(&pool, &sent(&forged), 1001), None, "{forged}");
        }
    }

    #[test]
    fn an_id_tells_nothing_of_the_address() {
        let pool = pool();
        let address = "10.0.0.7:80".parse().unwrap();
        let one = id(&pool, &Secret::new("0123456789abcdef"), address);
        assert_eq!(one, id(&pool, &Secret::new("0123456789abcdef"), address));
        assert_ne!(one, id(&pool, &Secret::new("another secret 1"), address));
    }

    #[test]
    fn cookies_are_taken_out_and_others_stay_as_they_are() {
        let without = |cookie: &str| {
            let mut headers = sent(cookie);
            remove_cookies(&mut headers, |name| name == b"gone");
            headers
                .get(COOKIE)
                .map(|left| left.to_str().unwrap().to_owned())
        };
        assert_eq!(without("a=1;b=\"2\"").as_deref(), Some("a=1;b=\"2\""));
        assert_eq!(without("a=1; gone=x; b=2=3").as_deref(), Some("a=1; b=2=3"));
        assert_eq!(without("gone=x; gone = y"), None);
    }
}
