//! Where a chunked body ends (RFC 9112 §7.1).
//!
//! Pingora reads such bodies itself, but what follows one is the next request, and not Pingora's. What
//! parsers disagree on is refused here: a size without digits, and lines that end otherwise than in CRLF.

/// Bytes of a line with a chunk's size and extensions, and of all trailers together. Pingora allows no
/// more.
const LONGEST_LINE: usize = 4 << 10;

/// A body of which a part has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkedBody {
    at: At,
    /// Of the present chunk's data, what is still to come.
    missing: u64,
    /// Digits of its size so far.
    digits: u32,
    /// Bytes of this line, or of the trailers.
    line: usize,
}

/// No chunked body: it has bytes that parsers understand differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed chunk")]
pub struct Malformed;

/// What the next byte is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    /// White space after the size, which some pad it with.
    Padding,
    Extension,
    /// The line feed that ends the line of a size.
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    /// The beginning of a line after the last chunk.
    Trailers,
    Trailer,
    TrailerEnd,
    /// The line feed of the empty line.
    LastEnd,
    Complete,
}

impl ChunkedBody {
    /// Whether all of it has been seen.
    pub fn is_complete(&self) -> bool {
        self.at == At::Complete
    }

    /// Takes note of the bytes that come next; how many of them belong to the body.
    ///
    /// # Errors
    /// When no part of a body looks like this.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut rest = bytes;
        while !self.is_complete() && !rest.is_empty() {
            let (before, data) = self.advance_to_data(rest)?;
            rest = rest.get(before + data..).unwrap_or_default();
        }
        Ok(bytes.len() - rest.len())
    }

    /// Takes note of the bytes that come next, up to the end of the first data among them; how many of them
    /// stand before these data, and how many are data.
    ///
    /// # Errors
    /// When no part of a body looks like this.
    pub fn advance_to_data(&mut self, bytes: &[u8]) -> Result<(usize, usize), Malformed> {
        let mut rest = bytes;
        while self.at != At::Data && !self.is_complete() {
            let Some((byte, after)) = rest.split_first() else {
                break;
            };
            self.at = self.step(*byte)?;
            rest = after;
        }
        let before = bytes.len() - rest.len();
        if self.at != At::Data {
            return Ok((before, 0));
        }
        let missing = usize::try_from(self.missing).unwrap_or(usize::MAX);
        let data = missing.min(rest.len());
        self.missing -= u64::try_from(data).map_err(|_| Malformed)?;
        if self.missing == 0 {
            self.at = At::DataReturn;
        }
        Ok((before, data))
    }

    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        self.line += 1;
        if self.line > LONGEST_LINE {
            return Err(Malformed);
        }
        match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < 15 => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.missing = self.missing << 4 | u64::from(digit);
                self.digits += 1;
                Ok(At::Size)
            }
            (At::Size | At::Padding, _) if self.digits > 0 => match byte {
                b'\r' => Ok(At::SizeEnd),
                b' ' | b'\t' => Ok(At::Padding),
                b';' => Ok(At::Extension),
                _ => Err(Malformed),
            },
            (At::Extension, b'\r') => Ok(At::SizeEnd),
            (At::Extension, byte) if is_text(byte) => Ok(At::Extension),
            (At::SizeEnd, b'\n') => {
                (self.digits, self.line) = (0, 0);
                Ok(match self.missing {
                    0 => At::Trailers,
                    _ => At::Data,
                })
            }
            (At::DataReturn, b'\r') => Ok(At::DataEnd),
            (At::DataEnd, b'\n') => {
                self.line = 0;
                Ok(At::Size)
            }
            (At::Trailers, b'\r') => Ok(At::LastEnd),
            (At::Trailers | At::Trailer, byte) if is_text(byte) => Ok(At::Trailer),
            (At::Trailer, b'\r') => Ok(At::TrailerEnd),
            (At::TrailerEnd, b'\n') => Ok(At::Trailers),
            (At::LastEnd, b'\n') => Ok(At::Complete),
            _ => Err(Malformed),
        }
    }
}

/// Whether a line may have it (RFC 9110 §5.5, RFC 9112 §7.1.1).
const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How much of `bytes` is the body, when they come in pieces of `size`.
    fn end(bytes: &[u8], size: usize) -> Result<Option<usize>, Malformed> {
        let mut body = ChunkedBody::default();
        let mut seen = 0;
        for piece in bytes.chunks(size) {
            let own = body.advance(piece)?;
            seen += own;
            if body.is_complete() {
                return Ok(Some(seen));
            }
            assert_eq!(own, piece.len(), "what comes before the end belongs to it");
        }
        Ok(None)
    }

    const NEXT: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    #[test]
    fn rfc9112_7_1_a_body_ends_with_its_trailers_however_it_comes() {
        for body in [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5\r\n0\r\n\r\n\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n1 \t\r\nx\r\n0\r\n\r\n",
            "5;a=\"b;c\";d\r\nhello\r\n0 ;e\r\nX: a\r\nY: \u{e9}\r\n\r\n",
        ] {
            let bytes = [body.as_bytes(), NEXT].concat();
            for size in 1..=bytes.len() {
                assert_eq!(
                    end(&bytes, size),
                    Ok(Some(body.len())),
                    "{body:?} by {size}"
                );
            }
            for cut in 0..body.len() {
                assert_eq!(
                    end(&body.as_bytes()[..cut], 3),
                    Ok(None),
                    "{body:?} to {cut}"
                );
            }
        }
    }

    #[test]
    fn what_parsers_disagree_on_is_refused() {
        let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(5000));
        let trailers = format!("0\r\n{}\r\n", "X: a\r\n".repeat(1000));
        for body in [
            "\r\nhello\r\n0\r\n\r\n",
            ";a\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "5 5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\rXhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "0\r\n\n",
            "0\r\nX: a\n\r\n",
            "0\r\nX: a\rb\r\n\r\n",
            "0\r\nX: \0\r\n\r\n",
            "1000000000000000\r\nhello",
            &long,
            &trailers,
        ] {
            for size in [1, 7, 10_000] {
                assert_eq!(end(body.as_bytes(), size), Err(Malformed), "{body:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop::sample::select(b"01a;\r\n\r\n x".to_vec()), 0..40),
            size in 1_usize..8,
        ) {
            prop_assert_eq!(end(&bytes, size), end(&bytes, 1));
        }
    }
}
