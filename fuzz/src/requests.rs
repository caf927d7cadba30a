//! Request heads and targets, cookies, purge requests.

use std::time::SystemTime;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, Version};
use seawall::edge::head::{BodyFraming, HeadLimits, check};
use seawall::guard::RequestFilters;
use seawall::origin::h1::head::{self as answer, Framing};
use seawall::purge::request::{PurgeTarget, parse_json};
use seawall::request::{Facts, RequestView, Scheme};
use seawall::tier::handover::{Handover, NotAuthentic, SignedHead, TierKey};
use seawall::tier::verdict::Verdict;
use seawall::zone::{Authority, HostPattern, SessionCookies, Slashes, canonical_path_with};

use super::{lines_of, text};

/// A head that is accepted ends with its empty line, is within the limits, and is accepted as soon
/// as it is complete, not before, whatever follows.
pub(super) fn head(data: &[u8]) {
    let limits = HeadLimits {
        size: 1024,
        fields: 16,
        target: 256,
    };
    let Ok(Some(head)) = check(data, limits) else {
        return;
    };
    let (bytes, _) = data.split_at(head.len);
    assert!(bytes.ends_with(b"\r\n\r\n") && bytes.len() <= limits.size);
    assert!(!bytes.contains(&0));
    assert_eq!(check(bytes, limits), Ok(Some(head)));
    let (cut, _) = bytes.split_at(head.len - 1);
    assert_eq!(check(cut, limits), Ok(None));
    let mut followed = bytes.to_vec();
    followed.extend_from_slice(b"\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(check(&followed, limits), Ok(Some(head)));
    // No other parser finds another frame.
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(
        request.parse(bytes),
        Ok(httparse::Status::Complete(head.len))
    );
    let framing: Vec<_> = request
        .headers
        .iter()
        .filter(|field| {
            ["content-length", "transfer-encoding"]
                .iter()
                .any(|name| field.name.eq_ignore_ascii_case(name))
        })
        .collect();
    match (framing.as_slice(), head.body) {
        ([], BodyFraming::Length(length)) => assert_eq!(length, 0),
        ([one], BodyFraming::Length(length)) => {
            let written = text(one.value).and_then(|value| value.trim().parse().ok());
            assert_eq!(written, Some(length));
        }
        ([one], BodyFraming::Chunked) => {
            assert!(one.value.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        }
        _ => unreachable!("{framing:?} beside {:?}", head.body),
    }
}

/// What nobody signed is nobody's handover, and what is read as a verdict is written and read as the same.
pub(super) fn handover(data: &[u8]) {
    let fields = HeaderMap::new();
    let head = SignedHead {
        method: &Method::GET,
        host: b"shop.test",
        target: "/",
        fields: &fields,
    };
    let key = TierKey::new("0123456789abcdef");
    let verified = Handover::verify(data, &head, &key, SystemTime::UNIX_EPOCH);
    assert_eq!(verified, Err(NotAuthentic::Forged));
    if let Some(verdict) = Verdict::parse(data)
        && let Ok(value) = HeaderValue::try_from(verdict.to_string())
    {
        assert_eq!(Verdict::parse(value.as_bytes()), Some(verdict));
    }
}

/// The canonical path is its own canonical path, without dot segments.
pub(super) fn canonical_path(data: &[u8]) {
    let Some(path) = text(data).filter(|path| path.starts_with('/')) else {
        return;
    };
    for slashes in [Slashes::Keep, Slashes::Merge] {
        let Ok(canonical) = canonical_path_with(path, slashes) else {
            continue;
        };
        assert_eq!(
            canonical_path_with(&canonical, slashes).as_deref(),
            Ok(canonical.as_ref())
        );
        assert!(canonical.starts_with('/') && canonical.len() <= path.len());
        assert!(canonical.split('/').all(|part| part != "." && part != ".."));
        assert!(slashes == Slashes::Keep || !canonical.contains("//"));
        filtered(&canonical);
    }
}

/// The guard reads a path in several ways: what climbs in its plainest reading is found.
fn filtered(path: &str) {
    let headers = HeaderMap::new();
    let request = RequestView {
        method: &Method::GET,
        scheme: Scheme::Http,
        host: "shop.test",
        path,
        query: Some(path),
        version: Version::HTTP_11,
        headers: &headers,
        client: [192, 0, 2, 1].into(),
        session_cookie: false,
        has_body: false,
        facts: Facts::default(),
    };
    let filters = RequestFilters::default();
    let found: Vec<_> = filters.find(&request).map(|found| found.filter).collect();
    let upper = path.to_ascii_uppercase();
    if ["/..%2F", "/..%5C", "/..;"]
        .iter()
        .any(|way| upper.contains(way))
    {
        assert!(found.contains(&"path_traversal"), "{path} {found:?}");
    }
}

/// The canonical authority is its own canonical authority, and so is the host in it.
pub(super) fn authority(data: &[u8]) {
    let Some(raw) = text(data) else { return };
    for scheme in [Scheme::Http, Scheme::Https] {
        let Some(authority) = Authority::parse(raw, scheme) else {
            continue;
        };
        let host = authority.host();
        assert!(authority.as_str().starts_with(host));
        assert!(!host.is_empty() && !host.ends_with('.') && *host == host.to_ascii_lowercase());
        for again in [authority.as_str(), host] {
            let parsed = Authority::parse(again, scheme).map(|parsed| parsed.as_str().to_owned());
            assert_eq!(parsed.as_deref(), Some(again));
        }
    }
    if let Ok(HostPattern::Exact(host)) = HostPattern::parse(raw) {
        assert!(
            HostPattern::Exact(host.clone())
                .specificity(&host)
                .is_some()
        );
    }
}

/// No pair holds a separator, and none of a session is overlooked for what stands beside it.
pub(super) fn cookies(data: &[u8]) {
    let mut headers = lines_of(&http::header::COOKIE, data);
    let known = SessionCookies::frameworks();
    let session = |headers: &HeaderMap| {
        seawall::fields::cookies::cookies(headers).any(|(name, _)| known.contains(name))
    };
    for (name, value) in seawall::fields::cookies::cookies(&headers) {
        assert!(!name.contains(&b'=') && !name.contains(&b';') && !value.contains(&b';'));
    }
    session(&headers);
    for line in headers.clone().get_all(http::header::COOKIE) {
        let with_session = [line.as_bytes(), b"; sessionid=1"].concat();
        if let Ok(value) = http::HeaderValue::from_bytes(&with_session) {
            headers.insert(http::header::COOKIE, value);
            assert!(session(&headers));
        }
    }
}

/// What is accepted names something, within the bounds, and in the form in which keys hold it.
pub(super) fn purge_json(data: &[u8]) {
    let Ok(request) = parse_json(data) else {
        return;
    };
    assert!((1..=100).contains(&request.targets.len()));
    for target in &request.targets {
        match target {
            PurgeTarget::Url(url) => is_canonical(&url.path),
            PurgeTarget::Tag(tag) => {
                let normalised = seawall::fields::tags::normalised(tag.as_bytes());
                assert_eq!(normalised.as_ref(), Some(tag));
            }
            PurgeTarget::Prefix { host, path } => {
                is_host(host);
                assert!(path.starts_with('/'));
            }
            PurgeTarget::Host(host) => is_host(host),
            PurgeTarget::Everything => assert_eq!(request.targets.len(), 1),
        }
    }
}

fn is_canonical(path: &str) {
    assert!(path.starts_with('/'));
    let canonical = canonical_path_with(path, Slashes::Keep);
    assert_eq!(canonical.as_deref(), Ok(path));
}

fn is_host(host: &str) {
    let authority = Authority::parse(host, Scheme::Http);
    assert!(authority.is_some_and(|authority| authority.host() == host));
}

/// An answer's head that is accepted is so whatever follows it, leaves that alone, and announces one end of
/// its body.
pub(super) fn response_head(data: &[u8]) {
    let mut bytes = BytesMut::from(data);
    let Ok(Some(head)) = answer::take(&mut bytes, &Method::GET) else {
        return;
    };
    assert!(data.ends_with(&bytes));
    let fields = &head.response.headers;
    let lengths = fields.get_all("content-length").iter().count();
    let codings = fields.get_all("transfer-encoding").iter().count();
    assert!(lengths + codings <= 1);
    if head.framing == Framing::Chunked {
        assert_eq!(codings, 1);
    }
    let mut followed = BytesMut::from(data);
    followed.extend_from_slice(b"\r\nContent-Length: 5\r\n\r\n");
    let again = answer::take(&mut followed, &Method::GET);
    let again = again
        .ok()
        .flatten()
        .map(|again| (again.framing, again.persistent));
    assert_eq!(again, Some((head.framing, head.persistent)));
}
