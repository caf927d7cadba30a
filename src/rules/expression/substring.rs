//! Substring search in linear time (Knuth, Morris, Pratt), with or without regard to ASCII case.
//!
//! Requests are written by strangers, so the worst case counts: no header can make a rule slow.

/// A substring prepared for searching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Substring {
    /// In lower case if `ignore_case`.
    bytes: Box<[u8]>,
    /// For each length of a matched beginning (less one), the length of its longest proper ending
    /// which is a beginning too.
    fallbacks: Box<[usize]>,
    ignore_case: bool,
}

impl Substring {
    /// Prepares to search for `bytes`.
    pub(super) fn new(mut bytes: Vec<u8>, ignore_case: bool) -> Self {
        if ignore_case {
            bytes.make_ascii_lowercase();
        }
        let mut substring = Self {
            bytes: bytes.into_boxed_slice(),
            fallbacks: Box::default(),
            ignore_case,
        };
        substring.fallbacks = substring.fallbacks();
        substring
    }

    /// What is searched for; in lower case where case does not count.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of bytes searched for.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where the first occurrence in `haystack` starts.
    pub(super) fn find(&self, haystack: &[u8]) -> Option<usize> {
        if self.bytes.is_empty() {
            return Some(0);
        }
        let mut matched = 0;
        for (position, byte) in haystack.iter().enumerate() {
            matched = self.step(matched, self.fold(*byte));
            if matched == self.bytes.len() {
                return Some(position + 1 - matched);
            }
        }
        None
    }

    fn fallbacks(&self) -> Box<[usize]> {
        let mut partial = Self {
            fallbacks: vec![0; self.bytes.len()].into_boxed_slice(),
            bytes: self.bytes.clone(),
            ignore_case: self.ignore_case,
        };
        let mut matched = 0;
        for (position, byte) in self.bytes.iter().enumerate().skip(1) {
            matched = partial.step(matched, *byte);
            if let Some(fallback) = partial.fallbacks.get_mut(position) {
                *fallback = matched;
            }
        }
        partial.fallbacks
    }

    /// How much is matched after `byte`, if `matched` bytes were before.
    fn step(&self, mut matched: usize, byte: u8) -> usize {
        loop {
            if self.bytes.get(matched) == Some(&byte) {
                return matched + 1;
            }
            match matched
                .checked_sub(1)
                .and_then(|last| self.fallbacks.get(last))
            {
                Some(fallback) => matched = *fallback,
                None => return 0,
            }
        }
    }

    const fn fold(&self, byte: u8) -> u8 {
        if self.ignore_case {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(haystack: &str, needle: &str) -> Option<usize> {
        haystack.find(needle)
    }

    proptest! {
        #[test]
        fn finds_the_first_occurrence(haystack in "[abA]{0,12}", needle in "[abA]{0,5}") {
            let exact = Substring::new(needle.clone().into_bytes(), false);
            prop_assert_eq!(exact.find(haystack.as_bytes()), naive(&haystack, &needle));
            let folded = Substring::new(needle.clone().into_bytes(), true);
            prop_assert_eq!(
                folded.find(haystack.as_bytes()),
                naive(&haystack.to_lowercase(), &needle.to_lowercase()),
            );
        }
    }
}
