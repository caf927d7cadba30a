//! The counts of keys, in bounded memory: one shard of the table.
//!
//! A shard grows as keys come. When it may not grow any more, a key gets room only at the cost of a colder
//! one: one that is less close to its limit than the sketch says the new one is. What is turned away is not
//! counted, and so within its limit: a flood of keys stops nobody, and who is being stopped stays so.

use std::time::Duration;

use super::sketch::Sketch;
use super::state::{Delta, HOTTEST, Known, State, Telling, Terms, heat};
use super::{Key, Moment, Verdict};

/// Keys in a bucket.
const WAYS: usize = 8;
/// Buckets in a group, which has all keys of one client and what else requests have in common, so that they
/// are near each other.
const GROUP: usize = 16;
/// Bits of a key that choose its shard.
pub const SHARD_BITS: u32 = 8;
/// Bits of a key that choose its group.
const GROUP_BITS: u32 = 24;
/// The first bit that chooses a bucket of the group.
const BUCKET_SHIFT: u32 = 12;
/// The bits of a key that are those of what its requests have in common, whatever the rule.
pub const COMMON: u64 = !(u64::MAX >> GROUP_BITS) | ((1 << SHARD_BITS) - 1);
/// Nothing of a key matters for longer: what says so is from before the clock was set back.
const LONGEST: u64 = 48 * 3600 * 1_000_000_000;
/// Keys whose counts wait to be told to other nodes, at most.
const MOST_DIRTY: usize = 512;

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
    dirty: Vec<Delta>,
    /// Such counts of windows that are over.
    past: Vec<Delta>,
    figures: Figures,
}

/// A key and its state in one line of the processor's cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Entry {
    /// Zero is none.
    key: Key,
    state: State,
}

const _: () = assert!(size_of::<Entry>() == 64, "a line");

/// Each key has a way in which it is looked for first.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket([Entry; WAYS]);

impl Shard {
    /// One that takes at most about `bytes`.
    pub fn new(bytes: usize) -> Self {
        let sketch_bytes = bytes / 8;
        let buckets = ((bytes - sketch_bytes) / size_of::<Bucket>()).max(1);
        Self {
            buckets: vec![Bucket::default()],
            most: if buckets < GROUP {
                buckets
            } else {
                buckets - buckets % GROUP
            },
            sketch: None,
            sketch_bytes,
            dirty: Vec::new(),
            past: Vec::new(),
            figures: Figures::default(),
        }
    }

    /// Looks for `keys` where they are first looked for: the processor waits for all of that at once, and not
    /// for one after the other.
    pub fn warm(&self, keys: impl Iterator<Item = Key>) {
        let seen = keys.fold(0, |seen, key| {
            let bucket = self.buckets.get(self.bucket_of(key));
            let entry = bucket.and_then(|bucket| bucket.0.get(first_way(key)));
            seen ^ entry.map_or(0, |entry| entry.key)
        });
        std::hint::black_box(seen);
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
        let at = terms.position(now);
        tell_past(past, key, state.roll(terms, &at), terms);
        let verdict = state.ask(counts, terms, (&at, now));
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
        let at = terms.position(now);
        tell_past(past, key, state.roll(terms, &at), terms);
        let over = state.add(weight, terms, (&at, now));
        self.note(key, bucket, way, terms, now);
        over
    }

    /// For how long `key` is over its limit whatever was counted since, where it is.
    pub fn mitigated(&self, key: Key, terms: &Terms, now: Moment) -> Option<Duration> {
        let (bucket, way) = self.find(key)?;
        let entry = self.buckets.get(bucket)?.0.get(way)?;
        entry.state.mitigated(terms, now)
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
        for delta in dirty {
            let Some((bucket, way)) = self.find(delta.key) else {
                continue;
            };
            let Some(state) = state_at(&mut self.buckets, bucket, way) else {
                continue;
            };
            state.dirty = false;
            let amount = std::mem::take(&mut state.untold);
            if amount > 0 {
                out.push(Delta {
                    window: state.window,
                    amount,
                    first: !std::mem::replace(&mut state.told, true),
                    due: state.until,
                    ..delta
                });
            }
        }
    }

    /// Takes over what all nodes know of the key and the window of `delta`.
    pub fn know(&mut self, delta: &Delta, known: &Known, now: Moment) {
        let Some((bucket, way)) = self.find(delta.key) else {
            return;
        };
        let Some(state) = state_at(&mut self.buckets, bucket, way) else {
            return;
        };
        if state.window == delta.window {
            let told = state.current - state.untold.min(state.current);
            let others = known.sum.saturating_sub(told);
            state.know(others, delta, known.due, now);
            if let Some(before) = known.before {
                state.know_before(before, delta);
            }
        } else if state.window == delta.window.wrapping_add(1) {
            state.previous = state.previous.max(known.sum);
        }
    }

