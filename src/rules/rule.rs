//! Rules of one phase, in order: each an expression, and what holds for what matches it.

use std::fmt;
use std::sync::Arc;

use super::expression::Expression;
use super::index::Index;
use crate::cache::response::ResponseView;
use crate::cache::settings::RuleId;
use crate::request::RequestView;

/// One rule; `A` is what it does.
#[derive(Clone, Debug)]
pub struct Rule<A> {
    /// Its name, for people.
    pub name: String,
    /// Where it is written.
    pub source: RuleSource,
    /// What it is for.
    pub expression: Expression,
    /// When it ends to hold, in seconds since 1970.
    pub expires: Option<i64>,
    /// Names of findings of [`mod@crate::lint`] that are meant so.
    pub lint_allow: Vec<&'static str>,
    /// What it does.
    pub action: A,
}

impl<A: PartialEq> PartialEq for Rule<A> {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.source, self.expires) == (&other.name, &other.source, other.expires)
            && self.lint_allow == other.lint_allow
            && self.action == other.action
            && self.expression == other.expression
    }
}

impl<A: Eq> Eq for Rule<A> {}

/// Where a rule is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSource {
    /// The file, or `preset NAME`.
    pub file: Arc<str>,
    /// Line of the rule's name, from 1.
    pub line: usize,
}

impl fmt::Display for RuleSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)
    }
}

/// The rules of one phase, in order of precedence, the strongest last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset<A> {
    rules: Vec<Rule<A>>,
    index: Index,
}

impl<A> Default for Ruleset<A> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<A> Ruleset<A> {
    /// Rules in order.
    pub fn new(rules: Vec<Rule<A>>) -> Self {
        let index = Index::new(rules.iter().map(|rule| &rule.expression));
        Self { rules, index }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All rules in order.
    pub fn rules(&self) -> &[Rule<A>] {
        &self.rules
    }

    /// The rule behind an id that [`Self::matching`] gave.
    pub fn get(&self, id: RuleId) -> Option<&Rule<A>> {
        self.rules.get(usize::from(id.0))
    }

    /// The rules that hold for a request, in order.
    pub fn matching<'s>(
        &'s self,
        request: &RequestView<'_>,
    ) -> impl Iterator<Item = (RuleId, &'s Rule<A>)> {
        self.possible(request)
            .filter(|(_, rule)| rule.expression.matches(request))
    }

    /// The rules that hold for a response to a request, in order.
    pub fn matching_response<'s>(
        &'s self,
        request: &'s RequestView<'_>,
        response: &'s ResponseView<'_>,
    ) -> impl Iterator<Item = (RuleId, &'s Rule<A>)> {
        self.possible(request)
            .filter(|(_, rule)| rule.expression.matches_response(request, response))
    }

    /// The rules that might hold: those whose expressions ask for nothing that the request lacks,
    /// and which have not expired.
    pub fn possible<'s>(
        &'s self,
        request: &RequestView<'_>,
    ) -> impl Iterator<Item = (RuleId, &'s Rule<A>)> {
        let now = request.facts.unix_seconds;
        self.index
            .candidates(request)
            .filter_map(|position| {
                let id = RuleId(u16::try_from(position).ok()?);
                Some((id, self.rules.get(position)?))
            })
            .filter(move |(_, rule)| rule.expires.is_none_or(|expires| now < expires))
    }
}
