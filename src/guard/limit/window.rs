//! Sliding windows: how much was counted within one period from now.
//!
//! A window is a period in eight slices, and what is known of it is how much had been counted at the end of each.
//! Of the window before, the slices count that still lie within the period, and of the one in which that
//! begins as much as if its requests had come evenly. So a burst counts for as long as it should, to within an
//! eighth of the period.

use std::time::Duration;

/// Slices of a window.
pub const SLICES: u8 = 8;
/// Marks within a window: what was counted in all of it is known anyway.
const MARKS: usize = SLICES as usize - 1;
/// Bits of a part of a slice.
const PART_BITS: u32 = 16;

/// How much had been counted at the end of each slice of a window but the last, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks([u8; MARKS]);

impl Marks {
    /// `total` was counted at the ends of the slices from `from` to before `to`.
    pub fn pass(&mut self, (from, to): (u8, u8), total: u32, unit: u32) {
        let mark = u8::try_from(total / unit.max(1)).unwrap_or(u8::MAX);
        let passed = usize::from(to).min(MARKS);
        if let Some(marks) = self.0.get_mut(usize::from(from)..passed) {
            marks.fill(mark);
        }
    }

    /// `more` was counted up to now, in `slice`, nobody knows when.
    pub fn spread(&mut self, slice: u8, more: u32, unit: u32) {
        let slices = u64::from(slice) + 1;
        for (passed, mark) in (1..slices).zip(&mut self.0) {
            let part = u64::from(more) * passed / slices / u64::from(unit.max(1));
            *mark = mark.saturating_add(u8::try_from(part).unwrap_or(u8::MAX));
        }
    }

    /// What of `total` was counted before `slice`.
    fn before(self, slice: u8, total: u32, unit: u32) -> u32 {
        let Some(position) = usize::from(slice).checked_sub(1) else {
            return 0;
        };
        let mark = self.0.get(position);
        mark.map_or(total, |mark| u32::from(*mark).saturating_mul(unit))
            .min(total)
    }
}

/// The unit of marks, for up to `limit` a window: one where that is exact.
pub const fn unit(limit: u32) -> u32 {
    let unit = limit.div_ceil(u8::MAX as u32);
    if unit == 0 { 1 } else { unit }
}

/// A point in time, as windows have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The window, counted from 1970.
    pub window: u32,
    /// The slice of it.
    pub slice: u8,
    /// How much of that is over, in nanoseconds.
    pub into: u64,
    /// Length of a slice, in nanoseconds.
    pub length: u64,
}

impl Position {
    /// Where `now` is among windows of `period`.
    pub fn new(now: u64, period: u64) -> Self {
        let length = (period / u64::from(SLICES)).max(1);
        let slice = now / length;
        Self {
            window: u32::try_from(slice / u64::from(SLICES)).unwrap_or(u32::MAX),
            slice: u8::try_from(slice % u64::from(SLICES)).unwrap_or_default(),
            into: now % length,
            length,
        }
    }

    /// The beginning of the window.
    #[must_use]
    pub const fn begin(self) -> Self {
        Self {
            slice: 0,
            into: 0,
            ..self
        }
    }

    /// How long the window still is, in nanoseconds.
    pub fn left(&self) -> u64 {
        (u64::from(SLICES - self.slice) * self.length).saturating_sub(self.into)
    }
}

/// What was counted in two windows, at some point within the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// In the window before.
    pub previous: u32,
    /// How that came.
    pub before: Marks,
    /// In this one.
    pub current: u32,
    /// How that came, up to now.
    pub marks: Marks,
    /// The unit of marks.
    pub unit: u32,
    /// Where in this window it is.
    pub at: Position,
}

