//! Texts of many owners, looked for all at once.

use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;
use smallvec::SmallVec;

/// Texts, without regard to ASCII case, and whose they are.
#[derive(Clone, Debug)]
pub struct Texts {
    texts: Vec<(Box<[u8]>, Vec<usize>)>,
    /// Made of the texts, in their order. One pass finds all of them, however many there are (Aho and Corasick).
    automaton: AhoCorasick,
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Texts {}

impl Texts {
    /// `None` where there are none, or too many for one automaton.
    pub fn new<T: AsRef<[u8]>>(texts: BTreeMap<T, Vec<usize>>) -> Option<Self> {
        if texts.is_empty() {
            return None;
        }
        let mut builder = AhoCorasick::builder();
        builder.ascii_case_insensitive(true);
        let automaton = builder.build(texts.keys()).ok()?;
        let texts = texts.into_iter();
        Some(Self {
            texts: texts
                .map(|(text, owners)| (text.as_ref().into(), owners))
                .collect(),
            automaton,
        })
    }

    /// Tells of the owners of each text that is in `within`; of each text once, as it may be there a thousand
    /// times.
    pub fn find(&self, within: &[u8], mut tell: impl FnMut(usize)) {
        let mut told = SmallVec::<[u64; 4]>::new();
        for found in self.automaton.find_overlapping_iter(within) {
            let text = found.pattern().as_usize();
            if told.is_empty() {
                told.resize(self.texts.len().div_ceil(64), 0);
            }
            let Some(word) = told.get_mut(text / 64) else {
                continue;
            };
            let bit = 1 << (text % 64);
            if *word & bit == 0 {
                *word |= bit;
                let owners = self
                    .texts
                    .get(text)
                    .into_iter()
                    .flat_map(|(_, owners)| owners);
                owners.copied().for_each(&mut tell);
            }
        }
    }
}
