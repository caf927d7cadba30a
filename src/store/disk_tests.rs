//! Memory and disk together, restarts by opening the directory again.

use super::super::fixtures;
use super::*;
use crate::cache::key::CacheKey;
use crate::fields::vary::Vary;
use crate::purge::{Mode, Scope, Target};
use crate::request::Scheme;
use crate::store::Body;
use std::path::Path;

#[path = "load_tests.rs"]
mod load;

const PATIENCE: Duration = Duration::from_secs(10);

fn opened(directory: &Path) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new(64 << 20).unwrap());
    let config = config::Disk {
        directory: directory.to_owned(),
        capacity: 32 << 20,
        write_rate: None,
    };
    store.use_disk(&config).unwrap();
    assert!(store.disk().unwrap().log.wait_recovered(PATIENCE));
    store
}

/// The next process.
fn reopened(store: Arc<MemoryStore>, directory: &Path) -> Arc<MemoryStore> {
    store.close_disk();
    drop(store);
    opened(directory)
}

fn key(name: &str) -> StoreKey {
    let key = CacheKey {
        zone: "z",
        scheme: Scheme::Http,
        host: "h",
        path: name,
        query: None,
    };
    StoreKey(key.encode().into())
}

fn response(store: &MemoryStore, variant: &str, body: &str) -> StoredResponse {
    let body = Body::copy_of(&[Bytes::copy_from_slice(body.as_bytes())]);
    StoredResponse {
        generation: store.purges.begin().generation(),
        selection: Selection {
            vary: Vary::None,
            key: variant.as_bytes().into(),
            by_language: None,
        },
        tags: ["t".into()].into(),
        ..fixtures::stored(store.next_id(), body, clock::now())
    }
}

fn insert(store: &MemoryStore, name: &str, stored: StoredResponse) {
    store.insert(&key(name), stored, &store.purges.begin());
}

/// Waits until everything that was put is written, or not going to be.
fn settled(store: &MemoryStore) {
    let disk = store.disk().unwrap();
    assert!(disk.log.wait_for_room(QUEUE, PATIENCE));
}

/// Takes everything out of memory, as if other things had needed the room.
fn evicted(store: &MemoryStore) {
    settled(store);
    store.set_capacity(0);
    store.set_capacity(64 << 20);
    assert_eq!(store.statistics().objects, 0);
}

/// What is stored under the key, newest first, with whether it is fresh.
async fn stored(store: &Arc<MemoryStore>, name: &str) -> Vec<(String, bool)> {
    let key = key(name);
    store.load(&key).await;
    let Some(resource) = store.find(&key) else {
        return Vec::new();
    };
    let told = resource.variants().iter().filter_map(|stored| {
        let times = store.purges.times(&key, stored)?;
        let Content::Complete(body) = &stored.content else {
            return None;
        };
        let body = body.in_memory(0..body.len()).unwrap().concat();
        Some((
            String::from_utf8(body).unwrap(),
            times.is_fresh(clock::now()),
        ))
    });
    told.collect()
}

fn fresh(bodies: &[&str]) -> Vec<(String, bool)> {
    bodies
        .iter()
        .map(|body| ((*body).to_owned(), true))
        .collect()
}

fn purge(store: &MemoryStore, target: Target, mode: Mode) {
    let scope = Scope { zone: None, target };
    store.purge(&[scope], mode, clock::now()).unwrap();
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart_with_all_its_variants() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    for (variant, body) in [("a", "old a"), ("b", "b"), ("a", "new a")] {
        let stored = response(&store, variant, body);
        insert(&store, "k", stored);
    }
    let store = reopened(store, directory.path());
    assert!(store.find(&key("k")).is_none());
    assert_eq!(stored(&store, "k").await, fresh(&["new a", "b"]));
    assert!(
        store.load(&key("k")).await.is_none(),
        "nothing more to load"
    );
    assert!(store.load(&key("other")).await.is_none());
}

