//! Content codings, and which of them a client likes best (RFC 9110 §12.5.3).

use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue};

use super::syntax;

/// A content coding that is known here, beside none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `zstd` (RFC 8878).
    Zstd,
    /// `br` (RFC 7932).
    Br,
    /// `gzip`, or its alias `x-gzip`.
    Gzip,
}

impl Coding {
    /// All of them, in the order of our own preference. Measured on pages, styles and scripts, zstd is
    /// made in a fifth of brotli's time and read in a quarter of it, and 3 to 10 % larger; gzip is for
    /// who knows nothing else.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// Its name in fields, and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Zstd => 1,
            Self::Br => 2,
            Self::Gzip => 4,
        }
    }
}

/// A set of codings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codings(u8);

impl Codings {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(7);

    /// The set with `coding` in it.
    #[must_use]
    pub const fn with(self, coding: Coding) -> Self {
        Self(self.0 | coding.bit())
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one alone.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether `coding` is in it.
    pub const fn contains(self, coding: Coding) -> bool {
        self.0 & coding.bit() != 0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in it, in the order of our own preference.
    pub fn iter(self) -> impl Iterator<Item = Coding> {
        let all = Coding::ALL.into_iter();
        all.filter(move |coding| self.contains(*coding))
    }

    /// A bit for each.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl FromIterator<Coding> for Codings {
    fn from_iter<I: IntoIterator<Item = Coding>>(codings: I) -> Self {
        codings.into_iter().fold(Self::NONE, Self::with)
    }
}

/// How much a client wants each coding, in thousandths; 0 refuses it (RFC 9110 §12.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodingWeights {
    zstd: u16,
    br: u16,
    gzip: u16,
    identity: u16,
}

impl CodingWeights {
    /// What all Accept-Encoding lines say; `None` without the field.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(ACCEPT_ENCODING).iter().peekable();
        lines.peek()?;
        Some(Self::of_lines(lines.map(HeaderValue::as_bytes)))
    }

    /// What these lines of the field say.
    pub fn of_lines<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Self {
        let mut named = Named::default();
        for member in lines.flat_map(syntax::members) {
            named.add(member);
        }
        let others = named.others.unwrap_or(0);
        Self {
            zstd: named.zstd.unwrap_or(others),
            br: named.br.unwrap_or(others),
            gzip: named.gzip.unwrap_or(others),
            // Unless excluded it is acceptable, but who names codings wants one of them.
            identity: named.identity.or(named.others).unwrap_or(LEAST),
        }
    }

    /// The weight of `coding`.
    pub const fn weight(&self, coding: Coding) -> u16 {
        match coding {
            Coding::Zstd => self.zstd,
            Coding::Br => self.br,
            Coding::Gzip => self.gzip,
        }
    }

    /// Whether no coding at all is acceptable.
    pub const fn accepts_identity(&self) -> bool {
        self.identity > 0
    }

    /// The best of the `available` codings; `None` for no coding at all, which is always available.
    /// Of those that the client likes alike the first in our order is taken.
    pub fn best(&self, available: Codings) -> Option<Coding> {
        let mut best: Option<Coding> = None;
        for coding in available.iter() {
            let weight = self.weight(coding);
            let better = best.is_none_or(|best| weight > self.weight(best));
            if weight > 0 && weight >= self.identity && better {
                best = Some(coding);
            }
        }
        best
    }
}

/// The least weight that is not a refusal.
const LEAST: u16 = 1;

/// What the field says by name; `others` is its `*`.
#[derive(Default)]
struct Named {
    zstd: Option<u16>,
    br: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    others: Option<u16>,
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
        // Of what is said twice the lesser holds, so that a refusal stands.
        *slot = Some(slot.map_or(weight, |known| known.min(weight)));
    }
}

