//! Origin servers: which replica gets a request, which are healthy, when to try another.
//!
//! [`select`], [`affinity`], [`health`], [`outlier`] and [`retry`] decide; [`pool`] holds the state; [`fetch`] asks; [`discovery`] and
//! [`checks`] feed it from tasks of their own.

mod affinity;
mod bucket;
mod checks;
mod discovery;
mod failure;
mod fetch;
mod health;
mod outlier;
mod peer;
mod pool;
mod replica;
mod retry;
mod select;
mod turn;
mod upgrade;
mod wire;

pub use affinity::remove_cookies;
pub use failure::FetchFailure;
pub use fetch::{Answer, AnswerBody, FetchReport, Fetcher, Observer, Terms};
pub use health::Transition;
pub use outlier::{Outcome, Reason};
pub use peer::Trust;
pub use pool::{OriginPool, Permit};
pub use replica::{ByHand, Replica, ReplicaReport, STATES};
pub use retry::RetryBudget;
pub use turn::{Ask, Client, Turn};
