//! `[lists]`: what expressions name as `$name`, written there or in a file of its own.

use std::sync::Arc;

use super::diagnostics::did_you_mean;
use super::reader::{Located, NamedFile, NamedList, Section};
use crate::rules::{List, ListFault, ListFormat, ListKind, Lists};

const KINDS: &[(&str, ListKind)] = &[
    ("ip", ListKind::Ip),
    ("number", ListKind::Number),
    ("string", ListKind::String),
];

const FORMATS: &[(&str, ListFormat)] = &[
    ("plain", ListFormat::Plain),
    ("netset", ListFormat::Netset),
    ("spamhaus_drop", ListFormat::SpamhausDrop),
];

/// Reads all lists, and tells which of them others make. A faulty one counts as empty, so that its uses are not told
/// as faults too.
pub(super) fn read_lists(root: &Section<'_>) -> (Lists, Vec<String>) {
    let (mut lists, mut of_others) = (Lists::default(), Vec::new());
    let mut named = root.named_lists("lists");
    // What these name is known by then.
    named.sort_by_key(|(_, written)| match written {
        NamedList::Items(_) => false,
        NamedList::Section(section) => section.has("except"),
    });
    for (name, written) in named {
        if !is_name(&name.value) {
            let message = format!("`{}` cannot be the name of a list", name.value);
            let help = "names are of lower case letters, digits and `_`, as in `$office_network`";
            (root.reader).fault(name.span.clone(), message, Some(help.to_owned()));
        }
        let list = match written {
            NamedList::Items(items) => of_items(root, None, &items),
            NamedList::Section(section) => {
                let (list, is_of_others) = read_list(section, &name, &lists);
                of_others.extend(is_of_others.then(|| name.value.clone()));
                list
            }
        };
        lists.insert(name.value, list.unwrap_or_default());
    }
    (lists, of_others)
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.bytes().all(fits)
}

/// The list, and whether others make it.
fn read_list(section: Section<'_>, name: &Located<String>, lists: &Lists) -> (Option<List>, bool) {
    let kind = section.word("kind", KINDS).map(|kind| kind.value);
    let items = section.texts("items");
    let file = section.file("file");
    let format = section.word("format", FORMATS);
    let private = section.boolean("private").map(|private| private.value);
    let except = section
        .strings("except")
        .map(|written| read_addresses(&section, &written, lists));
    if section.has("format") && !section.has("file") {
        let help = Some("remove it, or name a `file`".to_owned());
        let place = section.place_of("format");
        (section.reader).fault(place, "`format` is that of a `file`", help);
    }
    let format = format.map(|format| format.value).unwrap_or_default();
    if !section.has("items") && !section.has("file") {
        let message = format!("the list `{}` has neither `items` nor `file`", name.value);
        let help = "write `items = [\"…\"]` or `file = \"lists/name.txt\"`".to_owned();
        (section.reader).fault(section.span.clone(), message, Some(help));
    }
    let list = match file {
        Some(file) => {
            let items = items.unwrap_or_default();
            with_file(&section, kind, &items, (&file, format))
        }
        None => of_items(&section, kind, &items.unwrap_or_default()),
    };
    section.finish();
    let of_others = !private.unwrap_or(!format.is_of_others());
    if except.is_none() && !of_others {
        return (list, of_others);
    }
    let except = except.unwrap_or_default();
    let list = list.map(|list| list.without(except.iter().map(AsRef::as_ref), of_others));
    (list, of_others)
}

/// Addresses as written: one list of those written there, and those that are named as `$name`.
pub(super) fn read_addresses(
    section: &Section<'_>,
    written: &[Located<String>],
    lists: &Lists,
) -> Vec<Arc<List>> {
    let is_name = |item: &&Located<String>| item.value.starts_with('$');
    let items: Vec<_> = written
        .iter()
        .filter(|item| !is_name(item))
        .cloned()
        .collect();
    let own = Some(&items).filter(|items| !items.is_empty());
    let own = own.and_then(|items| of_items(section, Some(ListKind::Ip), items));
    let named = written.iter().filter(is_name);
    let named = named.filter_map(|item| named_list(section, item, lists, ListKind::Ip));
    own.map(Arc::new).into_iter().chain(named).collect()
}

/// The list that `item` names, which must hold `kind`.
pub(super) fn named_list(
    section: &Section<'_>,
    item: &Located<String>,
    lists: &Lists,
    kind: ListKind,
) -> Option<Arc<List>> {
    let name = item.value.trim_start_matches('$');
    let Some(list) = lists.get(name) else {
        let help = did_you_mean(name, lists.names());
        let message = format!("unknown list `{}`", item.value);
        section.reader.fault(item.span.clone(), message, help);
        return None;
    };
    if list.kind().is_some_and(|found| found != kind) {
        let found = list.kind().map(|kind| kind.to_string()).unwrap_or_default();
        let message = format!("`{}` is a list of {found}, not of {kind}", item.value);
        section.reader.fault(item.span.clone(), message, None);
        return None;
    }
    Some(list.clone())
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
    (file, format): (&Located<NamedFile>, ListFormat),
) -> Option<List> {
    let before = items.len();
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
    let lines = format.items(&file.value.text).map_err(|mut faults| {
        for fault in &mut faults {
            fault.place += before;
        }
        faults
    });
    let lines = lines
        .map_err(|faults| faults.into_iter().for_each(told))
        .ok()?;
    let lines = lines
        .iter()
        .map(|(line, item)| (before + line, item.as_ref()));
    List::new(kind, texts(items).chain(lines))
        .map_err(|faults| faults.into_iter().for_each(told))
        .ok()
}

fn texts(items: &[Located<String>]) -> impl Iterator<Item = (usize, &str)> {
    items.iter().map(|item| item.value.as_str()).enumerate()
}
