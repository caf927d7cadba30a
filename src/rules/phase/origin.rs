//! Origin rules: which pool is asked, under which name, at which port.

use std::sync::Arc;

/// What a rule sets, and what all of them set together; `None` leaves what the zone and the pool say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPatch {
    /// Name of the pool.
    pub pool: Option<Arc<str>>,
    /// The Host sent.
    pub host_header: Option<Arc<str>>,
    /// The name for TLS, sent and verified.
    pub sni: Option<Arc<str>>,
    /// The port connected to.
    pub port: Option<u16>,
}

impl OriginPatch {
    /// Takes over what `later` sets.
    pub fn merge(&mut self, later: &Self) {
        fn put<T: Clone>(old: &mut Option<T>, new: Option<&T>) {
            if let Some(new) = new {
                *old = Some(new.clone());
            }
        }
        put(&mut self.pool, later.pool.as_ref());
        put(&mut self.host_header, later.host_header.as_ref());
        put(&mut self.sni, later.sni.as_ref());
        put(&mut self.port, later.port.as_ref());
    }

    /// Whether it sets nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        [
            ("pool", self.pool.as_ref().map(ToString::to_string)),
            (
                "host_header",
                self.host_header.as_ref().map(ToString::to_string),
            ),
            ("sni", self.sni.as_ref().map(ToString::to_string)),
            ("port", self.port.map(|port| port.to_string())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}
