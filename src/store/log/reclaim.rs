//! Making room: whole segments go, the oldest first; what is used of them is written again.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::append::{Appender, Content};
use super::device::read_at;
use super::format::{self, Preamble};
use super::index::Known;
use super::segment::Segment;
use super::shared::{Origin, Shared};
use super::state::count;

/// How long the writing waits for recovery when there is no room: what is not read yet cannot be
/// judged.
const PATIENCE: std::time::Duration = std::time::Duration::from_hours(1);

impl Appender {
    /// Removes segments until those there are take no more than `limit` bytes.
    pub(super) fn make_room(&mut self, limit: u64) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        if shared.disk_bytes() <= limit {
            return Ok(());
        }
        if !shared.wait_recovered(PATIENCE) {
            return Err(io::Error::other("recovery did not end"));
        }
        // What is moved must leave room for what is new.
        let mut budget = shared.segment_size() / 2;
        while shared.disk_bytes() > limit {
            let Some(victim) = self.victim() else {
                break;
            };
            self.reclaim(&victim, &mut budget)?;
        }
        Ok(())
    }

    /// Follows the capacity, and removes segments without anything useful.
    pub(super) fn shrink(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let now = shared.now();
        for segment in shared.all_segments() {
            let useless = segment.live() == 0 || segment.useful_until() <= now;
            if useless && !self.is_open(&segment) {
                self.remove(&segment)?;
            }
        }
        let capacity = shared.capacity();
        self.make_room(capacity)?;
        if shared.disk_bytes() > capacity {
            // Only the open one is left, of a size from before.
            if let Some(open) = self.open.take() {
                self.seal(&open);
            }
            self.make_room(capacity)?;
        }
        Ok(())
    }

    fn is_open(&self, segment: &Segment) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.segment.number == segment.number)
    }

    /// Which segment goes next: one without anything useful, or the oldest.
    fn victim(&self) -> Option<Arc<Segment>> {
        let now = self.shared.now();
        let mut closed = self.shared.all_segments();
        closed.retain(|segment| !self.is_open(segment) && !segment.is_gone());
        let useless = closed
            .iter()
            .find(|segment| segment.live() == 0 || segment.useful_until() <= now);
        useless.or(closed.first()).cloned()
    }

    /// Moves what is worth keeping, within `budget`, and removes the segment.
    fn reclaim(&mut self, victim: &Arc<Segment>, budget: &mut u64) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let now = shared.now();
        if self.open.is_some() && *budget > 0 && victim.useful_until() > now {
            for known in shared.index.in_segment(victim.number) {
                if u64::from(known.useful_until) > now {
                    self.move_record(&shared, victim, &known, budget);
                }
                if *budget == 0 {
                    break;
                }
            }
            self.publish();
        }
        self.remove(victim)
    }

    fn remove(&mut self, victim: &Arc<Segment>) -> io::Result<()> {
        self.shared.device.remove(&victim.path)?;
        victim.set_gone();
        let left = self.shared.forget_segment(victim);
        count(&self.shared.counters.reclaimed_segments, 1);
        count(&self.shared.counters.reclaimed, left);
        Ok(())
    }

    /// Writes a record again if it was used, or is hot, and can be read.
    fn move_record(&mut self, shared: &Shared, victim: &Segment, known: &Known, budget: &mut u64) {
        let offset = u64::from(known.location.offset);
        let Ok(header) = read_at(&*victim.blob, offset, format::RECORD_HEADER as u64) else {
            return;
        };
        let Some(header) = format::RecordHeader::decode(&header) else {
            return;
        };
        let length = header.record_len();
        let fits = self.open.as_ref().is_some_and(|open| open.fits(length));
        if !fits || length > *budget {
            return;
        }
        let Ok(bytes) = read_at(&*victim.blob, offset, header.preamble_len()) else {
            return;
        };
        let sequence = known.location.sequence();
        let Some(preamble) = Preamble::verify(&bytes, shared.seed, sequence) else {
            return;
        };
        if !known.used && !(shared.hot)(preamble.key) {
            return;
        }
        let body_at = offset + header.preamble_len();
        let Ok(body) = read_at(&*victim.blob, body_at, header.body_len) else {
            return;
        };
        if !preamble.verify_blocks(shared.seed, 0, &body) {
            return;
        }
        *budget -= length;
        let content = Content {
            id: known.id,
            primary: preamble.key,
            fill: header.fill,
            generation: header.generation,
            useful_until: header.useful_until,
            head: bytes.get(preamble.head.clone()).unwrap_or_default(),
            body: &[Bytes::from(body)],
        };
        self.stage(&content, length, Origin::Moved(*known));
    }
}
