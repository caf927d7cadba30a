//! The metrics of the requests seen last, at hand: to find them by their labels costs more than to count.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{Histogram, IntCounter};

use super::metrics::{RequestFigures, Traffic, status_class};

/// Kinds of requests that a thread keeps at hand.
const MOST_KINDS: usize = 16;

/// What is counted for requests of one kind.
pub(super) struct Series {
    /// Whose metrics it belongs to.
    owner: u64,
    zone: Box<str>,
    cache: &'static str,
    rule: Box<str>,
    class: &'static str,
    pub(super) requests: IntCounter,
    pub(super) bytes: IntCounter,
    pub(super) responses: IntCounter,
    pub(super) seconds: Histogram,
}

/// The kinds of requests that each thread has seen last.
pub(super) struct RecentSeries {
    owner: u64,
}

thread_local! {
    /// Latest first.
    static KINDS: RefCell<Vec<Series>> = const { RefCell::new(Vec::new()) };
}

impl Default for RecentSeries {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            owner: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl RecentSeries {
    /// Counts in the series of a request.
    pub(super) fn with(
        &self,
        traffic: &Traffic,
        figures: &RequestFigures<'_>,
        count: impl FnOnce(&Series),
    ) {
        let class = status_class(figures.status);
        KINDS.with_borrow_mut(|kinds| {
            let is_same = |series: &Series| {
                series.owner == self.owner
                    && std::ptr::eq(series.cache, figures.cache)
                    && std::ptr::eq(series.class, class)
                    && *series.zone == *figures.zone
                    && *series.rule == *figures.rule
            };
            match kinds.iter().position(is_same) {
                Some(0) => {}
                Some(place) => {
                    if let Some(newer) = kinds.get_mut(..=place) {
                        newer.rotate_right(1);
                    }
                }
                None => {
                    kinds.truncate(MOST_KINDS - 1);
                    kinds.insert(0, Series::find(self.owner, traffic, figures, class));
                }
            }
            if let Some(series) = kinds.first() {
                count(series);
            }
        });
    }
}

impl Series {
    fn find(
        owner: u64,
        traffic: &Traffic,
        figures: &RequestFigures<'_>,
        class: &'static str,
    ) -> Self {
        let labels = [figures.zone, figures.cache, figures.rule];
        let by_class = [figures.zone, class];
        let by_cache = [figures.zone, figures.cache];
        Self {
            owner,
            zone: figures.zone.into(),
            cache: figures.cache,
            rule: figures.rule.into(),
            class,
            requests: traffic.requests.with_label_values(&labels),
            bytes: traffic.bytes.with_label_values(&labels),
            responses: traffic.responses.with_label_values(&by_class),
            seconds: traffic.seconds.with_label_values(&by_cache),
        }
    }
}
