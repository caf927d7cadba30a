//! The store behind Pingora's cache state machine: bounded memory, shared by all zones.
//!
//! Owns the stored bytes and nothing of policy: what may be stored or reused is decided in
//! [`crate::cache`] before anything arrives here.

mod body;
mod fill;
mod handlers;
mod memory;
mod stored;

pub use memory::{LargestObject, MemoryStore, StoreStatistics};
