//! `url_decode`: percent-decoding, also repeated and of `%uHHHH`.

use super::text::Text;

/// How a text is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decoding {
    /// Until nothing is left to be decoded.
    pub(super) recursive: bool,
    /// `%uHHHH` stands for a character, which becomes UTF-8.
    pub(super) unicode: bool,
}

/// Decodes `text`; what is no escape stays as it is. Takes time in proportion to its length, however
/// often it was encoded.
pub(super) fn decode(text: Text<'_>, decoding: Decoding) -> Text<'_> {
    let bytes = text.bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return text;
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let Some((character, length)) = escape(rest, decoding.unicode) {
            push(&mut decoded, character, decoding);
            rest = rest.get(length..).unwrap_or_default();
        } else {
            push(&mut decoded, Character::Byte(*first), decoding);
            rest = after;
        }
    }
    Text::Heap(decoded)
}

#[derive(Clone, Copy)]
enum Character {
    Byte(u8),
    Unicode(char),
}

/// Appends a character. Decoding recursively, it may complete an escape, which it then replaces, and
/// so on: no two escapes overlap, so the order in which they are decoded does not matter.
fn push(decoded: &mut Vec<u8>, character: Character, decoding: Decoding) {
    let mut next = Some(character);
    while let Some(character) = next {
        match character {
            Character::Byte(byte) => decoded.push(byte),
            Character::Unicode(character) => {
                let mut buffer = [0; 4];
                decoded.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
        }
        next = decoding
            .recursive
            .then(|| take_escape(decoded, decoding.unicode))
            .flatten();
    }
}

/// Takes the escape that `decoded` ends with off it.
fn take_escape(decoded: &mut Vec<u8>, unicode: bool) -> Option<Character> {
    for length in [1, 3, 6] {
        let start = decoded.len().checked_sub(length)?;
        if let Some((character, found)) = escape(decoded.get(start..)?, unicode)
            && found == length
        {
            decoded.truncate(start);
            return Some(character);
        }
    }
    None
}

/// The escape that `text` begins with, and its length.
fn escape(text: &[u8], unicode: bool) -> Option<(Character, usize)> {
    match text {
        [b'+', ..] => Some((Character::Byte(b' '), 1)),
        [b'%', b'u', digits @ ..] if unicode => {
            let code = digits.first_chunk::<4>().and_then(|digits| hex(digits))?;
            char::from_u32(code).map(|character| (Character::Unicode(character), 6))
        }
        [b'%', digits @ ..] => {
            let code = digits.first_chunk::<2>().and_then(|digits| hex(digits))?;
            u8::try_from(code)
                .ok()
                .map(|byte| (Character::Byte(byte), 3))
        }
        _ => None,
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |code: u32, digit| {
        Some(code * 16 + char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONCE: Decoding = Decoding {
        recursive: false,
        unicode: false,
    };

    fn decoded(text: &[u8], decoding: Decoding) -> Vec<u8> {
        decode(Text::Borrowed(text), decoding).into_bytes()
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        let recursive = Decoding {
            recursive: true,
            ..ONCE
        };
        let unicode = Decoding {
            unicode: true,
            ..ONCE
        };
        let both = Decoding {
            recursive: true,
            unicode: true,
        };
        for (text, decoding, expected) in [
            ("John%20Doe", ONCE, &b"John Doe"[..]),
            ("John+Doe", ONCE, b"John Doe"),
            ("%2520", ONCE, b"%20"),
            ("%2520", recursive, b" "),
            ("%252520+", recursive, b"  "),
            ("%2B", ONCE, b"+"),
            ("%2B", recursive, b" "),
            ("%E4%BD", ONCE, b"\xe4\xbd"),
            ("%u2601", ONCE, b"%u2601"),
            ("%u2601", unicode, b"\xe2\x98\x81"),
            ("%ud800", unicode, b"%ud800"),
            ("%u00252041", both, b" 41"),
            ("%", ONCE, b"%"),
            ("%4", ONCE, b"%4"),
            ("%zz%41", ONCE, b"%zzA"),
            ("%4%31", recursive, b"A"),
            ("plain", both, b"plain"),
        ] {
            assert_eq!(decoded(text.as_bytes(), decoding), expected, "{text}");
        }
    }

    #[test]
    fn a_text_encoded_very_often_takes_linear_time() {
        let text = "%".to_owned() + &"25".repeat(32_000) + "41";
        let recursive = Decoding {
            recursive: true,
            ..ONCE
        };
        assert_eq!(decoded(text.as_bytes(), recursive), b"A");
        let text = "%3".repeat(32_000) + "5";
        assert_eq!(decoded(text.as_bytes(), recursive), b"5");
    }

    proptest! {
        #[test]
        fn decoding_recursively_is_decoding_until_nothing_changes(
            text in "[%2541u0+]{0,24}",
            unicode: bool,
        ) {
            let once = Decoding { recursive: false, unicode };
            let mut expected = text.into_bytes();
            let all = decoded(&expected, Decoding { recursive: true, unicode });
            loop {
                let next = decoded(&expected, once);
                if next == expected {
                    break;
                }
                expected = next;
            }
            prop_assert_eq!(all, expected);
        }
    }
}
