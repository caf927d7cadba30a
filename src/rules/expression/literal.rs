//! Literals: the text of strings, numbers, addresses and ranges turned into values.

use std::borrow::Cow;
use std::net::IpAddr;

use super::ast::{Literal, Span};
use super::error::ExpressionError;

/// The way out when a word is no literal.
pub(in crate::rules) const QUOTES_HELP: &str = "strings are written in double quotes";

/// A string as written. Its value depends on where it stands: after `matches` a backslash belongs
/// to the regular expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) struct StringLiteral<'s> {
    /// The text between the delimiters.
    pub(super) body: &'s str,
    /// Where the body starts in the source.
    pub(super) start: usize,
    /// Whether this is `r"…"`, in which nothing is escaped.
    pub(super) raw: bool,
}

impl<'s> StringLiteral<'s> {
    /// The bytes this string stands for.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, ExpressionError> {
        if self.raw {
            return Ok(self.body.as_bytes().to_vec());
        }
        let mut bytes = Vec::with_capacity(self.body.len());
        let mut rest = self.body;
        while let Some((before, escape)) = rest.split_once('\\') {
            bytes.extend_from_slice(before.as_bytes());
            let (byte, length) = unescape(escape).map_err(|(length, message)| {
                self.escape_error(self.body.len() - escape.len() - 1, length + 1, message)
            })?;
            bytes.push(byte);
            rest = escape.get(length..).unwrap_or_default();
        }
        bytes.extend_from_slice(rest.as_bytes());
        Ok(bytes)
    }

    /// The regular expression this string stands for: only `\"` is unescaped.
    pub(super) fn pattern(&self) -> Cow<'s, str> {
        if self.raw || !self.body.contains("\\\"") {
            return Cow::Borrowed(self.body);
        }
        let mut pattern = String::with_capacity(self.body.len());
        let mut characters = self.body.chars();
        while let Some(character) = characters.next() {
            match (character, characters.clone().next()) {
                ('\\', Some('"')) => {}
                ('\\', Some(escaped)) => {
                    characters.next();
                    pattern.extend(['\\', escaped]);
                }
                _ => pattern.push(character),
            }
        }
        Cow::Owned(pattern)
    }

    fn escape_error(&self, offset: usize, length: usize, message: &str) -> ExpressionError {
        let start = self.start + offset;
        let span = Span {
            start,
            end: start + length,
        };
        ExpressionError::new(span, message).with_help(
            "escapes are `\\\"`, `\\\\`, `\\n`, `\\r`, `\\t` and `\\xHH`; \
             in a raw string r\"…\" a backslash is just a backslash",
        )
    }
}

/// The byte an escape stands for and the length of its text after the backslash; else the length
/// of the mistaken text and what is wrong with it.
fn unescape(escape: &str) -> Result<(u8, usize), (usize, &'static str)> {
    let Some(kind) = escape.chars().next() else {
        return Err((0, "incomplete escape"));
    };
    match kind {
        '"' => Ok((b'"', 1)),
        '\\' => Ok((b'\\', 1)),
        'n' => Ok((b'\n', 1)),
        'r' => Ok((b'\r', 1)),
        't' => Ok((b'\t', 1)),
        'x' => escape
            .get(1..3)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .map(|byte| (byte, 3))
            .ok_or((1, "`\\x` needs two hexadecimal digits")),
        other => Err((other.len_utf8(), "unknown escape")),
    }
}

/// Reads an unquoted word which starts like a number or an address.
pub(in crate::rules) fn number_or_address(
    word: &str,
    span: Span,
) -> Result<Literal<'static>, ExpressionError> {
    if let Some((first, last)) = word.split_once("..") {
        return range(first, last, span);
    }
    if let Some((address, length)) = word.split_once('/') {
        return block(address, length, span);
    }
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(Literal::Ip(address.to_canonical()));
    }
    integer(word, span).map(Literal::Int)
}

