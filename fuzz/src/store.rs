//! What a disk may hold after anything that can happen to it.

use seawall::store::log::salvage;

/// The bytes of a segment file. Whatever they are, reading them ends, and what is returned of them
/// stands in them as it is.
pub(super) fn segment(data: &[u8]) {
    for record in salvage(data) {
        for part in [&record.primary, &record.head, &record.body] {
            let there = part.is_empty() || data.windows(part.len()).any(|there| there == part);
            assert!(there, "bytes that are not in the segment");
        }
        let front: [&[u8]; 2] = [&record.primary, &record.head];
        let front = front.concat();
        let together = front.is_empty() || data.windows(front.len()).any(|there| there == front);
        assert!(together, "a head that is not behind its key");
    }
}

/// Bytes that are a head are written as the same bytes again, but for what has several forms.
pub(super) fn record(data: &[u8]) {
    let Some(head) = seawall::store::record::decode(data) else {
        return;
    };
    let place = head.place;
    let response = head.with(seawall::store::Content::Complete(std::sync::Arc::default()));
    // Times before 1970 and the like cannot be written.
    let Some(bytes) = seawall::store::record::encode(&response, place) else {
        return;
    };
    let again = seawall::store::record::decode(&bytes).expect("what was written is read");
    let again = again.with(response.content.clone());
    assert_eq!(format!("{again:?}"), format!("{response:?}"));
}
