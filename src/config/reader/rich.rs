//! Values that are more than what TOML has: the text of a file, a moment.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::{Located, Section};

/// A file that the configuration names.
pub(in crate::config) struct NamedFile {
    /// Its name, as written.
    pub(in crate::config) name: String,
    pub(in crate::config) text: String,
}

/// A list under a name of the user's choice: its items, or a table that says where they are.
pub(in crate::config) enum NamedList<'a> {
    Items(Vec<Located<String>>),
    Section(Section<'a>),
}

impl<'a> Section<'a> {
    /// Lists under names of the user's choice: `[lists]`.
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

    /// The text of the file that `key` names.
    pub(in crate::config) fn file(&self, key: &'static str) -> Option<Located<NamedFile>> {
        let name = self.string(key)?;
        let path = PathBuf::from(&name.value);
        let read = (self.reader.outside.files)(&path);
        self.reader.files.borrow_mut().push(path);
        match read {
            Ok(text) => Some(Located {
                value: NamedFile {
                    name: name.value,
                    text,
                },
                span: name.span,
            }),
            Err(why) => {
                let message = format!("cannot read \"{}\": {why}", name.value);
                let help = "a relative path begins at the configuration file's folder".to_owned();
                self.reader.fault(name.span, message, Some(help));
                None
            }
        }
    }

    /// A date and time with its offset, as TOML writes it or as a string (RFC 3339), in seconds
    /// since 1970.
    pub(in crate::config) fn date_time(&self, key: &'static str) -> Option<Located<i64>> {
        let value = self.value(key)?;
        let span = value.span();
        let text = match value.get_ref() {
            DeValue::Datetime(written) => written.to_string(),
            _ => self.text(key, "a date and time")?.value,
        };
        let parsed = humantime::parse_rfc3339(&text).ok().and_then(|time| {
            let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
            i64::try_from(since.as_secs()).ok()
        });
        if let Some(value) = parsed {
            return Some(Located { value, span });
        }
        let message = format!("`{key}` must be a date and time in UTC");
        let help = format!("write for example `{key} = 2030-01-31T12:00:00Z`");
        self.reader.fault(span, message, Some(help));
        None
    }
}
