//! The guard: what is stopped at the edge, and what is told of it.

mod browser;
mod challenge;
mod custom_rules;
