//! How often keys are asked for, so that what is rarely wanted need not be stored.
//!
//! A count-min sketch: every key has a counter in each of four rows, and its count is the least of
//! them. Keys that share counters make one another look more wanted, never less. All counters are
//! halved every hour, and when there have been many more uses than counters, so that what was popular
//! once is forgotten. It takes 1 MiB whatever the number of keys, and nothing until it is first used.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rows of the sketch.
const ROWS: usize = 4;
/// Counters in a row.
const COUNTERS: usize = 1 << 17;
/// How long a count lasts before it is halved.
const HALVED_EVERY: Duration = Duration::from_hours(1);
/// Uses after which counts are halved sooner.
const MOST_USES: usize = 4 * COUNTERS;

/// Counts of recent uses.
#[derive(Debug, Default)]
pub struct Uses {
    sketch: Mutex<Sketch>,
    /// With secrets of its own: nobody can choose keys that share counters.
    digest: RandomState,
}

#[derive(Debug, Default)]
struct Sketch {
    /// Row after row; empty until first used.
    counters: Vec<u16>,
    uses: usize,
    halved: Option<Instant>,
}

impl Uses {
    /// Counts one use of `key`.
    pub fn count(&self, key: &[u8], now: Instant) {
        let hash = self.digest.hash_one(key);
        let mut sketch = self.lock();
        sketch.age(now);
        sketch.uses += 1;
        if sketch.counters.is_empty() {
            sketch.counters = vec![0; ROWS * COUNTERS];
        }
        for index in indices(hash) {
            if let Some(counter) = sketch.counters.get_mut(index) {
                *counter = counter.saturating_add(1);
            }
        }
    }

    /// Recent uses of `key`, about; 65535 at most.
    pub fn recent(&self, key: &[u8], now: Instant) -> u32 {
        let hash = self.digest.hash_one(key);
        let mut sketch = self.lock();
        sketch.age(now);
        let counts = indices(hash).map(|index| sketch.counters.get(index).copied());
        counts.into_iter().flatten().min().map_or(0, u32::from)
    }

    fn lock(&self) -> MutexGuard<'_, Sketch> {
        self.sketch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sketch {
    fn age(&mut self, now: Instant) {
        let halved = *self.halved.get_or_insert(now);
        let passed = now.saturating_duration_since(halved);
        if passed < HALVED_EVERY && self.uses < MOST_USES {
            return;
        }
        // As often as it was due, for a quiet site that is asked again after a day.
        let halvings = (passed.as_secs() / HALVED_EVERY.as_secs()).clamp(1, 16);
        for counter in &mut self.counters {
            *counter = u16::try_from(u32::from(*counter) >> halvings).unwrap_or(0);
        }
        self.uses = 0;
        self.halved = Some(now);
    }
}

/// One counter in each row: 17 bits of the hash and the rest of it for double hashing.
fn indices(hash: u64) -> [usize; ROWS] {
    let part = |shift: u32| usize::try_from((hash >> shift) & 0xffff_ffff).unwrap_or(0);
    // An odd step reaches every counter.
    let (start, step) = (part(0), part(32) | 1);
    [0, 1, 2, 3].map(|row| {
        let counter = start.wrapping_add(step.wrapping_mul(row)) % COUNTERS;
        row * COUNTERS + counter
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn counted(uses: &Uses, key: &[u8], times: usize, now: Instant) -> u32 {
        for _ in 0..times {
            uses.count(key, now);
        }
        uses.recent(key, now)
    }

    #[test]
    fn uses_are_counted_by_key() {
        let (uses, now) = (Uses::default(), crate::clock::instant());
        assert_eq!(uses.recent(b"a", now), 0);
        assert_eq!(counted(&uses, b"a", 3, now), 3);
        assert_eq!(counted(&uses, b"b", 1, now), 1);
        assert_eq!(uses.recent(b"a", now), 3);
    }

    #[test]
    fn counts_are_halved_every_hour() {
        let (uses, now) = (Uses::default(), crate::clock::instant());
        counted(&uses, b"a", 5, now);
        assert_eq!(uses.recent(b"a", now + HOUR / 2), 5);
        assert_eq!(uses.recent(b"a", now + HOUR), 2);
        assert_eq!(uses.recent(b"a", now + HOUR * 2), 1);
        counted(&uses, b"a", 1000, now + HOUR * 2);
        assert_eq!(uses.recent(b"a", now + HOUR * 26), 0);
    }

    #[test]
    fn a_flood_of_other_keys_neither_grows_it_nor_makes_a_key_look_wanted() {
        let (uses, now) = (Uses::default(), crate::clock::instant());
        for number in 0..2_000_000_u32 {
            uses.count(&number.to_be_bytes(), now);
        }
        assert_eq!(uses.lock().counters.len(), ROWS * COUNTERS);
        let wanted = (0..1000_u32).filter(|number| {
            let key = [&b"new"[..], &number.to_be_bytes()].concat();
            uses.recent(&key, now) >= 10
        });
        assert!(wanted.count() < 10);
    }
}
