//! Lists under names of the user's choice.

use toml::Spanned;
use toml::de::DeValue;

use super::{Located, Section};

/// A list: its items, or a table that says where they are.
pub(in crate::config) enum NamedList<'a> {
    Items(Vec<Located<String>>),
    Section(Section<'a>),
}

impl<'a> Section<'a> {
    /// Lists with their names: `[lists]`.
    pub(in crate::config) fn named_lists(
        &self,
        key: &'static str,
    ) -> Vec<(Located<String>, NamedList<'a>)> {
        let Some(outer) = self.section(key) else {
            return Vec::new();
        };
        let named = outer.table.iter().filter_map(|(name, value)| {
            let located = Located {
                value: name.get_ref().to_string(),
                span: name.span(),
            };
            let path = format!("{key}.{}", located.value);
            let list = match value.get_ref() {
                DeValue::Array(items) => {
                    NamedList::Items(self.each_text(&path, items.iter().collect()))
                }
                DeValue::Table(_) => NamedList::Section(self.table_value(path, key, value)?),
                other => {
                    self.wrong_type(&path, "a list or a table", other, value.span());
                    return None;
                }
            };
            Some((located, list))
        });
        named.collect()
    }

    /// A list of strings and whole numbers, as text.
    pub(in crate::config) fn texts(&self, key: &'static str) -> Option<Vec<Located<String>>> {
        Some(self.each_text(key, self.items(key)?))
    }

    fn each_text(&self, key: &str, items: Vec<&Spanned<DeValue<'_>>>) -> Vec<Located<String>> {
        let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::Integer(number) => Some(Located {
                value: i64::from_str_radix(number.as_str(), number.radix())
                    .map_or_else(|_| number.to_string(), |number| number.to_string()),
                span: item.span(),
            }),
            _ => self.string_value(key, item, "a list of strings or whole numbers"),
        };
        items.into_iter().filter_map(text).collect()
    }
}
