//! Tiers of caches: what a lower tier and an upper tier say to each other, which node of a tier is asked,
//! and which are passed over for a while.
//!
//! [`handover`] is what a lower tier sends with a request, [`verdict`] what an upper tier sends with the
//! answer, [`topology`] finds the owner of a key, and [`backoff`] remembers who failed. All of it is plain values; the time is given.

pub mod backoff;
pub mod handover;
pub mod topology;
pub mod verdict;

use http::HeaderName;

/// The field by which tiers speak with each other, in requests and in answers.
pub const SEAWALL_TIER: HeaderName = HeaderName::from_static("seawall-tier");
