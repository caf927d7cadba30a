//! Findings with their places, for people and for machines.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle,
};

use super::codes::{Code, Severity};
use super::written::Place;
use crate::config::Preset;
use crate::config::diagnostics::position;

/// Something odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which kind.
    pub code: &'static Code,
    /// The file, or `preset NAME`.
    pub file: Arc<str>,
    /// The line there, from 1.
    pub line: usize,
    /// The rule's name, where it is about one.
    pub rule: Option<String>,
    /// What is odd.
    pub message: String,
    /// What to do, when there is something better to say than [`Code::remedy`].
    pub help: Option<String>,
    /// Bytes of the file's text to point at, where the text is known.
    span: Option<Range<usize>>,
}

impl Finding {
    /// What to do.
    pub fn help(&self) -> &str {
        self.help.as_deref().unwrap_or(self.code.remedy)
    }
}

impl serde::Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Written<'f> {
            code: &'static str,
            severity: Severity,
            file: &'f str,
            line: usize,
            rule: Option<&'f str>,
            message: &'f str,
            why: &'static str,
            help: &'f str,
        }
        Written {
            code: self.code.name,
            severity: self.code.severity,
            file: &self.file,
            line: self.line,
            rule: self.rule.as_deref(),
            message: &self.message,
            why: self.code.why,
            help: self.help(),
        }
        .serialize(serializer)
    }
}

/// All findings of one configuration.
#[derive(Debug)]
pub struct Findings {
    name: Arc<str>,
    source: String,
    list: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(name: &str, source: &str) -> Self {
        Self {
            name: name.into(),
            source: source.to_owned(),
            list: Vec::new(),
        }
    }

    /// The findings.
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// How many there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let of_severity = |finding: &&Finding| finding.code.severity == severity;
        self.list.iter().filter(of_severity).count()
    }

    /// Adds what is odd about a rule, unless the rule allows it. `mark` is the text to point at.
    pub(super) fn add(
        &mut self,
        code: &'static Code,
        place: &Place<'_>,
        mark: &str,
        message: String,
        help: Option<String>,
    ) {
        if place.allows.contains(&code.name) {
            return;
        }
        let text = self.text(&place.source.file);
        let span = text.map(|text| find(text, place.source.line, mark));
        let line = match (text, &span) {
            (Some(text), Some(span)) => position(text, span.start).0,
            _ => place.source.line,
        };
        self.list.push(Finding {
            code,
            file: Arc::clone(&place.source.file),
            line,
            rule: place.name.map(str::to_owned),
            message,
            help,
            span,
        });
    }

    /// Adds what is odd about the table, or entry of a table, `table.name`.
    pub(super) fn add_table(
        &mut self,
        code: &'static Code,
        table: &str,
        name: &str,
        message: String,
    ) {
        let whole = [format!("[{table}.{name}]"), format!("{table}.{name}")];
        let entry = [format!("{name} ="), format!("{name}=")];
        let lines = || (1..).zip(self.source.lines());
        let line = whole.iter().chain(&entry).find_map(|beginning| {
            let mut found = lines().filter(|(_, line)| line.trim_start().starts_with(beginning));
            found.next().map(|(number, _)| number)
        });
        self.list.push(Finding {
            code,
            file: Arc::clone(&self.name),
            line: line.unwrap_or(1),
            rule: None,
            message,
            help: None,
            span: line.map(|line| find(&self.source, line, "")),
        });
    }

    /// Sorted: presets, then the file, each from top to bottom.
    pub(super) fn in_order(mut self) -> Self {
        let name = Arc::clone(&self.name);
        self.list
            .sort_by(|one, other| key(one, &name).cmp(&key(other, &name)));
        self
    }

    /// The configuration as written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    fn text(&self, file: &str) -> Option<&str> {
        if *file == *self.name {
            return Some(&self.source);
        }
        Preset::named(file.strip_prefix("preset ")?).map(|preset| preset.toml)
    }
}

fn key<'f>(finding: &'f Finding, name: &str) -> (bool, &'f str, usize, &'static str) {
    (
        *finding.file == *name,
        &finding.file,
        finding.line,
        finding.code.name,
    )
}

/// Where `mark` is within the table that begins at `line`; else the line itself.
fn find(text: &str, line: usize, mark: &str) -> Range<usize> {
    let mut lines = text.split_inclusive('\n');
    let start: usize = lines
        .by_ref()
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let rest = text.get(start..).unwrap_or_default();
    let first = rest.lines().next().unwrap_or_default();
    // A subtable of the rule has one bracket.
    let end = rest.find("\n[[").unwrap_or(rest.len());
    let table = rest.get(..end).unwrap_or(rest);
    let mark = mark.trim();
    match table.find(mark).filter(|_| !mark.is_empty()) {
        // Of several lines the first says enough.
        Some(at) => start + at..start + at + mark.lines().next().unwrap_or_default().len(),
        None => start..start + first.len(),
    }
}

impl fmt::Display for Findings {
    /// The excerpt form of [`crate::config::Diagnostics`], with the reason as a note.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain().decor_style(DecorStyle::Ascii);
        for finding in &self.list {
            let level = match finding.code.severity {
                Severity::Warning => Level::WARNING,
                Severity::Note => Level::NOTE,
            };
            let title = level.primary_title(&finding.message).id(finding.code.name);
            let group = Group::with_title(title);
            let group = match (self.text(&finding.file), &finding.span) {
                (Some(text), Some(span)) => group.element(
                    Snippet::source(text)
                        .path(&*finding.file)
                        .annotation(AnnotationKind::Primary.span(span.clone())),
                ),
                _ => group.element(Origin::path(&*finding.file).line(finding.line)),
            };
            let group = group
                .element(Level::NOTE.message(finding.code.why))
                .element(Level::HELP.message(finding.help()));
            writeln!(formatter, "{}\n", renderer.render(&[group]))?;
        }
        let count = |severity: Severity| {
            let number = self.count(severity);
            let plural = if number == 1 { "" } else { "s" };
            format!("{number} {}{plural}", severity.as_str())
        };
        write!(
            formatter,
            "{}: {}, {}",
            self.name,
            count(Severity::Warning),
            count(Severity::Note)
        )
    }
}
