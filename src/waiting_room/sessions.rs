//! How many clients are inside: a number for each span of time in which they were seen last.

use std::collections::BTreeMap;
use std::time::Duration;

/// Clients inside, by when they were seen last.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Seconds that count as one moment.
    step: u64,
    /// Steps that a session lasts.
    steps: u64,
    total: u64,
    seen: BTreeMap<u64, u64>,
}

impl Sessions {
    pub(super) fn new(duration: Duration) -> Self {
        let seconds = duration.as_secs().max(1);
        let step = (seconds / 10).clamp(1, 60);
        Self {
            step,
            steps: seconds.div_ceil(step),
            total: 0,
            seen: BTreeMap::new(),
        }
    }

    /// The moment that `time` belongs to.
    pub(super) fn moment(&self, time: u64) -> u64 {
        time / self.step
    }

    /// Whether who was seen last at `seen` is still inside.
    pub(super) fn lasts(&self, seen: u64, now: u64) -> bool {
        let since = self.moment(now).saturating_sub(self.moment(seen));
        since <= self.steps
    }

    /// How long a cookie of now is of use, in seconds.
    pub(super) fn lifetime(&self) -> u64 {
        self.step * (self.steps + 1)
    }

    /// Clients inside now; who has not been seen for too long is not any more.
    pub(super) fn total(&mut self, now: u64) -> u64 {
        let moment = self.moment(now);
        while let Some(first) = self.seen.first_entry() {
            if moment.saturating_sub(*first.key()) <= self.steps {
                break;
            }
            self.total = self.total.saturating_sub(first.remove());
        }
        self.total
    }

    /// One more, who was seen at `seen`.
    pub(super) fn add(&mut self, seen: u64) {
        *self.seen.entry(self.moment(seen)).or_default() += 1;
        self.total += 1;
    }

    /// One who was seen at `seen` is seen again. There may be none left of that moment: then whoever asks
    /// has been counted already.
    pub(super) fn renew(&mut self, seen: u64, now: u64) {
        let moment = self.moment(seen);
        let Some(count) = self.seen.get_mut(&moment) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.seen.remove(&moment);
        }
        self.total = self.total.saturating_sub(1);
        self.add(now);
    }
}