#[tokio::test]
async fn what_left_memory_is_read_again_and_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    insert(&store, "k", response(&store, "", "x"));
    evicted(&store);
    let written = store.disk_statistics().unwrap().written_bytes;
    assert_eq!(stored(&store, "k").await, fresh(&["x"]));
    settled(&store);
    let statistics = store.disk_statistics().unwrap();
    assert_eq!(statistics.written_bytes, written);
    assert_eq!((statistics.records, statistics.loaded), (1, 1));
}

#[tokio::test]
async fn what_was_removed_or_replaced_by_what_stays_off_the_disk_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    for name in ["removed", "replaced", "from disk"] {
        insert(&store, name, response(&store, "", "old"));
    }
    let removed = store.find(&key("removed")).unwrap();
    store.remove(&key("removed"), &removed.variants()[0]);
    let memory_only = StoredResponse {
        disk: false,
        ..response(&store, "", "new")
    };
    insert(&store, "replaced", memory_only.clone());
    evicted(&store);
    // The older one is not even in memory.
    insert(&store, "from disk", memory_only);
    let store = reopened(store, directory.path());
    for name in ["removed", "replaced", "from disk"] {
        assert_eq!(stored(&store, name).await, [], "{name}");
    }
}

#[tokio::test]
async fn a_slow_fetch_does_not_replace_what_is_newer_and_on_disk_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    let slow = store.purges.begin();
    let late = response(&store, "", "older");
    insert(&store, "k", response(&store, "", "newer"));
    evicted(&store);
    store.insert(&key("k"), late, &slow);
    assert_eq!(stored(&store, "k").await, fresh(&["newer"]));
}

#[tokio::test]
async fn purges_reach_what_is_on_disk_alone_and_hold_after_restarts() {
    let targets = [
        Target::Key((*key("k").0).into()),
        Target::Tag("t".into()),
        Target::Host("h".into()),
        Target::Everything,
    ];
    for target in targets {
        for (mode, left) in [
            (Mode::Hard, vec![]),
            (Mode::Soft, vec![("x".to_owned(), false)]),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let store = opened(directory.path());
            insert(&store, "k", response(&store, "", "x"));
            evicted(&store);
            purge(&store, target.clone(), mode);
            assert_eq!(stored(&store, "k").await, left, "{target:?}");
            let store = reopened(store, directory.path());
            assert_eq!(
                stored(&store, "k").await,
                left,
                "{target:?} after a restart"
            );
            // What is fetched after it is not reached.
            insert(&store, "k", response(&store, "", "y"));
            let store = reopened(store, directory.path());
            assert_eq!(stored(&store, "k").await, fresh(&["y"]), "{target:?}");
            let store = reopened(store, directory.path());
            assert_eq!(stored(&store, "k").await, fresh(&["y"]), "{target:?}");
        }
    }
}

#[tokio::test]
async fn a_purge_of_a_key_and_of_more_rids_the_disk_of_the_key() {
    for mode in [Mode::Hard, Mode::Soft] {
        let directory = tempfile::tempdir().unwrap();
        let store = opened(directory.path());
        insert(&store, "k", response(&store, "", "x"));
        evicted(&store);
        let scopes = [
            Target::Key((*key("k").0).into()),
            Target::Tag("other".into()),
        ]
        .map(|target| Scope { zone: None, target });
        let outcome = store.purge(&scopes, mode, clock::now()).unwrap();
        assert_eq!(outcome.objects, u64::from(mode == Mode::Hard));
        for _ in 0..2 {
            store.disk().unwrap().tend(&store.purges, true, None);
            let left = stored(&store, "k").await;
            assert!(left.iter().all(|(_, fresh)| !fresh), "{mode:?}: {left:?}");
            evicted(&store);
        }
        let store = reopened(store, directory.path());
        let left = stored(&store, "k").await;
        assert!(left.iter().all(|(_, fresh)| !fresh), "{mode:?}: {left:?}");
    }
}

#[tokio::test]
async fn a_purge_in_memory_holds_on_disk_after_a_restart() {
    for mode in [Mode::Hard, Mode::Soft] {
        let directory = tempfile::tempdir().unwrap();
        let store = opened(directory.path());
        insert(&store, "k", response(&store, "", "x"));
        settled(&store);
        purge(&store, Target::Tag("t".into()), mode);
        let store = reopened(store, directory.path());
        let left = stored(&store, "k").await;
        assert!(left.iter().all(|(_, fresh)| !fresh), "{left:?}");
        assert_eq!(left.len(), usize::from(mode == Mode::Soft));
    }
}