fn range(first: &str, last: &str, span: Span) -> Result<Literal<'static>, ExpressionError> {
    let literal = match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
        (Ok(first), Ok(last)) if first.is_ipv4() == last.is_ipv4() => addresses(first, last),
        (Ok(_), Ok(_)) => {
            return Err(ExpressionError::new(
                span,
                "a range must stay in one address family",
            ));
        }
        _ => Literal::IntRange(integer(first, span)?, integer(last, span)?),
    };
    let reversed = match literal {
        Literal::IpRange(first, last) => first > last,
        Literal::IntRange(first, last) => first > last,
        _ => false,
    };
    if reversed {
        return Err(
            ExpressionError::new(span, "the range ends before it starts")
                .with_help(format!("write `{last}..{first}`")),
        );
    }
    Ok(literal)
}

fn block(address: &str, length: &str, span: Span) -> Result<Literal<'static>, ExpressionError> {
    let invalid = || {
        ExpressionError::new(span, format!("`{address}/{length}` is not a CIDR block"))
            .with_help(QUOTES_HELP)
    };
    let base = address.parse::<IpAddr>().map_err(|_| invalid())?;
    let length = length.parse::<u32>().map_err(|_| invalid())?;
    let width = if base.is_ipv4() { 32 } else { 128 };
    let Some(host_bits) = u32::checked_sub(width, length) else {
        let message = format!("the prefix length of this address is at most {width}");
        return Err(ExpressionError::new(span, message));
    };
    let (first, last) = match base {
        IpAddr::V4(base) => {
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            let first = base.to_bits() & mask;
            (IpAddr::V4(first.into()), IpAddr::V4((first | !mask).into()))
        }
        IpAddr::V6(base) => {
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            let first = base.to_bits() & mask;
            (IpAddr::V6(first.into()), IpAddr::V6((first | !mask).into()))
        }
    };
    if first != base {
        return Err(
            ExpressionError::new(span, "the address has bits set after its prefix")
                .with_help(format!("write `{first}/{length}`")),
        );
    }
    Ok(addresses(first, last))
}

/// A range; of IPv4 where it is of that written as IPv6 (RFC 4291 §2.5.5.2), as all clients are.
fn addresses(first: IpAddr, last: IpAddr) -> Literal<'static> {
    match (first.to_canonical(), last.to_canonical()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Literal::IpRange(first.into(), last.into()),
        _ => Literal::IpRange(first, last),
    }
}

