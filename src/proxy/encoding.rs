//! Which form of a stored response the client gets, and what is compressed for those who come later.

use http::{HeaderMap, StatusCode};

use super::exchange::Exchange;
use crate::cache::encoding::{may_be_compressed, wanted_by};
use crate::cache::response::ResponseView;
use crate::fields::content_coding::Codings;
use crate::server::Shared;
use crate::store::{Representation, StoreKey, StoredResponse};

/// The form of `stored` that the client likes best of those that are there. A better one is made in the
/// background. `asked` are the request's fields.
pub(super) fn choose<'s>(
    shared: &Shared,
    asked: &HeaderMap,
    exchange: &mut Exchange,
    key: &StoreKey,
    stored: &'s StoredResponse,
) -> Representation<'s> {
    let allowed = allowed(exchange);
    exchange.varies_by_encoding = stored.encoded.is_some() && !allowed.is_empty();
    let chosen = stored.representation(allowed, || wanted_by(asked));
    if let Some(coding) = chosen.missing {
        shared.encoder.ask(key, stored, coding);
    }
    chosen
}

/// Notes that what is on its way into the store may be compressed there.
pub(super) fn note(
    exchange: &mut Exchange,
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<u64>,
) {
    let response = ResponseView { status, headers };
    exchange.varies_by_encoding =
        !allowed(exchange).is_empty() && may_be_compressed(&response, length);
}

/// The codings that rules allow.
fn allowed(exchange: &Exchange) -> Codings {
    let request = exchange.request.as_ref();
    // A lower tier makes its own of what is stored.
    let request = request.filter(|request| request.lower.is_none());
    request.map_or(Codings::NONE, |request| request.settings.compression.value)
}
