//! Substring search in linear time, with or without regard to ASCII case.
//!
//! Requests are written by strangers, so the worst case counts: no header can make a rule slow. Two-Way is linear,
//! and so is Knuth, Morris and Pratt's search, which sees to letters of either case.

use memchr::memmem;

/// A substring prepared for searching.
#[derive(Clone, Debug)]
pub(super) struct Substring {
    /// In lower case where case does not count.
    bytes: Box<[u8]>,
    search: Search,
}

#[derive(Clone, Debug)]
enum Search {
    Exact(Box<memmem::Finder<'static>>),
    /// For each length of a matched beginning (less one), the length of its longest proper ending
    /// which is a beginning too.
    IgnoringCase(Box<[usize]>),
}

impl PartialEq for Substring {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
            && matches!(self.search, Search::Exact(_)) == matches!(other.search, Search::Exact(_))
    }
}

impl Eq for Substring {}

impl Substring {
    /// Prepares to search for `bytes`.
    pub(super) fn new(mut bytes: Vec<u8>, ignore_case: bool) -> Self {
        let search = if ignore_case {
            bytes.make_ascii_lowercase();
            Search::IgnoringCase(fallbacks(&bytes))
        } else {
            Search::Exact(Box::new(memmem::Finder::new(&bytes).into_owned()))
        };
        Self {
            bytes: bytes.into(),
            search,
        }
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
        let fallbacks = match &self.search {
            Search::Exact(finder) => return finder.find(haystack),
            Search::IgnoringCase(_) if self.bytes.is_empty() => return Some(0),
            Search::IgnoringCase(fallbacks) => fallbacks,
        };
        let mut matched = 0;
        for (position, byte) in haystack.iter().enumerate() {
            matched = step(&self.bytes, fallbacks, matched, byte.to_ascii_lowercase());
            if matched == self.bytes.len() {
                return Some(position + 1 - matched);
            }
        }
        None
    }
}

fn fallbacks(bytes: &[u8]) -> Box<[usize]> {
    let mut fallbacks = vec![0; bytes.len()];
    let mut matched = 0;
    for (position, byte) in bytes.iter().enumerate().skip(1) {
        matched = step(bytes, &fallbacks, matched, *byte);
        if let Some(fallback) = fallbacks.get_mut(position) {
            *fallback = matched;
        }
    }
    fallbacks.into()
}

/// How much of `bytes` is matched after `byte`, if `matched` bytes were before.
fn step(bytes: &[u8], fallbacks: &[usize], mut matched: usize, byte: u8) -> usize {
    loop {
        if bytes.get(matched) == Some(&byte) {
            return matched + 1;
        }
        match matched.checked_sub(1).and_then(|last| fallbacks.get(last)) {
            Some(fallback) => matched = *fallback,
            None => return 0,
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
