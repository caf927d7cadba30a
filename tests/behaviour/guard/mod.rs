//! The guard: what is stopped at the edge, and what is told of it.

mod access_rules;
mod browser;
mod challenge;
mod connections;
mod custom_rules;
mod floods;
mod identity;
mod ip_access_rules;
mod rate_limits;
mod request_filters;
mod rows;
mod shared_accuracy;
mod shared_limits;
