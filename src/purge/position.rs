//! Positions in the stream of purges.

use std::fmt;
use std::str::FromStr;

/// The identity of an entry of the stream, by which entries are in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since 1970 on the server's clock.
    pub milliseconds: u64,
    /// Number among those of one millisecond.
    pub number: u64,
}

/// Text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position has the form MILLISECONDS-NUMBER, such as 1767225600000-0")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse().ok()).flatten()
        };
        let (milliseconds, rest) = text.split_once('-').ok_or(NotAPosition)?;
        Ok(Self {
            milliseconds: number(milliseconds).ok_or(NotAPosition)?,
            number: number(rest).ok_or(NotAPosition)?,
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_position_is_refused() {
        for text in [
            "",
            "1",
            "-",
            "1-",
            "-1",
            "1-+2",
            " 1-2",
            "1-2-3",
            "a-0",
            "99999999999999999999-0",
        ] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_position_is_read_as_it_was_written(milliseconds: u64, number: u64) {
            let position = Position { milliseconds, number };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn positions_are_in_the_order_of_time_and_then_of_number(a: (u64, u64), b: (u64, u64)) {
            let position = |(milliseconds, number)| Position { milliseconds, number };
            prop_assert_eq!(position(a).cmp(&position(b)), a.cmp(&b));
        }
    }
}
