//! How often keys were seen of late, roughly, in little memory: a count-min sketch of small counters, all of
//! which are halved from time to time.
//!
//! It only ever takes a key for more frequent than it is. What is decided by it is whether a key gets room in
//! the table, never whether a request is stopped.

/// What a counter can hold.
pub const MOST: u8 = 15;
/// Counters that each key has.
const ROWS: u32 = 4;
/// Counters in a word.
const IN_WORD: u64 = 16;

/// A sketch.
#[derive(Clone, Debug)]
pub struct Sketch {
    words: Vec<u64>,
    additions: u64,
}

impl Sketch {
    /// One of `bytes`, rounded down to a power of two.
    pub fn new(bytes: usize) -> Self {
        let words = (bytes / 8).max(1);
        Self {
            words: vec![0; 1 << words.ilog2()],
            additions: 0,
        }
    }

    /// Sees `key` once more; how often that was of late, up to [`MOST`].
    pub fn add(&mut self, key: u64) -> u8 {
        let estimate = self.estimate(key);
        if estimate < MOST {
            for row in 0..ROWS {
                let (word, shift) = self.place(key, row);
                // Only those that are as low as the estimate: the others have been raised by other keys.
                if let Some(word) = self.words.get_mut(word)
                    && (*word >> shift) & u64::from(MOST) == u64::from(estimate)
                {
                    *word += 1 << shift;
                }
            }
        }
        self.additions += 1;
        if self.additions >= self.counters() / 2 {
            self.halve();
        }
        (estimate + 1).min(MOST)
    }

    /// How often `key` was seen of late.
    pub fn estimate(&self, key: u64) -> u8 {
        let counters = (0..ROWS).map(|row| {
            let (word, shift) = self.place(key, row);
            let word = self.words.get(word).copied().unwrap_or_default();
            u8::try_from((word >> shift) & u64::from(MOST)).unwrap_or(MOST)
        });
        counters.min().unwrap_or_default()
    }

    /// Bytes that it takes.
    pub const fn bytes(&self) -> usize {
        self.words.len() * 8
    }

    fn counters(&self) -> u64 {
        u64::try_from(self.words.len())
            .unwrap_or(u64::MAX)
            .saturating_mul(IN_WORD)
    }

    fn halve(&mut self) {
        for word in &mut self.words {
            *word = (*word >> 1) & 0x7777_7777_7777_7777;
        }
        self.additions = 0;
    }

    /// Word and shift of a counter of `key`. Keys are hashes already; rows are made from two halves of one.
    fn place(&self, key: u64, row: u32) -> (usize, u32) {
        let step = key.rotate_right(32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let hash = key
            .wrapping_add(step.wrapping_mul(u64::from(row) + 1))
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        let word = usize::try_from(hash >> 20).unwrap_or_default() & (self.words.len() - 1);
        (word, u32::try_from(hash >> 60).unwrap_or_default() * 4)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> u64 {
        // As good as a hash.
        number
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            ^ number.wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    proptest! {
        #[test]
        fn no_key_is_taken_for_rarer_than_it_is(seen in prop::collection::vec(0_u64..40, 1..200)) {
            let (mut sketch, mut exact) = (Sketch::new(1 << 10), HashMap::<u64, u64>::new());
            for number in seen {
                sketch.add(key(number));
                *exact.entry(number).or_default() += 1;
            }
            for (number, count) in exact {
                prop_assert!(u64::from(sketch.estimate(key(number))) >= count.min(u64::from(MOST)));
            }
        }
    }

    #[test]
    fn most_keys_are_counted_exactly_while_there_is_room() {
        let mut sketch = Sketch::new(16 << 10);
        for number in 0..2_000 {
            for _ in 0..=number % 5 {
                sketch.add(key(number));
            }
        }
        let exact =
            (0..2_000).filter(|number| u64::from(sketch.estimate(key(*number))) == number % 5 + 1);
        let exact = exact.count();
        assert!(exact > 1_900, "{exact}");
    }

    #[test]
    fn a_flood_leaves_what_is_frequent_and_the_rest_is_forgotten() {
        let mut sketch = Sketch::new(4 << 10);
        for number in 0..1_000_000 {
            sketch.add(key(number));
            if number % 100 == 0 {
                sketch.add(7);
            }
        }
        assert!(sketch.estimate(7) >= 7, "{}", sketch.estimate(7));
        let new: u64 = (0..1000)
            .map(|n| u64::from(sketch.estimate(key(1 << 40 | n))))
            .sum();
        assert!(new < 6_000, "{new}");
    }
}
