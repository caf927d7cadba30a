//! Accept-Encoding reduced to the codings that matter (RFC 9110 §12.5.3).
//!
//! What the selecting key says and what the origin is asked must be the same: the shell forwards
//! [`AcceptedCodings::to_value`] of a request that may be stored, never the client's own wording.

use http::{HeaderMap, HeaderValue};

use super::content_coding::{Coding, CodingWeights};

/// Which of the known codings a client accepts; weights other than zero are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a set of four independent codings"
)]
pub struct AcceptedCodings {
    /// `br` (RFC 7932).
    pub br: bool,
    /// `gzip`, or its alias `x-gzip`.
    pub gzip: bool,
    /// `zstd` (RFC 8878).
    pub zstd: bool,
    /// No coding at all; acceptable unless excluded.
    pub identity: bool,
}

impl AcceptedCodings {
    /// The codings accepted by all Accept-Encoding lines; `None` without the field.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let weights = CodingWeights::of(headers)?;
        let accepts = |coding| weights.weight(coding) > 0;
        Some(Self {
            br: accepts(Coding::Br),
            gzip: accepts(Coding::Gzip),
            zstd: accepts(Coding::Zstd),
            identity: weights.accepts_identity(),
        })
    }

    /// The canonical field value: sorted, without weights except an excluded identity's.
    pub fn to_value(self) -> HeaderValue {
        let mut text = Vec::new();
        self.write(&mut text);
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("identity"))
    }

    /// Appends the canonical field value to `out`.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let start = out.len();
        let members = [
            (self.br, "br"),
            (self.gzip, "gzip"),
            (self.identity, "identity"),
            (!self.identity, "identity;q=0"),
            (self.zstd, "zstd"),
        ];
        for (_, name) in members.iter().filter(|(accepted, _)| *accepted) {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT_ENCODING;

    use super::*;

    fn canonical(value: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
        let value = AcceptedCodings::of(&headers).unwrap().to_value();
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn rfc9110_12_5_3_wordings_of_one_set_become_one_value() {
        let table = [
            ("gzip, br", "br,gzip,identity"),
            ("BR;q=0.1 , x-gzip;q=1.0, deflate", "br,gzip,identity"),
            ("gzip, deflate, br, zstd", "br,gzip,identity,zstd"),
            ("", "identity"),
            ("identity", "identity"),
            ("deflate", "identity"),
            ("gzip;q=0", "identity"),
            ("gzip, gzip;q=0", "identity"),
            ("*", "br,gzip,identity,zstd"),
            ("*, br;q=0", "gzip,identity,zstd"),
            ("gzip, *;q=0", "gzip,identity;q=0"),
            ("gzip, identity;q=0", "gzip,identity;q=0"),
        ];
        for (given, expected) in table {
            assert_eq!(canonical(given), expected, "{given}");
        }
        assert_eq!(AcceptedCodings::of(&HeaderMap::new()), None);
    }

    #[test]
    fn the_canonical_value_is_a_fixed_point() {
        for given in ["gzip, br", "*", "gzip, *;q=0", ""] {
            assert_eq!(canonical(&canonical(given)), canonical(given));
        }
    }
}
