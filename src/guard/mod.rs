//! The guard: what stops a request before redirects, cache and origin see it, and what is told of it.
//!
//! [`assess`] asks each of its modules in turn, on the node that sees the client: a hit is guarded as a miss
//! is, and an answer of the guard is never stored.

pub mod access;
mod assess;
pub mod custom;
pub mod decision;
pub mod events;
pub mod template;
pub mod token;

pub use assess::assess;
pub use custom::{CustomAction, CustomRule, Skips};
pub use decision::{Action, Assessment, Finding, Module, Stop};
