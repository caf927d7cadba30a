//! The request as the origin gets it: what clients may not say is removed, what Seawall knows is
//! added.

use http::header::{ACCEPT_ENCODING, HOST};
use http::{Method, Version};
use pingora_error::Result;
use pingora_http::RequestHeader;

use super::exchange::{Exchange, SiteRequest};
use crate::cache::eligibility::RequestDecision;
use crate::fields::accept_encoding::AcceptedCodings;

/// Fields by which a proxy tells the app about the client, or an app lets the client override the
/// request. None of them is in the key: from a client they could change a shared response.
const CLIENTS_MAY_NOT_SEND: &[&str] = &[
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-host",
    "x-http-host-override",
    "x-scheme",
    "x-url-scheme",
    "front-end-https",
    "x-request-id",
    // CGI makes it HTTP_PROXY (httpoxy, CVE-2016-5385).
    "proxy",
];

/// The same, by the beginning of their names.
const CLIENTS_MAY_NOT_SEND_ANY: &[&str] = &[
    "x-forwarded-",
    "x-original-",
    "x-rewrite-",
    "x-auth-request-",
    "x-accel-",
    "x-sendfile",
    // Next.js once took `x-middleware-subrequest` for its own (CVE-2025-29927).
    "x-middleware-",
    "x-invoke-",
    "x-matched-path",
    "x-script-name",
    "x-ssl-",
    "ssl-",
    "remote-user",
    "remote-addr",
    "base-url",
];

/// Fields that turn a GET into another method at the origin.
const METHOD_OVERRIDES: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// Prepares `head`, a copy of the client's request from which Pingora removed the hop-by-hop fields.
///
/// # Errors
/// When a value is not a valid field value.
pub(super) fn prepare(
    head: &mut RequestHeader,
    exchange: &Exchange,
    request: &SiteRequest,
) -> Result<()> {
    for name in CLIENTS_MAY_NOT_SEND {
        head.remove_header(*name);
    }
    let forbidden: Vec<_> = head
        .headers
        .keys()
        .filter(|name| {
            let mut beginnings = CLIENTS_MAY_NOT_SEND_ANY.iter();
            beginnings.any(|beginning| name.as_str().starts_with(beginning))
        })
        .cloned()
        .collect();
    for name in forbidden {
        head.remove_header(&name);
    }
    if matches!(head.method, Method::GET | Method::HEAD) {
        for name in METHOD_OVERRIDES {
            head.remove_header(*name);
        }
    }
    if request.decision == RequestDecision::Lookup {
        normalise_codings(head)?;
    }
    describe_client(head, request)?;
    append_via(head, request)?;
    head.insert_header("X-Request-Id", &exchange.request_id)?;
    match &request.site.pool.config.host_header {
        Some(host) => head.insert_header(HOST, host),
        None => head.insert_header(HOST, request.authority.as_str()),
    }
}

/// What the selecting key holds of Accept-Encoding is what the origin sees of it.
fn normalise_codings(head: &mut RequestHeader) -> Result<()> {
    match AcceptedCodings::of(&head.headers) {
        Some(codings) => head.insert_header(ACCEPT_ENCODING, codings.to_value()),
        None => Ok(()),
    }
}

fn describe_client(head: &mut RequestHeader, request: &SiteRequest) -> Result<()> {
    let client = request.client.to_string();
    let scheme = request.scheme.as_str();
    let host = request.authority.as_str();
    // RFC 7239 §6: an IPv6 address is bracketed and quoted.
    let node = if request.client.is_ipv6() {
        format!("\"[{client}]\"")
    } else {
        client.clone()
    };
    head.insert_header(
        "Forwarded",
        format!("for={node};host=\"{host}\";proto={scheme}"),
    )?;
    head.insert_header("X-Forwarded-For", &client)?;
    head.insert_header("X-Real-IP", client)?;
    head.insert_header("X-Forwarded-Host", host)?;
    head.insert_header("X-Forwarded-Proto", scheme)
}

/// RFC 9110 §7.6.3.
fn append_via(head: &mut RequestHeader, request: &SiteRequest) -> Result<()> {
    head.append_header("Via", via(request.version)).map(drop)
}

/// This hop in a Via field.
pub(super) fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2 seawall",
        Version::HTTP_10 => "1.0 seawall",
        _ => "1.1 seawall",
    }
}
