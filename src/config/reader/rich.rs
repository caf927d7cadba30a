//! Values that are more than what TOML has: the text of a file, a moment.

use std::ops::RangeInclusive;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::{Located, Section, StringOrSection};

/// A file that the configuration names.
pub(in crate::config) struct NamedFile {
    /// Its name, as written.
    pub(in crate::config) name: String,
    pub(in crate::config) text: String,
}

impl<'a> Section<'a> {
    /// The text of the file that `key` names.
    pub(in crate::config) fn file(&self, key: &'static str) -> Option<Located<NamedFile>> {
        let name = self.string(key)?;
        match (self.reader.outside.files)(Path::new(&name.value)) {
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

    /// Every entry of a table whose keys are the user's: strings and tables.
    pub(in crate::config) fn texts_or_tables(&self) -> Vec<(Located<String>, StringOrSection<'a>)> {
        let read = |(name, value): (Located<String>, &'a Spanned<DeValue<'a>>)| {
            let value = if value.get_ref().is_table() {
                let section = self.table_value(name.value.clone(), &name.value, value)?;
                StringOrSection::Section(section)
            } else {
                let text = self.string_value(&name.value, value, "a string or a table")?;
                StringOrSection::String(text)
            };
            Some((name, value))
        };
        self.user_entries().filter_map(read).collect()
    }

    /// Every entry of a table of whole numbers whose keys are the user's.
    pub(in crate::config) fn integer_entries(
        &self,
        bounds: RangeInclusive<u64>,
    ) -> Vec<(Located<String>, Located<u64>)> {
        let read = |(name, value): (Located<String>, &'a Spanned<DeValue<'a>>)| {
            let number = self.integer_value(&name.value, value, bounds.clone())?;
            Some((name, number))
        };
        self.user_entries().filter_map(read).collect()
    }
}
