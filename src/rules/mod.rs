//! Rules: an expression and what holds for the requests that match it.

mod cache;
pub mod expression;
mod index;
mod list;
mod rule;
mod value;

pub use cache::{CachePatch, CacheRule, CacheRuleset};
pub use list::{List, ListFault, ListKind, Lists};
pub use rule::{Rule, RuleSource, Ruleset};
pub use value::Value;
