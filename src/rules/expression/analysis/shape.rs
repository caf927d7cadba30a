//! What a test of text says about beginning, end and middle of the text.

use super::super::ast::Relation;
use super::super::eval::StringTest;

/// What a text that passes a test looks like.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape<'t> {
    /// The text is one of these.
    pub(super) whole: Option<Vec<&'t [u8]>>,
    /// It begins so.
    pub(super) beginning: Vec<u8>,
    /// It ends so.
    pub(super) end: &'t [u8],
    /// It contains all of these, in this order, between beginning and end.
    pub(super) parts: Vec<&'t [u8]>,
    /// Case does not count.
    pub(super) folded: bool,
    /// Every text of this shape passes the test.
    pub(super) complete: bool,
}

impl<'t> Shape<'t> {
    /// The shape that `test` asks for, where it asks for one.
    pub(super) fn of(test: &'t StringTest) -> Option<Self> {
        let complete = Self {
            complete: true,
            ..Self::default()
        };
        Some(match test {
            StringTest::Relation(Relation::Equal, literal) => Self {
                whole: Some(vec![literal]),
                ..complete
            },
            StringTest::In(set) => Self {
                whole: Some(set.iter().collect()),
                ..complete
            },
            StringTest::StartsWith(literal) => Self {
                beginning: literal.to_vec(),
                ..complete
            },
            StringTest::EndsWith(literal) => Self {
                end: literal,
                ..complete
            },
            StringTest::Contains(substring) => Self {
                parts: vec![substring.bytes()],
                ..complete
            },
            StringTest::Wildcard(wildcard) => {
                let (beginning, is_whole) = wildcard.beginning();
                let folded = wildcard.ignores_case();
                if is_whole {
                    Self {
                        whole: Some(vec![beginning]),
                        folded,
                        ..complete
                    }
                } else {
                    Self {
                        beginning: beginning.to_vec(),
                        end: wildcard.end(),
                        parts: wildcard.middle().collect(),
                        folded,
                        ..complete
                    }
                }
            }
            StringTest::Matches(pattern) => Self {
                beginning: pattern.prefix(),
                ..Self::default()
            },
            StringTest::Relation(..) | StringTest::InList(_) => return None,
        })
    }

    /// The members, when the text is one of some and case counts.
    pub(super) fn members(&self) -> Option<&[&'t [u8]]> {
        self.whole.as_deref().filter(|_| !self.folded)
    }

    /// Whether every text of this shape is of the other one.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        if !other.complete || (self.folded && !other.folded) {
            return false;
        }
        match (&self.whole, &other.whole) {
            (Some(members), Some(others)) => members.iter().all(|member| {
                others
                    .iter()
                    .any(|other| other.eq_ignore_ascii_case(member))
            }),
            // Where parts stand is not looked at.
            (Some(members), None) => {
                other.parts.is_empty() && members.iter().all(|member| other.fits(member))
            }
            (None, Some(_)) => false,
            (None, None) => {
                let [beginning, end] = [other.fold(&other.beginning), other.fold(other.end)];
                other.fold(&self.beginning).starts_with(&beginning)
                    && other.fold(self.end).ends_with(&end)
                    && self.has_parts_of(other)
            }
        }
    }

    fn has_parts_of(&self, other: &Self) -> bool {
        let [part] = &*other.parts else {
            return other.parts.is_empty();
        };
        let part = other.fold(part);
        let texts = [&*self.beginning, self.end];
        other.beginning.is_empty()
            && other.end.is_empty()
            && texts
                .into_iter()
                .chain(self.parts.iter().copied())
                .any(|text| contains(&other.fold(text), &part))
    }

    /// Whether no text is of both shapes. Case is disregarded, so some such pairs are not told.
    pub(super) fn is_apart_from(&self, other: &Self) -> bool {
        let members = |one: &Self, other: &Self| {
            let members = one.whole.as_ref()?;
            Some(!members.iter().any(|member| other.fits(member)))
        };
        if let Some(apart) = members(self, other).or_else(|| members(other, self)) {
            return apart;
        }
        let [one, two] = [&*self.beginning, &*other.beginning].map(<[u8]>::to_ascii_lowercase);
        let [one_end, two_end] = [self.end, other.end].map(<[u8]>::to_ascii_lowercase);
        !(one.starts_with(&two) || two.starts_with(&one))
            || !(one_end.ends_with(&two_end) || two_end.ends_with(&one_end))
    }

    /// Whether `text` may be of this shape, whatever its case.
    fn fits(&self, text: &[u8]) -> bool {
        if let Some(members) = &self.whole {
            return members
                .iter()
                .any(|member| member.eq_ignore_ascii_case(text));
        }
        let text = text.to_ascii_lowercase();
        text.len() >= self.beginning.len() + self.end.len()
            && text.starts_with(&self.beginning.to_ascii_lowercase())
            && text.ends_with(&self.end.to_ascii_lowercase())
            && self
                .parts
                .iter()
                .all(|part| contains(&text, &part.to_ascii_lowercase()))
    }

    fn fold(&self, text: &[u8]) -> Vec<u8> {
        if self.folded {
            text.to_ascii_lowercase()
        } else {
            text.to_vec()
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}
