//! What an upper tier says of its answer, beside the answer: how fresh it still is, whether it may be kept
//! below, or that the origin is what failed.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::cache::reuse::StoredTimes;

/// What an upper tier says of an answer. An answer without one is not an upper tier's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is, or may be, stored above, and is fresh there for so many more milliseconds; stale for as many
    /// when negative.
    Fresh(i64),
    /// It is not stored above; `lasting` when the next one will not be either.
    Unstored {
        /// Whether it is worth remembering.
        lasting: bool,
    },
    /// The origin was asked and did not answer: there is no use in asking it again from below.
    OriginFailed(String),
    /// Nothing is known above that is not known below.
    Silent,
}

const FORM: &str = "v=1";

impl Verdict {
    /// What is said of a response with these times at `now`.
    pub fn of(times: &StoredTimes, now: SystemTime) -> Self {
        Self::Fresh(signed_millis(times.fresh_until, now))
    }

    /// Reads the value of the field.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.split(';').map(str::trim);
        if parts.next()? != FORM {
            return None;
        }
        let mut verdict = Self::Silent;
        for part in parts {
            verdict = match part.split_once('=') {
                Some(("fresh-ms", millis)) => Self::Fresh(millis.parse().ok()?),
                Some(("unstored", "lasting")) => Self::Unstored { lasting: true },
                Some(("unstored", _)) => Self::Unstored { lasting: false },
                Some(("origin-failed", kind)) => Self::OriginFailed(kind.to_owned()),
                // A later version may say more.
                _ => continue,
            };
        }
        Some(verdict)
    }

    /// The value of the field.
    pub fn to_value(&self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static(FORM))
    }

    /// The times of a response that came at `received` with this verdict: it is never fresh for longer
    /// than above, and its stale windows begin when they began there.
    #[must_use]
    pub fn limit(&self, times: StoredTimes, received: SystemTime) -> StoredTimes {
        let Self::Fresh(millis) = self else {
            return times;
        };
        let span = Duration::from_millis(millis.unsigned_abs());
        let until = if *millis < 0 {
            received.checked_sub(span)
        } else {
            received.checked_add(span)
        };
        until.map_or(times, |until| times.expire(until))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)?;
        match self {
            Self::Fresh(millis) => write!(f, "; fresh-ms={millis}"),
            Self::Unstored { lasting: true } => f.write_str("; unstored=lasting"),
            Self::Unstored { lasting: false } => f.write_str("; unstored=once"),
            Self::OriginFailed(kind) => write!(f, "; origin-failed={kind}"),
            Self::Silent => Ok(()),
        }
    }
}

/// From `now` to `time`, negative when it is over.
fn signed_millis(time: SystemTime, now: SystemTime) -> i64 {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(now) {
        Ok(ahead) => millis(ahead),
        Err(behind) => millis(behind.duration()).saturating_neg(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + millis)
    }

    fn times(fresh_until: SystemTime) -> StoredTimes {
        StoredTimes {
            received: at(0),
            initial_age: Duration::ZERO,
            fresh_until,
            stale_while_revalidate: Duration::from_secs(30),
            stale_if_error: Duration::ZERO,
            stale_when_overloaded: Duration::ZERO,
            validate_always: false,
            stale_forbidden: false,
            validatable: true,
        }
    }

    #[test]
    fn a_response_is_fresh_below_as_long_as_above() {
        let said = Verdict::of(&times(at(5_000)), at(2_000));
        assert_eq!(said, Verdict::Fresh(3_000));
        // A rule gives it a minute from its arrival on; above, most of that is over.
        let below = said.limit(times(at(62_000)), at(2_000));
        assert_eq!(below.fresh_until, at(5_000));
        // Rules that give less hold.
        let below = said.limit(times(at(3_000)), at(2_000));
        assert_eq!(below.fresh_until, at(3_000));
    }

    #[test]
    fn what_is_stale_above_has_been_stale_below_for_as_long() {
        let said = Verdict::of(&times(at(5_000)), at(9_000));
        assert_eq!(said, Verdict::Fresh(-4_000));
        let below = said.limit(times(at(60_000)), at(9_100));
        assert_eq!(below.fresh_until, at(5_100));
        assert_eq!(below.stale_while_revalidate, Duration::from_secs(30));
    }

    #[test]
    fn what_is_said_is_understood() {
        for verdict in [
            Verdict::Fresh(-1),
            Verdict::Fresh(i64::MAX),
            Verdict::Unstored { lasting: true },
            Verdict::Unstored { lasting: false },
            Verdict::OriginFailed("timeout".to_owned()),
            Verdict::Silent,
        ] {
            let value = verdict.to_value();
            assert_eq!(Verdict::parse(value.as_bytes()), Some(verdict));
        }
        assert_eq!(
            Verdict::parse(b"v=1; later=x; fresh-ms=5"),
            Some(Verdict::Fresh(5))
        );
        for other in [&b""[..], b"v=2", b"fresh-ms=5", b"v=1; fresh-ms=x", b"\xff"] {
            assert_eq!(Verdict::parse(other), None);
        }
    }

    proptest! {
        #[test]
        fn no_verdict_makes_anything_fresher(millis: i64, until in 0_u64..1_000_000) {
            let own = times(at(until));
            let limited = Verdict::Fresh(millis).limit(own, at(0));
            prop_assert!(limited.fresh_until <= own.fresh_until);
        }

        #[test]
        fn anything_at_all_can_be_read(bytes: Vec<u8>) {
            let _ = Verdict::parse(&bytes);
        }
    }
}
