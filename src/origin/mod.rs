//! Origin servers: which replica gets a request, which are healthy, when to try another.
//!
//! [`select`], [`affinity`], [`health`], [`outlier`], [`retry`], [`queue`], [`breaker`] and [`adaptive`] decide;
//! [`pool`] holds the state; [`fetch`] asks; [`discovery`] and
//! [`checks`] feed it from tasks of their own.

mod adaptive;
mod admission;
mod affinity;
mod breaker;
mod bucket;
mod checks;
mod discovery;
mod failure;
mod fetch;
pub mod h1;
mod health;
mod outlier;
mod overload;
mod peer;
mod pool;
mod queue;
mod replica;
pub(crate) mod resolver;
mod retry;
mod select;
mod session;
mod turn;
mod upgrade;
mod wire;

pub use affinity::remove_cookies;
pub use failure::FetchFailure;
pub use fetch::{Answer, AnswerBody, FetchReport, Fetcher, Observer, Terms, is_outage};
pub use health::Transition;
pub use outlier::{Outcome, Reason};
pub use overload::{Load, Permit, Shed};
pub use peer::Trust;
pub use pool::OriginPool;
pub use replica::{ByHand, Replica, ReplicaReport, STATES};
pub use retry::RetryBudget;
pub use turn::{Ask, Client, Turn};
