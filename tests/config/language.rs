//! `docs/expressions.md` lists the fields and functions that there are; `UPDATE_GOLDENS=1` writes its
//! tables anew.

use std::fmt::Write as _;

use seawall::rules::expression::{fields, functions};

use super::{read, root};

const PAGE: &str = "docs/expressions.md";

#[test]
fn the_page_about_expressions_lists_every_field_and_function() {
    let written = read(PAGE);
    let page = with_table(&written, "fields", &field_table());
    let page = with_table(&page, "functions", &function_table());
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(root().join(PAGE), page).unwrap();
        return;
    }
    assert!(
        page == written,
        "{PAGE} is not up to date: UPDATE_GOLDENS=1 cargo test --test config"
    );
}

/// The page with the table of this name in place of the one that it has.
fn with_table(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}{table}{end}{after}")
}

fn field_table() -> String {
    let mut table = "| field | type | what it says |\n|---|---|---|\n".to_owned();
    for field in fields() {
        let _ = writeln!(
            table,
            "| `{}` | {} | {} |",
            field.name,
            escaped(field.type_name),
            field.description
        );
    }
    table
}

fn function_table() -> String {
    let mut table = "| function | type | what it gives |\n|---|---|---|\n".to_owned();
    for function in functions() {
        let _ = writeln!(
            table,
            "| `{}({})` | {} | {} |",
            function.name,
            function.parameters,
            escaped(function.type_name),
            function.description
        );
    }
    table
}

fn escaped(type_name: &str) -> String {
    type_name.replace('<', "\\<")
}
