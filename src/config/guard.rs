//! `[guard]`: what the guard has for all zones together.

use super::file::{bounded_size, put};
use super::reader::Section;

const LEAST_MEMORY: u64 = 1 << 20;

/// What the guard has for all zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Bytes for the counters of rate limits.
    pub rate_limit_memory: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            rate_limit_memory: 32 << 20,
        }
    }
}

pub(super) fn read_guard(section: Section<'_>) -> Guard {
    let mut guard = Guard::default();
    let memory = bounded_size(&section, "rate_limit_memory", LEAST_MEMORY..=u64::MAX);
    put(&mut guard.rate_limit_memory, memory);
    section.finish();
    guard
}
