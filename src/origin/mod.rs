//! Origin servers: which replica gets a request, which are healthy, when to try another.
//!
//! [`select`], [`health`], [`retry`], [`queue`], [`breaker`] and [`adaptive`] decide; [`pool`] holds the state; [`fetch`] asks; [`discovery`] and
//! [`checks`] feed it from tasks of their own.

mod adaptive;
mod admission;
mod breaker;
mod checks;
mod discovery;
mod fetch;
mod health;
mod peer;
mod pool;
mod queue;
mod retry;
mod select;
mod upgrade;

pub use fetch::{
    Answer, AnswerBody, FetchFailure, FetchReport, Fetcher, Observer, Terms, is_outage,
};
pub use health::Transition;
pub use pool::{Load, OriginPool, Permit, Replica, ReplicaReport, Shed, Turn};
