//! Origin servers: which replica gets a request, which are healthy, when to try another.
//!
//! [`select`], [`health`] and [`retry`] decide; [`pool`] holds the state; [`discovery`] and
//! [`checks`] feed it from tasks of their own.

mod checks;
mod discovery;
mod health;
mod peer;
mod pool;
mod retry;
mod select;
mod upgrade;

pub use health::Transition;
pub use pool::{OriginPool, Replica, ReplicaReport};
