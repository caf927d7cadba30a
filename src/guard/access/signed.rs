//! Signed URLs, as Cloudflare's `is_timed_hmac_valid_v0` has them: `/video.mp4?verify=1484063787-MAC`, where
//! MAC is the HMAC-SHA256 of everything before `?verify=` and the time of signing, in base64.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;

use crate::config::Secret;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// A clock may be so many seconds ahead of ours.
const AHEAD: i64 = 60;
/// Digits of a time, until 2286.
const TIME: usize = 10;

/// How URLs are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedUrl {
    /// The name of the parameter, which is the last one.
    pub parameter: String,
    /// How long a URL is valid, in seconds.
    pub valid_for: u64,
    /// Keys; the first signs, and all verify, so that one can follow another.
    pub secrets: Vec<Secret>,
}

impl SignedUrl {
    /// Whether path and query were signed with one of the keys, and not too long ago.
    pub fn holds(&self, path: &str, query: Option<&str>, now: i64) -> bool {
        self.check(path, query, now).unwrap_or(false)
    }

    fn check(&self, path: &str, query: Option<&str>, now: i64) -> Option<bool> {
        let query = query?;
        let (before, value) = match query.rsplit_once('&') {
            Some((before, last)) => (Some(before), last),
            None => (None, query),
        };
        let (name, value) = value.split_once('=')?;
        if name != self.parameter {
            return Some(false);
        }
        let (time, mac) = value.split_once('-')?;
        // Nothing parts the time from what is before it: of another length, or with a zero in front, the
        // signature of `/media/10` would be one of `/media/1` as well.
        let is_time = time.len() == TIME
            && time.bytes().all(|digit| digit.is_ascii_digit())
            && !time.starts_with('0');
        if !is_time {
            return Some(false);
        }
        let signed: i64 = time.parse().ok()?;
        let until = signed.saturating_add_unsigned(self.valid_for);
        let mac = mac.replace("%3D", "=").replace("%3d", "=");
        let mac = mac.replace("%2B", "+").replace("%2b", "+");
        let mac = mac.replace("%2F", "/").replace("%2f", "/");
        let decode = |alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(&mac).ok();
        let mac = decode(&STANDARD).or_else(|| decode(&URL_SAFE))?;
        let message = message(path, before, time);
        let right = self.secrets.iter().any(|secret| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
            hmac::verify(&key, message.as_bytes(), &mac).is_ok()
        });
        Some(right && now < until && signed <= now.saturating_add(AHEAD))
    }

    /// Path and query with the signature, valid from `now` on.
    pub fn sign(&self, path: &str, query: Option<&str>, now: i64) -> Option<String> {
        let secret = self.secrets.first()?;
        let time = now.to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
        let tag = hmac::sign(&key, message(path, query, &time).as_bytes());
        let mac = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag);
        let parameter = &self.parameter;
        Some(match query {
            Some(query) => format!("{path}?{query}&{parameter}={time}-{mac}"),
            None => format!("{path}?{parameter}={time}-{mac}"),
        })
    }
}

fn message(path: &str, query: Option<&str>, time: &str) -> String {
    match query {
        Some(query) => format!("{path}?{query}{time}"),
        None => format!("{path}{time}"),
    }
}

/// `query` without the parameter of this name, which is its last one.
pub fn without<'q>(query: &'q str, parameter: &str) -> Option<&'q str> {
    let is = |pair: &str| {
        pair.split_once('=')
            .is_some_and(|(name, _)| name == parameter)
    };
    match query.rsplit_once('&') {
        Some((before, last)) if is(last) => Some(before),
        None if is(query) => None,
        _ => Some(query),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn signed() -> SignedUrl {
        SignedUrl {
            parameter: "verify".to_owned(),
            valid_for: 100,
            secrets: vec![
                Secret::new("0123456789abcdef"),
                Secret::new("fedcba9876543210"),
            ],
        }
    }

    fn holds(target: &str, now: i64) -> bool {
        let (path, query) = target.split_once('?').unwrap();
        signed().holds(path, Some(query), now)
    }

    #[test]
    fn a_signed_url_is_valid_for_a_while_with_every_key() {
        for query in [None, Some("w=100&h=50")] {
            let target = signed().sign("/video.mp4", query, NOW).unwrap();
            assert!(holds(&target, NOW) && holds(&target, NOW + 99));
            assert!(!holds(&target, NOW + 100) && !holds(&target, NOW - 100));
            let mut older = signed();
            older.secrets.remove(0);
            let target = older.sign("/video.mp4", query, NOW).unwrap();
            assert!(holds(&target, NOW));
        }
    }

    #[test]
    fn a_url_with_any_byte_changed_or_anything_added_is_refused() {
        let target = signed().sign("/video.mp4", Some("a=1"), NOW).unwrap();
        for at in 0..target.len() - 1 {
            let mut changed = target.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(!changed.contains('?') || !holds(&changed, NOW), "{changed}");
        }
        assert!(!holds(&format!("{target}&b=2"), NOW));
        assert!(!holds(&target.replace("a=1", "b=2&a=1"), NOW));
        assert!(!signed().holds("/video.mp4", None, NOW));
    }

    #[test]
    fn no_digit_moves_from_the_path_to_the_time_or_back() {
        for path in ["/media/10", "/media/100", "/media/7+", "/media/a"] {
            for query in [None, Some("page=10")] {
                let target = signed().sign(path, query, NOW).unwrap();
                let (before, value) = target.split_once("verify=").unwrap();
                let (time, mac) = value.split_once('-').unwrap();
                let end = before.trim_end_matches(['?', '&']);
                let joint = &before[end.len()..];
                let text = format!("{end}{time}");
                for cut in 1..text.len() {
                    let (end, time) = text.split_at(cut);
                    let moved = format!("{end}{joint}verify={time}-{mac}");
                    let valid = moved.matches('?').count() == 1 && holds(&moved, NOW);
                    assert_eq!(valid, moved == target, "{moved}");
                }
            }
        }
    }

    #[test]
    fn the_form_of_cloudflares_examples_is_understood() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
        let tag = hmac::sign(&key, format!("/cat.jpg{NOW}").as_bytes());
        let mac = base64::engine::general_purpose::STANDARD.encode(tag);
        let mac = mac
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        assert!(holds(&format!("/cat.jpg?verify={NOW}-{mac}"), NOW));
    }

    #[test]
    fn the_parameter_goes_and_the_others_stay() {
        assert_eq!(without("verify=1", "verify"), None);
        assert_eq!(without("a=1&verify=1", "verify"), Some("a=1"));
        assert_eq!(without("a=1", "verify"), Some("a=1"));
    }
}
