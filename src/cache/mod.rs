//! Cache policy (RFC 9111): what may be looked up, reused, stored, freshened, and why.
//!
//! In the order of a request: [`eligibility`], [`query`], [`key`], [`reuse`]; the origin answers; [`storing`]
//! with [`freshness`], or [`freshen`] for a 304; [`browser`] and [`status`] on the way out. All are
//! total functions over plain values; times are passed in, and every decision carries its reason.

pub mod browser;
mod content_type;
pub mod device;
pub mod eligibility;
pub mod freshen;
pub mod freshness;
pub mod key;
pub mod query;
pub mod response;
pub mod reuse;
pub mod settings;
pub mod status;
pub mod storing;

#[cfg(test)]
mod fixtures;
