//! What is known of one key: how much of it was counted, here and elsewhere, and until when it is over its
//! limit.

use std::time::Duration;

use super::gcra::Rate;
use super::window::{Counted, Marks, Position, SLICES};
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
    /// Counts are remembered in this unit, where it matters when they came.
    pub unit: u32,
    /// The period, in nanoseconds.
    pub period: u64,
    /// For how long a key is over its limit once it was, in nanoseconds.
    pub mitigation: u64,
    /// For requests at an even rate: how many may come at once.
    pub burst: Option<u32>,
    /// Whether a request that is too much is stopped, and so does not count.
    pub stops: bool,
    /// Whether other nodes are told.
    pub telling: Telling,
}

/// Whether other nodes count as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// There are none.
    #[default]
    Alone,
    /// They cannot be told now, and are later.
    Later,
    /// They are told from so many counts of a window on.
    From(u32),
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
    /// The unit in which it is remembered when they came.
    pub unit: u32,
    /// Whether it is the first of the window: what others counted before it is not known here.
    pub first: bool,
    /// At an even rate, when the next request is due.
    pub due: Moment,
}

/// What all nodes know of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Counted in the window.
    pub sum: u32,
    /// Counted in the one before; for the first delta of a window.
    pub before: Option<u32>,
    /// When the next request is due, at an even rate; for the first delta of a window as well.
    pub due: Option<Moment>,
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
    /// The slice of the window that it is known up to.
    slice: u8,
    /// How that of this window came.
    marks: Marks,
    /// How that of the window before did.
    before: Marks,
    /// How close to the limit it was when it last counted.
    pub(super) heat: u8,
    /// Whether it waits to be told.
    pub(super) dirty: bool,
    /// Whether something of the window was told.
    pub(super) told: bool,
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

    /// Where a moment is among the windows.
    pub(super) fn position(&self, now: Moment) -> Position {
        Position::new(now, self.span())
    }
}

impl State {
    /// Begins the window of `now`, where it is another one. Gives the window before, and what was counted in
    /// it that waits to be told.
    pub(super) fn roll(&mut self, terms: &Terms, at: &Position) -> Option<(u32, u32)> {
        if self.window == at.window {
            self.pass(at.slice, terms);
            return None;
        }
        // Requests do not come exactly in the order of their times.
        if self.window == at.window.saturating_add(1) {
            return None;
        }
        let untold = (self.dirty && self.untold > 0).then_some((self.window, self.untold));
        if self.window.checked_add(1) == Some(at.window) {
            self.pass(SLICES, terms);
            self.previous = self.current.saturating_add(self.others);
            self.before = self.marks;
        } else {
            (self.previous, self.before) = (0, Marks::default());
        }
        (self.current, self.others, self.untold) = (0, 0, 0);
        (self.marks, self.slice) = (Marks::default(), at.slice);
        (self.window, self.told) = (at.window, false);
        untold
    }

    /// The slices before `slice` are over.
    fn pass(&mut self, slice: u8, terms: &Terms) {
        if slice > self.slice {
            let total = self.current.saturating_add(self.others);
            self.marks.pass((self.slice, slice), total, terms.unit);
            self.slice = slice;
        }
    }

    /// Takes over what was counted on other nodes in the window.
    pub(super) fn know(&mut self, others: u32, delta: &Delta, due: Option<Moment>, now: Moment) {
        let more = others.saturating_sub(self.others);
        if delta.interval > 0 {
            let rate = Rate {
                interval: delta.interval,
                burst: 1,
                furthest: u64::MAX,
            };
            self.until = if delta.first {
                // When they came is not known, but what that came to.
                let due = due.unwrap_or_default();
                self.until.max(rate.advance(due, delta.amount, now))
            } else {
                rate.advance(self.until, more, now)
            };
            self.expires = self.expires.max(self.until);
        } else if delta.first {
            self.marks.spread(self.slice, more, delta.unit);
        }
        self.others += more;
    }

