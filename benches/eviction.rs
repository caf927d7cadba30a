//! Hit ratios of eviction policies on the same requests: the memory tier as it is, beside an LRU and
//! textbook forms of S3-FIFO and SIEVE.
//!
//! Keys are asked for by a Zipf distribution with exponent 0.9. "With scans" puts a stretch of keys that
//! nobody asks for again after every so many requests; these requests do not count themselves. The
//! first tenth of the requests only warms the caches. Everything is seeded, so that a run repeats.
//!
//! `KEYS` (1000000) and `REQUESTS` (10000000) are read from the environment; the table is Markdown.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a simulation, not a library"
)]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use seawall::cache::reuse::StoredTimes;
use seawall::fields::stored::StoredFields;
use seawall::fields::vary::Vary;
use seawall::purge::Generation;
use seawall::store::{Body, Content, MemoryStore, Selection, Served, StoreKey, StoredResponse};

const EXPONENT: f64 = 0.9;
/// A scan after so many requests, of so many keys.
const SCAN_EVERY: usize = 100_000;
const SCAN_LENGTH: usize = 10_000;

/// Makes a policy with room for so many keys, of which none is above the second number.
type Make = fn(usize, usize) -> Box<dyn Policy>;

/// A policy under simulation: whether `key` was there; now it is.
trait Policy {
    fn ask(&mut self, key: u32) -> bool;
}

