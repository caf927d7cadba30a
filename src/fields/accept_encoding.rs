//! Accept-Encoding reduced to the codings that matter (RFC 9110 §12.5.3).
//!
//! What the selecting key says and what the origin is asked must be the same: the shell forwards
//! [`AcceptedCodings::to_value`] of a request that may be stored, never the client's own wording.

use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};

use super::syntax;

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
        headers.get(ACCEPT_ENCODING)?;
        let mut named = Named::default();
        for line in headers.get_all(ACCEPT_ENCODING) {
            for member in syntax::members(line.as_bytes()) {
                named.add(member);
            }
        }
        let others = named.others.unwrap_or(false);
        Some(Self {
            br: named.br.unwrap_or(others),
            gzip: named.gzip.unwrap_or(others),
            zstd: named.zstd.unwrap_or(others),
            identity: named.identity.or(named.others).unwrap_or(true),
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

/// What the field says by name; `others` is its `*`.
#[derive(Default)]
struct Named {
    br: Option<bool>,
    gzip: Option<bool>,
    zstd: Option<bool>,
    identity: Option<bool>,
    others: Option<bool>,
}

impl Named {
    fn add(&mut self, member: &[u8]) {
        let (coding, weight) = syntax::weighted(member);
        let is = |known: &[u8]| coding.eq_ignore_ascii_case(known);
        let slot = if is(b"br") {
            &mut self.br
        } else if is(b"gzip") || is(b"x-gzip") {
            &mut self.gzip
        } else if is(b"zstd") {
            &mut self.zstd
        } else if is(b"identity") {
            &mut self.identity
        } else if is(b"*") {
            &mut self.others
        } else {
            return;
        };
        *slot = Some(slot.unwrap_or(true) && weight > 0);
    }
}

#[cfg(test)]
mod tests {
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
