//! A room in front of the application, for when more come than it can take.

use http::StatusCode;

use super::Page;
use crate::config::Secret;
use crate::waiting_room::{Limits, Method};

/// A waiting room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoom {
    /// How many may go in.
    pub limits: Limits,
    /// Which requests meet it.
    pub guards: Guards,
    /// The page for those who wait; `None` for ours.
    pub page: Option<Page>,
    /// Whether programs that want JSON get it.
    pub json_response: bool,
    /// The status for those who wait.
    pub status: StatusCode,
    /// The name of the cookie; `None` for one after the room's.
    pub cookie: Option<String>,
    /// Signs it; `None` for a secret made at the start.
    pub secret: Option<Secret>,
}

/// Which of the requests that match meet a waiting room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guards {
    /// Those that need the origin: what the cache has is for everybody.
    #[default]
    Origin,
    /// All.
    All,
}

impl WaitingRoom {
    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let limits = &self.limits;
        let method = match limits.method {
            Method::Fifo => "fifo",
            Method::Random => "random",
            Method::Passthrough => "passthrough",
            Method::Reject => "reject",
        };
        let guards = match self.guards {
            Guards::Origin => "origin",
            Guards::All => "all",
        };
        let mut sets = vec![
            ("total_active_users", limits.total_active_users.to_string()),
            (
                "new_users_per_minute",
                limits.new_users_per_minute.to_string(),
            ),
            (
                "session_duration",
                format!("{}s", limits.session_duration.as_secs()),
            ),
            ("queueing_method", method.to_owned()),
            ("guards", guards.to_owned()),
        ];
        if limits.queue_all {
            sets.push(("queue_all", "true".to_owned()));
        }
        sets
    }
}
