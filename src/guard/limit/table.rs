//! The counts of keys, in bounded memory: one shard of the table.
//!
//! A shard grows as keys come. When it may not grow any more, a key gets room only at the cost of a colder
//! one: one that is less close to its limit than the sketch says the new one is. What is turned away is not
//! counted, and so within its limit: a flood of keys stops nobody, and who is being stopped stays so.

use std::time::Duration;

use super::sketch::Sketch;
use super::state::{Delta, HOTTEST, State, Terms, heat};
use super::{Key, Moment, Verdict};

/// Keys in a bucket.
const WAYS: usize = 8;
/// Bits of a key that choose its shard.
pub const SHARD_BITS: u32 = 8;
/// Keys whose counts wait to be told to other nodes, at most.
const MOST_DIRTY: usize = 4096;

/// What there is to know about a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Keys that have room, those included that are about to be forgotten.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
    /// Keys that made room for hotter ones.
    pub displaced: u64,
    /// Requests whose key got no room.
    pub turned_away: u64,
    /// When that last was.
    pub turned_away_at: Moment,
}

/// One shard of the table.
#[derive(Clone, Debug)]
pub struct Shard {
    buckets: Vec<Bucket>,
    /// Buckets that it may have.
    most: usize,
    /// There since it was first full.
    sketch: Option<Sketch>,
    sketch_bytes: usize,
    /// Keys with counts that wait to be told.
    dirty: Vec<(Key, u64, u64)>,
    /// Such counts of windows that are over.
    past: Vec<Delta>,
    figures: Figures,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Zero is none.
    keys: [Key; WAYS],
    states: [State; WAYS],
}

impl Shard {
    /// One that takes at most about `bytes`.
    pub fn new(bytes: usize) -> Self {
        let sketch_bytes = bytes / 8;
        let buckets = (bytes - sketch_bytes) / size_of::<Bucket>();
        Self {
            buckets: vec![Bucket::default()],
            most: 1 << buckets.max(1).ilog2(),
            sketch: None,
            sketch_bytes,
            dirty: Vec::new(),
            past: Vec::new(),
            figures: Figures::default(),
        }
    }

    /// Whether a request is within the limit of `key`; it counts if `counts`, unless it is stopped.
    pub fn arrive(&mut self, key: Key, counts: bool, terms: &Terms, now: Moment) -> Verdict {
        let place = if counts {
            self.place(key, terms.limit, now)
        } else {
            self.find(key)
        };
        let Some((bucket, way)) = place else {
            return Verdict::Within {
                remaining: terms.limit.saturating_sub(u32::from(counts)),
                reset: Duration::from_nanos(terms.period),
            };
        };
        let Self { buckets, past, .. } = self;
        let Some(state) = state_at(buckets, bucket, way) else {
            return Verdict::Within {
                remaining: 0,
                reset: Duration::ZERO,
            };
        };
        tell_past(past, key, state.roll(terms, now), terms);
        let verdict = state.ask(counts, terms, now);
        self.note(key, bucket, way, terms, now);
        verdict
    }

    /// Counts answered requests of `key`, `weight` in all; whether that is over its limit.
    pub fn count(&mut self, key: Key, weight: u32, terms: &Terms, now: Moment) -> bool {
        let Some((bucket, way)) = self.place(key, terms.limit, now) else {
            return false;
        };
        let Self { buckets, past, .. } = self;
        let Some(state) = state_at(buckets, bucket, way) else {
            return false;
        };
        tell_past(past, key, state.roll(terms, now), terms);
        let over = state.add(weight, terms, now);
        self.note(key, bucket, way, terms, now);
        over
    }

    /// For how long `key` is over its limit whatever was counted since, where it is.
    pub fn mitigated(&self, key: Key, terms: &Terms, now: Moment) -> Option<Duration> {
        let (bucket, way) = self.find(key)?;
        let state = self.buckets.get(bucket)?.states.get(way)?;
        state.mitigated(terms, now)
    }

    /// Holds `key` for over its limit, as other nodes do.
    pub fn mitigate(&mut self, key: Key, remaining: Duration, terms: &Terms, now: Moment) {
        if let Some((bucket, way)) = self.place(key, terms.limit, now)
            && let Some(state) = state_at(&mut self.buckets, bucket, way)
        {
            state.hold(now.saturating_add(super::nanos(remaining)));
        }
    }

    /// Takes counts that other nodes do not know of, `most` of them.
    pub fn take_untold(&mut self, most: usize, out: &mut Vec<Delta>) {
        let past = most.min(self.past.len());
        out.extend(self.past.drain(..past));
        let rest = (most - past).min(self.dirty.len());
        let dirty: Vec<_> = self.dirty.drain(..rest).collect();
        for (key, period, interval) in dirty {
            let Some((bucket, way)) = self.find(key) else {
                continue;
            };
            let Some(state) = state_at(&mut self.buckets, bucket, way) else {
                continue;
            };
            state.dirty = false;
            let amount = std::mem::take(&mut state.untold);
            if amount > 0 {
                out.push(Delta {
                    key,
                    window: state.window,
                    period,
                    interval,
                    amount,
                });
            }
        }
    }

    /// Takes over what all nodes have counted of the key and the window of `delta`.
    pub fn know(&mut self, delta: &Delta, sum: u32, now: Moment) {
        let Some((bucket, way)) = self.find(delta.key) else {
            return;
        };
        let Some(state) = state_at(&mut self.buckets, bucket, way) else {
            return;
        };
        if state.window == delta.window {
            let told = state.current - state.untold.min(state.current);
            let others = sum.saturating_sub(told);
            state.know(others, delta.interval, now);
        } else if state.window == delta.window.wrapping_add(1) {
            state.previous = state.previous.max(sum);
        }
    }

