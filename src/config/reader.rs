//! Reads typed values out of a parsed TOML document and collects every fault on the way.
//!
//! A [`Section`] remembers which keys it was asked for; [`Section::finish`] then refuses the rest,
//! with the nearest known key as a suggestion. Nothing here knows what the keys mean.

mod entries;
mod named;
mod rich;
mod shape;

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{Diagnostic, did_you_mean};
use super::interpolate::interpolate;
use super::outside::Outside;
use super::units::{parse_duration, parse_size};

pub(super) use entries::Entry;
pub(super) use named::NamedList;
pub(super) use rich::NamedFile;

/// A value with its place in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located<T> {
    /// The value.
    pub value: T,
    /// Byte range it was read from.
    pub span: Range<usize>,
}

/// What all sections of one document share.
pub(super) struct Reader<'a> {
    outside: Outside<'a>,
    faults: RefCell<Vec<Diagnostic>>,
}

impl<'a> Reader<'a> {
    /// A reader that takes `${NAME}` and files from `outside`.
    pub(super) fn new(outside: Outside<'a>) -> Self {
        Self {
            outside,
            faults: RefCell::new(Vec::new()),
        }
    }

    /// Records a fault.
    pub(super) fn fault(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.faults.borrow_mut().push(Diagnostic {
            span,
            message: message.into(),
            help,
        });
    }

    /// All faults recorded so far.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        self.faults.into_inner()
    }
}

