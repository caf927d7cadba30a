use super::*;
use crate::fields::vary::Vary;
use crate::store::MemoryStore;

const MIB: usize = 1 << 20;

fn fill(store: &MemoryStore, keep: Keep, expected: Option<usize>) -> Arc<Fill> {
    let slices = Sliced::new(store.next_id(), store.slices.clone());
    let selection = Selection {
        vary: Vary::None,
        key: Arc::default(),
        by_language: None,
    };
    Arc::new(Fill::new(
        StatusCode::OK,
        Arc::default(),
        None,
        selection,
        (keep, expected.map(|expected| expected as u64)),
        (slices, store.fill_budget()),
    ))
}

fn stored(again: bool) -> Keep {
    Keep::Stored {
        most: 1 << 30,
        again,
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}

/// Writes all of `content`, sealing as the last chunk comes.
async fn write(fill: &Fill, content: &[u8]) -> Option<Arc<Body>> {
    let mut body = None;
    let chunks: Vec<&[u8]> = content.chunks(70_001).collect();
    for (number, chunk) in chunks.iter().enumerate() {
        let chunk = Bytes::copy_from_slice(chunk);
        if number + 1 == chunks.len() {
            body = fill.seal(&chunk);
        }
        fill.write(chunk).await.unwrap();
    }
    fill.complete();
    body
}

async fn read(mut reader: FillReader) -> Result<Vec<u8>, FillError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.read().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[tokio::test]
async fn bodies_around_the_size_of_a_slice_are_kept_and_read_as_they_came() {
    let store = MemoryStore::new(64 << 20).unwrap();
    for length in [1, MIB - 1, MIB, MIB + 1, 2 * MIB, 7 * MIB + 5] {
        for expected in [Some(length), None] {
            for again in [true, false] {
                let content = content(length);
                let fill = fill(&store, stored(again), expected);
                let early = fill.reader().unwrap();
                let body = write(&fill, &content).await.unwrap();
                fill.settle(&body);
                assert_eq!(body.len(), length as u64);
                assert_eq!(body.slices().is_some(), length > MIB, "{length}");
                assert_eq!(body.in_memory(0..u64::MAX).unwrap().concat(), content);
                let late = fill.reader().unwrap();
                assert!(read(early).await.unwrap() == content, "{length}");
                assert!(read(late).await.unwrap() == content, "{length}");
                drop(fill);
                let held = store.fill_budget().held.load(Ordering::Relaxed);
                assert_eq!(held, 0, "{length}");
            }
        }
    }
    assert_eq!(store.slices.weight(), 0);
}

#[tokio::test]
async fn what_is_in_slices_does_not_stay_in_the_fill() {
    let store = MemoryStore::new(128 << 20).unwrap();
    let length = 30 * MIB;
    let fill = fill(&store, stored(true), Some(length));
    let slow = fill.reader().unwrap();
    let content = content(length);
    write(&fill, &content).await.unwrap();
    let held = store.fill_budget().held.load(Ordering::Relaxed);
    assert!(held <= WINDOW + SLICE, "{held}");
    assert!(read(slow).await.unwrap() == content);
}

#[tokio::test]
async fn a_reader_of_a_slice_that_is_gone_is_told_unless_it_holds_it() {
    let store = MemoryStore::new(64 << 20).unwrap();
    for again in [true, false] {
        let content = content(8 * MIB);
        let fill = fill(&store, stored(again), Some(8 * MIB));
        let slow = fill.reader().unwrap();
        write(&fill, &content).await.unwrap();
        fill.slices().lose(1);
        match read(slow).await {
            Ok(bytes) => assert!(!again && bytes == content),
            Err(error) => assert_eq!((again, error), (true, FillError::Missing(1))),
        }
    }
}

#[tokio::test]
async fn a_fill_without_room_is_not_kept() {
    let store = MemoryStore::new(16 << 20).unwrap();
    let fill = fill(&store, stored(true), None);
    let mut reader = fill.reader().unwrap();
    let reading = tokio::spawn(async move {
        let mut length = 0;
        while let Some(chunk) = reader.read().await.unwrap() {
            length += chunk.len();
        }
        length
    });
    assert!(write(&fill, &content(20 * MIB)).await.is_none());
    assert_eq!(reading.await.unwrap(), 20 * MIB);
    assert!(fill.reader().is_none());
}
