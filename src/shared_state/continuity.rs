//! Whether the stream goes on where this node has stopped reading it.
//!
//! One question decides: is the entry that was applied last still there? Entries are only ever removed
//! from the beginning, so all that came after it is there as well then. When it is not, entries may
//! have been missed, and what else is in the stream tells how they were lost.

use crate::purge::Position;

/// How the stream relates to what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// Nothing was missed.
    Unbroken,
    /// Nothing was ever applied, or it is not known what.
    Unknown,
    /// The stream no longer reaches back so far.
    Trimmed,
    /// The stream was emptied.
    Emptied,
    /// The stream has lost its end, as when a server starts from an older copy of its data. Others may
    /// not have read what was lost, and cannot tell.
    Rewound,
}

impl Continuity {
    /// Of `applied`, the last entry applied, with the first entry that is not before it, and the first
    /// of all.
    pub(super) fn of(
        applied: Option<Position>,
        next: Option<Position>,
        first: Option<Position>,
    ) -> Self {
        match (applied, first) {
            (None, _) => Self::Unknown,
            _ if applied == next => Self::Unbroken,
            (_, None) => Self::Emptied,
            (Some(applied), Some(first)) if first > applied => Self::Trimmed,
            _ => Self::Rewound,
        }
    }

    /// Why, for people.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Unbroken => "nothing was missed",
            Self::Unknown => "it is not known which purges this node has seen",
            Self::Trimmed => "the stream no longer reaches back to what this node has seen",
            Self::Emptied => "the stream was emptied",
            Self::Rewound => "the stream has lost its end",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Position {
        Position {
            milliseconds,
            number: 0,
        }
    }

    #[test]
    fn only_a_stream_that_still_has_what_was_applied_last_goes_on() {
        use Continuity::{Emptied, Rewound, Trimmed, Unbroken, Unknown};
        // Applied, the entries of the stream, and what that means.
        let cases: [(Option<u64>, &[u64], Continuity); 10] = [
            (None, &[], Unknown),
            (None, &[1, 2], Unknown),
            (Some(2), &[1, 2], Unbroken),
            (Some(2), &[1, 2, 3], Unbroken),
            (Some(2), &[2, 3], Unbroken),
            (Some(2), &[3, 4], Trimmed),
            (Some(2), &[], Emptied),
            (Some(2), &[1], Rewound),
            (Some(2), &[1, 3], Rewound),
            (Some(5), &[1, 2, 3], Rewound),
        ];
        for (applied, entries, expected) in cases {
            let applied = applied.map(at);
            let entries: Vec<Position> = entries.iter().copied().map(at).collect();
            let next = entries
                .iter()
                .copied()
                .find(|entry| Some(*entry) >= applied);
            let found = Continuity::of(applied, next, entries.first().copied());
            assert_eq!(found, expected, "{applied:?} {entries:?}");
        }
    }
}
