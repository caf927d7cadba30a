//! Grammar shared by several fields: OWS, comma lists, delta-seconds, weights (RFC 9110 §5.6).

use std::time::Duration;

/// RFC 9111 §1.2.2: the value that stands for every larger number of seconds.
pub(super) const LARGEST_DELTA: u64 = 1 << 31;

/// Members of a comma-separated list, without surrounding OWS and without empty members
/// (RFC 9110 §5.6.1). Commas inside quoted strings do not separate. From a quote that never
/// closes onwards every comma separates, so that no restriction hides behind it.
pub(super) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    Members {
        rest: Some(line),
        quotes: Quotes::Respected,
    }
    .map(trim_ows)
    .filter(|member| !member.is_empty())
}

/// Whether the bytes are a token (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// Without leading and trailing spaces and tabs (RFC 9110 §5.6.3).
pub(super) fn trim_ows(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t', tail @ ..] = rest {
        rest = tail;
    }
    while let [head @ .., b' ' | b'\t'] = rest {
        rest = head;
    }
    rest
}

/// The bytes before and after the first `separator`; the second is `None` without one.
pub(super) fn split_once(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = bytes.splitn(2, |byte| *byte == separator);
    (parts.next().unwrap_or_default(), parts.next())
}

/// Name and argument of a Cache-Control directive, the argument as token or quoted-string
/// (RFC 9111 §5.2). The grammar has no whitespace around `=`: an argument behind some is empty,
/// hence invalid, while the name still counts.
pub(super) fn directive(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (name, argument) = split_once(member, b'=');
    let trimmed = trim_ows(name);
    let argument = argument.map(|argument| match argument {
        _ if trimmed.len() != name.len() => b"",
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    });
    (trimmed, argument)
}

/// delta-seconds: digits only, larger numbers read as 2^31 seconds (RFC 9111 §1.2.2).
pub(super) fn delta_seconds(bytes: &[u8]) -> Option<Duration> {
    decimal(bytes).map(|seconds| Duration::from_secs(seconds.min(LARGEST_DELTA)))
}

/// Digits as a number, saturating; `None` when empty or when anything else occurs.
pub(super) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

/// A list member's name and its weight in thousandths (RFC 9110 §12.4.2). A missing weight is
/// 1000, an invalid one 0: what cannot be read is not taken for acceptance.
pub(super) fn weighted(member: &[u8]) -> (&[u8], u16) {
    let mut parts = member.split(|byte| *byte == b';').map(trim_ows);
    let name = parts.next().unwrap_or_default();
    let weight = parts
        .filter_map(|parameter| {
            let (key, value) = split_once(parameter, b'=');
            key.eq_ignore_ascii_case(b"q").then(|| value.unwrap_or(b""))
        })
        .map(|value| qvalue(value).unwrap_or(0))
        .next();
    (name, weight.unwrap_or(1000))
}

fn qvalue(bytes: &[u8]) -> Option<u16> {
    let (whole, fraction) = split_once(bytes, b'.');
    let fraction = fraction.unwrap_or_default();
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = [100, 10, 1]
        .iter()
        .zip(fraction)
        .map(|(unit, digit)| unit * u16::from(digit - b'0'))
        .sum();
    match (whole, thousandths) {
        (b"0", thousandths) => Some(thousandths),
        (b"1", 0) => Some(1000),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Respected,
    Ignored,
}

struct Members<'a> {
    rest: Option<&'a [u8]>,
    quotes: Quotes,
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        if self.quotes == Quotes::Respected {
            match end_of_member(rest) {
                Some(end) => {
                    let (member, tail) = rest.split_at_checked(end)?;
                    self.rest = tail.split_first().map(|(_, tail)| tail);
                    return Some(member);
                }
                None => self.quotes = Quotes::Ignored,
            }
        }
        let (member, tail) = split_once(rest, b',');
        self.rest = tail;
        Some(member)
    }
}

/// Where the first member ends; `None` when a quoted string in it never closes.
fn end_of_member(bytes: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (position, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some(position),
            _ => {}
        }
    }
    (!quoted).then_some(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &str) -> Vec<String> {
        members(line.as_bytes())
            .map(|member| String::from_utf8_lossy(member).into_owned())
            .collect()
    }

    #[test]
    fn rfc9110_5_6_1_lists_skip_empty_members_and_respect_quotes() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            (" , ,", &[]),
            ("a,b", &["a", "b"]),
            (" a ,\tb\t, ", &["a", "b"]),
            (r#"a="x, y", b"#, &[r#"a="x, y""#, "b"]),
            (r#"a="x\", y", b"#, &[r#"a="x\", y""#, "b"]),
            (r#"a, b="x, no-store"#, &["a", r#"b="x"#, "no-store"]),
        ];
        for (line, expected) in table {
            assert_eq!(split(line), *expected, "{line}");
        }
    }

    #[test]
    fn rfc9110_12_4_2_weights() {
        let table: &[(&str, u16)] = &[
            ("gzip", 1000),
            ("gzip;q=1", 1000),
            ("gzip; Q=0.5", 500),
            ("gzip;q=0", 0),
            ("gzip;q=0.001", 1),
            ("gzip;q=1.5", 0),
            ("gzip;q=", 0),
            ("gzip;q=0.0000", 0),
            ("gzip;level=1;q=0.25", 250),
        ];
        for (member, expected) in table {
            assert_eq!(
                weighted(member.as_bytes()),
                (&b"gzip"[..], *expected),
                "{member}"
            );
        }
    }

    #[test]
    fn rfc9111_1_2_2_large_deltas_become_two_to_the_31() {
        let largest = Some(Duration::from_secs(1 << 31));
        assert_eq!(delta_seconds(b"99999999999999999999999999"), largest);
        assert_eq!(delta_seconds(b"2147483648"), largest);
        assert_eq!(delta_seconds(b"007"), Some(Duration::from_secs(7)));
        for invalid in [&b""[..], b"-1", b"+1", b"1.0", b" 1", b"1a"] {
            assert_eq!(delta_seconds(invalid), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_split_into_trimmed_members(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            for member in members(&line) {
                prop_assert!(!member.is_empty());
                prop_assert_eq!(trim_ows(member), member);
                let _ = weighted(member);
            }
        }
    }
}