    /// Takes over what was counted anywhere in the window before.
    pub(super) fn know_before(&mut self, sum: u32, delta: &Delta) {
        if self.previous == 0 {
            self.before = Marks::default();
            self.before.spread(SLICES - 1, sum, delta.unit);
        }
        self.previous = self.previous.max(sum);
    }

    /// Holds the key for over its limit until then.
    pub(super) fn hold(&mut self, until: Moment) {
        self.until = until;
        self.expires = self.expires.max(until);
        self.heat = HOTTEST;
    }

    fn counted(&self, terms: &Terms, at: &Position) -> Counted {
        let others = match terms.telling {
            Telling::From(_) => self.others,
            Telling::Alone | Telling::Later => 0,
        };
        Counted {
            previous: self.previous,
            before: self.before,
            current: self.current.saturating_add(others),
            marks: self.marks,
            unit: terms.unit,
            at: if self.window == at.window {
                *at
            } else {
                at.begin()
            },
        }
    }

    pub(super) fn mitigated(&self, terms: &Terms, now: Moment) -> Option<Duration> {
        let left = self.until.checked_sub(now).filter(|left| *left > 0)?;
        // Longer than it can be: the clock was set back.
        (terms.burst.is_none() && left <= terms.mitigation).then(|| Duration::from_nanos(left))
    }

    pub(super) fn ask(
        &mut self,
        counts: bool,
        terms: &Terms,
        (at, now): (&Position, Moment),
    ) -> Verdict {
        if let Some(rate) = terms.rate() {
            return self.ask_rate(rate, counts, terms, now);
        }
        if let Some(mut retry_after) = self.mitigated(terms, now) {
            if terms.mitigation < terms.period {
                // It begins anew when it is over.
                let counted = self.counted(terms, at);
                retry_after = retry_after.max(counted.retry_after(terms.limit));
            }
            if counts && !terms.stops {
                self.add(1, terms, (at, now));
            }
            return Verdict::Over { retry_after };
        }
        let before = self.counted(terms, at);
        let used = before.used();
        if used < terms.limit {
            let used = used + u32::from(counts);
            if counts {
                self.tally(1, terms);
                self.heat = heat(used, terms.limit);
            }
            return Verdict::Within {
                remaining: terms.limit - used,
                reset: Duration::from_nanos(before.at.left()),
            };
        }
        if counts && !terms.stops {
            self.add(1, terms, (at, now));
        }
        self.begin_mitigation(terms, now);
        let mitigation = Duration::from_nanos(terms.mitigation);
        let retry_after = if terms.mitigation < terms.period {
            before.retry_after(terms.limit).max(mitigation)
        } else {
            mitigation
        };
        Verdict::Over { retry_after }
    }

    fn ask_rate(&mut self, rate: Rate, counts: bool, terms: &Terms, now: Moment) -> Verdict {
        self.until = rate.bounded(self.until, now);
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
    pub(super) fn add(
        &mut self,
        weight: u32,
        terms: &Terms,
        (at, now): (&Position, Moment),
    ) -> bool {
        self.tally(weight, terms);
        if let Some(rate) = terms.rate() {
            self.until = rate.advance(self.until, weight, now);
            return rate.ask(self.until, now).is_err();
        }
        let used = self.counted(terms, at).used();
        let over = used > terms.limit;
        if self.mitigated(terms, now).is_some() {
            self.heat = HOTTEST;
        } else if over {
            self.begin_mitigation(terms, now);
        } else {
            self.heat = heat(used, terms.limit);
        }
        over
    }

    fn tally(&mut self, weight: u32, terms: &Terms) {
        self.current = self.current.saturating_add(weight);
        if terms.telling != Telling::Alone {
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
        if terms.burst.is_some() && terms.telling == Telling::Alone {
            return self.until.max(now.saturating_add(1));
        }
        counted.max(self.until)
    }
}
