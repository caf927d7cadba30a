//! Texts that rules look for in one part of requests, all at once.

use aho_corasick::AhoCorasick;

use super::Texts;
use crate::request::RequestView;
use crate::rules::expression::Part;

/// The texts, without regard to ASCII case, and the rules for each.
#[derive(Clone, Debug)]
pub(super) struct Substrings {
    part: Part,
    texts: Vec<(Box<[u8]>, Vec<usize>)>,
    /// Made of the texts, in their order. One pass over a part of a request, however many there are (Aho and
    /// Corasick).
    automaton: AhoCorasick,
}

impl PartialEq for Substrings {
    fn eq(&self, other: &Self) -> bool {
        (self.part, &self.texts) == (other.part, &other.texts)
    }
}

impl Eq for Substrings {}

impl Substrings {
    /// None where the texts are too much for one automaton.
    pub(super) fn new(part: Part, texts: Texts<'_>) -> Option<Self> {
        let mut builder = AhoCorasick::builder();
        builder.ascii_case_insensitive(true);
        Some(Self {
            part,
            automaton: builder.build(texts.keys()).ok()?,
            texts: texts
                .into_iter()
                .map(|(text, rules)| (text.into(), rules))
                .collect(),
        })
    }

    /// Tells of the rules for which `request` has a text.
    pub(super) fn find(&self, request: &RequestView<'_>, mut tell: impl FnMut(usize)) {
        for found in self.automaton.find_overlapping_iter(self.part.of(request)) {
            if let Some((_, rules)) = self.texts.get(found.pattern().as_usize()) {
                rules.iter().copied().for_each(&mut tell);
            }
        }
    }
}
