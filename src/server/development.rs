//! Development mode: zones whose cache an operator has switched off for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The zones in development mode, each with its end in seconds since 1970.
#[derive(Default)]
pub struct DevelopmentMode(Mutex<HashMap<String, i64>>);

impl DevelopmentMode {
    /// Whether `zone` is in development mode.
    pub fn is_on(&self, zone: &str, now: i64) -> bool {
        self.until(zone, now).is_some()
    }

    /// When it ends.
    pub fn until(&self, zone: &str, now: i64) -> Option<i64> {
        let zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        zones.get(zone).copied().filter(|until| now < *until)
    }

    /// Switches it on until then; a time that has passed switches it off.
    pub fn set(&self, zone: &str, until: i64, now: i64) {
        let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        zones.insert(zone.to_owned(), until);
        zones.retain(|_, until| now < *until);
    }
}
