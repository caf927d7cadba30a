//! The guard: what stops a request before redirects, cache and origin see it, and what is told of it.
//!
//! [`assess()`] asks each of its modules in turn, on the node that sees the client: a hit is guarded as a miss
//! is, and an answer of the guard is never stored.

mod assess;
mod bucket;
pub mod client;
pub mod connections;
pub mod custom;
pub mod decision;
pub mod events;
pub mod http2;
pub mod pace;
pub mod proxy_header;
pub mod template;

pub use assess::assess;
pub use client::client_key;
pub use custom::{CustomAction, CustomRule, Skips};
pub use decision::{Action, Assessment, Finding, Module, Stop};
