//! The guard: what stops a request before redirects, cache and origin see it, and what is told of it.
//!
//! [`assess()`] asks each of its modules in turn, on the node that sees the client: a hit is guarded as a miss
//! is, and an answer of the guard is never stored.

pub mod access;
mod assess;
pub mod bots;
mod bucket;
pub mod challenge;
pub mod client;
pub mod connections;
pub mod custom;
pub mod decision;
pub mod events;
pub mod filters;
pub mod http2;
pub mod ip_access;
pub mod limit;
pub mod limiter;
pub mod lockdown;
pub mod pace;
pub mod proxy_header;
mod rates;
mod spelling;
pub mod template;
pub mod token;

pub use assess::assess;
pub use client::client_key;
pub use custom::{CustomAction, CustomRule, Skips};
pub use decision::{Action, Assessment, Finding, Module, Stop};
pub use filters::RequestFilters;
pub use ip_access::{IpAccessAction, IpAccessRule, IpAccessRules};
pub use limit::{Counters, LimitRule, NoCounters, RateLimits};
pub use limiter::RateLimiter;
pub use lockdown::LockdownRule;
