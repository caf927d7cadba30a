//! Pages of the zone's own: for maintenance, and in place of errors.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its content; `{{status}}` and `{{request_id}}` stand for what they say.
    pub content: Arc<str>,
    /// The file it was read from, as written.
    pub file: Option<String>,
    /// Its media type.
    pub content_type: HeaderValue,
}

impl Page {
    /// The page for one answer. Neither value can hold what HTML or JSON would take for its own.
    pub fn render(&self, status: StatusCode, request_id: &str) -> String {
        self.content
            .replace("{{status}}", status.as_str())
            .replace("{{request_id}}", request_id)
    }
}

/// A page, and what is answered with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRule {
    /// The page.
    pub page: Page,
    /// The status to answer with; for errors `None` keeps theirs.
    pub status: Option<StatusCode>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl PageRule {
    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let mut sets = Vec::new();
        match &self.page.file {
            Some(file) => sets.push(("file", file.clone())),
            None => sets.push(("content", format!("{} bytes", self.page.content.len()))),
        }
        if let Some(status) = self.status {
            sets.push(("status", status.as_u16().to_string()));
        }
        if let Some(seconds) = self.retry_after {
            sets.push(("retry_after", format!("{seconds}s")));
        }
        sets
    }
}
