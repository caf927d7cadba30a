//! What a pool makes of a request on its way to a server, and of the answer on its way back. For most pools
//! that is nothing; a bucket wants its own target and a signature.
//!
//! Signatures are those of the client of the reserve (AWS Signature Version 4): nothing else would be used of
//! another crate for it. It takes the time from the system, as a signature that is late is refused.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use pingora_error::{Error, ErrorType, OrErr as _, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::pool::OriginPool;
use super::replica::Replica;
use crate::clock;
use crate::config::{Bucket, Credentials};
use crate::request::object::{
    is_for_object, is_for_presigned, is_presigned, object_path, replaced, strip_answer,
};

/// How often a pool says that its bucket refuses.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// An error's body, in place of one that the client does not get.
pub(super) struct Replacement {
    pub(super) head: ResponseHeader,
    pub(super) body: Bytes,
}

impl OriginPool {
    /// The request as the pool's servers want it. It is made anew for every attempt.
    ///
    /// # Errors
    /// When a value is not a valid field value.
    pub(super) fn made_out<'h>(
        &self,
        head: &'h RequestHeader,
        replica: &Replica,
    ) -> Result<Cow<'h, RequestHeader>> {
        if self.config.bucket.is_none() {
            return Ok(Cow::Borrowed(head));
        }
        let mut head = head.clone();
        self.make_out(&mut head, replica)?;
        Ok(Cow::Owned(head))
    }

    /// Makes `head` what the pool's server `replica` wants.
    ///
    /// # Errors
    /// When a value is not a valid field value.
    pub fn make_out(&self, head: &mut RequestHeader, replica: &Replica) -> Result<()> {
        match &self.config.bucket {
            Some(bucket) => address(head, bucket, &self.config.bucket_host(&replica.server)),
            None => Ok(()),
        }
    }

    /// Takes out of the answer to `asked`, the client's request, what is not for clients. Gives the status that
    /// takes the place of an error, whose body is not for them either.
    pub fn receive(&self, asked: &Parts, head: &mut ResponseHeader) -> Option<StatusCode> {
        let bucket = self.config.bucket.as_ref()?;
        if is_presigned(asked.uri.query()) {
            return None;
        }
        let mut headers = head.headers.clone();
        strip_answer(&mut headers);
        let stripped: Vec<HeaderName> = head
            .headers
            .keys()
            .filter(|name| !headers.contains_key(*name))
            .cloned()
            .collect();
        for name in stripped {
            head.remove_header(&name);
        }
        replaced(bucket, head.status)
    }

    /// Says now and then that a bucket refuses what it is asked, `said` being the beginning of why. That an
    /// object is not there, or may not be listed, is not worth a line.
    pub(super) fn complain(&self, said: &[u8]) {
        let code = error_code(said).unwrap_or_default();
        let usual = [
            "",
            "AccessDenied",
            "NoSuchKey",
            "InvalidRange",
            "PreconditionFailed",
        ];
        if usual.contains(&code) {
            return;
        }
        let now = clock::uptime().as_secs();
        let next = self.complaints.load(Ordering::Relaxed);
        if now < next {
            return;
        }
        let then = now + COMPLAIN_EVERY.as_secs();
        let turn =
            self.complaints
                .compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed);
        if turn.is_ok() {
            tracing::warn!(pool = self.config.name, code, "the bucket refuses requests");
        }
    }
}

/// The code in a bucket's error, a word.
fn error_code(said: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(said).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let word = code.len() < 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    word.then_some(code)
}

impl Replacement {
    /// The answer that says `status` in place of `head`.
    pub(super) fn of(status: StatusCode, head: &ResponseHeader, method: &Method) -> Result<Self> {
        let reason = status.canonical_reason().unwrap_or("Error");
        let code = status.as_u16();
        let body = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <title>{code} {reason}</title>\n<h1>{code} {reason}</h1>\n</html>\n"
        );
        let mut new = ResponseHeader::build(status, Some(4))?;
        new.insert_header(CONTENT_TYPE, "text/html; charset=utf-8")?;
        new.insert_header(CONTENT_LENGTH, body.len().to_string())?;
        if let Some(range) = head.headers.get(CONTENT_RANGE) {
            // RFC 9110 §15.5.17: how long the object is.
            new.insert_header(CONTENT_RANGE, range.clone())?;
        }
        let body = if *method == Method::HEAD {
            Bytes::new()
        } else {
            Bytes::from(body)
        };
        Ok(Self { head: new, body })
    }
}

fn address(head: &mut RequestHeader, bucket: &Bucket, host: &str) -> Result<()> {
    let presigned = bucket.presigned && is_presigned(head.uri.query());
    let keeps = if presigned {
        is_for_presigned
    } else {
        is_for_object
    };
    let others: Vec<HeaderName> = head
        .headers
        .keys()
        .filter(|name| !keeps(name))
        .cloned()
        .collect();
    for name in others {
        head.remove_header(&name);
    }
    head.insert_header(HOST, host)?;
    if presigned {
        return Ok(());
    }
    let path = object_path(bucket, head.uri.path());
    head.set_uri(
        path.parse()
            .or_err(ErrorType::InvalidHTTPHeader, "an object's path")?,
    );
    if let Some(credentials) = &bucket.credentials {
        for (name, value) in &signature(&head.method, host, &path, &bucket.region, credentials)? {
            head.insert_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}

/// The fields that sign a request without body.
fn signature(
    method: &Method,
    host: &str,
    path: &str,
    region: &str,
    credentials: &Credentials,
) -> Result<HeaderMap> {
    let credential = AwsCredential {
        key_id: credentials.access_key.clone(),
        secret_key: credentials.secret_key.reveal().to_owned(),
        token: None,
    };
    // The scheme is not signed, but its default port would be left out.
    let scheme = if host.ends_with(":443") {
        "http"
    } else {
        "https"
    };
    let mut request: HttpRequest = http::Request::builder()
        .method(method)
        .uri(format!("{scheme}://{host}{path}"))
        .body(HttpRequestBody::empty())
        .or_err(ErrorType::InternalError, "a request to be signed")?;
    AwsAuthorizer::new(&credential, "s3", region)
        .try_authorize(&mut request, None)
        .map_err(|error| Error::because(ErrorType::InternalError, "signing", error))?;
    let fields = request.into_parts().0.headers;
    debug_assert!(fields.contains_key(AUTHORIZATION));
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_error_is_a_word_in_it() {
        let error = b"<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>";
        assert_eq!(error_code(error), Some("SignatureDoesNotMatch"));
        for other in [
            &b"<Code>a b</Code>"[..],
            b"<Code>",
            b"",
            b"\xff<Code>a</Code>",
        ] {
            assert_eq!(error_code(other), None);
        }
    }
}
