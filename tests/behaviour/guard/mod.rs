//! The guard: what is stopped at the edge, and what is told of it.

mod access_rules;
mod custom_rules;