/// One TOML table being read.
pub(super) struct Section<'a> {
    /// Where faults go.
    pub reader: &'a Reader<'a>,
    /// Byte range of the table's header or braces.
    pub span: Range<usize>,
    /// Full dotted name, for messages; empty for the document.
    name: String,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The whole document as a section.
    pub(super) fn document(reader: &'a Reader<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self::nested(reader, String::new(), table.get_ref(), table.span())
    }

    fn nested(
        reader: &'a Reader<'a>,
        name: String,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        Self {
            reader,
            span,
            name,
            table,
            asked: RefCell::new(Vec::new()),
        }
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            if !asked.contains(&key.get_ref().as_ref()) {
                let help = did_you_mean(key.get_ref(), asked.iter().copied())
                    .unwrap_or_else(|| format!("known here: {}", asked.join(", ")));
                let message = format!("unknown key `{}`{}", key.get_ref(), self.place());
                self.reader.fault(key.span(), message, Some(help));
            }
        }
    }

    /// A string, with references to the environment replaced.
    pub(super) fn string(&self, key: &'static str) -> Option<Located<String>> {
        self.text(key, "a string")
    }

    /// A string, called `expected` when something else is found.
    fn text(&self, key: &'static str, expected: &str) -> Option<Located<String>> {
        let value = self.value(key)?;
        self.string_value(key, value, expected)
    }

    /// A string that must be there; `example` shows what to write.
    pub(super) fn required_string(
        &self,
        key: &'static str,
        example: &str,
    ) -> Option<Located<String>> {
        self.required(key, example);
        self.string(key)
    }

    /// Whether a key is there that must be; `example` shows what to write.
    pub(super) fn required(&self, key: &'static str, example: &str) -> bool {
        let there = self.value(key).is_some();
        if !there {
            let message = format!("`{key}` is missing{}", self.place());
            let help = Some(format!("write for example `{key} = {example}`"));
            self.reader.fault(self.span.clone(), message, help);
        }
        there
    }

    /// A list of strings; one string stands for a list of one.
    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<Located<String>>> {
        Some(
            self.items(key)?
                .into_iter()
                .filter_map(|item| self.string_value(key, item, "a list of strings"))
                .collect(),
        )
    }

    /// A string in a form of its own; `parse` says in a sentence what is wrong with it.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let text = self.text(key, expected)?;
        match parse(&text.value) {
            Ok(value) => Some(Located {
                value,
                span: text.span,
            }),
            Err(why) => {
                let message = format!("`{key} = \"{}\"` {why}", text.value);
                self.reader.fault(text.span, message, None);
                None
            }
        }
    }

    /// A duration such as `"60s"`.
    pub(super) fn duration(&self, key: &'static str) -> Option<Located<Duration>> {
        let value = self.value(key)?;
        if let DeValue::Integer(number) = value.get_ref() {
            let help = format!("write the unit: `{key} = \"{number}s\"`");
            self.reader.fault(
                value.span(),
                format!("`{key}` must be a duration"),
                Some(help),
            );
            return None;
        }
        self.parsed(key, "a duration such as \"60s\"", parse_duration)
    }

    /// A duration of at least `least`.
    pub(super) fn duration_of(
        &self,
        key: &'static str,
        least: Duration,
    ) -> Option<Located<Duration>> {
        let duration = self.duration(key)?;
        if duration.value >= least {
            return Some(duration);
        }
        let message = format!("`{key}` must be at least {}ms", least.as_millis());
        self.reader.fault(duration.span, message, None);
        None
    }

    /// A size such as `"512 MiB"`, or a bare number of bytes.
    pub(super) fn size(&self, key: &'static str) -> Option<Located<u64>> {
        let value = self.value(key)?;
        if matches!(value.get_ref(), DeValue::Integer(_)) {
            return self.integer(key, 0..=u64::MAX);
        }
        self.parsed(key, "a size such as \"64 KiB\"", parse_size)
    }

    /// A whole number within `bounds`; a string holding one will do, so that it can come from the
    /// environment.
    pub(super) fn integer(
        &self,
        key: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Option<Located<u64>> {
        self.integer_value(key, self.value(key)?, bounds)
    }

    fn integer_value(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        bounds: RangeInclusive<u64>,
    ) -> Option<Located<u64>> {
        let span = value.span();
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(_) => {
                let text = self.string_value(key, value, "a whole number")?;
                text.value.trim().parse().ok()
            }
            other => {
                self.wrong_type(key, "a whole number", other, span);
                return None;
            }
        };
        if let Some(value) = number.filter(|number| bounds.contains(number)) {
            Some(Located { value, span })
        } else {
            let bounds = match *bounds.end() {
                u64::MAX => format!("of at least {}", bounds.start()),
                end => format!("from {} to {end}", bounds.start()),
            };
            let message = format!("`{key}` must be a whole number {bounds}");
            self.reader.fault(span, message, None);
            None
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &'static str) -> Option<Located<bool>> {
        let value = self.value(key)?;
        let span = value.span();
        match value.get_ref() {
            DeValue::Boolean(value) => Some(Located {
                value: *value,
                span,
            }),
            other => {
                self.wrong_type(key, "true or false", other, span);
                None
            }
        }
    }

    /// One of a closed set of words.
    pub(super) fn word<T: Copy>(
        &self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<Located<T>> {
        let known: Vec<String> = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let text = self.text(key, &format!("one of {}", known.join(", ")))?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(Located {
                value: *value,
                span: text.span,
            });
        }
        self.unknown_word(key, &text, words.iter().map(|(word, _)| *word));
        None
    }

    /// Refuses a word that is none of `known`.
    pub(super) fn unknown_word(
        &self,
        key: &str,
        text: &Located<String>,
        known: impl Iterator<Item = &'static str> + Clone,
    ) {
        let help = did_you_mean(&text.value, known.clone()).unwrap_or_else(|| {
            format!(
                "known are {}",
                known
                    .map(|word| format!("\"{word}\""))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        });
        let message = format!("`{key}` cannot be \"{}\"", text.value);
        self.reader.fault(text.span.clone(), message, Some(help));
    }

    /// A table, with `help` for those who wrote something else.
    pub(super) fn section_or(&self, key: &'static str, help: &str) -> Option<Section<'a>> {
        let value = self.value(key)?;
        if value.get_ref().is_table() {
            return self.section(key);
        }
        let found = value.get_ref().type_str();
        let message = format!("`{key}` must be a table, found {found}");
        self.reader
            .fault(value.span(), message, Some(help.to_owned()));
        None
    }

    /// A table.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.value(key)?;
        self.table_value(key.to_owned(), key, value)
    }

    /// An array of tables, or a single one.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let items = self.items(key).unwrap_or_default();
        items
            .into_iter()
            .filter_map(|item| self.table_value(key.to_owned(), key, item))
            .collect()
    }

    /// The items of a list that may hold strings and tables, each as one of the two.
    pub(super) fn strings_or_sections(
        &self,
        key: &'static str,
    ) -> Option<Vec<StringOrSection<'a>>> {
        let items = self.items(key)?;
        let read = |item: &'a Spanned<DeValue<'a>>| {
            if item.get_ref().is_table() {
                self.table_value(key.to_owned(), key, item)
                    .map(StringOrSection::Section)
            } else {
                self.string_value(key, item, "a string or a table")
                    .map(StringOrSection::String)
            }
        };
        Some(items.into_iter().filter_map(read).collect())
    }

    /// Tables under names of the user's choice: `[pools.app]`, `[zones.shop]`.
    pub(super) fn named_sections(&self, key: &'static str) -> Vec<(Located<String>, Section<'a>)> {
        let Some(outer) = self.section(key) else {
            return Vec::new();
        };
        outer
            .table
            .iter()
            .filter_map(|(name, value)| {
                let located = Located {
                    value: name.get_ref().to_string(),
                    span: name.span(),
                };
                let section = self.table_value(format!("{key}.{}", name.get_ref()), key, value)?;
                Some((located, section))
            })
            .collect()
    }

    /// Every entry of a table of strings whose keys are the user's.
    pub(super) fn string_entries(&self) -> Vec<(Located<String>, Located<String>)> {
        self.user_entries()
            .filter_map(|(name, value)| {
                let value = self.string_value(&name.value, value, "a string")?;
                Some((name, value))
            })
            .collect()
    }

    fn user_entries(&self) -> impl Iterator<Item = (Located<String>, &'a Spanned<DeValue<'a>>)> {
        self.table.iter().map(|(name, value)| {
            let name = Located {
                value: name.get_ref().to_string(),
                span: name.span(),
            };
            (name, value)
        })
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map(|(_, value)| value)
    }

    fn items(&self, key: &'static str) -> Option<Vec<&'a Spanned<DeValue<'a>>>> {
        let value = self.value(key)?;
        Some(match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        })
    }

    fn string_value(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
    ) -> Option<Located<String>> {
        let span = value.span();
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, expected, value.get_ref(), span);
            return None;
        };
        match interpolate(text, self.reader.outside.env) {
            Ok(text) => Some(Located {
                value: text.into_owned(),
                span,
            }),
            Err(why) => {
                let help = "write `${NAME}`, or `${NAME:-default}` to give a default".to_owned();
                self.reader
                    .fault(span, format!("`{key}` {why}"), Some(help));
                None
            }
        }
    }

    fn table_value(
        &self,
        name: String,
        key: &str,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Section<'a>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(key, "a table", value.get_ref(), value.span());
            return None;
        };
        let name = if self.name.is_empty() {
            name
        } else {
            format!("{}.{name}", self.name)
        };
        Some(Section::nested(self.reader, name, table, value.span()))
    }

    fn wrong_type(&self, key: &str, expected: &str, found: &DeValue<'_>, span: Range<usize>) {
        let message = format!("`{key}` must be {expected}, found {}", found.type_str());
        self.reader.fault(span, message, None);
    }

    /// Its full dotted name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> String {
        if self.name.is_empty() {
            String::new()
        } else {
            format!(" in [{}]", self.name)
        }
    }
}

/// An item of a list that takes both.
pub(super) enum StringOrSection<'a> {
    /// A plain string.
    String(Located<String>),
    /// A table.
    Section(Section<'a>),
}
