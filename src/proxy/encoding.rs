//! Which form of a stored response the client gets, and what is compressed for those who come later.

use http::{HeaderMap, StatusCode, header};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::exchange::Exchange;
use crate::cache::encoding::{may_vary, wanted_by};
use crate::cache::response::ResponseView;
use crate::fields::content_coding::{Codings, varies_by_encoding};
use crate::server::Shared;
use crate::store::{Representation, StoreKey, StoredResponse};

/// The form of `stored` that the client likes best of those that are there. A better one is made in the
/// background.
pub(super) fn choose<'s>(
    shared: &Shared,
    session: &Session,
    exchange: &mut Exchange,
    key: &StoreKey,
    stored: &'s StoredResponse,
) -> Representation<'s> {
    exchange.varies_by_encoding = stored.varies_by_encoding();
    let asked = &session.req_header().headers;
    let chosen = stored.representation(allowed(exchange), || wanted_by(asked));
    if let Some(coding) = chosen.missing {
        shared.encoder.ask(key, stored, coding);
    }
    chosen
}

/// Notes that what is on its way into the store may be compressed there.
pub(super) fn note(
    exchange: &mut Exchange,
    status: StatusCode,
    fields: &HeaderMap,
    length: Option<u64>,
) {
    let response = ResponseView {
        status,
        headers: fields,
    };
    exchange.varies_by_encoding = may_vary(&response, length, allowed(exchange));
}

/// Says in Vary that another client may get another form (RFC 9110 §12.5.5): on the response without
/// coding as well, so that caches behind this one do not take it for everybody's.
///
/// # Errors
/// Never: the value is a valid one.
pub(super) fn tell(head: &mut ResponseHeader, exchange: &Exchange) -> Result<()> {
    if exchange.varies_by_encoding && !varies_by_encoding(&head.headers) {
        head.append_header(header::VARY, "Accept-Encoding")?;
    }
    Ok(())
}

fn allowed(exchange: &Exchange) -> Codings {
    let request = exchange.request.as_ref();
    request.map_or(Codings::NONE, |request| request.settings.compression.value)
}
