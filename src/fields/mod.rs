//! What HTTP header fields mean: total parsers over the `http` crate's types.
//!
//! Each module owns one field or one family of fields. Nothing here knows a rule or a clock, and but
//! for the forms in which [`vary`] tells fields apart no setting; malformed input always has a defined, safe
//! reading.

pub mod accept;
pub mod accept_encoding;
pub mod accept_language;
pub mod age;
pub mod cache_control;
pub mod cdn_loop;
pub mod content_coding;
pub mod content_range;
pub mod cookies;
pub mod date;
pub mod directives;
pub mod hop_by_hop;
pub mod range;
pub mod request_control;
pub mod stored;
mod syntax;
pub mod tags;
pub mod targeted;
pub mod untrusted;
pub mod validators;
pub mod vary;
mod weights;
