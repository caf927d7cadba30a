//! Tables whose keys are the user's.

use toml::de::DeValue;

use super::super::diagnostics::did_you_mean;
use super::{Located, Section};

/// What an entry holds.
pub(in crate::config) enum Entry {
    /// One string.
    String(Located<String>),
    /// A list of them.
    List(Vec<Located<String>>),
}

impl Section<'_> {
    /// Every entry with its key; a fault for what is neither a string nor a list of them. Keys in
    /// `known` are left to others.
    pub(in crate::config) fn entries(&self, known: &[&str]) -> Vec<(Located<String>, Entry)> {
        self.table
            .iter()
            .filter(|(key, _)| !known.contains(&key.get_ref().as_ref()))
            .filter_map(|(key, value)| {
                let name = key.get_ref();
                let entry = match value.get_ref() {
                    DeValue::Array(items) => Entry::List(
                        items
                            .iter()
                            .filter_map(|item| self.string_value(name, item, "a list of strings"))
                            .collect(),
                    ),
                    DeValue::String(_) => {
                        Entry::String(self.string_value(name, value, "a string")?)
                    }
                    other => {
                        let found = other.type_str();
                        let message = format!("`{name}` must be a string or a list, found {found}");
                        let help = did_you_mean(name, known.iter().copied());
                        self.reader.fault(value.span(), message, help);
                        return None;
                    }
                };
                let key = Located {
                    value: name.to_string(),
                    span: key.span(),
                };
                Some((key, entry))
            })
            .collect()
    }
}

impl Entry {
    /// The strings; one stands for a list of one.
    pub(in crate::config) fn into_list(self) -> Vec<Located<String>> {
        match self {
            Self::String(one) => vec![one],
            Self::List(list) => list,
        }
    }
}