/// Says that another Accept-Encoding may get another answer (RFC 9110 §12.5.5), unless Vary does.
pub fn vary_by_encoding(fields: &mut HeaderMap) {
    if !varies_by_encoding(fields) {
        fields.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Whether Vary says so.
pub fn varies_by_encoding(fields: &HeaderMap) -> bool {
    let mut lines = fields.get_all(VARY).iter();
    let name = ACCEPT_ENCODING.as_str().as_bytes();
    let says = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(name);
    lines.any(|line| syntax::members(line.as_bytes()).any(says))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(value: &str) -> CodingWeights {
        CodingWeights::of_lines(std::iter::once(value.as_bytes()))
    }

    fn best(value: &str) -> &'static str {
        weights(value)
            .best(Codings::ALL)
            .map_or("identity", Coding::as_str)
    }

    #[test]
    fn rfc9110_12_5_3_the_heaviest_acceptable_coding_is_chosen() {
        let table = [
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, deflate, br", "br"),
            ("gzip", "gzip"),
            ("x-gzip", "gzip"),
            ("GZIP;Q=1", "gzip"),
            ("zstd;q=0.5, gzip;q=0.8, br;q=0.7", "gzip"),
            ("br;q=0.001", "br"),
            ("*", "zstd"),
            ("*, zstd;q=0", "br"),
            ("*;q=0", "identity"),
            ("gzip, *;q=0", "gzip"),
            ("br;q=0, gzip", "gzip"),
            ("gzip, gzip;q=0", "identity"),
            ("identity", "identity"),
            ("identity;q=0", "identity"),
            ("identity, gzip", "gzip"),
            ("identity, gzip;q=0.5", "identity"),
            ("identity;q=0.5, gzip;q=0.5", "gzip"),
            ("*;q=0.5, gzip;q=0.1", "zstd"),
            ("deflate", "identity"),
            ("", "identity"),
            ("gzip;q=nonsense", "identity"),
            ("gzip;q=1.001", "identity"),
        ];
        for (given, expected) in table {
            assert_eq!(best(given), expected, "{given}");
        }
    }

    #[test]
    fn only_what_is_available_is_chosen() {
        let gzip = Codings::NONE.with(Coding::Gzip);
        let all = weights("gzip, br, zstd");
        assert_eq!(all.best(gzip), Some(Coding::Gzip));
        assert_eq!(all.best(Codings::NONE), None);
        assert_eq!(weights("br").best(gzip), None);
        assert!(!weights("identity;q=0").accepts_identity());
    }

    #[test]
    fn without_the_field_nothing_is_known() {
        let mut headers = HeaderMap::new();
        assert_eq!(CodingWeights::of(&headers), None);
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("br;q=0"));
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
        let lines = CodingWeights::of(&headers).unwrap();
        assert_eq!(lines.best(Codings::ALL), Some(Coding::Gzip));
    }

    #[test]
    fn vary_names_accept_encoding_once() {
        for (given, expected) in [
            (&[][..], &["Accept-Encoding"][..]),
            (&["Cookie"], &["Cookie", "Accept-Encoding"]),
            (&["Cookie, accept-encoding"], &["Cookie, accept-encoding"]),
            (&["*"], &["*"]),
        ] {
            let mut fields = HeaderMap::new();
            for line in given {
                fields.append(VARY, HeaderValue::from_static(line));
            }
            vary_by_encoding(&mut fields);
            let lines: Vec<_> = fields.get_all(VARY).iter().collect();
            assert_eq!(lines, expected, "{given:?}");
        }
    }

    /// The rules of RFC 9110 §12.5.3 one after the other, over the members as written.
    fn slowly(members: &[(&str, u16)], available: &[&str]) -> Option<String> {
        let named = |name: &str| {
            let weights = members.iter().filter(|(known, _)| *known == name);
            weights.map(|(_, weight)| *weight).min()
        };
        let weight = |name: &str| named(name).or_else(|| named("*"));
        let none = weight("identity").unwrap_or(1);
        let mut wanted: Vec<(u16, usize)> = ["zstd", "br", "gzip"]
            .iter()
            .enumerate()
            .filter(|(_, name)| available.contains(name))
            .map(|(position, name)| (weight(name).unwrap_or(0), 9 - position))
            .filter(|(weight, _)| *weight > 0 && *weight >= none)
            .collect();
        wanted.sort_unstable();
        let (_, position) = wanted.pop()?;
        Some(["zstd", "br", "gzip"][9 - position].to_owned())
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_the_rules_taken_one_by_one(
            members in prop::collection::vec(
                (prop::sample::select(vec!["zstd", "br", "gzip", "identity", "*", "deflate"]), 0_u16..=1000),
                0..6,
            ),
            available in prop::sample::subsequence(vec!["zstd", "br", "gzip"], 0..=3),
        ) {
            let text: Vec<String> = members
                .iter()
                .map(|(name, weight)| match weight {
                    1000 => format!("{name};q=1"),
                    weight => format!("{name};q=0.{weight:03}"),
                })
                .collect();
            let set = Coding::ALL.into_iter().filter(|coding| available.contains(&coding.as_str()));
            let chosen = weights(&text.join(", ")).best(set.collect());
            let chosen = chosen.map(|coding| coding.as_str().to_owned());
            prop_assert_eq!(chosen, slowly(&members, &available));
        }
    }
}
