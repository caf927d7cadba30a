use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::super::fixtures;
use super::*;
use crate::purge::{Mode, Scope, Target};
use crate::store::{Body, SLICE, Selection, SliceTier, Sliced};

fn key(number: u64) -> StoreKey {
    StoreKey(Arc::from(number.to_be_bytes().as_slice()))
}

fn response(id: StoredId, body: Body) -> StoredResponse {
    fixtures::stored(id, body, crate::clock::now())
}

fn store(store: &MemoryStore, number: u64, size: usize) {
    let begun = store.purges.begin();
    let body = Body::of(Bytes::from(vec![0; size]));
    store.insert(&key(number), response(store.next_id(), body), &begun);
}

/// Numbers that are asked for, the first the most often: Zipf's law with this exponent.
struct Zipf {
    sums: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(objects: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=objects).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Self {
            sums: sums.collect(),
            state: 0x2545_f491_4f6c_dd1d,
        }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let chance = f64::from((self.state >> 32) as u32) / f64::from(u32::MAX);
        let wanted = chance * self.sums.last().unwrap();
        self.sums.partition_point(|sum| *sum < wanted) as u64
    }
}

/// The least recently used goes first.
#[derive(Default)]
struct Lru {
    used: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
    clock: u64,
}

impl Lru {
    fn hit(&mut self, number: u64, capacity: usize) -> bool {
        self.clock += 1;
        let before = self.used.insert(number, self.clock);
        if let Some(before) = before {
            self.order.remove(&before);
        }
        self.order.insert(self.clock, number);
        if self.order.len() > capacity {
            let (_, oldest) = self.order.pop_first().unwrap();
            self.used.remove(&oldest);
        }
        before.is_some()
    }
}

#[test]
fn scans_and_one_hit_wonders_do_not_push_out_what_is_asked_for_again() {
    const OBJECTS: u32 = 20_000;
    const REQUESTS: u64 = 200_000;
    let weight = response(StoredId(0), Body::of(Bytes::from(vec![0; 1000]))).weight() + 8;
    for (percent, better) in [(1, 0.08), (10, 0.04)] {
        let room = u64::from(OBJECTS) * percent / 100;
        let memory = MemoryStore::new(room * weight).unwrap();
        let mut lru = Lru::default();
        let mut zipf = Zipf::new(OBJECTS, 0.9);
        let (mut ours, mut theirs, mut scanned) = (0_u32, 0_u32, 1 << 40);
        for request in 0..REQUESTS {
            let number = zipf.next();
            if memory.find(&key(number)).is_some() {
                ours += 1;
            } else {
                store(&memory, number, 1000);
            }
            theirs += u32::from(lru.hit(number, usize::try_from(room).unwrap()));
            if request % 10_000 == 0 {
                // Someone reads everything once: five times what fits.
                for _ in 0..5 * room {
                    scanned += 1;
                    store(&memory, scanned, 1000);
                    lru.hit(scanned, usize::try_from(room).unwrap());
                }
            }
        }
        let share = |hits: u32| f64::from(hits) / 200_000.0;
        let (ours, theirs) = (share(ours), share(theirs));
        println!("{percent} % of the objects fit: {ours:.3}, LRU {theirs:.3}");
        assert!(ours > theirs + better, "{ours} against {theirs}");
    }
}

