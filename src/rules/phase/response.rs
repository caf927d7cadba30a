//! Cache response rules: what the origin answered, changed before the cache decides about it.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ETAG, LAST_MODIFIED, SET_COOKIE},
};

use crate::fields::directives::edit_cache_control;
use crate::fields::tags::{CACHE_TAG, SURROGATE_KEY, cache_tags};

const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");

/// What a rule sets, and what all of them set together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponsePatch {
    /// Takes Set-Cookie away.
    pub strip_set_cookie: Option<bool>,
    /// Takes `ETag` away.
    pub strip_etag: Option<bool>,
    /// Takes Last-Modified away.
    pub strip_last_modified: Option<bool>,
    /// Changes of the cache tags, in order.
    pub tags: Vec<TagEdit>,
    /// Directives of Cache-Control by name; the last one for a name holds.
    pub cache_control: Vec<(String, DirectiveEdit)>,
}

/// What all rules that hold for a response do to it.
pub type ResponseEdits = ResponsePatch;

/// A change of a response's cache tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagEdit {
    /// These instead of those it has.
    Set(Vec<String>),
    /// These too.
    Add(Vec<String>),
    /// Not these.
    Remove(Vec<String>),
}

/// A change of one directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectiveEdit {
    /// Takes it away.
    Remove,
    /// Sets it.
    Flag,
    /// Sets it to so many seconds.
    Seconds(u64),
}

impl ResponsePatch {
    /// Takes over what `later` sets.
    pub fn merge(&mut self, later: &Self) {
        self.strip_set_cookie = later.strip_set_cookie.or(self.strip_set_cookie);
        self.strip_etag = later.strip_etag.or(self.strip_etag);
        self.strip_last_modified = later.strip_last_modified.or(self.strip_last_modified);
        self.tags.extend(later.tags.iter().cloned());
        for (name, edit) in &later.cache_control {
            self.cache_control.retain(|(known, _)| known != name);
            self.cache_control.push((name.clone(), edit.clone()));
        }
    }

    /// Changes the response.
    pub fn apply(&self, fields: &mut HeaderMap) {
        self.strip(fields);
        if !self.tags.is_empty() {
            self.edit_tags(fields);
        }
        if !self.cache_control.is_empty() {
            let edits: Vec<_> = self
                .cache_control
                .iter()
                .map(|(name, edit)| (name.as_str(), edit.text(name)))
                .collect();
            edit_cache_control(fields, &edits);
        }
    }

    /// Takes away what it strips, and changes nothing else.
    pub fn strip(&self, fields: &mut HeaderMap) {
        for (strip, names) in [
            (self.strip_set_cookie, &[SET_COOKIE, SET_COOKIE2][..]),
            (self.strip_etag, &[ETAG]),
            (self.strip_last_modified, &[LAST_MODIFIED]),
        ] {
            if strip == Some(true) {
                for name in names {
                    fields.remove(name);
                }
            }
        }
    }

    fn edit_tags(&self, fields: &mut HeaderMap) {
        let mut tags: Vec<String> = cache_tags(fields).into_iter().map(String::from).collect();
        for edit in &self.tags {
            match edit {
                TagEdit::Set(new) => tags.clone_from(new),
                TagEdit::Add(new) => {
                    tags.retain(|tag| !new.contains(tag));
                    tags.extend(new.iter().cloned());
                }
                TagEdit::Remove(old) => tags.retain(|tag| !old.contains(tag)),
            }
        }
        fields.remove(CACHE_TAG);
        fields.remove(SURROGATE_KEY);
        if let Ok(value) = HeaderValue::try_from(tags.join(","))
            && !tags.is_empty()
        {
            fields.insert(CACHE_TAG, value);
        }
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let flags = [
            ("strip_set_cookie", self.strip_set_cookie),
            ("strip_etag", self.strip_etag),
            ("strip_last_modified", self.strip_last_modified),
        ];
        let mut sets: Vec<_> = flags
            .into_iter()
            .filter_map(|(key, flag)| Some((key, flag?.to_string())))
            .collect();
        sets.extend(self.tags.iter().map(|edit| match edit {
            TagEdit::Set(tags) => ("set_tags", tags.join(", ")),
            TagEdit::Add(tags) => ("add_tags", tags.join(", ")),
            TagEdit::Remove(tags) => ("remove_tags", tags.join(", ")),
        }));
        sets.extend(self.cache_control.iter().map(|(name, edit)| {
            let text = edit.text(name);
            (
                "cache_control",
                text.unwrap_or_else(|| format!("without {name}")),
            )
        }));
        sets
    }
}

impl DirectiveEdit {
    fn text(&self, name: &str) -> Option<String> {
        match self {
            Self::Remove => None,
            Self::Flag => Some(name.to_owned()),
            Self::Seconds(seconds) => Some(format!("{name}={seconds}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::map;

    #[test]
    fn patches_stack_and_change_nothing_else() {
        let mut edits = ResponsePatch {
            strip_etag: Some(true),
            strip_set_cookie: Some(true),
            tags: vec![TagEdit::Add(vec!["b".to_owned()])],
            cache_control: vec![
                ("max-age".to_owned(), DirectiveEdit::Seconds(5)),
                ("no-store".to_owned(), DirectiveEdit::Remove),
            ],
            ..ResponsePatch::default()
        };
        edits.merge(&ResponsePatch {
            strip_set_cookie: Some(false),
            tags: vec![TagEdit::Remove(vec!["a".to_owned()])],
            cache_control: vec![("max-age".to_owned(), DirectiveEdit::Seconds(60))],
            ..ResponsePatch::default()
        });
        let mut fields = map(&[
            ("etag", "\"1\""),
            ("set-cookie", "a=1"),
            ("cache-control", "no-store, public"),
            ("surrogate-key", "a c"),
        ]);
        edits.apply(&mut fields);
        assert_eq!(
            fields,
            map(&[
                ("set-cookie", "a=1"),
                ("cache-control", "public, max-age=60"),
                ("cache-tag", "c,b"),
            ])
        );
    }
}