fn integer(word: &str, span: Span) -> Result<i64, ExpressionError> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        let message = format!("`{word}` is neither a number nor an IP address");
        return Err(ExpressionError::new(span, message).with_help(QUOTES_HELP));
    }
    if radix == 10 && digits.len() > 1 && digits.starts_with('0') {
        return Err(
            ExpressionError::new(span, "a decimal number has no leading zeros")
                .with_help(format!("write `{}`", digits.trim_start_matches('0'))),
        );
    }
    i64::from_str_radix(digits, radix)
        .map(|number| if negative { -number } else { number })
        .map_err(|_| ExpressionError::new(span, "the integer does not fit into 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(body: &str, raw: bool) -> StringLiteral<'_> {
        StringLiteral {
            body,
            start: 1,
            raw,
        }
    }

    #[test]
    fn escapes_stand_for_single_bytes() {
        let cases: &[(&str, bool, &[u8])] = &[
            ("", false, b""),
            ("plain", false, b"plain"),
            (r#"a\"b"#, false, b"a\"b"),
            (r"a\\b", false, b"a\\b"),
            (r"\n\r\t", false, b"\n\r\t"),
            (r"\x00\xfF", false, b"\x00\xff"),
            (r"\\x41", false, b"\\x41"),
            (r"\n\x4", true, br"\n\x4"),
            ("é", false, "é".as_bytes()),
        ];
        for (body, raw, expected) in cases {
            assert_eq!(string(body, *raw).bytes().unwrap(), *expected, "{body}");
        }
    }

    #[test]
    fn a_bad_escape_is_shown_in_place() {
        for (body, span) in [
            (r"ab\.c", 3..5),
            (r"\x4", 1..3),
            (r"\x+1", 1..3),
            (r"\é", 1..4),
            (r"\n\q", 3..5),
        ] {
            assert_eq!(
                string(body, false).bytes().unwrap_err().span,
                span,
                "{body}"
            );
        }
    }

    #[test]
    fn a_pattern_keeps_every_backslash_but_that_of_a_quote() {
        for (body, raw, expected) in [
            (r"\.js$", false, r"\.js$"),
            (r#"a\"b"#, false, r#"a"b"#),
            (r#"\\\"b"#, false, r#"\\"b"#),
            (r"\\d", false, r"\\d"),
            (r#"a\"b"#, true, r#"a\"b"#),
        ] {
            assert_eq!(string(body, raw).pattern(), expected, "{body}");
        }
    }

    fn number(word: &str) -> Result<Literal<'static>, ExpressionError> {
        let span = Span {
            start: 0,
            end: word.len(),
        };
        number_or_address(word, span)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_and_addresses_are_told_apart() {
        for (word, expected) in [
            ("0", Literal::Int(0)),
            ("80", Literal::Int(80)),
            ("-5", Literal::Int(-5)),
            ("0x1F", Literal::Int(31)),
            ("8000..8999", Literal::IntRange(8000, 8999)),
            ("127.0.0.1", Literal::Ip(ip("127.0.0.1"))),
            ("::1", Literal::Ip(ip("::1"))),
            ("::ffff:10.0.0.1", Literal::Ip(ip("10.0.0.1"))),
            (
                "10.0.0.0/8",
                Literal::IpRange(ip("10.0.0.0"), ip("10.255.255.255")),
            ),
            (
                "0.0.0.0/0",
                Literal::IpRange(ip("0.0.0.0"), ip("255.255.255.255")),
            ),
            ("1.2.3.4/32", Literal::IpRange(ip("1.2.3.4"), ip("1.2.3.4"))),
            (
                "::/0",
                Literal::IpRange(ip("::"), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
            ),
            (
                "fe80::/16",
                Literal::IpRange(ip("fe80::"), ip("fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
            ),
            (
                "1.1.1.1..1.1.1.9",
                Literal::IpRange(ip("1.1.1.1"), ip("1.1.1.9")),
            ),
            (
                "::ffff:10.0.0.0/104",
                Literal::IpRange(ip("10.0.0.0"), ip("10.255.255.255")),
            ),
            (
                "::ffff:10.0.0.1..::ffff:10.0.0.9",
                Literal::IpRange(ip("10.0.0.1"), ip("10.0.0.9")),
            ),
            (
                "::/64",
                Literal::IpRange(ip("::"), ip("::ffff:ffff:ffff:ffff")),
            ),
        ] {
            assert_eq!(number(word).as_ref(), Ok(&expected), "{word}");
        }
    }

    #[test]
    fn mistaken_numbers_are_explained() {
        for (word, message) in [
            ("1a", "neither a number nor an IP address"),
            ("404.html", "neither a number nor an IP address"),
            ("1.2.3", "neither a number nor an IP address"),
            ("007", "no leading zeros"),
            ("9223372036854775808", "does not fit into 64 bits"),
            ("9..1", "ends before it starts"),
            ("1.1.1.1..::1", "one address family"),
            ("10.0.0.1/8", "bits set after its prefix"),
            ("10.0.0.0/33", "at most 32"),
            ("10.0.0/8", "not a CIDR block"),
            ("::/129", "at most 128"),
        ] {
            let error = number(word).unwrap_err();
            assert!(error.message.contains(message), "{word}: {error}");
        }
    }
}
