//! `[lists]`: what expressions name as `$name`, written there or in a file of its own.

use super::reader::{Located, NamedFile, NamedList, Section};
use crate::rules::{List, ListFault, ListKind, Lists};

const KINDS: &[(&str, ListKind)] = &[
    ("ip", ListKind::Ip),
    ("number", ListKind::Number),
    ("string", ListKind::String),
];

/// Reads all lists. A faulty one counts as empty, so that its uses are not told as faults too.
pub(super) fn read_lists(root: &Section<'_>) -> Lists {
    let mut lists = Lists::default();
    for (name, written) in root.named_lists("lists") {
        if !is_name(&name.value) {
            let message = format!("`{}` cannot be the name of a list", name.value);
            let help = "names are of lower case letters, digits and `_`, as in `$office_network`";
            (root.reader).fault(name.span.clone(), message, Some(help.to_owned()));
        }
        let list = match written {
            NamedList::Items(items) => of_items(root, None, &items),
            NamedList::Section(section) => read_list(section, &name),
        };
        lists.insert(name.value, list.unwrap_or_default());
    }
    lists
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.bytes().all(fits)
}

fn read_list(section: Section<'_>, name: &Located<String>) -> Option<List> {
    let kind = section.word("kind", KINDS).map(|kind| kind.value);
    let items = section.texts("items");
    let file = section.file("file");
    if !section.has("items") && !section.has("file") {
        let message = format!("the list `{}` has neither `items` nor `file`", name.value);
        let help = "write `items = [\"…\"]` or `file = \"lists/name.txt\"`".to_owned();
        (section.reader).fault(section.span.clone(), message, Some(help));
    }
    let list = match file {
        Some(file) => with_file(&section, kind, &items.unwrap_or_default(), &file),
        None => of_items(&section, kind, &items.unwrap_or_default()),
    };
    section.finish();
    list
}

fn of_items(
    section: &Section<'_>,
    kind: Option<ListKind>,
    items: &[Located<String>],
) -> Option<List> {
    let told = |fault: ListFault| {
        if let Some(item) = items.get(fault.place) {
            (section.reader).fault(item.span.clone(), fault.message, fault.help);
        }
    };
    List::new(kind, texts(items))
        .map_err(|faults| faults.into_iter().for_each(told))
        .ok()
}

/// The items, and then those of the file, whose lines are counted on from them.
fn with_file(
    section: &Section<'_>,
    kind: Option<ListKind>,
    items: &[Located<String>],
    file: &Located<NamedFile>,
) -> Option<List> {
    let before = items.len();
    let lines = List::lines(&file.value.text).map(|(line, item)| (before + line, item));
    let told = |fault: ListFault| {
        let (span, message) = if let Some(item) = items.get(fault.place) {
            (item.span.clone(), fault.message)
        } else {
            let line = fault.place - before;
            let message = format!("in \"{}\" line {line}: {}", file.value.name, fault.message);
            (file.span.clone(), message)
        };
        section.reader.fault(span, message, fault.help);
    };
    List::new(kind, texts(items).chain(lines))
        .map_err(|faults| faults.into_iter().for_each(told))
        .ok()
}

fn texts(items: &[Located<String>]) -> impl Iterator<Item = (usize, &str)> {
    items.iter().map(|item| item.value.as_str()).enumerate()
}
