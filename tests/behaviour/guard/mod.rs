//! The guard: what is stopped at the edge, and what is told of it.

mod custom_rules;
mod rate_limits;
mod shared_limits;
