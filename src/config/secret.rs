//! Tokens: compared in constant time and never shown.

use std::fmt::{self, Write as _};

use ring::hmac;
use subtle::ConstantTimeEq;

use super::reader::{Located, Section};

/// Shorter ones can be guessed.
const SHORTEST: usize = 16;

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes `text` for a token.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Whether `given` is this token, in a time that depends on its length alone.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// 128 bits of the signature of `parts` for one `purpose`, in hexadecimal digits, which are enough for
    /// what clients keep.
    pub fn sign(&self, purpose: &str, parts: &[&str]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        // Lengths before the parts: no two lists read alike.
        let mut text = purpose.to_owned();
        for part in parts {
            // Writing into memory does not fail.
            let _ = write!(text, " {} {part}", part.len());
        }
        let tag = hmac::sign(&key, text.as_bytes());
        let first = tag.as_ref().first_chunk().copied();
        format!("{:032x}", u128::from_be_bytes(first.unwrap_or_default()))
    }

    /// The token itself, to send it to who knows it already.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Takes `text`, the value of `key`, for a token; faults do not repeat it.
pub(super) fn read_secret(
    section: &Section<'_>,
    key: &str,
    text: Located<String>,
) -> Option<Secret> {
    let why = if text.value.len() < SHORTEST {
        format!("`{key}` must have at least {SHORTEST} characters")
    } else if !text.value.bytes().all(|byte| byte.is_ascii_graphic()) {
        format!("`{key}` must be of visible ASCII characters, as header fields carry them")
    } else {
        return Some(Secret::new(text.value));
    };
    let help = "`openssl rand -hex 32` makes a good one".to_owned();
    // The place of the value would show it.
    section.reader.fault(section.span.clone(), why, Some(help));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_alone_and_is_not_shown() {
        let secret = Secret::new("0123456789abcdef");
        assert!(secret.matches(b"0123456789abcdef"));
        for other in [&b""[..], b"0123456789abcdee", b"0123456789abcdef0", b"0"] {
            assert!(!secret.matches(other));
        }
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