fn main() {
    // What `cargo bench` and `cargo test --benches` pass on is not for this.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let keys = setting("KEYS", 1_000_000);
    let count = setting("REQUESTS", 10_000_000);
    let trace = zipf(keys, count);
    let ids = keys + (count / SCAN_EVERY + 1) * SCAN_LENGTH;

    println!("| policy | cache 1 % | 10 % | 1 %, with scans | 10 %, with scans |");
    println!("|---|---:|---:|---:|---:|");
    let policies: [(&str, Make); 5] = [
        ("Seawall's memory tier, objects of 1 KiB", |room, _| {
            Box::new(Memory::new(room, 1 << 10))
        }),
        ("Seawall's memory tier, objects of 16 KiB", |room, _| {
            Box::new(Memory::new(room, 16 << 10))
        }),
        ("S3-FIFO", |room, ids| Box::new(S3Fifo::new(room, ids))),
        ("SIEVE", |room, ids| Box::new(Sieve::new(room, ids))),
        ("LRU", |room, ids| Box::new(Lru::new(room, ids))),
    ];
    for (name, policy) in policies {
        let mut row = format!("| {name} |");
        for scans in [false, true] {
            for percent in [1, 10] {
                let mut policy = policy(keys * percent / 100, ids);
                let ratio = hit_ratio(&mut *policy, &trace, scans.then_some(keys));
                let _ = write!(row, " {:.1} % |", ratio * 100.0);
            }
        }
        println!("{row}");
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// The share of requests that found their key. Keys of scans begin at `scans`.
fn hit_ratio(policy: &mut dyn Policy, trace: &[u32], scans: Option<usize>) -> f64 {
    let warm = trace.len() / 10;
    let mut hits = 0_u32;
    let mut next = scans.map(|first| u32::try_from(first).unwrap());
    for (index, &key) in trace.iter().enumerate() {
        let hit = policy.ask(key);
        hits += u32::from(hit && index >= warm);
        if let Some(next) = &mut next
            && index % SCAN_EVERY == SCAN_EVERY - 1
        {
            for _ in 0..SCAN_LENGTH {
                policy.ask(*next);
                *next += 1;
            }
        }
    }
    f64::from(hits) / f64::from(u32::try_from(trace.len() - warm).unwrap())
}

/// Requests for keys from 0, the most popular, on.
fn zipf(keys: usize, count: usize) -> Vec<u32> {
    let mut sums = Vec::with_capacity(keys);
    let mut sum = 0.0;
    for rank in 1..=u32::try_from(keys).unwrap() {
        sum += f64::from(rank).powf(-EXPONENT);
        sums.push(sum);
    }
    let mut random = Random(0x5EA_3A11);
    (0..count)
        .map(|_| {
            let point = random.fraction() * sum;
            let rank = sums.partition_point(|below| *below <= point);
            u32::try_from(rank.min(keys - 1)).unwrap()
        })
        .collect()
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        f64::from(u32::try_from(mixed >> 32).unwrap()) / (f64::from(u32::MAX) + 1.0)
    }
}

// --- Seawall ---------------------------------------------------------------------

/// The store, with responses that all weigh the same.
struct Memory {
    store: MemoryStore,
    response: StoredResponse,
}

impl Memory {
    fn new(room: usize, size: usize) -> Self {
        let response = response(size);
        let each = response.weight() + u64::from(u32::BITS / 8);
        let store = MemoryStore::new(each * u64::try_from(room).unwrap()).unwrap();
        Self { store, response }
    }
}

impl Policy for Memory {
    fn ask(&mut self, key: u32) -> bool {
        let key = StoreKey(Arc::from(key.to_le_bytes()));
        if self.store.find(&key).is_some() {
            return true;
        }
        let mut response = self.response.clone();
        response.id = self.store.next_id();
        self.store.extend(&key, response);
        false
    }
}

fn response(size: usize) -> StoredResponse {
    StoredResponse {
        id: MemoryStore::new(1 << 20).unwrap().next_id(),
        generation: Generation(0),
        status: StatusCode::OK,
        fields: StoredFields::default(),
        times: StoredTimes {
            received: UNIX_EPOCH,
            initial_age: Duration::ZERO,
            fresh_until: UNIX_EPOCH,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_when_overloaded: Duration::ZERO,
            validate_always: false,
            stale_forbidden: false,
            validatable: false,
        }
        .into(),
        selection: Selection {
            vary: Vary::None,
            key: Arc::from([]),
            by_language: None,
        },
        tags: Arc::from([]),
        content: Content::Complete(Arc::new(Body::copy_of(&[vec![0; size].into()]))),
        disk: false,
        uses: Served::default(),
        encoded: None,
    }
}

// --- The others ------------------------------------------------------------------

/// Keys in a row, with removal from anywhere.
struct List {
    before: Vec<u32>,
    after: Vec<u32>,
    present: Vec<bool>,
    head: u32,
    tail: u32,
    len: usize,
}

const NONE: u32 = u32::MAX;

impl List {
    fn new(ids: usize) -> Self {
        Self {
            before: vec![NONE; ids],
            after: vec![NONE; ids],
            present: vec![false; ids],
            head: NONE,
            tail: NONE,
            len: 0,
        }
    }

    fn push_front(&mut self, key: u32) {
        let at = key as usize;
        (self.before[at], self.after[at]) = (NONE, self.head);
        match self.head {
            NONE => self.tail = key,
            head => self.before[head as usize] = key,
        }
        self.head = key;
        self.present[at] = true;
        self.len += 1;
    }

    fn remove(&mut self, key: u32) {
        let at = key as usize;
        let (before, after) = (self.before[at], self.after[at]);
        match before {
            NONE => self.head = after,
            before => self.after[before as usize] = after,
        }
        match after {
            NONE => self.tail = before,
            after => self.before[after as usize] = before,
        }
        self.present[at] = false;
        self.len -= 1;
    }
}

struct Lru {
    room: usize,
    list: List,
}

impl Lru {
    fn new(room: usize, ids: usize) -> Self {
        let list = List::new(ids);
        Self { room, list }
    }
}

impl Policy for Lru {
    fn ask(&mut self, key: u32) -> bool {
        let hit = self.list.present[key as usize];
        if hit {
            self.list.remove(key);
        } else if self.list.len == self.room {
            self.list.remove(self.list.tail);
        }
        self.list.push_front(key);
        hit
    }
}

/// A queue with a hand that passes over what was asked for since it last came by.
struct Sieve {
    room: usize,
    list: List,
    visited: Vec<bool>,
    hand: u32,
}

impl Sieve {
    fn new(room: usize, ids: usize) -> Self {
        Self {
            room,
            list: List::new(ids),
            visited: vec![false; ids],
            hand: NONE,
        }
    }

    fn evict(&mut self) {
        let mut at = self.hand;
        loop {
            if at == NONE {
                at = self.list.tail;
            }
            if !std::mem::take(&mut self.visited[at as usize]) {
                break;
            }
            at = self.list.before[at as usize];
        }
        self.hand = self.list.before[at as usize];
        self.list.remove(at);
    }
}

impl Policy for Sieve {
    fn ask(&mut self, key: u32) -> bool {
        if self.list.present[key as usize] {
            self.visited[key as usize] = true;
            return true;
        }
        if self.list.len == self.room {
            self.evict();
        }
        self.visited[key as usize] = false;
        self.list.push_front(key);
        false
    }
}

/// A small queue for new keys, a main one for those asked for again, and a memory of the keys that left
/// the small one.
struct S3Fifo {
    room: usize,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    /// Keys with the number of their entry: one that was entered again counts from then.
    ghosts: VecDeque<(u32, u32)>,
    ghost: Vec<u32>,
    entries: u32,
    present: Vec<bool>,
    uses: Vec<u8>,
}

impl S3Fifo {
    fn new(room: usize, ids: usize) -> Self {
        Self {
            room,
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghosts: VecDeque::new(),
            ghost: vec![0; ids],
            entries: 0,
            present: vec![false; ids],
            uses: vec![0; ids],
        }
    }

    fn evict(&mut self) {
        if self.small.len() >= (self.room / 10).max(1) {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    fn evict_small(&mut self) {
        while let Some(key) = self.small.pop_back() {
            if self.uses[key as usize] > 1 {
                self.uses[key as usize] = 0;
                self.main.push_front(key);
                if self.main.len() > self.room / 10 * 9 {
                    return self.evict_main();
                }
            } else {
                self.present[key as usize] = false;
                return self.remember(key);
            }
        }
        self.evict_main();
    }

    fn evict_main(&mut self) {
        while let Some(key) = self.main.pop_back() {
            match self.uses[key as usize] {
                0 => return self.present[key as usize] = false,
                uses => {
                    self.uses[key as usize] = uses - 1;
                    self.main.push_front(key);
                }
            }
        }
    }

    fn remember(&mut self, key: u32) {
        self.entries += 1;
        self.ghost[key as usize] = self.entries;
        self.ghosts.push_front((key, self.entries));
        // As many as the main queue holds.
        if self.ghosts.len() > self.room / 10 * 9
            && let Some((key, entry)) = self.ghosts.pop_back()
            && self.ghost[key as usize] == entry
        {
            self.ghost[key as usize] = 0;
        }
    }
}

impl Policy for S3Fifo {
    fn ask(&mut self, key: u32) -> bool {
        let at = key as usize;
        if self.present[at] {
            self.uses[at] = (self.uses[at] + 1).min(3);
            return true;
        }
        while self.small.len() + self.main.len() >= self.room {
            self.evict();
        }
        if std::mem::take(&mut self.ghost[at]) > 0 {
            self.main.push_front(key);
        } else {
            self.small.push_front(key);
        }
        self.present[at] = true;
        self.uses[at] = 0;
        false
    }
}