#[tokio::test]
async fn an_invalidation_is_not_undone_by_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    insert(&store, "k", response(&store, "", "x"));
    evicted(&store);
    let target = Target::Key((*key("k").0).into());
    store.invalidate(&[Scope { zone: None, target }], clock::now());
    let store = reopened(store, directory.path());
    assert_eq!(stored(&store, "k").await, []);
}

#[tokio::test]
async fn without_its_journal_of_purges_nothing_on_disk_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    insert(&store, "k", response(&store, "", "x"));
    store.close_disk();
    drop(store);
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("purges-") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let store = opened(directory.path());
    assert_eq!(stored(&store, "k").await, []);
    insert(&store, "k", response(&store, "", "y"));
    let store = reopened(store, directory.path());
    assert_eq!(stored(&store, "k").await, fresh(&["y"]));
}

#[test]
fn purges_are_kept_for_as_long_as_the_reserve_keeps_objects() {
    let directory = tempfile::tempdir().unwrap();
    let purges = Arc::<Purges>::default();
    purges.write_to(directory.path(), clock::now()).unwrap();
    purges.take_disk().unwrap();
    let before = purges.begin().generation();
    let target = Target::Tag("t".into());
    let scope = Scope { zone: None, target };
    let (since, _) = purges.record(&[scope], Mode::Hard, clock::now());
    purges.swept(since);
    let nothing = Generation(u64::MAX);
    purges.disk_begins_at(|| nothing, Some(Generation(since.0 - 1)));
    assert_eq!(purges.in_force(), 1);
    assert!(!purges.disown(before));
    purges.disk_begins_at(|| nothing, Some(since));
    assert_eq!(purges.in_force(), 0);
    assert!(purges.disown(before), "whatever `retention` is then");
    assert!(!purges.disown(since));
}

#[tokio::test]
async fn purges_are_forgotten_when_nothing_needs_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    insert(&store, "k", response(&store, "", "x"));
    settled(&store);
    let tend = || store.disk().unwrap().tend(&store.purges, true, None);
    purge(&store, Target::Key((*key("k").0).into()), Mode::Hard);
    assert_eq!(store.purges.in_force(), 0, "gone from disk already");
    insert(&store, "k", response(&store, "", "x"));
    settled(&store);
    purge(&store, Target::Tag("t".into()), Mode::Hard);
    tend();
    assert_eq!(store.purges.in_force(), 1, "its segment is older");
}

#[tokio::test]
async fn a_herd_reads_the_disk_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    insert(&store, "k", response(&store, "", "x"));
    let store = reopened(store, directory.path());
    let herd: Vec<_> = (0..200)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { stored(&store, "k").await })
        })
        .collect();
    for one in herd {
        assert_eq!(one.await.unwrap(), fresh(&["x"]));
    }
    assert_eq!(store.disk_statistics().unwrap().loaded, 1);
}

#[tokio::test]
async fn slices_are_read_from_disk_after_a_restart() {
    use crate::store::Sliced;
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    let mut large = response(&store, "", "");
    let slices = Arc::new(Sliced::new(large.id, store.slices.clone()));
    for (number, length) in [(0, 1 << 20), (1, 1 << 20), (2, 5)] {
        let byte = u8::try_from(number).unwrap();
        slices.put(number, &Bytes::from(vec![byte; length]));
    }
    large.content = Content::Complete(Arc::new(Body::sliced(slices, (2 << 20) + 5)));
    insert(&store, "k", large);
    let store = reopened(store, directory.path());
    assert!(store.load(&key("k")).await.is_some());
    let resource = store.find(&key("k")).unwrap();
    let content = &resource.variants()[0].content;
    assert!(content.is_whole());
    let middle = content
        .read((1 << 20) + 7, u64::MAX)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(middle, vec![1; (1 << 20) - 7]);
    assert_eq!(
        content.read(2 << 20, u64::MAX).await.unwrap().unwrap(),
        vec![2; 5]
    );
    // Gone with their response.
    store.remove(&key("k"), &resource.variants()[0]);
    assert!(!content.is_whole());
}

