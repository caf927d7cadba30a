//! Requests for objects in a bucket: which of a client's request goes there, and what of the bucket's
//! answer comes back.
//!
//! An object is its path. Nothing else that a client sends may change what it gets, so nothing else is
//! in the key, and nothing else is sent.

use std::fmt::Write as _;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, EXPIRES, HOST, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, ORIGIN, RANGE, TE, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::RequestView;
use super::arrival::Refusal;
use crate::cache::eligibility::{RequestDecision, eligibility};
use crate::cache::settings::CacheSettings;
use crate::config::Bucket;

/// What becomes of a request to a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is for an object, and this is what the cache does with it.
    Object(RequestDecision),
    /// It brings a signature of its own and goes past the cache.
    Presigned,
    /// It is none for a bucket.
    Refused(Refusal),
}

/// Decides about a request to `bucket`.
pub fn fate(bucket: &Bucket, request: &RequestView<'_>, settings: &CacheSettings) -> Fate {
    if bucket.presigned && is_presigned(request.query) {
        return Fate::Presigned;
    }
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return refused(405, "a bucket's objects can be read alone");
    }
    if request.has_body {
        return refused(400, "a bucket takes no body with a read");
    }
    if ["%2F", "%5C", "%00"]
        .iter()
        .any(|escape| request.path.contains(escape))
    {
        // Storage that keeps objects as files could leave the prefix by them.
        return refused(400, "the path has an encoded slash");
    }
    let mut headers = request.headers.clone();
    strip_credentials(&mut headers);
    let plain = RequestView {
        query: None,
        headers: &headers,
        session_cookie: false,
        ..*request
    };
    Fate::Object(eligibility(&plain, settings))
}

fn refused(status: u16, why: &'static str) -> Fate {
    let why = why.into();
    Fate::Refused(Refusal { status, why })
}

/// Takes out what says who the client is: everybody gets the same object.
pub fn strip_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
}

/// Whether the query has a signature (AWS Signature Version 4, query parameters).
pub fn is_presigned(query: Option<&str>) -> bool {
    let names: Vec<&str> = query
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name))
        .collect();
    ["X-Amz-Signature", "X-Amz-Credential"]
        .iter()
        .all(|wanted| names.contains(wanted))
}

/// The path of the object that is served for `path`, which is in canonical form. It is encoded as it is
/// signed: everything but letters, digits, `-._~` and slashes.
pub fn object_path(bucket: &Bucket, path: &str) -> String {
    let mut target = String::with_capacity(path.len() + bucket.prefix.len() + 32);
    target.push('/');
    if bucket.path_style {
        target.push_str(&bucket.name);
        target.push('/');
    }
    target.push_str(&bucket.prefix);
    encode(path.strip_prefix('/').unwrap_or(path), &mut target);
    if path.ends_with('/') || path.is_empty() {
        target.push_str(&bucket.index_document);
    }
    target
}