#[test]
fn a_changing_budget_holds_under_load_of_all_sizes() {
    let memory = Arc::new(MemoryStore::new(64 << 20).unwrap());
    let writers: Vec<_> = (0..2_u64)
        .map(|writer| {
            let memory = memory.clone();
            std::thread::spawn(move || {
                for number in 0..2000_u64 {
                    let number = number * 2 + writer;
                    let size = 1 << (7 + number % 13);
                    store(&memory, number, size);
                    memory.find(&key(number / 2));
                    if number.is_multiple_of(50) {
                        let slices = Sliced::new(memory.next_id(), memory.slices.clone());
                        for slice in 0..4 {
                            slices.put(slice, &Bytes::from(vec![0; 1 << 20]));
                        }
                        let body = Body::sliced(Arc::new(slices), 4 << 20);
                        let begun = memory.purges.begin();
                        let stored = response(memory.next_id(), body);
                        memory.insert(&key(number), stored, &begun);
                    }
                }
            })
        })
        .collect();
    let capacities = [8 << 20, 64 << 20, 16 << 20, 32 << 20];
    while writers.iter().any(|writer| !writer.is_finished()) {
        for capacity in capacities {
            memory.set_capacity(capacity);
            std::thread::yield_now();
        }
    }
    for writer in writers {
        writer.join().unwrap();
    }
    for capacity in capacities {
        memory.set_capacity(capacity);
        let now = memory.statistics();
        assert_eq!(now.capacity, capacity);
        assert!(now.bytes <= capacity, "{now:?}");
        let real: u64 = memory
            .resources()
            .map(|(key, resource)| resource.weight() + key.0.len() as u64)
            .sum();
        assert_eq!(now.bytes, real + memory.slices.weight(), "{now:?}");
    }
    store(&memory, 1 << 50, 1000);
    assert!(memory.find(&key(1 << 50)).is_some());
}

#[test]
fn slices_take_memory_from_responses_and_give_it_back() {
    let memory = MemoryStore::new(64 << 20).unwrap();
    for number in 0..60 {
        store(&memory, number, 1 << 20);
    }
    assert!(memory.statistics().bytes > 56 << 20);
    let slices = Sliced::new(memory.next_id(), memory.slices.clone());
    for number in 0..64 {
        slices.put(number, &Bytes::from(vec![0; 1 << 20]));
        assert!(memory.statistics().bytes <= 64 << 20);
    }
    assert!(memory.slices.weight() > 24 << 20, "up to half of it");
    assert!(memory.slices.weight() <= 32 << 20, "no more than half");
    drop(slices);
    assert_eq!(memory.slices.weight(), 0);
    for number in 0..60 {
        store(&memory, number, 1 << 20);
    }
    assert!(memory.statistics().bytes > 56 << 20);
}

#[test]
fn what_arrived_after_a_fetch_began_is_not_replaced_by_it() {
    let memory = MemoryStore::new(1 << 20).unwrap();
    let body = |text: &'static [u8]| Body::of(Bytes::from_static(text));
    let stored = |memory: &MemoryStore| memory.find(&key(1)).unwrap().variants()[0].id;
    let slow = memory.purges.begin();
    let quick = memory.purges.begin();
    let new = memory.next_id();
    memory.insert(&key(1), response(new, body(b"new")), &quick);
    let old = response(memory.next_id(), body(b"old"));
    memory.insert(&key(1), old.clone(), &slow);
    assert_eq!(stored(&memory), new);
    // Another response is not in its way, nor is what comes later.
    memory.insert(&key(2), old, &slow);
    assert!(memory.find(&key(2)).is_some());
    let later = memory.purges.begin();
    let newest = memory.next_id();
    memory.insert(&key(1), response(newest, body(b"newest")), &later);
    assert_eq!(stored(&memory), newest);
}

/// A tier that remembers what it was told.
#[derive(Default)]
struct Tier {
    slices: Mutex<HashMap<(StoredId, u64), Bytes>>,
    forgotten: Mutex<Vec<StoredId>>,
    full: AtomicBool,
}

impl SliceTier for Tier {
    fn put(&self, id: StoredId, number: u64, bytes: Bytes) {
        self.slices.lock().unwrap().insert((id, number), bytes);
    }

    fn get(&self, id: StoredId, number: u64) -> Option<Bytes> {
        self.slices.lock().unwrap().get(&(id, number)).cloned()
    }

    fn holds(&self, id: StoredId, number: u64) -> bool {
        self.slices.lock().unwrap().contains_key(&(id, number))
    }

    fn has_room(&self) -> bool {
        !self.full.load(Ordering::Relaxed)
    }

    fn forget(&self, id: StoredId) {
        self.forgotten.lock().unwrap().push(id);
    }
}

