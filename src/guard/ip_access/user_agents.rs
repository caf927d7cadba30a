//! Patterns of user agents, all at once.

use std::collections::BTreeMap;

use crate::rules::Texts;
use crate::rules::expression::Wildcard;

/// Up to so many patterns, trying them one by one is cheaper.
const FEW: usize = 4;

/// Patterns with their rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UserAgents {
    patterns: Vec<(usize, Wildcard)>,
    /// Those to be tried always: they have no text, or are few.
    always: Vec<usize>,
    /// A text of each other pattern.
    texts: Option<Texts>,
}

impl UserAgents {
    pub(super) fn new(patterns: Vec<(usize, Wildcard)>) -> Self {
        let mut always = Vec::new();
        let mut texts: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (place, (_, pattern)) in patterns.iter().enumerate() {
            let text = pattern.literals().max_by_key(|text| text.len());
            match text.filter(|text| !text.is_empty()) {
                Some(text) if patterns.len() > FEW => {
                    let same = texts.entry(text.to_ascii_lowercase());
                    same.or_default().push(place);
                }
                _ => always.push(place),
            }
        }
        let searched = !texts.is_empty();
        let texts = Texts::new(texts);
        if searched && texts.is_none() {
            always = (0..patterns.len()).collect();
        }
        Self {
            patterns,
            always,
            texts,
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
        let mut first = self.always.iter().copied().find(fits);
        if let Some(texts) = &self.texts {
            texts.find(sent, |place| {
                if first.is_none_or(|first| place < first) && fits(&place) {
                    first = Some(place);
                }
            });
        }
        self.patterns.get(first?).map(|(rule, _)| *rule)
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
