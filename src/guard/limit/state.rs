//! What is known of one key: how much of it was counted, here and elsewhere, and until when it is over its
//! limit.

use std::time::Duration;

use super::gcra::Rate;
use super::window::Counted;
use super::{Key, Moment, Verdict};

/// As hot as can be: such a key keeps its room.
pub(super) const HOTTEST: u8 = u8::MAX;
/// Requests at an even rate are told to other nodes by windows that are no shorter, as little is lost between
/// one and the next then.
const SHORTEST_SPAN: u64 = 60_000_000_000;

/// How requests of a key count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// So many a period are within the limit.
    pub limit: u32,
    /// The period, in nanoseconds.
    pub period: u64,
    /// For how long a key is over its limit once it was, in nanoseconds.
    pub mitigation: u64,
    /// For requests at an even rate: how many may come at once.
    pub burst: Option<u32>,
    /// Whether a request that is too much is stopped, and so does not count.
    pub stops: bool,
    /// Whether other nodes count as well, and are told from so many counts of a window on.
    pub told_from: Option<u32>,
}

/// Counts that other nodes do not know of yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The key.
    pub key: Key,
    /// The window, counted from 1970.
    pub window: u32,
    /// Length of a window, in nanoseconds.
    pub period: u64,
    /// Between two requests at an even rate, in nanoseconds; zero where they need not come so.
    pub interval: u64,
    /// How many.
    pub amount: u32,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// When nothing of it matters any more.
    pub(super) expires: Moment,
    /// Until when the key is over its limit; at an even rate, when its next request is due.
    pub(super) until: Moment,
    /// The window.
    pub(super) window: u32,
    /// Counted here in the window.
    pub(super) current: u32,
    /// Counted in the one before, anywhere.
    pub(super) previous: u32,
    /// Counted on other nodes in the window, as far as is known.
    pub(super) others: u32,
    /// Of what was counted here, what other nodes do not know of.
    pub(super) untold: u32,
    /// How close to the limit it was when it last counted.
    pub(super) heat: u8,
    /// Whether it waits to be told.
    pub(super) dirty: bool,
}

/// How close `count` is to `limit`.
pub(super) fn heat(count: u32, limit: u32) -> u8 {
    let heat = u64::from(count) * u64::from(HOTTEST) / u64::from(limit.max(1));
    u8::try_from(heat).unwrap_or(HOTTEST)
}

impl Terms {
    pub(super) fn rate(&self) -> Option<Rate> {
        let burst = self.burst?;
        Some(Rate::new(self.limit, self.period, burst))
    }

    /// Length of the windows that are told of.
    pub(super) fn span(&self) -> u64 {
        match self.burst {
            Some(_) => self.period.max(SHORTEST_SPAN),
            None => self.period.max(1),
        }
    }

    /// The window of a moment, and how much of it is over then.
    fn window(&self, now: Moment) -> (u32, u64) {
        let period = self.span();
        let number = u32::try_from(now / period).unwrap_or(u32::MAX);
        (number, now % period)
    }
}

impl State {
    /// Begins the window of `now`, where it is another one. Gives the window before, and what was counted in
    /// it that waits to be told.
    pub(super) fn roll(&mut self, terms: &Terms, now: Moment) -> Option<(u32, u32)> {
        let (window, _) = terms.window(now);
        // Requests do not come exactly in the order of their times.
        if self.window == window || self.window == window.saturating_add(1) {
            return None;
        }
        let untold = (self.dirty && self.untold > 0).then_some((self.window, self.untold));
        let follows = self.window.checked_add(1) == Some(window);
        let counted = self.current.saturating_add(self.others);
        self.previous = if follows { counted } else { 0 };
        (self.current, self.others, self.untold) = (0, 0, 0);
        self.window = window;
        untold
    }

    /// Takes over what was counted on other nodes in the window.
    pub(super) fn know(&mut self, others: u32, interval: u64, now: Moment) {
        let more = others.saturating_sub(self.others);
        if interval > 0 {
            let rate = Rate { interval, burst: 1 };
            self.until = rate.advance(self.until, more, now);
            self.expires = self.expires.max(self.until);
        }
        self.others += more;
    }

