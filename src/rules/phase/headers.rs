//! Header transforms: fields set, added and removed, towards the origin or towards the client.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, COOKIE, ORIGIN, PRAGMA,
    REFERER, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cache::response::ResponseView;
use crate::fields::untrusted::is_untrusted;
use crate::request::RequestView;
use crate::rules::{Rule, Value};

/// The changes of one rule, in the order in which they are made: removals first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTransform {
    /// What it does.
    pub operations: Vec<HeaderOperation>,
    /// Towards the origin: whether what it sets counts in the cache key. Unless it does, a response
    /// made for one value is given to requests with another.
    pub keyed: bool,
}

/// A change of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderOperation {
    /// Takes all lines of the field away.
    Remove(HeaderName),
    /// Makes it this one line.
    Set(HeaderName, Value),
    /// Adds a line.
    Add(HeaderName, Value),
}

/// A change for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Takes all lines of the field away.
    Remove(HeaderName),
    /// Makes it this one line.
    Set(HeaderName, HeaderValue),
    /// Adds a line.
    Add(HeaderName, HeaderValue),
}

impl HeaderTransform {
    /// The changes for one request; a value that there is not, or that no field can hold, changes
    /// nothing.
    pub fn edits(
        &self,
        request: &RequestView<'_>,
        response: Option<&ResponseView<'_>>,
    ) -> impl Iterator<Item = HeaderEdit> {
        let value = move |value: &Value| {
            let bytes = value.evaluate(request, response)?;
            HeaderValue::from_bytes(&bytes).ok()
        };
        self.operations
            .iter()
            .filter_map(move |operation| match operation {
                HeaderOperation::Remove(name) => Some(HeaderEdit::Remove(name.clone())),
                HeaderOperation::Set(name, text) => {
                    Some(HeaderEdit::Set(name.clone(), value(text)?))
                }
                HeaderOperation::Add(name, text) => {
                    Some(HeaderEdit::Add(name.clone(), value(text)?))
                }
            })
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let mut sets: Vec<_> = self
            .operations
            .iter()
            .map(|operation| match operation {
                HeaderOperation::Remove(name) => ("remove", name.to_string()),
                HeaderOperation::Set(name, value) => ("set", format!("{name}: {value}")),
                HeaderOperation::Add(name, value) => ("add", format!("{name}: {value}")),
            })
            .collect();
        if !self.keyed {
            sets.push(("keyed", "false".to_owned()));
        }
        sets
    }
}

/// What browsers send by themselves: Vary says where the origin heeds it.
const BROWSERS_SEND: &[HeaderName] = &[
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    COOKIE,
    ORIGIN,
    PRAGMA,
    REFERER,
    USER_AGENT,
];

/// The fields by which rules tell the origin what counts in the key. From a client they count as well,
/// where no rule decides about them: the origin would believe it as it believes the rules.
pub fn believed(rules: &[Rule<HeaderTransform>]) -> Vec<HeaderName> {
    let keyed = rules.iter().filter(|rule| rule.action.keyed);
    let operations = keyed.flat_map(|rule| &rule.action.operations);
    let names = operations.filter_map(|operation| match operation {
        HeaderOperation::Set(name, _) | HeaderOperation::Add(name, _) => Some(name),
        HeaderOperation::Remove(_) => None,
    });
    let mut believed: Vec<_> = names
        .filter(|name| !is_untrusted(name) && !BROWSERS_SEND.contains(name))
        .cloned()
        .collect();
    believed.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    believed.dedup();
    believed
}

/// Makes the changes.
pub fn apply(edits: &[HeaderEdit], fields: &mut HeaderMap) {
    for edit in edits {
        match edit {
            HeaderEdit::Remove(name) => drop(fields.remove(name)),
            HeaderEdit::Set(name, value) => drop(fields.insert(name.clone(), value.clone())),
            HeaderEdit::Add(name, value) => drop(fields.append(name.clone(), value.clone())),
        }
    }
}
