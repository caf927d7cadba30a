//! Cache policy (RFC 9111): what may be looked up, reused, stored, freshened, and why.
//!
//! In the order of a request: [`eligibility`], [`query`], [`device`], [`key`] and [`extras`],
//! [`reuse`]; the origin answers; [`storing`] with [`control`] and [`freshness`], [`freshen`] for a 304 or the
//! answer to a HEAD, [`partial`] for a 206, [`invalidation`] after an unsafe request; [`browser`]
//! and [`status`] on the way out; [`encoding`] for what is compressed once it is stored. All are total functions over plain values; times are passed in,
//! and every decision carries its reason.

pub mod browser;
mod content_type;
pub mod control;
pub mod device;
pub mod early;
pub mod eligibility;
pub mod encoding;
pub mod extras;
pub mod freshen;
pub mod freshness;
pub mod invalidation;
pub mod key;
pub mod partial;
pub mod query;
pub mod response;
pub mod reuse;
pub mod settings;
mod stale;
pub mod status;
pub mod storing;
pub mod target;

#[cfg(test)]
pub(crate) mod fixtures;
