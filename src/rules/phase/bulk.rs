//! Bulk redirects: many URLs looked up in one table, as in Cloudflare's lists.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::redirect::{RedirectTarget, location};
use crate::request::{RequestView, Scheme};

/// One row: from where to where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are columns of Cloudflare's format"
)]
pub struct BulkItem {
    /// Scheme of the source; `None` takes both.
    pub scheme: Option<Scheme>,
    /// Host of the source in canonical form; empty takes every host of the zone.
    pub host: String,
    /// Path of the source in canonical form.
    pub path: String,
    /// The target URL, or a path on the same host.
    pub target: String,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Whether the request's query is appended.
    pub preserve_query: bool,
    /// Whether hosts below `host` are sent there too.
    pub include_subdomains: bool,
    /// Whether paths below `path` are sent there too.
    pub subpath_matching: bool,
    /// With `subpath_matching`, whether what follows `path` is appended to the target.
    pub preserve_path_suffix: bool,
    /// The file it is written in.
    pub file: Arc<str>,
    /// Its line there, from 1.
    pub line: usize,
}

/// A row that applies to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRedirect<'b> {
    /// The row.
    pub item: &'b BulkItem,
    /// Where to.
    pub target: RedirectTarget,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkRedirects {
    items: Vec<BulkItem>,
    /// Rows by host and path.
    index: HashMap<String, Vec<usize>>,
}

impl BulkRedirects {
    /// A table of these rows; of two for the same URLs the later one holds.
    pub fn new(items: Vec<BulkItem>) -> Self {
        let mut index: HashMap<String, Vec<usize>> = HashMap::new();
        for (position, item) in items.iter().enumerate() {
            let key = format!("{}{}", item.host, stem(item));
            index.entry(key).or_default().push(position);
        }
        Self { items, index }
    }

    /// All rows.
    pub fn items(&self) -> &[BulkItem] {
        &self.items
    }

    /// The row that applies to `request`: the closest host first, then the longest path.
    pub fn find(&self, request: &RequestView<'_>) -> Option<BulkRedirect<'_>> {
        if self.items.is_empty() {
            return None;
        }
        hosts(request.host).find_map(|host| self.find_at(host, request))
    }

    fn find_at(&self, host: &str, request: &RequestView<'_>) -> Option<BulkRedirect<'_>> {
        let mut key = format!("{host}{}", request.path);
        loop {
            let rows = self.index.get(&key).into_iter().flatten().rev();
            let found = rows
                .filter_map(|position| self.items.get(*position))
                .find(|item| applies(item, host, request))
                .and_then(|item| {
                    Some(BulkRedirect {
                        item,
                        target: target(item, request)?,
                    })
                });
            if found.is_some() {
                return found;
            }
            // The path above: without its trailing slash, or without its last segment.
            let slash = key.rfind('/').filter(|slash| *slash >= host.len())?;
            key.truncate(slash);
        }
    }
}

/// The path under which a row is found: with `subpath_matching` a trailing slash does not count.
fn stem(item: &BulkItem) -> &str {
    if item.subpath_matching {
        item.path.trim_end_matches('/')
    } else {
        &item.path
    }
}

/// The host, the domains above it, and the empty host that stands for all.
fn hosts(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |host| {
        host.split_once('.').map(|(_, above)| above)
    })
    .chain(std::iter::once(""))
}

fn applies(item: &BulkItem, host: &str, request: &RequestView<'_>) -> bool {
    let is_host = host.is_empty() || host == request.host || item.include_subdomains;
    let is_path = item.subpath_matching || item.path == request.path;
    let is_scheme = item.scheme.is_none_or(|scheme| scheme == request.scheme);
    is_host && is_path && is_scheme
}

fn target(item: &BulkItem, request: &RequestView<'_>) -> Option<RedirectTarget> {
    let query = request.query.filter(|_| item.preserve_query);
    let suffix = request.path.strip_prefix(stem(item)).unwrap_or_default();
    let location = if item.subpath_matching && item.preserve_path_suffix && !suffix.is_empty() {
        location(
            &format!("{}{suffix}", item.target.trim_end_matches('/')),
            query,
        )
    } else {
        location(&item.target, query)
    };
    Some(RedirectTarget {
        location: HeaderValue::try_from(location.ok()?).ok()?,
        status: item.status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::get;

    fn item(host: &str, path: &str, target: &str) -> BulkItem {
        BulkItem {
            scheme: None,
            host: host.to_owned(),
            path: path.to_owned(),
            target: target.to_owned(),
            status: StatusCode::MOVED_PERMANENTLY,
            preserve_query: false,
            include_subdomains: false,
            subpath_matching: false,
            preserve_path_suffix: false,
            file: "test".into(),
            line: 1,
        }
    }

    fn sent(table: &BulkRedirects, host: &str, path: &str) -> Option<String> {
        let headers = http::HeaderMap::new();
        let request = RequestView {
            host,
            query: Some("q=1"),
            ..get(path, &headers)
        };
        let found = table.find(&request)?;
        Some(found.target.location.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_closest_host_and_the_longest_path_hold() {
        let below = BulkItem {
            subpath_matching: true,
            preserve_path_suffix: true,
            preserve_query: true,
            ..item("a.test", "/docs/", "https://docs.test/v2")
        };
        let subdomains = BulkItem {
            include_subdomains: true,
            ..item("b.test", "/x", "/everywhere")
        };
        let table = BulkRedirects::new(vec![
            item("", "/docs/old", "/any"),
            item("a.test", "/docs/old", "https://a.test/new#top"),
            below,
            subdomains,
        ]);
        let at = |host, path| sent(&table, host, path);
        assert_eq!(
            at("a.test", "/docs/old").as_deref(),
            Some("https://a.test/new#top")
        );
        assert_eq!(at("c.test", "/docs/old").as_deref(), Some("/any"));
        assert_eq!(
            at("a.test", "/docs/x/y").as_deref(),
            Some("https://docs.test/v2/x/y?q=1")
        );
        assert_eq!(
            at("a.test", "/docs").as_deref(),
            Some("https://docs.test/v2?q=1")
        );
        assert_eq!(at("a.test", "/docsx"), None);
        assert_eq!(at("w.b.test", "/x").as_deref(), Some("/everywhere"));
        assert_eq!(at("w.a.test", "/docs/x"), None);
        assert_eq!(at("a.test", "/x"), None);
    }
}
