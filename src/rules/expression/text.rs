//! Strings during evaluation: borrowed where the request holds them, built without the heap where
//! they are short.

/// Built strings up to this length need no allocation; most full URIs are shorter.
const INLINE: usize = 256;

/// A string value.
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is what keeps short built strings off the heap"
)]
#[derive(Debug)]
pub(super) enum Text<'a> {
    Borrowed(&'a [u8]),
    Inline(Inline),
    Heap(Vec<u8>),
}

/// A short string in place.
#[derive(Debug)]
pub(super) struct Inline {
    bytes: [u8; INLINE],
    length: usize,
}

impl<'a> Text<'a> {
    /// The parts, one after the other.
    pub(super) fn concat(parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if length > INLINE {
            return Self::Heap(parts.concat());
        }
        let mut bytes = [0; INLINE];
        let mut free = bytes.as_mut_slice();
        for part in parts {
            let Some((target, rest)) = free.split_at_mut_checked(part.len()) else {
                break;
            };
            target.copy_from_slice(part);
            free = rest;
        }
        Self::Inline(Inline { bytes, length })
    }

    /// The lines, with `separator` between them.
    pub(super) fn join(mut lines: impl Iterator<Item = &'a [u8]>, separator: &[u8]) -> Self {
        let first = lines.next().unwrap_or_default();
        let Some(second) = lines.next() else {
            return Self::Borrowed(first);
        };
        let mut joined = [first, second].join(separator);
        for line in lines {
            joined.extend_from_slice(separator);
            joined.extend_from_slice(line);
        }
        Self::Heap(joined)
    }

    /// With ASCII letters in lower case.
    pub(super) fn lower(self) -> Self {
        match self {
            Self::Borrowed(bytes) if !bytes.iter().any(u8::is_ascii_uppercase) => self,
            _ => self.edit(<[u8]>::make_ascii_lowercase),
        }
    }

    /// With ASCII letters in upper case.
    pub(super) fn upper(self) -> Self {
        match self {
            Self::Borrowed(bytes) if !bytes.iter().any(u8::is_ascii_lowercase) => self,
            _ => self.edit(<[u8]>::make_ascii_uppercase),
        }
    }

    /// The bytes of the string.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Inline(inline) => inline.bytes.get(..inline.length).unwrap_or_default(),
            Self::Heap(bytes) => bytes,
        }
    }

    /// A copy of `bytes`.
    pub(super) fn copy(bytes: &[u8]) -> Self {
        Self::concat(&[bytes])
    }

    /// The bytes of the string, for keeps.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Heap(bytes) => bytes,
            other => other.bytes().to_vec(),
        }
    }

    /// The part that `select` finds in the string.
    pub(super) fn part(self, select: impl Fn(&[u8]) -> Option<&[u8]>) -> Option<Self> {
        match self {
            Self::Borrowed(bytes) => select(bytes).map(Self::Borrowed),
            built => select(built.bytes()).map(Self::copy),
        }
    }

    fn edit(mut self, edit: impl FnOnce(&mut [u8])) -> Self {
        if let Self::Borrowed(bytes) = self {
            self = Self::concat(&[bytes]);
        }
        match &mut self {
            Self::Borrowed(_) => {}
            Self::Inline(inline) => {
                edit(inline.bytes.get_mut(..inline.length).unwrap_or_default());
            }
            Self::Heap(bytes) => edit(bytes),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_concatenated_in_place_or_on_the_heap() {
        for length in [0, 1, INLINE - 1, INLINE, INLINE + 1] {
            let (head, tail) = (vec![b'a'; length / 2], vec![b'b'; length - length / 2]);
            let text = Text::concat(&[&head, &tail]);
            assert_eq!(text.bytes(), [head, tail].concat(), "{length}");
            assert_eq!(matches!(text, Text::Heap(_)), length > INLINE, "{length}");
        }
    }

    #[test]
    fn a_single_line_is_borrowed_and_several_are_joined() {
        for (lines, expected) in [
            (&[] as &[&[u8]], b"" as &[u8]),
            (&[b"a"], b"a"),
            (&[b"a", b"b"], b"a, b"),
            (&[b"a", b"b", b"c"], b"a, b, c"),
        ] {
            let text = Text::join(lines.iter().copied(), b", ");
            assert_eq!(text.bytes(), expected);
            assert_eq!(matches!(text, Text::Borrowed(_)), lines.len() < 2);
        }
    }

    #[test]
    fn case_changes_ascii_letters_only() {
        let long = vec![b'A'; INLINE + 1];
        assert_eq!(Text::Borrowed(b"aB\xc4").lower().bytes(), b"ab\xc4");
        assert_eq!(Text::Borrowed(b"aB\xe4").upper().bytes(), b"AB\xe4");
        assert_eq!(Text::Borrowed(b"aB").lower().upper().bytes(), b"AB");
        assert_eq!(
            Text::Borrowed(&long).lower().bytes(),
            vec![b'a'; INLINE + 1]
        );
        assert!(matches!(Text::Borrowed(b"ab").lower(), Text::Borrowed(_)));
    }
}