impl Counted {
    /// How much lies within one period from now; rounded up.
    pub fn used(&self) -> u32 {
        let left = if self.previous == 0 {
            0
        } else {
            let begin = self.before.before(self.at.slice, self.previous, self.unit);
            let end = self
                .before
                .before(self.at.slice + 1, self.previous, self.unit);
            let part = (self.at.into << PART_BITS) / self.at.length.max(1);
            let gone = (u64::from(end.saturating_sub(begin)) * part) >> PART_BITS;
            (self.previous - begin).saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX))
        };
        self.current.saturating_add(left)
    }

    /// Whether `more` would still be within `limit`.
    pub fn has_room(&self, more: u32, limit: u32) -> bool {
        self.used()
            .checked_add(more)
            .is_some_and(|used| used <= limit)
    }

    /// After how long one more would be within `limit`, if nothing else came.
    pub fn retry_after(&self, limit: u32) -> Duration {
        let room = limit.checked_sub(self.current.saturating_add(1));
        let needed = if let Some(room) = room {
            // In this window, as what is left of the one before grows less.
            self.until_less(self.previous, self.before, room, self.at)
        } else {
            // In the next, as what is left of this one does.
            let mut marks = self.marks;
            marks.pass((self.at.slice, SLICES), self.current, self.unit);
            let room = limit.saturating_sub(1);
            let later = self.until_less(self.current, marks, room, self.at.begin());
            self.at.left().saturating_add(later)
        };
        Duration::from_nanos(needed)
    }

    /// How long after `from` no more than `room` is left of `total`.
    fn until_less(&self, total: u32, marks: Marks, room: u32, from: Position) -> u64 {
        if total <= room {
            return 0;
        }
        for slice in from.slice..SLICES {
            let begin = marks.before(slice, total, self.unit);
            let end = marks.before(slice + 1, total, self.unit);
            if total - end > room {
                continue;
            }
            let needed = u64::from((total - begin).saturating_sub(room));
            let part = (needed << PART_BITS).div_ceil(u64::from(end.saturating_sub(begin)).max(1));
            let into = (part * from.length).div_ceil(1 << PART_BITS);
            return (u64::from(slice - from.slice) * from.length + into).saturating_sub(from.into);
        }
        from.left()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: u64 = 800_000_000;
    const LENGTH: u64 = PERIOD / SLICES as u64;

    fn marks(counts: &[u32], unit: u32) -> (u32, Marks) {
        let (mut total, mut marks) = (0, Marks::default());
        for (slice, count) in (0..).zip(counts) {
            total += count;
            marks.pass((slice, slice + 1), total, unit);
        }
        (total, marks)
    }

    fn counted(before: &[u32], now: &[u32], at: u64, limit: u32) -> Counted {
        let unit = unit(limit);
        let mut all = [0; SLICES as usize];
        all[..before.len()].copy_from_slice(before);
        let (previous, before) = marks(&all, unit);
        let at = Position::new(at, PERIOD);
        let so_far = now.len().min(usize::from(at.slice));
        let (_, marks) = marks(&now[..so_far], unit);
        Counted {
            previous,
            before,
            current: now.iter().sum(),
            marks,
            unit,
            at,
        }
    }

    #[test]
    fn of_the_last_window_what_came_within_the_period_counts() {
        let (early, late) = ([10, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 10]);
        for (before, at, used) in [
            (early, 0, 10),
            (early, LENGTH / 2, 5),
            (early, LENGTH, 0),
            (late, LENGTH * 7, 10),
            (late, LENGTH * 7 + LENGTH / 2, 5),
            ([8; 8], LENGTH * 4 + LENGTH / 2, 28),
        ] {
            let counted = counted(&before, &[], at, 100);
            assert_eq!(counted.used(), used, "{before:?} {at}");
            assert!(counted.has_room(100 - used, 100) && !counted.has_room(101 - used, 100));
        }
        // What does not fit into a mark is taken for late.
        let many = counted(&[5_000, 0, 0, 0, 0, 0, 0, 0], &[], LENGTH, 10);
        assert_eq!(many.used(), 5_000 - 255);
    }

    proptest! {
        #[test]
        fn who_waits_as_long_as_told_has_room_and_not_a_moment_before(
            before in prop::array::uniform8(0_u32..200), now in prop::array::uniform8(0_u32..200),
            at in 0..PERIOD, limit in 1_u32..1000,
        ) {
            let so_far = usize::try_from(at / LENGTH).unwrap() + 1;
            let now = &now[..so_far];
            let wait = counted(&before, now, at, limit).retry_after(limit);
            let wait = u64::try_from(wait.as_nanos()).unwrap();
            let later = |wait: u64| match (at + wait) / PERIOD {
                0 => counted(&before, now, at + wait, limit),
                1 => counted(now, &[], at + wait - PERIOD, limit),
                _ => counted(&[], &[], 0, limit),
            };
            prop_assert!(later(wait).has_room(1, limit));
            if wait > 0 {
                prop_assert!(!later(wait - 1).has_room(1, limit));
            }
        }
    }
}
