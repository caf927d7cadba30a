//! The guard: what is stopped at the edge, and what is told of it.

mod access_rules;
mod connections;
mod browser;
mod challenge;
mod custom_rules;
mod floods;
mod identity;
