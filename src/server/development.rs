//! Development mode: zones whose cache an operator has switched off for a while.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// The zones in development mode, each with its end in seconds since 1970.
#[derive(Default)]
pub struct DevelopmentMode(ArcSwap<HashMap<String, i64>>);

impl DevelopmentMode {
    /// Whether `zone` is in development mode. Asked for every request.
    pub fn is_on(&self, zone: &str, now: i64) -> bool {
        let zones = self.0.load();
        !zones.is_empty() && zones.get(zone).is_some_and(|until| now < *until)
    }

    /// Switches it on until then; a time that has passed switches it off.
    pub fn set(&self, zone: &str, until: i64, now: i64) {
        self.0.rcu(|zones| {
            let mut zones = HashMap::clone(zones);
            zones.insert(zone.to_owned(), until);
            zones.retain(|_, until| now < *until);
            Arc::new(zones)
        });
    }
}