    /// What there is to know about it.
    pub fn figures(&self) -> Figures {
        let table = self.buckets.len() * size_of::<Bucket>();
        let sketch = self.sketch.as_ref().map_or(0, Sketch::bytes);
        let waiting = (self.dirty.capacity() + self.past.capacity()) * size_of::<Delta>();
        Figures {
            bytes: u64::try_from(table + sketch + waiting).unwrap_or(u64::MAX),
            ..self.figures
        }
    }

    /// Remembers to tell other nodes, where they are told.
    fn note(&mut self, key: Key, bucket: usize, way: usize, terms: &Terms, now: Moment) {
        let Some(state) = state_at(&mut self.buckets, bucket, way) else {
            return;
        };
        state.expires = state.expiry(terms, now);
        let Telling::From(from) = terms.telling else {
            return;
        };
        if state.untold > 0
            && !state.dirty
            && state.current >= from
            && self.dirty.len() < MOST_DIRTY
        {
            state.dirty = true;
            self.dirty.push(Delta {
                key,
                window: state.window,
                period: terms.span(),
                interval: terms.rate().map_or(0, |rate| rate.interval),
                amount: 0,
                unit: terms.unit,
                first: false,
                due: 0,
            });
        }
    }

    fn bucket_of(&self, key: Key) -> usize {
        let within = usize::try_from(key >> BUCKET_SHIFT).unwrap_or_default();
        let groups = self.buckets.len() / GROUP;
        if groups == 0 {
            return within % self.buckets.len().max(1);
        }
        let chosen = (key >> (u64::BITS - GROUP_BITS)) * u64::try_from(groups).unwrap_or(1);
        let group = usize::try_from(chosen >> GROUP_BITS).unwrap_or_default();
        group * GROUP + within % GROUP
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
            if let Some(way) = bucket.free(key, now) {
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
        let coldest = bucket.coldest()?;
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

    /// Has twice as many buckets, or as many as it may. Where keys then have no room, the coldest are
    /// forgotten.
    fn grow(&mut self) {
        let length = (self.buckets.len() * 2).min(self.most);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); length]);
        let entries = old.iter().flat_map(|bucket| &bucket.0);
        for entry in entries.filter(|entry| entry.key != 0) {
            let at = self.bucket_of(entry.key);
            let Some(bucket) = self.buckets.get_mut(at) else {
                continue;
            };
            let empty = bucket.way_where(entry.key, |entry| entry.key == 0);
            let way = empty.or_else(|| {
                self.figures.keys -= 1;
                let coldest = bucket.coldest()?;
                (bucket.heat(coldest) < entry.state.heat).then_some(coldest)
            });
            if let Some(place) = way.and_then(|way| bucket.0.get_mut(way)) {
                *place = *entry;
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
            unit: terms.unit,
            first: false,
            due: 0,
        });
    }
}

fn state_at(buckets: &mut [Bucket], bucket: usize, way: usize) -> Option<&mut State> {
    Some(&mut buckets.get_mut(bucket)?.0.get_mut(way)?.state)
}

/// The way in which `key` is looked for first.
fn first_way(key: Key) -> usize {
    usize::try_from(key >> SHARD_BITS).unwrap_or_default() % WAYS
}

impl Bucket {
    /// A way whose entry is such, that of `key` before others.
    fn way_where(&self, key: Key, such: impl Fn(&Entry) -> bool) -> Option<usize> {
        let first = first_way(key);
        let ways = std::iter::once(first).chain((0..WAYS).filter(|way| *way != first));
        let mut ways = ways.filter(|way| self.0.get(*way).is_some_and(&such));
        ways.next()
    }

    fn way_of(&self, key: Key) -> Option<usize> {
        self.way_where(key, |entry| entry.key == key)
    }

    /// A way that nobody needs.
    fn free(&self, key: Key, now: Moment) -> Option<usize> {
        self.way_where(key, |entry| {
            let left = entry.state.expires.saturating_sub(now);
            entry.key == 0 || left == 0 || left > LONGEST
        })
    }

    fn coldest(&self) -> Option<usize> {
        (0..WAYS).min_by_key(|way| self.heat(*way))
    }

    /// Puts a key in; whether nothing was there.
    fn put(&mut self, way: usize, key: Key) -> bool {
        let Some(entry) = self.0.get_mut(way) else {
            return false;
        };
        let empty = entry.key == 0;
        *entry = Entry {
            key,
            state: State::default(),
        };
        empty
    }

    fn heat(&self, way: usize) -> u8 {
        self.0.get(way).map_or(HOTTEST, |entry| entry.state.heat)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
