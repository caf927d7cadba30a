//! `[lists]`: what expressions name as `$name`, written there or in a file of its own.

use super::reader::{Located, NamedList, Section};
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
    let list = match (section.has("file"), section.has("items")) {
        (true, false) => of_file(&section, kind),
        (false, true) => {
            let items = section.texts("items").unwrap_or_default();
            of_items(&section, kind, &items)
        }
        (both, _) => {
            let found = match both {
                true => "both `file` and `items`",
                false => "neither `file` nor `items`",
            };
            let message = format!("the list `{}` has {found}", name.value);
            let help = "write `file = \"lists/name.txt\"` or `items = [\"…\"]`".to_owned();
            section.reader.fault(section.span.clone(), message, Some(help));
            None
        }
    };
    section.finish();
    list
}

fn of_file(section: &Section<'_>, kind: Option<ListKind>) -> Option<List> {
    let file = section.file("file")?;
    let told = |fault: ListFault| {
        let place = format!("\"{}\" line {}", file.value.name, fault.place);
        let message = format!("in {place}: {}", fault.message);
        section.reader.fault(file.span.clone(), message, fault.help);
    };
    List::of_lines(kind, &file.value.text)
        .map_err(|faults| faults.into_iter().for_each(told))
        .ok()
}

fn of_items(
    section: &Section<'_>,
    kind: Option<ListKind>,
    items: &[Located<String>],
) -> Option<List> {
    let told = |fault: ListFault| {
        if let Some(item) = items.get(fault.place) {
            section.reader.fault(item.span.clone(), fault.message, fault.help);
        }
    };
    List::new(kind, items.iter().map(|item| item.value.as_str()).enumerate())
        .map_err(|faults| faults.into_iter().for_each(told))
        .ok()
}
