//! How much happened lately.

use std::collections::VecDeque;

/// Counts of the last so many seconds.
#[derive(Debug)]
pub(super) struct Lately {
    span: u64,
    total: u64,
    by_second: VecDeque<(u64, u64)>,
}

impl Lately {
    /// Counts of `span` seconds and of the present one.
    pub(super) fn new(span: u64) -> Self {
        Self {
            span,
            total: 0,
            by_second: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, now: u64) {
        self.total += 1;
        match self.by_second.back_mut() {
            Some((second, count)) if *second == now => *count += 1,
            _ => self.by_second.push_back((now, 1)),
        }
    }

    pub(super) fn total(&mut self, now: u64) -> u64 {
        while let Some((second, count)) = self.by_second.front().copied() {
            if now.saturating_sub(second) <= self.span {
                break;
            }
            self.total = self.total.saturating_sub(count);
            self.by_second.pop_front();
        }
        self.total
    }
}
