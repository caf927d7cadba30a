//! Pages of the zone's own: for maintenance, and in place of errors.

use std::sync::Arc;

use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// RFC 9530, and their predecessors.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

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

    /// Where it is from, for people.
    pub fn describe(&self) -> (&'static str, String) {
        match &self.file {
            Some(file) => ("file", file.clone()),
            None => ("content", format!("{} bytes", self.content.len())),
        }
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
    /// Makes the fields of an answer those of the page, which has `length` bytes: what described the
    /// old content goes.
    pub fn take_over(&self, fields: &mut HeaderMap, length: usize) {
        for name in [
            ACCEPT_RANGES,
            CONTENT_DISPOSITION,
            CONTENT_ENCODING,
            CONTENT_LANGUAGE,
            CONTENT_RANGE,
            ETAG,
            LAST_MODIFIED,
        ]
        .into_iter()
        .chain(DIGESTS)
        {
            fields.remove(name);
        }
        fields.insert(CONTENT_TYPE, self.page.content_type.clone());
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }

    /// What it sets, for people.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let mut sets = vec![self.page.describe()];
        if let Some(status) = self.status {
            sets.push(("status", status.as_u16().to_string()));
        }
        if let Some(seconds) = self.retry_after {
            sets.push(("retry_after", format!("{seconds}s")));
        }
        sets
    }
}