/// What is not escaped yet and must be.
fn encode(path: &str, out: &mut String) {
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Whether a client's field goes to a bucket with a request for an object.
pub fn is_for_object(name: &HeaderName) -> bool {
    [
        RANGE,
        IF_RANGE,
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
    ]
    .contains(name)
}

/// Whether a client's field goes to a bucket with a request that the client signed: what describes the
/// body, and what may be signed.
pub fn is_for_presigned(name: &HeaderName) -> bool {
    let described = [
        CACHE_CONTROL,
        CONTENT_DISPOSITION,
        CONTENT_ENCODING,
        CONTENT_LANGUAGE,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        EXPECT,
        EXPIRES,
        HOST,
        ORIGIN,
        TE,
        TRANSFER_ENCODING,
        USER_AGENT,
    ];
    let text = name.as_str();
    is_for_object(name)
        || described.contains(name)
        || text == "content-md5"
        || text.starts_with("x-amz-")
        || text.starts_with("access-control-request-")
}

/// What a bucket's answer for an object is to the client, in place of what the bucket says; `None` when it
/// passes. Bodies of errors name the bucket and its owner, and are for nobody.
pub fn replaced(bucket: &Bucket, status: StatusCode) -> Option<StatusCode> {
    match status {
        StatusCode::FORBIDDEN => Some(bucket.forbidden_status),
        StatusCode::NOT_FOUND
        | StatusCode::PRECONDITION_FAILED
        | StatusCode::RANGE_NOT_SATISFIABLE => Some(status),
        status if status.is_success() || status == StatusCode::NOT_MODIFIED => None,
        status if status.is_server_error() => Some(status),
        // The request was ours: that it is wrong, or the bucket elsewhere, is not the client's fault.
        _ => Some(StatusCode::BAD_GATEWAY),
    }
}

/// Takes out what a bucket says of itself; an object's own metadata stays.
pub fn strip_answer(headers: &mut HeaderMap) {
    let internal = |name: &&HeaderName| {
        let name = name.as_str();
        name.starts_with("x-amz-") && !name.starts_with("x-amz-meta-")
    };
    let names: Vec<HeaderName> = headers.keys().filter(internal).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::{get, map, settings};

    fn bucket() -> Bucket {
        Bucket {
            name: "files".to_owned(),
            region: "us-east-1".to_owned(),
            prefix: "site/".to_owned(),
            path_style: true,
            index_document: "index.html".to_owned(),
            forbidden_status: StatusCode::NOT_FOUND,
            presigned: true,
            credentials: None,
        }
    }

    #[test]
    fn paths_become_objects_below_the_prefix() {
        for (path, expected) in [
            ("/", "/files/site/index.html"),
            ("/a/", "/files/site/a/index.html"),
            ("/a.css", "/files/site/a.css"),
            ("/a+b(1)!.txt", "/files/site/a%2Bb%281%29%21.txt"),
            ("/%C3%A4%20x", "/files/site/%C3%A4%20x"),
        ] {
            assert_eq!(object_path(&bucket(), path), expected);
        }
        let hosted = Bucket {
            path_style: false,
            prefix: String::new(),
            ..bucket()
        };
        assert_eq!(object_path(&hosted, "/"), "/index.html");
    }

    #[test]
    fn credentials_do_not_keep_an_object_from_the_cache() {
        let headers = map(&[("authorization", "Basic x"), ("cookie", "sessionid=1")]);
        let request = RequestView {
            session_cookie: true,
            ..get("/a", &headers)
        };
        assert_eq!(
            fate(&bucket(), &request, &settings()),
            Fate::Object(RequestDecision::Lookup)
        );
    }

    #[test]
    fn only_reads_and_signed_requests_are_for_a_bucket() {
        let none = HeaderMap::new();
        let put = RequestView {
            method: &Method::PUT,
            has_body: true,
            ..get("/a", &none)
        };
        let status =
            |bucket: &Bucket, request: &RequestView<'_>| match fate(bucket, request, &settings()) {
                Fate::Refused(refusal) => Some(refusal.status),
                _ => None,
            };
        assert_eq!(status(&bucket(), &put), Some(405));
        let signed = RequestView {
            query: Some("X-Amz-Credential=a&X-Amz-Signature=b"),
            ..put
        };
        assert_eq!(fate(&bucket(), &signed, &settings()), Fate::Presigned);
        let unwelcome = Bucket {
            presigned: false,
            ..bucket()
        };
        assert_eq!(status(&unwelcome, &signed), Some(405));
        let with_body = RequestView {
            has_body: true,
            ..get("/a", &none)
        };
        assert_eq!(status(&bucket(), &with_body), Some(400));
        assert_eq!(status(&bucket(), &get("/..%2Fa", &none)), Some(400));
    }

    #[test]
    fn a_signature_is_told_by_its_parameters() {
        assert!(is_presigned(Some(
            "a=1&X-Amz-Credential=x&X-Amz-Signature=y"
        )));
        assert!(!is_presigned(Some("X-Amz-Signature=y")));
        assert!(!is_presigned(Some("aX-Amz-Credential=x&X-Amz-Signature=y")));
        assert!(!is_presigned(None));
    }

    #[test]
    fn errors_of_a_bucket_are_told_in_our_words() {
        let told = |status: u16| {
            replaced(&bucket(), StatusCode::from_u16(status).unwrap()).map(|status| status.as_u16())
        };
        for (status, expected) in [
            (200, None),
            (206, None),
            (304, None),
            (301, Some(502)),
            (400, Some(502)),
            (403, Some(404)),
            (404, Some(404)),
            (416, Some(416)),
            (503, Some(503)),
        ] {
            assert_eq!(told(status), expected, "{status}");
        }
    }

    #[test]
    fn an_answer_keeps_the_metadata_of_its_object_alone() {
        let mut headers = map(&[
            ("x-amz-request-id", "1"),
            ("x-amz-meta-author", "me"),
            ("etag", "\"a\""),
        ]);
        strip_answer(&mut headers);
        assert_eq!(
            headers,
            map(&[("x-amz-meta-author", "me"), ("etag", "\"a\"")])
        );
    }
}
