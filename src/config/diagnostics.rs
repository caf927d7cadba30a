//! What is wrong with a configuration file, where, and what to do about it.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

/// One fault, with its place in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Byte range of the offending text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do, when there is something better to say than the message.
    pub help: Option<String>,
}

/// All faults of one file, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    source: String,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Sorts `list` by position and keeps what is needed to show it.
    pub fn new(file: &str, source: &str, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.span.start);
        list.dedup();
        Self {
            file: file.to_owned(),
            source: source.to_owned(),
            list,
        }
    }

    /// The faults.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// One line a fault, `file:line:column: message`, for logs.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.list.iter().map(|diagnostic| {
            let (line, column) = position(&self.source, diagnostic.span.start);
            let help = diagnostic.help.as_ref().map(|help| format!(" ({help})"));
            format!(
                "{}:{line}:{column}: {}{}",
                self.file,
                diagnostic.message,
                help.unwrap_or_default()
            )
        })
    }
}

impl fmt::Display for Diagnostics {
    /// The excerpt form: the line, the offending text underlined, the help below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain().decor_style(DecorStyle::Ascii);
        for diagnostic in &self.list {
            let end = diagnostic.span.end.min(self.source.len());
            let start = diagnostic.span.start.min(end);
            let mut group = Group::with_title(Level::ERROR.primary_title(&diagnostic.message))
                .element(
                    Snippet::source(&self.source)
                        .path(&self.file)
                        .annotation(AnnotationKind::Primary.span(start..end)),
                );
            if let Some(help) = &diagnostic.help {
                group = group.element(Level::HELP.message(help));
            }
            writeln!(f, "{}\n", renderer.render(&[group]))?;
        }
        let count = self.list.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{}: {count} error{plural}", self.file)
    }
}

/// Line and column of a byte offset, both from 1, the column in characters.
pub fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |text| text.chars().count())
        + 1;
    (line, column)
}

/// "did you mean …?" when one of `known` is close to `word`.
pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = "a = 1\nö = 2\n";
        assert_eq!(position(source, 0), (1, 1));
        assert_eq!(position(source, 6), (2, 1));
        assert_eq!(position(source, 8), (2, 2));
        assert_eq!(position(source, 999), (3, 1));
    }

    #[test]
    fn only_close_words_are_suggested() {
        assert_eq!(
            did_you_mean("edge_tll", ["edge_ttl", "name"]).as_deref(),
            Some("did you mean `edge_ttl`?")
        );
        assert_eq!(did_you_mean("colour", ["edge_ttl", "name"]), None);
    }
}
