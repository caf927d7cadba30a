//! Rules: an expression and what holds for the requests that match it.

mod cache;
pub mod expression;
mod index;
mod list;
pub mod phase;
mod plan;
mod rule;
mod texts;
mod value;

pub use cache::{CachePatch, CacheRule, CacheRuleset};
pub use list::{List, ListFault, ListFormat, ListKind, Lists, address_range};
pub use plan::{
    Circumstances, EdgeAnswer, Plan, Planned, plan, plan_for_tier, rewritten, rewritten_target,
    split_target, target_text,
};
pub use rule::{Rule, RuleSource, Ruleset};
pub use texts::Texts;
pub use value::Value;
