//! What is read from disk without waiting for it.

use super::*;

/// Whether this file system says what it has in memory.
fn tells(directory: &Path) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    let path = directory.join("probe");
    std::fs::write(&path, "x").unwrap();
    let file = std::fs::File::open(path).unwrap();
    let mut byte = [0];
    let mut into = [io::IoSliceMut::new(&mut byte)];
    preadv2(&file, &mut into, 0, ReadWriteFlags::NOWAIT) == Ok(1)
}

#[tokio::test]
async fn little_that_the_system_has_in_memory_is_loaded_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    let lengths = [10, 70_000, 400_000];
    for length in lengths {
        let body = "x".repeat(length);
        insert(&store, &length.to_string(), response(&store, "", &body));
    }
    evicted(&store);
    let tells = tells(directory.path());
    for length in lengths {
        let key = key(&length.to_string());
        let expected = tells && length < 400_000;
        let loaded = store.load_now(&key);
        assert_eq!(loaded.is_some(), expected, "{length}");
        assert_eq!(store.find(&key).is_some(), expected, "{length}");
        let loaded = loaded.or(store.load(&key).await).unwrap();
        assert_eq!(
            loaded.variants()[0].content.complete_length(),
            Some(length as u64)
        );
        assert!(store.load_now(&key).is_none(), "it is there already");
    }
    assert_eq!(store.disk_statistics().unwrap().loaded, 3);
}

#[tokio::test]
async fn what_was_purged_is_not_loaded_without_waiting_either() {
    let directory = tempfile::tempdir().unwrap();
    let store = opened(directory.path());
    insert(&store, "k", response(&store, "", "x"));
    evicted(&store);
    purge(&store, Target::Tag("t".into()), Mode::Hard);
    assert!(store.load_now(&key("k")).is_none());
    assert_eq!(store.disk_statistics().unwrap().records, 0);
}