    /// What there is to know about it.
    pub fn figures(&self) -> Figures {
        let table = self.buckets.len() * size_of::<Bucket>();
        let sketch = self.sketch.as_ref().map_or(0, Sketch::bytes);
        Figures {
            bytes: u64::try_from(table + sketch).unwrap_or(u64::MAX),
            ..self.figures
        }
    }

    /// Remembers to tell other nodes, where they are told.
    fn note(&mut self, key: Key, bucket: usize, way: usize, terms: &Terms, now: Moment) {
        let Some(state) = state_at(&mut self.buckets, bucket, way) else {
            return;
        };
        state.expires = state.expiry(terms, now);
        let Some(from) = terms.told_from else {
            return;
        };
        if state.untold > 0
            && !state.dirty
            && state.current >= from
            && self.dirty.len() < MOST_DIRTY
        {
            state.dirty = true;
            let interval = terms.rate().map_or(0, |rate| rate.interval);
            self.dirty.push((key, terms.span(), interval));
        }
    }

    fn bucket_of(&self, key: Key) -> usize {
        usize::try_from(key >> SHARD_BITS).unwrap_or_default() & (self.buckets.len() - 1)
    }

    fn find(&self, key: Key) -> Option<(usize, usize)> {
        let at = self.bucket_of(key);
        let way = self.buckets.get(at)?.way_of(key)?;
        Some((at, way))
    }

    /// Where `key` is, which gets room if it can.
    fn place(&mut self, key: Key, limit: u32, now: Moment) -> Option<(usize, usize)> {
        loop {
            let at = self.bucket_of(key);
            let bucket = self.buckets.get_mut(at)?;
            if let Some(way) = bucket.way_of(key) {
                return Some((at, way));
            }
            if let Some(way) = bucket.free(now) {
                self.figures.keys += u64::from(bucket.put(way, key));
                return Some((at, way));
            }
            if self.buckets.len() >= self.most {
                return self.displace(at, key, limit, now);
            }
            self.grow();
        }
    }

    /// Gives `key` the room of the coldest of its bucket, if it is hotter.
    fn displace(&mut self, at: usize, key: Key, limit: u32, now: Moment) -> Option<(usize, usize)> {
        let bytes = self.sketch_bytes;
        let sketch = self.sketch.get_or_insert_with(|| Sketch::new(bytes));
        let seen = u32::from(sketch.add(key));
        let bucket = self.buckets.get_mut(at)?;
        let coldest = (0..WAYS).min_by_key(|way| bucket.heat(*way))?;
        // One of them may be noise of the sketch, and none of it takes the room of who is being stopped.
        let heat = heat(seen - 1, limit).min(HOTTEST - 1);
        if heat <= bucket.heat(coldest) {
            self.figures.turned_away += 1;
            self.figures.turned_away_at = now;
            return None;
        }
        bucket.put(coldest, key);
        self.figures.displaced += 1;
        Some((at, coldest))
    }

    /// Has twice as many buckets: the keys of each are those of two.
    fn grow(&mut self) {
        let length = self.buckets.len();
        self.buckets.resize(length * 2, Bucket::default());
        for at in 0..length {
            for way in 0..WAYS {
                let Some(bucket) = self.buckets.get(at) else {
                    continue;
                };
                let (Some(&key), Some(&state)) = (bucket.keys.get(way), bucket.states.get(way))
                else {
                    continue;
                };
                let new = self.bucket_of(key);
                if key == 0 || new == at {
                    continue;
                }
                if let Some(bucket) = self.buckets.get_mut(new) {
                    bucket.set(way, key, state);
                }
                if let Some(bucket) = self.buckets.get_mut(at) {
                    bucket.set(way, 0, State::default());
                }
            }
        }
    }
}

/// What was counted in a window that is over is told as well.
fn tell_past(past: &mut Vec<Delta>, key: Key, untold: Option<(u32, u32)>, terms: &Terms) {
    if let Some((window, amount)) = untold.filter(|_| past.len() < MOST_DIRTY) {
        past.push(Delta {
            key,
            window,
            period: terms.span(),
            interval: 0,
            amount,
        });
    }
}

fn state_at(buckets: &mut [Bucket], bucket: usize, way: usize) -> Option<&mut State> {
    buckets.get_mut(bucket)?.states.get_mut(way)
}

impl Bucket {
    fn way_of(&self, key: Key) -> Option<usize> {
        self.keys.iter().position(|known| *known == key)
    }

    /// A way that nobody needs.
    fn free(&self, now: Moment) -> Option<usize> {
        let ways = self.keys.iter().zip(&self.states);
        let mut free = ways.map(|(key, state)| *key == 0 || state.expires <= now);
        free.position(|free| free)
    }

    /// Puts a key in; whether nothing was there.
    fn put(&mut self, way: usize, key: Key) -> bool {
        let empty = self.keys.get(way) == Some(&0);
        self.set(way, key, State::default());
        empty
    }

    fn set(&mut self, way: usize, key: Key, state: State) {
        if let (Some(known), Some(kept)) = (self.keys.get_mut(way), self.states.get_mut(way)) {
            *known = key;
            *kept = state;
        }
    }

    fn heat(&self, way: usize) -> u8 {
        self.states.get(way).map_or(HOTTEST, |state| state.heat)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
