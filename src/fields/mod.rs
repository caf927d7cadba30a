//! What HTTP header fields mean: total parsers over the `http` crate's types.
//!
//! Each module owns one field or one family of fields. Nothing here knows a setting, a rule or a
//! clock; malformed input always has a defined, safe reading.

pub mod accept;
pub mod accept_encoding;
pub mod age;
pub mod cache_control;
pub mod cookies;
pub mod date;
pub mod hop_by_hop;
pub mod range;
mod syntax;
pub mod validators;
pub mod vary;
