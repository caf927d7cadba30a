//! What would become of a request, and why: the decisions of the proxy, asked about a described
//! request and a described answer of the origin.
//!
//! Decides nothing. It asks the functions that the proxy asks ([`crate::rules::plan`],
//! [`crate::cache::storing`], [`crate::cache::reuse`] and so on) and writes down what they say. The
//! store is taken for empty; what is in it is the admin listener's to tell.

mod expectation;
mod explanation;
mod planned;
mod question;
mod request;
mod response;
mod text;
mod trace;
mod words;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use expectation::{Expectation, Mismatch, RuleTest, TestOutcome, run};
pub use explanation::{
    ClientFacts, EdgeFacts, Explanation, FieldChange, Identity, KeyFacts, Later, OriginFacts,
    RequestFacts, ResponseFacts, RuleRef, SettingFact, Step, Told, Verdict, ZoneFacts,
};
pub use question::{
    OriginAnswer, Question, QuestionError, client, country, field, field_line, method, status,
    version,
};
pub use text::render;

use crate::config::Config;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// The request.
    pub question: &'a Question,
    /// The origin's answer, to be told what becomes of it.
    pub answer: Option<&'a OriginAnswer>,
    /// The time.
    pub now: SystemTime,
    /// When the same request comes again.
    pub after: Duration,
    /// Whether rules that do not hold are told of too.
    pub all: bool,
    /// The zones whose cache an operator has switched off for a while.
    pub developing: &'a [String],
    /// The zones in which an operator has everybody challenged for a while.
    pub under_attack: &'a [String],
}

/// Explains what becomes of a request.
///
/// # Errors
/// When the question cannot be understood. A request that Seawall refuses is an explanation.
pub fn explain(config: &Config, inquiry: &Inquiry<'_>) -> Result<Explanation, QuestionError> {
    // Date has whole seconds: with a fraction of one, what has just been made would have an age.
    let since = inquiry.now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UNIX_EPOCH.checked_add(Duration::from_secs(since.as_secs()));
    let inquiry = Inquiry {
        now: now.unwrap_or(inquiry.now),
        ..*inquiry
    };
    request::explain(config, &inquiry)
}
