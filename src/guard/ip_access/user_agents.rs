//! Patterns of user agents, all at once.

use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;

use crate::rules::expression::Wildcard;

/// Up to so many patterns, trying them one by one is cheaper.
const FEW: usize = 4;

/// Patterns with their rules.
#[derive(Clone, Debug, Default)]
pub(super) struct UserAgents {
    patterns: Vec<(usize, Wildcard)>,
    /// Those to be tried always: they have no text, or are few.
    always: Vec<usize>,
    search: Option<Search>,
}

/// A text of each other pattern, without regard to ASCII case.
#[derive(Clone, Debug)]
struct Search {
    /// One pass over a field finds all texts in it, however many there are (Aho and Corasick).
    automaton: AhoCorasick,
    /// The patterns that have the text, by the places of the texts.
    patterns: Vec<Vec<usize>>,
}

impl PartialEq for UserAgents {
    fn eq(&self, other: &Self) -> bool {
        // The rest is made of these.
        self.patterns == other.patterns
    }
}

impl Eq for UserAgents {}

impl UserAgents {
    pub(super) fn new(patterns: Vec<(usize, Wildcard)>) -> Self {
        let mut always = Vec::new();
        let mut texts: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (place, (_, pattern)) in patterns.iter().enumerate() {
            let text = pattern.literals().max_by_key(|text| text.len());
            match text.filter(|text| !text.is_empty()) {
                Some(text) if patterns.len() > FEW => {
                    texts
                        .entry(text.to_ascii_lowercase())
                        .or_default()
                        .push(place);
                }
                _ => always.push(place),
            }
        }
        let mut builder = AhoCorasick::builder();
        builder.ascii_case_insensitive(true);
        let automaton = Some(&texts).filter(|texts| !texts.is_empty());
        let automaton = automaton.map(|texts| builder.build(texts.keys()));
        let search = match automaton {
            None => None,
            Some(Ok(automaton)) => Some(Search {
                automaton,
                patterns: texts.into_values().collect(),
            }),
            // Too much for one automaton.
            Some(Err(_)) => {
                always = (0..patterns.len()).collect();
                None
            }
        };
        Self {
            patterns,
            always,
            search,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The rule of the first pattern that `sent` fits.
    pub(super) fn find(&self, sent: &[u8]) -> Option<usize> {
        let fits = |place: &usize| {
            let pattern = self.patterns.get(*place);
            pattern.is_some_and(|(_, pattern)| pattern.matches(sent))
        };
        let always = self.always.iter().copied().find(fits);
        let searched = self
            .search
            .as_ref()
            .and_then(|search| search.find(sent, fits));
        let first = always.into_iter().chain(searched).min()?;
        self.patterns.get(first).map(|(rule, _)| *rule)
    }
}

impl Search {
    /// The first pattern with a text in `sent` that `fits`.
    fn find(&self, sent: &[u8], fits: impl Fn(&usize) -> bool) -> Option<usize> {
        // A text may be there a thousand times; its patterns are tried once.
        let mut tried = Vec::new();
        let mut first: Option<usize> = None;
        for found in self.automaton.find_overlapping_iter(sent) {
            let text = found.pattern().as_usize();
            if tried.is_empty() {
                tried.resize(self.patterns.len(), false);
            }
            match tried.get_mut(text) {
                Some(tried) if !*tried => *tried = true,
                _ => continue,
            }
            let patterns = self.patterns.get(text).into_iter().flatten().copied();
            let mut earlier = patterns.take_while(|place| first.is_none_or(|first| *place < first));
            first = earlier.find(&fits).or(first);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(written: &[String]) -> Vec<(usize, Wildcard)> {
        let written = written.iter().enumerate();
        let pattern = |(rule, text): (usize, &String)| {
            (rule + 100, Wildcard::new(text.as_bytes(), true).unwrap())
        };
        written.map(pattern).collect()
    }

    proptest! {
        #[test]
        fn all_at_once_agrees_with_one_by_one(
            written in prop::collection::vec(r"\*?([aAbB]{1,3}\*?){0,3}", 0..30),
            sent in "[aAbBc]{0,8}",
        ) {
            let patterns = patterns(&written);
            let expected = patterns
                .iter()
                .find(|(_, pattern)| pattern.matches(sent.as_bytes()))
                .map(|(rule, _)| *rule);
            prop_assert_eq!(UserAgents::new(patterns).find(sent.as_bytes()), expected);
        }
    }

    #[test]
    fn a_field_of_nothing_but_texts_of_patterns_takes_no_longer_than_its_length() {
        let written: Vec<_> = (0..500).map(|number| format!("*aa*x{number}")).collect();
        let agents = UserAgents::new(patterns(&written));
        let sent = "a".repeat(30_000);
        assert_eq!(agents.find(sent.as_bytes()), None);
        assert_eq!(agents.find(format!("{sent}x7").as_bytes()), Some(107));
    }
}
