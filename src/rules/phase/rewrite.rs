//! URL rewrites: the client sees one URL, the origin another.

use super::redirect::escape;
use crate::request::RequestView;
use crate::rules::Value;
use crate::zone::{Slashes, canonical_path_with};

/// What becomes of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The new path; `None` leaves it.
    pub path: Option<Value>,
    /// The new query without its `?`, an empty one for none; `None` leaves it.
    pub query: Option<Value>,
}

impl Rewrite {
    /// The new path in canonical form, or why there is none.
    ///
    /// # Errors
    /// In a few words.
    pub fn new_path(
        value: &Value,
        request: &RequestView<'_>,
        slashes: Slashes,
    ) -> Result<String, &'static str> {
        let path = text(value, request)?;
        if !path.starts_with('/') {
            return Err("the path does not begin with a slash");
        }
        // A question mark or hash of the new path is part of the path.
        let path = escape(&path).replace('?', "%3F").replace('#', "%23");
        canonical_path_with(&path, slashes)
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| "the path has no canonical form")
    }

    /// The new query, or why there is none.
    ///
    /// # Errors
    /// In a few words.
    pub fn new_query(
        value: &Value,
        request: &RequestView<'_>,
    ) -> Result<Option<String>, &'static str> {
        let query = escape(&text(value, request)?).replace('#', "%23");
        Ok(Some(query).filter(|query| !query.is_empty()))
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let path = self.path.iter().map(|value| ("path", value.to_string()));
        let query = self.query.iter().map(|value| ("query", value.to_string()));
        path.chain(query).collect()
    }
}

fn text(value: &Value, request: &RequestView<'_>) -> Result<String, &'static str> {
    let text = value.evaluate(request, None);
    let text = text.ok_or("the expression has no value for this request")?;
    String::from_utf8(text.into_owned()).map_err(|_| "the value is not UTF-8")
}
