//! The guard: what is stopped at the edge, and what is told of it.

mod challenge;
mod custom_rules;
