//! What is written, before it is read: which keys are there, and in which form.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::super::units::parse_duration;
use super::{Located, Section};

impl Section<'_> {
    /// Whether `key` is there.
    pub(in crate::config) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Where `key` is written, or the beginning of the file.
    pub(in crate::config) fn place_of(&self, key: &'static str) -> Range<usize> {
        self.value(key).map_or(0..0, Spanned::span)
    }

    /// A duration written where a word or a table belongs, as it is written.
    pub(in crate::config) fn duration_in_place_of_a_word(
        &self,
        key: &'static str,
    ) -> Option<Located<String>> {
        let value = self.value(key)?;
        let text = match value.get_ref() {
            DeValue::Integer(seconds) => format!("{seconds}s"),
            DeValue::String(text) if parse_duration(text).is_ok() => text.to_string(),
            _ => return None,
        };
        Some(Located {
            value: text,
            span: value.span(),
        })
    }

    /// Whether `key` is there and is a table; for keys that take a word or a table.
    pub(in crate::config) fn is_table(&self, key: &'static str) -> bool {
        self.value(key)
            .is_some_and(|value| value.get_ref().is_table())
    }

    /// Whether `key` is there and is a boolean; for keys that take `false` or a table.
    pub(in crate::config) fn is_boolean(&self, key: &'static str) -> bool {
        self.value(key)
            .is_some_and(|value| value.get_ref().is_bool())
    }

    /// Whether anything beside `these` keys is written.
    pub(in crate::config) fn has_beside(&self, these: &[&str]) -> bool {
        self.table
            .keys()
            .any(|key| !these.contains(&key.get_ref().as_ref()))
    }
}