#[tokio::test]
async fn what_left_memory_is_removed_from_disk_but_not_what_replaced_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    insert(&store, "k", response(&store, "", "old"));
    let old = store.find(&key("k")).unwrap().variants()[0].clone();
    evicted(&store);
    store.remove(&key("k"), &old);
    assert_eq!(stored(&store, "k").await, []);
    insert(&store, "k", response(&store, "", "new"));
    evicted(&store);
    store.remove(&key("k"), &old);
    assert_eq!(stored(&store, "k").await, fresh(&["new"]));
    store.remove(&key("k"), &old);
    assert_eq!(stored(&store, "k").await, fresh(&["new"]));
}

#[tokio::test]
async fn what_left_memory_is_freshened_on_disk_but_not_in_place_of_what_replaced_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    insert(&store, "k", response(&store, "", "old"));
    let old = store.find(&key("k")).unwrap().variants()[0].clone();
    let mut outdated = StoredResponse::clone(&old);
    outdated.times = outdated.times().expire(clock::now()).into();
    evicted(&store);
    store.replace(&key("k"), outdated.clone());
    evicted(&store);
    assert_eq!(stored(&store, "k").await, [("old".to_owned(), false)]);
    insert(&store, "k", response(&store, "", "new"));
    evicted(&store);
    store.replace(&key("k"), outdated);
    assert_eq!(stored(&store, "k").await, fresh(&["new"]));
}

#[tokio::test]
async fn what_was_stored_before_the_clock_was_set_back_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    for load_first in [false, true] {
        let store = opened(directory.path());
        let day = u64::try_from(Duration::from_hours(24).as_nanos()).unwrap();
        let future = StoredResponse {
            id: StoredId(store.next_id().0 + day),
            ..response(&store, "", "old")
        };
        insert(&store, "k", future);
        let store = reopened(store, directory.path());
        if load_first {
            assert_eq!(stored(&store, "k").await, fresh(&["old"]));
        }
        insert(&store, "k", response(&store, "", "new"));
        assert_eq!(stored(&store, "k").await, fresh(&["new"]));
        store.close_disk();
    }
}

#[tokio::test]
async fn a_purge_is_kept_for_what_got_to_the_disk_while_it_was_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    let oldest = || {
        let oldest = store.disk().unwrap().log.oldest_generation();
        insert(&store, "k", response(&store, "", "x"));
        settled(&store);
        purge(&store, Target::Tag("t".into()), Mode::Soft);
        Generation(oldest)
    };
    store.purges.disk_begins_at(oldest, None);
    evicted(&store);
    assert_eq!(stored(&store, "k").await, [("x".to_owned(), false)]);
}

#[test]
fn purges_of_earlier_processes_are_taken_over_once_however_often_it_is_tried() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    insert(&store, "k", response(&store, "", "x"));
    settled(&store);
    purge(&store, Target::Tag("t".into()), Mode::Soft);
    purge(&store, Target::Host("h".into()), Mode::Hard);
    store.close_disk();
    drop(store);
    let store = MemoryStore::new(64 << 20).unwrap();
    let purges = &store.purges;
    purges.write_to(directory.path(), clock::now()).unwrap();
    let files = std::fs::read_dir(directory.path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let own = names.filter(|name| name.starts_with("purges-")).max();
    // In place of the new file, as on a disk that is full.
    let obstacle = directory.path().join(format!("{}.new", own.unwrap()));
    std::fs::create_dir(&obstacle).unwrap();
    assert!(purges.take_disk().is_err());
    assert_eq!(purges.in_force(), 2);
    let new = response(&store, "", "new");
    assert!(purges.take_disk().is_err());
    assert_eq!(purges.in_force(), 2);
    assert_eq!(purges.times(&key("k"), &new), Some(new.times()));
    std::fs::remove_dir(&obstacle).unwrap();
    assert_eq!(purges.take_disk().unwrap(), None);
    assert_eq!(purges.times(&key("k"), &new), Some(new.times()));
}
