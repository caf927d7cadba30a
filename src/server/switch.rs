//! Switches by which an operator changes what zones do for a while: development mode, under attack.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// The zones for which it is on, each with its end in seconds since 1970.
#[derive(Default)]
pub struct ZoneSwitch(ArcSwap<HashMap<String, i64>>);

impl ZoneSwitch {
    /// Whether it is on for `zone`. Asked for every request.
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