    /// Holds the key for over its limit until then.
    pub(super) fn hold(&mut self, until: Moment) {
        self.until = until;
        self.expires = self.expires.max(until);
        self.heat = HOTTEST;
    }

    fn counted(&self, terms: &Terms, now: Moment) -> Counted {
        let (window, elapsed) = terms.window(now);
        let others = terms.told_from.map_or(0, |_| self.others);
        Counted {
            previous: self.previous,
            current: self.current.saturating_add(others),
            elapsed: if self.window == window { elapsed } else { 0 },
            period: terms.period,
        }
    }

    pub(super) fn mitigated(&self, terms: &Terms, now: Moment) -> Option<Duration> {
        let left = self.until.checked_sub(now).filter(|left| *left > 0)?;
        // Longer than it can be: the clock was set back.
        (terms.burst.is_none() && left <= terms.mitigation).then(|| Duration::from_nanos(left))
    }

    pub(super) fn ask(&mut self, counts: bool, terms: &Terms, now: Moment) -> Verdict {
        if let Some(rate) = terms.rate() {
            return self.ask_rate(rate, counts, terms, now);
        }
        if let Some(retry_after) = self.mitigated(terms, now) {
            if counts && !terms.stops {
                self.add(1, terms, now);
            }
            return Verdict::Over { retry_after };
        }
        let before = self.counted(terms, now);
        if before.has_room(1, terms.limit) {
            if counts {
                self.add(1, terms, now);
            }
            let after = self.counted(terms, now);
            return Verdict::Within {
                remaining: after.remaining(terms.limit),
                reset: after.reset(),
            };
        }
        if counts && !terms.stops {
            self.add(1, terms, now);
        }
        self.begin_mitigation(terms, now);
        let retry_after = match terms.mitigation {
            0 => before.retry_after(terms.limit),
            nanoseconds => Duration::from_nanos(nanoseconds),
        };
        Verdict::Over { retry_after }
    }

    fn ask_rate(&mut self, rate: Rate, counts: bool, terms: &Terms, now: Moment) -> Verdict {
        match rate.ask(self.until, now) {
            Ok(due) => {
                if counts {
                    self.until = due;
                    self.tally(1, terms);
                }
                let remaining = rate.remaining(self.until, now);
                self.heat = heat(rate.burst - remaining.min(rate.burst), rate.burst);
                Verdict::Within {
                    remaining,
                    reset: Duration::from_nanos(self.until.saturating_sub(now)),
                }
            }
            Err(retry_after) => {
                self.heat = HOTTEST;
                Verdict::Over { retry_after }
            }
        }
    }

    /// Counts; whether that is over the limit.
    pub(super) fn add(&mut self, weight: u32, terms: &Terms, now: Moment) -> bool {
        self.tally(weight, terms);
        if let Some(rate) = terms.rate() {
            self.until = rate.advance(self.until, weight, now);
            return rate.ask(self.until, now).is_err();
        }
        let counted = self.counted(terms, now);
        let over = !counted.has_room(0, terms.limit);
        if self.mitigated(terms, now).is_some() {
            self.heat = HOTTEST;
        } else if over {
            self.begin_mitigation(terms, now);
        } else {
            let left = counted.remaining(terms.limit);
            self.heat = heat(terms.limit - left, terms.limit);
        }
        over
    }

    fn tally(&mut self, weight: u32, terms: &Terms) {
        self.current = self.current.saturating_add(weight);
        if terms.told_from.is_some() {
            self.untold = self.untold.saturating_add(weight);
        }
    }

    fn begin_mitigation(&mut self, terms: &Terms, now: Moment) {
        self.heat = HOTTEST;
        if terms.mitigation > 0 {
            self.until = now.saturating_add(terms.mitigation);
        }
    }

    pub(super) fn expiry(&self, terms: &Terms, now: Moment) -> Moment {
        // What was counted matters until the window after is over.
        let counted = now.saturating_add(terms.span().saturating_mul(2));
        if terms.burst.is_some() && terms.told_from.is_none() {
            return self.until.max(now.saturating_add(1));
        }
        counted.max(self.until)
    }
}
