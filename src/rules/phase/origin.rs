//! Origin rules: which pool is asked, under which name, at which port, and how urgently.

use std::sync::Arc;

/// How much a request matters when not all can be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Nobody waits for the answer: it is asked for when there is room at once, or not at all.
    Background,
    /// Sent away first.
    Low,
    /// Visitors of whom nothing is known.
    #[default]
    Normal,
    /// Waits least: somebody who is logged in.
    High,
}

impl Priority {
    /// The priority as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

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
    /// How much the request matters when the pool is busy. It changes no answer.
    pub priority: Option<Priority>,
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
        put(&mut self.priority, later.priority.as_ref());
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
            (
                "priority",
                self.priority.map(|priority| priority.as_str().to_owned()),
            ),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}
