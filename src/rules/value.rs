//! Text that a rule writes: as it stands, or computed from the request.

use std::borrow::Cow;
use std::fmt;

use super::expression::ValueExpression;
use crate::cache::response::ResponseView;
use crate::request::RequestView;

/// Text that a rule writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// As it stands.
    Text(String),
    /// What an expression gives.
    Computed(ValueExpression),
}

impl Value {
    /// The bytes; `None` when the expression has no value for this request.
    pub fn evaluate<'s>(
        &'s self,
        request: &RequestView<'_>,
        response: Option<&ResponseView<'_>>,
    ) -> Option<Cow<'s, [u8]>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            Self::Computed(expression) => expression.evaluate(request, response).map(Cow::Owned),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(formatter, "\"{text}\""),
            Self::Computed(expression) => formatter.write_str(expression.source()),
        }
    }
}
