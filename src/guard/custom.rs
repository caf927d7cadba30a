//! Custom rules: what an expression says of a request decides whether it is stopped. After Cloudflare's WAF
//! custom rules.

use http::StatusCode;

use super::decision::{Action, Module};
use crate::rules::phase::Page;

/// What a custom rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomRule {
    /// What with the request.
    pub action: CustomAction,
    /// Whether it is only told of.
    pub dry_run: bool,
}

/// What a custom rule does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomAction {
    /// Refuses it.
    Block {
        /// With this status.
        status: StatusCode,
        /// And this page; `None` for ours.
        page: Option<Page>,
    },
    /// Challenges who sent it, unless they have passed one.
    Challenge,
    /// Tells of it.
    Log,
    /// Spares it some of the guard.
    Skip(Skips),
    /// Spares it the rest of the guard.
    Allow,
}

/// Parts of the guard that a request is spared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skips(u32);

impl Skips {
    /// What rules may name.
    pub const WORDS: &[(&'static str, Module)] = &[
        (Module::CustomRules.as_str(), Module::CustomRules),
        (Module::RequestFilters.as_str(), Module::RequestFilters),
        (Module::AccessRules.as_str(), Module::AccessRules),
        (Module::Challenge.as_str(), Module::Challenge),
        (Module::RateLimitRules.as_str(), Module::RateLimitRules),
    ];

    /// Adds a part.
    pub const fn insert(&mut self, module: Module) {
        self.0 |= 1 << module as u32;
    }

    /// Adds all parts of `other`.
    pub const fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether `module` is spared.
    pub const fn contains(self, module: Module) -> bool {
        self.0 & (1 << module as u32) != 0
    }

    /// The names of all parts.
    fn names(self) -> impl Iterator<Item = &'static str> {
        let parts = Self::WORDS.iter();
        parts
            .filter(move |(_, module)| self.contains(*module))
            .map(|(name, _)| *name)
    }
}

impl CustomRule {
    /// What it does, as events have it.
    pub const fn action(&self) -> Action {
        match self.action {
            CustomAction::Block { .. } => Action::Block,
            CustomAction::Challenge => Action::Challenge,
            CustomAction::Log => Action::Log,
            CustomAction::Skip(_) => Action::Skip,
            CustomAction::Allow => Action::Allow,
        }
    }

    /// Whether no rule after it is asked about a request that it holds for.
    pub const fn ends(&self) -> bool {
        !self.dry_run
            && match self.action {
                CustomAction::Block { .. } | CustomAction::Allow => true,
                CustomAction::Skip(parts) => parts.contains(Module::CustomRules),
                // Who has passed meets the rules after it.
                CustomAction::Challenge | CustomAction::Log => false,
            }
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let mut sets = vec![("action", self.action().as_str().to_owned())];
        match &self.action {
            CustomAction::Block { status, page } => {
                sets.push(("status", status.as_u16().to_string()));
                if let Some(page) = page {
                    sets.push(page.describe());
                }
            }
            CustomAction::Skip(parts) => {
                sets.push(("skip", parts.names().collect::<Vec<_>>().join(", ")));
            }
            CustomAction::Challenge | CustomAction::Log | CustomAction::Allow => {}
        }
        if self.dry_run {
            sets.push(("dry_run", "true".to_owned()));
        }
        sets
    }
}
