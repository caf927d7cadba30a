//! The zone's own pages in place of errors, its application's and ours.

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::error_page;
use super::exchange::{Exchange, SiteRequest};
use crate::cache::response::ResponseView;
use crate::origin::FetchFailure;
use crate::rules::phase::PageRule;

/// The page for an error, if a rule has one.
fn find<'r>(
    request: &'r SiteRequest,
    asked: &Parts,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<&'r PageRule> {
    let rules = &request.site.zone.rules.error_rules;
    if status.as_u16() < 400 || rules.is_empty() {
        return None;
    }
    let response = ResponseView { status, headers };
    let view = request.view(asked);
    let found = rules.matching_response(&view, &response);
    let id = found.map(|(id, _)| id).next()?;
    rules.get(id).map(|rule| &rule.action)
}

/// Whether a page may take the place of an answer with this status.
pub(super) fn may_replace(exchange: &Exchange, status: StatusCode) -> bool {
    exchange.request.as_deref().is_some_and(|request| {
        status.as_u16() >= 400
            && !request.site.zone.rules.error_rules.is_empty()
            && !request.settings.origin_error_page_pass_through.value
            // A lower tier has the page as well, and wants to know of the error.
            && request.lower.is_none()
    })
}

/// What the client gets in place of an answer of the application: status, fields, page.
pub(super) fn in_place_of(
    asked: &Parts,
    exchange: &Exchange,
    status: StatusCode,
    fields: &HeaderMap,
) -> Option<(StatusCode, HeaderMap, String)> {
    if !may_replace(exchange, status) {
        return None;
    }
    let request = exchange.request.as_deref()?;
    let rule = find(request, asked, status, fields)?;
    let status = rule.status.unwrap_or(status);
    let page = rule.page.render(status, exchange.request_id.as_str());
    Some((status, with_page(fields.clone(), rule, &page), page))
}

/// Whether a page takes the place of an answer that goes past the cache. The answer's fields are kept
/// for it.
pub(super) fn takes_over(asked: &Parts, exchange: &mut Exchange, head: &ResponseHeader) -> bool {
    let replaced = in_place_of(asked, exchange, head.status, &head.headers).is_some();
    if replaced {
        exchange.replaced = Some(head.headers.clone());
    }
    replaced
}

/// Fails the exchange with the status of an answer that was taken over, for which there is a page.
///
/// # Errors
/// Always.
pub(super) fn replace<T>(status: StatusCode) -> Result<T> {
    let kind = ErrorType::HTTPStatus(status.as_u16());
    Error::e_explain(kind, "replaced by the zone's page")
        .map_err(|error: Box<Error>| error.into_up())
}

/// Head and body of the page for an error: the zone's, or else ours.
///
/// # Errors
/// When a value is not a valid field value.
pub(super) fn page(
    asked: &Parts,
    exchange: &mut Exchange,
    status: StatusCode,
) -> Result<(ResponseHeader, String)> {
    let (mut own, text) = error_page::page(status, &asked.headers, exchange.request_id.as_str())?;
    if let Some(after) = retry_after(exchange).filter(|_| own.headers.contains_key(RETRY_AFTER)) {
        own.insert_header(RETRY_AFTER, after.to_string())?;
    }
    let fields = exchange
        .replaced
        .take()
        .unwrap_or_else(|| own.headers.clone());
    let rule = exchange.request.as_deref();
    let rule = rule.filter(|request| request.lower.is_none());
    let Some(rule) = rule.and_then(|request| find(request, asked, status, &fields)) else {
        return Ok((own, text));
    };
    let status = rule.status.unwrap_or(status);
    let text = rule.page.render(status, exchange.request_id.as_str());
    let mut head = ResponseHeader::build(status, Some(fields.len() + 6))?;
    for (name, value) in &with_page(fields, rule, &text) {
        head.append_header(name.clone(), value.clone())?;
    }
    Ok((head, text))
}

/// After how many seconds a request that was sent away may come again: when the queue as it is has been
/// served, and some of them later, so that not all come at once.
fn retry_after(exchange: &Exchange) -> Option<u64> {
    let limited = exchange.failure.is_some_and(FetchFailure::is_limit);
    let after = exchange
        .pool()
        .filter(|_| limited)?
        .retry_after()?
        .as_secs()
        + 1;
    let digits = exchange.request_id.as_str().bytes().rev().take(4);
    let random = digits.fold(0, |sum, digit| sum * 31 + u64::from(digit));
    Some(after + random % (after + 1))
}

/// The fields of an answer whose content is the page: what described the old content goes.
fn with_page(mut fields: HeaderMap, rule: &PageRule, page: &str) -> HeaderMap {
    crate::fields::hop_by_hop::strip_for_forwarding(&mut fields);
    rule.take_over(&mut fields, page.len());
    fields
}
