//! Files of a site that other sites show as theirs.

use http::header::REFERER;

use crate::request::RequestView;
use crate::zone::HostPattern;

/// Which files are for the site's own pages, and which other pages may show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hotlinks {
    /// Extensions of the files, in lower case.
    pub extensions: Vec<String>,
    /// Hosts whose pages may show them, beside the one that is asked.
    pub allowed: Vec<HostPattern>,
    /// Whether those may have them who do not say from where they come.
    pub without_referer: bool,
}

impl Hotlinks {
    /// Whether `request` is for such a file, on behalf of a page elsewhere.
    pub(super) fn is_hotlink(&self, request: &RequestView<'_>) -> bool {
        self.is_protected(request.path) && !self.comes_from_allowed(request)
    }

    fn is_protected(&self, path: &str) -> bool {
        let file = path.rsplit('/').next().unwrap_or_default();
        // Some applications take `a.jpg;x` for `a.jpg`.
        let file = file.split(';').next().unwrap_or_default();
        let Some((_, extension)) = file.rsplit_once('.') else {
            return false;
        };
        let mut extensions = self.extensions.iter();
        extensions.any(|protected| extension.eq_ignore_ascii_case(protected))
    }

    fn comes_from_allowed(&self, request: &RequestView<'_>) -> bool {
        let sent = request.headers.get(REFERER);
        let Some(sent) = sent.filter(|sent| !sent.as_bytes().trim_ascii().is_empty()) else {
            return self.without_referer;
        };
        // Some clients do not encode what is behind the host.
        let Some(host) = host_of(&String::from_utf8_lossy(sent.as_bytes())) else {
            return false;
        };
        let mut allowed = self.allowed.iter();
        host == request.host || allowed.any(|pattern| pattern.specificity(&host).is_some())
    }
}

/// The host of an http(s) URL, in lower case.
fn host_of(referer: &str) -> Option<String> {
    let (scheme, rest) = referer.trim().split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A page has no user information in its Referer (RFC 9110 §10.1.3).
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let host = authority.get(..end)?.trim_end_matches('.');
    (!authority.contains(['@', '\\'])).then(|| host.to_ascii_lowercase())
}
