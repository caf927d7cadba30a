//! Origin servers: which replica gets a request, which are healthy, when to try another.
//!
//! [`select`], [`health`] and [`retry`] decide; [`pool`] holds the state; [`fetch`] asks; [`discovery`] and
//! [`checks`] feed it from tasks of their own.

mod bucket;
mod checks;
mod discovery;
mod fetch;
mod health;
mod peer;
mod pool;
mod retry;
mod select;
mod upgrade;
mod wire;

pub use fetch::{Answer, AnswerBody, FetchFailure, FetchReport, Fetcher, Observer, Terms};
pub use health::Transition;
pub use peer::Trust;
pub use pool::{OriginPool, Permit, Replica, ReplicaReport};
pub use retry::RetryBudget;
