//! What can be told of expressions without a request: what implies what, what can never hold, which
//! requests it is about. All of it errs on one side: what is told is so, what is not told may be.

mod contradiction;
mod dependence;
mod implication;
mod narrowness;
mod shape;
mod simpler;
mod words;

use std::collections::BTreeSet;

pub use contradiction::Contradiction;
pub use simpler::Simpler;

use super::eval::Predicate;
use super::{Expression, ValueExpression};

/// Request fields that are another for nearly every client.
pub const CLIENTS_OWN: &[&str] = &[
    "authorization",
    "cf-connecting-ip",
    "cookie",
    "forwarded",
    "referer",
    "true-client-ip",
    "user-agent",
    "x-forwarded-for",
    "x-real-ip",
    "x-request-id",
];

impl Expression {
    /// Whether it holds for every request.
    pub fn is_always(&self) -> bool {
        *self.predicate == Predicate::Constant(true)
    }

    /// Whether every request for which this holds is one for which `other` does.
    pub fn implies(&self, other: &Self) -> bool {
        implication::implies(&self.predicate, &other.predicate)
    }

    /// Whether no request is both what this and what `other` is for.
    pub fn excludes(&self, other: &Self) -> bool {
        implication::excludes(&self.predicate, &other.predicate)
    }

    /// Whether it holds for no request at all.
    pub fn is_never(&self) -> bool {
        contradiction::is_never(&self.predicate, None)
    }

    /// Parts of it that hold for no request.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        contradiction::contradictions(&self.predicate)
    }

    /// Whether it is for some paths only, and not for whatever looks like a page.
    pub fn is_narrow(&self) -> bool {
        narrowness::is_narrow(&self.predicate)
    }

    /// Whether it is for nothing but files of types that are the same for everybody, by extension.
    pub fn is_of_assets(&self) -> bool {
        narrowness::is_of_assets(&self.predicate)
    }

    /// What it reads of a request beside method, scheme, host, path and query, by the names of fields.
    pub fn reads_beside_the_uri(&self) -> BTreeSet<String> {
        dependence::of_predicate(&self.predicate)
    }

    /// Regular expressions that say what a plainer operator says.
    pub fn simpler_patterns(&self) -> Vec<Simpler> {
        simpler::in_predicate(&self.predicate)
    }
}

impl ValueExpression {
    /// What it reads of a request beside method, scheme, host, path and query, by the names of fields.
    pub fn reads_beside_the_uri(&self) -> BTreeSet<String> {
        dependence::of_text(&self.value)
    }

    /// A field in its value that is another for nearly every client, or at every moment.
    pub fn tells_clients_apart(&self) -> Option<String> {
        dependence::telling_apart(&self.value)
    }
}
