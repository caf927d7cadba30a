//! `bulk_redirects`: rows in the file, or in a file of their own in Cloudflare's format.

use std::sync::Arc;

use http::StatusCode;

use super::super::diagnostics::position;
use super::super::reader::Section;
use super::super::rule::RuleFile;
use super::{check_target, read_redirect_status};
use crate::request::Scheme;
use crate::rules::phase::BulkItem;
use crate::zone::{Authority, canonical_path};

pub(super) fn read_bulk_redirects(section: &Section<'_>, from: RuleFile<'_>) -> Vec<BulkItem> {
    let mut items = Vec::new();
    for table in section.sections("bulk_redirects") {
        if table.has("file") {
            if let Some(file) = table.file("file") {
                let (rows, faults) = read_rows(&file.value.name, &file.value.text);
                items.extend(rows);
                for fault in faults {
                    table.reader.fault(file.span.clone(), fault, None);
                }
            }
        } else {
            items.extend(read_item(&table, from));
        }
        table.finish();
    }
    items
}

fn read_item(table: &Section<'_>, from: RuleFile<'_>) -> Option<BulkItem> {
    let source = table.required_string("source", "\"example.com/old\"");
    let target = table.required_string("target", "\"https://example.com/new\"");
    let status = read_redirect_status(table).unwrap_or(StatusCode::MOVED_PERMANENTLY);
    let flag = |key| table.boolean(key).is_some_and(|flag| flag.value);
    let (preserve_query, include_subdomains) = (flag("preserve_query"), flag("include_subdomains"));
    let (subpath_matching, preserve_path_suffix) =
        (flag("subpath_matching"), flag("preserve_path_suffix"));
    let (source, target) = (source?, target?);
    check_target(table, "target", &target.value);
    let (scheme, host, path) = match read_source(&source.value) {
        Ok(parts) => parts,
        Err(why) => {
            let message = format!("`source = \"{}\"` {why}", source.value);
            table.reader.fault(source.span, message, None);
            return None;
        }
    };
    Some(BulkItem {
        scheme,
        host,
        path,
        target: target.value,
        status,
        preserve_query,
        include_subdomains,
        subpath_matching,
        preserve_path_suffix,
        file: from.name.into(),
        line: position(from.source, table.span.start).0,
    })
}

/// Scheme, host and path of a source: `https://example.com/old`, `example.com/old` or `/old`.
fn read_source(text: &str) -> Result<(Option<Scheme>, String, String), &'static str> {
    let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
        (Some(Scheme::Https), rest)
    } else if let Some(rest) = text.strip_prefix("http://") {
        (Some(Scheme::Http), rest)
    } else {
        (None, text)
    };
    if rest.contains(['?', '#']) {
        return Err("has a query or a fragment, which bulk redirects do not look at");
    }
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let host = if host.is_empty() {
        String::new()
    } else {
        Authority::parse(host, scheme.unwrap_or(Scheme::Https))
            .ok_or("does not begin with a host or a slash")?
            .host()
            .to_owned()
    };
    let path = canonical_path(path).map_err(|_| "has a path without a canonical form")?;
    Ok((scheme, host, path.into_owned()))
}

/// Rows of CSV as Cloudflare takes them: source, target, then optionally status,
/// `preserve_query_string`, `include_subdomains`, `subpath_matching` and `preserve_path_suffix`, the
/// last four TRUE or FALSE. Lines that begin with `#` are comments.
fn read_rows(name: &str, text: &str) -> (Vec<BulkItem>, Vec<String>) {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let file: Arc<str> = name.into();
    let mut rows = Vec::new();
    let mut faults = Vec::new();
    for record in reader.records() {
        let row = match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                read_row(&record, &file, line).map_err(|why| format!("{name}:{line}: {why}"))
            }
            Err(error) => Err(format!("{name}: {error}")),
        };
        match row {
            Ok(row) => rows.push(row),
            Err(why) => faults.push(why),
        }
    }
    (rows, faults)
}

fn read_row(record: &csv::StringRecord, file: &Arc<str>, line: u64) -> Result<BulkItem, String> {
    let cell = |column: usize| record.get(column).filter(|text| !text.is_empty());
    let source = cell(0).ok_or("there is no source")?;
    let target = cell(1).ok_or("there is no target")?;
    let (scheme, host, path) =
        read_source(source).map_err(|why| format!("the source \"{source}\" {why}"))?;
    let absolute = target.starts_with("https://") || target.starts_with("http://");
    if !absolute && (!target.starts_with('/') || target.starts_with("//")) {
        return Err(format!(
            "the target \"{target}\" is neither an http(s) URL nor a path"
        ));
    }
    let status = match cell(2) {
        None => StatusCode::MOVED_PERMANENTLY,
        Some(text @ ("301" | "302" | "303" | "307" | "308")) => text
            .parse()
            .map_err(|_| format!("\"{text}\" is not a status"))?,
        Some(text) => return Err(format!("\"{text}\" is not a status that redirects")),
    };
    let flag = |column| match cell(column) {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(text) => Err(format!("\"{text}\" is neither TRUE nor FALSE")),
    };
    Ok(BulkItem {
        scheme,
        host,
        path,
        target: target.to_owned(),
        status,
        preserve_query: flag(3)?,
        include_subdomains: flag(4)?,
        subpath_matching: flag(5)?,
        preserve_path_suffix: flag(6)?,
        file: file.clone(),
        line: usize::try_from(line).unwrap_or(usize::MAX),
    })
}