fn sliced(memory: &MemoryStore) -> StoredResponse {
    let id = memory.next_id();
    let slices = Sliced::new(id, memory.slices.clone());
    for number in 0..3_u8 {
        slices.put(u64::from(number), &Bytes::from(vec![number; 1 << 20]));
    }
    response(id, Body::sliced(Arc::new(slices), 3 * SLICE))
}

#[tokio::test]
async fn a_tier_below_has_what_memory_lost_and_forgets_what_is_removed() {
    let memory = MemoryStore::new(64 << 20).unwrap();
    let tier = Arc::new(Tier::default());
    memory.slices.set_tier(tier.clone());
    assert!(memory.slices.could_hold(1 << 40), "there is room below");
    let forgotten = || std::mem::take(&mut *tier.forgotten.lock().unwrap());

    let begun = memory.purges.begin();
    let one = sliced(&memory);
    let id = one.id;
    memory.insert(&key(1), one.clone(), &begun);
    let slices = one.content.slices().unwrap();
    slices.lose(2);
    assert!(slices.in_memory(2).is_none());
    assert!(one.content.is_whole());
    let read = one.content.read(2 * SLICE, u64::MAX).await.unwrap();
    assert!(read.is_some_and(|bytes| bytes.len() == 1 << 20 && bytes[0] == 2));

    // Freshened, it keeps its body.
    let mut freshened = one.clone();
    freshened.times = one.times().expire(crate::clock::now()).into();
    memory.replace(&key(1), freshened);
    assert!(forgotten().is_empty());
    let begun = memory.purges.begin();
    let two = sliced(&memory);
    memory.insert(&key(1), two.clone(), &begun);
    assert_eq!(forgotten(), [id], "replaced");
    // What is still read of it is not written below again.
    tier.slices.lock().unwrap().clear();
    slices.put(0, &Bytes::new());
    assert!(!tier.holds(id, 0));

    let scope = Scope {
        zone: None,
        target: Target::Everything,
    };
    let purged = memory.purge(&[scope], Mode::Hard, crate::clock::now());
    let outcome = purged.unwrap();
    assert_eq!(forgotten(), [two.id], "purged");
    assert!(outcome.bytes > 3 * SLICE);
    let late = sliced(&memory);
    memory.insert(&key(1), late.clone(), &begun);
    assert_eq!(forgotten(), [late.id], "fetched before the purge");
}

#[test]
fn a_response_that_comes_too_late_leaves_the_slices_that_it_shares() {
    let memory = MemoryStore::new(64 << 20).unwrap();
    let tier = Arc::new(Tier::default());
    memory.slices.set_tier(tier.clone());
    let slow = memory.purges.begin();
    let one = sliced(&memory);
    memory.insert(&key(1), one.clone(), &memory.purges.begin());
    let selection = Selection {
        key: b"other".as_slice().into(),
        ..one.selection.clone()
    };
    let other = StoredResponse {
        selection: selection.clone(),
        ..response(memory.next_id(), Body::default())
    };
    memory.insert(&key(1), other.clone(), &memory.purges.begin());
    // As when a 304 chooses a stored response for other requests.
    let shared = StoredResponse {
        id: memory.next_id(),
        selection,
        ..one.clone()
    };
    memory.insert(&key(1), shared, &slow);
    let resource = memory.find(&key(1)).unwrap();
    assert!(resource.holds(one.id) && resource.holds(other.id));
    assert_eq!(*tier.forgotten.lock().unwrap(), []);
}

#[tokio::test]
async fn a_fill_waits_for_the_tier_below_only_until_somebody_reads() {
    let memory = MemoryStore::new(64 << 20).unwrap();
    let tier = Arc::new(Tier::default());
    memory.slices.set_tier(tier.clone());
    assert!(memory.slices.room(|| true).await);
    tier.full.store(true, Ordering::Relaxed);
    assert!(memory.slices.room(|| false).await);
    let looks = AtomicU64::new(0);
    let nobody_reads = || looks.fetch_add(1, Ordering::Relaxed) < 3;
    assert!(memory.slices.room(nobody_reads).await);
}
