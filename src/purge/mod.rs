//! Purging: what is asked for ([`request`]), who may ask ([`access`], [`limiter`]), what that is in
//! the store's terms ([`scope`]), and which stored responses it reaches ([`journal`]).
//!
//! Pure: the shell carries the journal, assigns generations, and removes bytes afterwards. A purge
//! is in force when it is in the journal, whatever the store's size.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub mod access;
pub mod journal;
pub mod limiter;
pub mod position;
pub mod request;
pub mod scope;

pub use access::{Refusal, admit, purge_method};
pub use journal::{Generation, Journal, Mode, Record, Subject, Verdict};
pub use limiter::Limiter;
pub use position::{NotAPosition, Position};
pub use request::{PurgeError, PurgeRequest, PurgeTarget, UrlTarget, parse_json};
pub use scope::{Scope, ScopeError, Target, scopes, url_keys, without_port};

/// A purge as it was made, to be told to other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// When.
    pub at: SystemTime,
    /// What becomes of what it reaches.
    pub mode: Mode,
    /// What it reaches.
    pub scopes: Vec<Scope>,
}

/// Carries purges out.
pub trait Purger: Send + Sync {
    /// Puts `request` in force, in `zone` or in all of them, and returns when no older response can
    /// be served any more, now or after a restart. With `dry_run` it only counts. It may wait for a
    /// disk.
    ///
    /// # Errors
    /// [`Refusal::Unwritten`].
    fn purge(&self, zone: Option<&str>, request: &PurgeRequest) -> Result<PurgeOutcome, Refusal>;
}

/// What a purge reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeOutcome {
    /// Stored responses, variants counted one by one.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them are fetched again.
    pub refetched: usize,
    /// Where other nodes find it, once the server through which they share has it; the inner `None` when
    /// it waits for that, the outer one when nothing is shared.
    pub told: Option<Option<Position>>,
}
