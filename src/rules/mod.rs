//! Rules: an expression and what holds for the requests that match it.

pub mod expression;
mod ruleset;

pub use ruleset::{CachePatch, CacheRule, CacheRuleset, RuleSource};
