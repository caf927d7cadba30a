//! The request as the origin gets it: what clients may not say is removed, what Seawall knows is
//! added.

use std::fmt::Write;
use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Version};
use pingora_error::Result;
use pingora_http::RequestHeader;

use super::exchange::SiteRequest;
use crate::cache::device::device;
use crate::cache::extras::reductions;
use crate::fields::cdn_loop::CDN_LOOP;
use crate::fields::hop_by_hop::strip_for_forwarding;
use crate::fields::untrusted::{is_untrusted, overrides_method};
use crate::fields::vary::forwarded_fields;
use crate::origin::remove_cookies;
use crate::rules::phase::HeaderEdit;

/// Tells the app which device class the response is for, where the key tells them apart.
const X_DEVICE_CLASS: &str = "X-Device-Class";
/// The same for the client's country, ISO 3166-1 alpha-2; absent where it is not known.
const X_COUNTRY: &str = "X-Country";

/// Prepares `head`, a copy of the client's request from which Pingora removed the hop-by-hop fields.
///
/// # Errors
/// When a value is not a valid field value.
pub(super) fn prepare(
    head: &mut RequestHeader,
    request: &SiteRequest,
    request_id: &str,
) -> Result<()> {
    let own = request.site.pool.affinity_cookie();
    if let Some(own) = own.filter(|_| head.headers.contains_key(COOKIE)) {
        let mut fields = head.headers.clone();
        remove_cookies(&mut fields, |name| name == own.as_bytes());
        replace_fields(head, &fields)?;
    }
    if request.lower.is_none() {
        remove_forbidden(head);
    }
    let host = if request.is_shared(head) {
        reduce(head, request)?;
        normalise_selecting(head, request)?;
        request.keyed_host()
    } else {
        request.authority.as_str()
    };
    if request.lower.is_none() {
        describe_client(head, request, host)?;
    }
    append_via(head, request)?;
    if let Some(node) = &request.site.tiers.node {
        // RFC 8586 §2: towards origins as well, which may lead back here.
        head.append_header(CDN_LOOP, &node.name)?;
    }
    head.insert_header("X-Request-Id", request_id)?;
    head.insert_header(HOST, request.resolved_host())?;
    for edit in &request.applied.headers {
        match edit {
            HeaderEdit::Remove(name) => drop(head.remove_header(name)),
            HeaderEdit::Set(name, value) => head.insert_header(name.clone(), value.clone())?,
            HeaderEdit::Add(name, value) => {
                head.append_header(name.clone(), value.clone())?;
            }
        }
    }
    Ok(())
}

/// Takes out what no client is believed. Of a lower tier, which has done so, everything is.
fn remove_forbidden(head: &mut RequestHeader) {
    let names = head.headers.keys();
    let is_forbidden =
        |name: &&HeaderName| is_untrusted(name) || overrides_method(name, &head.method);
    let forbidden: Vec<_> = names.filter(is_forbidden).cloned().collect();
    for name in forbidden {
        head.remove_header(&name);
    }
}

/// Of a field that counts by what it contains, leaves the texts that were found. What is reduced stays
/// as it is.
///
/// # Errors
/// When a value is not a valid field value.
fn reduce(head: &mut RequestHeader, request: &SiteRequest) -> Result<()> {
    for (name, value) in reductions(&head.headers, &request.settings.key.value) {
        match value {
            Some(value) => head.insert_header(name, value)?,
            None => drop(head.remove_header(&name)),
        }
    }
    Ok(())
}

/// What the key holds of a field is what the origin sees of it.
fn normalise_selecting(head: &mut RequestHeader, request: &SiteRequest) -> Result<()> {
    for (name, value) in forwarded_fields(&head.headers, &request.settings.vary.value) {
        head.insert_header(name, value)?;
    }
    let key = &request.settings.key.value;
    if key.device {
        let device = device(&head.headers);
        head.insert_header(X_DEVICE_CLASS, device.as_str())?;
    }
    if let Some(country) = request.view(head).facts.country.filter(|_| key.country) {
        head.insert_header(X_COUNTRY, &country[..])?;
    }
    Ok(())
}

/// Whether a request is one of gRPC, whose stream may stay open for as long as both sides like.
pub(super) fn is_grpc(asked: &Parts) -> bool {
    let kind = asked.headers.get(CONTENT_TYPE);
    asked.version == Version::HTTP_2
        && kind.is_some_and(|kind| {
            let beginning = kind.as_bytes().get(..16);
            beginning.is_some_and(|text| text.eq_ignore_ascii_case(b"application/grpc"))
        })
}

/// Takes out what concerns the client's connection alone, for a request without body.
pub(super) fn strip_request(fields: &mut HeaderMap) {
    strip_for_forwarding(fields);
    for name in [EXPECT, CONTENT_LENGTH] {
        fields.remove(name);
    }
}

/// Makes Pingora's head of a request what became of it on arrival.
///
/// # Errors
/// When a value is not a valid field value.
pub(super) fn adopt(head: &mut RequestHeader, arrived: &Parts) -> Result<()> {
    replace_fields(head, &arrived.headers)?;
    // Even if it is the same: Pingora keeps an absolute target as it was sent beside the URI, and would send
    // that to the origin.
    head.set_uri(arrived.uri.clone());
    Ok(())
}

/// Makes the head's fields exactly `fields`, through the methods that keep Pingora's own record of
/// their case in step.
fn replace_fields(head: &mut RequestHeader, fields: &HeaderMap) -> Result<()> {
    let names: Vec<_> = head.headers.keys().cloned().collect();
    for name in names {
        if head.headers.get_all(&name) != fields.get_all(&name) {
            head.remove_header(&name);
        }
    }
    for name in fields.keys() {
        if !head.headers.contains_key(name) {
            for value in fields.get_all(name) {
                head.append_header(name.clone(), value.clone())?;
            }
        }
    }
    Ok(())
}

/// RFC 7239 §6: an IPv6 address is bracketed and quoted.
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}

/// Says whose the request is and which proxies it came by. `host` is the one that the app may think it was reached under.
fn describe_client(head: &mut RequestHeader, request: &SiteRequest, host: &str) -> Result<()> {
    let client = request.client.to_string();
    let scheme = request.scheme.as_str();
    let mut forwarded = format!(
        "for={};host=\"{host}\";proto={scheme}",
        node(request.client)
    );
    let mut chain = client.clone();
    for hop in &request.hops {
        // Writing into memory does not fail.
        let _ = write!(forwarded, ", for={}", node(*hop));
        let _ = write!(chain, ", {hop}");
    }
    head.insert_header("Forwarded", forwarded)?;
    head.insert_header("X-Forwarded-For", chain)?;
    head.insert_header("X-Real-IP", client)?;
    head.insert_header("X-Forwarded-Host", host)?;
    head.insert_header("X-Forwarded-Proto", scheme)
}

/// RFC 9110 §7.6.3.
fn append_via(head: &mut RequestHeader, request: &SiteRequest) -> Result<()> {
    let version = if request.lower.is_some() {
        Version::HTTP_11
    } else {
        request.version
    };
    head.append_header("Via", via(version)).map(drop)
}

/// This hop in a Via field.
pub(super) fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2 seawall",
        Version::HTTP_10 => "1.0 seawall",
        _ => "1.1 seawall",
    }
}
