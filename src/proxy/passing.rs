//! What goes past the cache and touches it all the same: unsafe methods invalidate (RFC 9111 §4.4),
//! the answer to a POST may serve later GETs (RFC 9110 §9.3.3), PURGE removes.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::answer;
use super::exchange::Exchange;
use super::gateway::Gateway;
use super::lookup::Lookup;
use super::serve;
use crate::cache::eligibility::{RequestDecision, post_may_fill};
use crate::cache::invalidation::invalidated;
use crate::cache::response::{ExchangeTimes, ResponseView};
use crate::cache::reuse::StoredTimes;
use crate::cache::status::{CacheStatus, Outcome};
use crate::cache::storing::{StoreDecision, decide_storing};
use crate::clock;
use crate::fields::request_control::RequestControl;
use crate::fields::stored::StoredFields;
use crate::fields::validators::Validators;
use crate::origin::FetchFailure;
use crate::purge::{Scope, Target, UrlTarget, purge_method, url_keys};
use crate::rules::split_target;
use crate::store::{
    Begun, Body, Content, MemoryStore, Selection, Served, StoreKey, StoredResponse,
};
use crate::zone::Authority;

/// The answer to a POST on its way into the store.
pub(super) struct Posted {
    key: StoreKey,
    begun: Begun,
    status: StatusCode,
    fields: HeaderMap,
    times: StoredTimes,
    selection: Selection,
    tags: Arc<[Box<str>]>,
    largest: u64,
    /// Whether the answer may be kept on disk.
    disk: bool,
    length: u64,
    chunks: Vec<Bytes>,
}

/// Before the request goes to the origin: PURGE is answered here, everything else waits for its turn.
/// True when it was answered.
///
/// # Errors
/// 503 when the pool is busy for too long.
pub(super) async fn prepare(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
) -> Result<bool> {
    if session.req_header().method.as_str() == "PURGE" {
        purge(gateway, session, exchange).await?;
        return Ok(true);
    }
    if session.req_header().method == Method::POST {
        exchange.posting = Some(gateway.shared.store.purges.begin());
    }
    let upgrade = exchange
        .request
        .as_ref()
        .is_some_and(|request| request.upgrade);
    let pool = exchange.pool().filter(|_| !upgrade).cloned();
    if let Some(pool) = pool {
        let asked = session.req_header();
        let priority = exchange.request.as_ref();
        let priority = priority.map(|request| request.priority(asked));
        let priority = priority.unwrap_or_default();
        match pool.permit(priority, exchange.started).await {
            Ok(permit) => exchange.origin.permit = Some(permit),
            Err(shed) => {
                let metrics = &gateway.shared.metrics;
                metrics.shed(&pool.config.name, shed.as_str(), priority.as_str());
                exchange.failure = Some(FetchFailure::Shed(shed));
                return Error::e_explain(ErrorType::HTTPStatus(503), "the pool is busy")
                    .map_err(|error: Box<Error>| error.into_up());
            }
        }
    }
    Ok(false)
}

/// What is told of a request that went past the cache.
pub(super) fn status(exchange: &Exchange) -> CacheStatus {
    let status = exchange.origin.status;
    match exchange.request.as_ref().map(|request| request.decision) {
        Some(RequestDecision::Bypass(reason)) => CacheStatus {
            outcome: Outcome::Bypassed { reason, status },
            ttl: None,
        },
        _ => CacheStatus::forwarded(exchange.forward),
    }
}

/// The origin answered, with a head that has not been cleaned yet.
pub(super) fn answered(
    gateway: &Gateway,
    session: &Session,
    exchange: &mut Exchange,
    head: &ResponseHeader,
) {
    let Some(request) = exchange.request.clone() else {
        return;
    };
    let store = &gateway.shared.store;
    let asked = session.req_header();
    // What was purged while the origin answered does not come back by this answer; what the answer
    // itself invalidates is another matter.
    let posting = exchange.posting.take();
    let may_fill = asked.method == Method::POST
        && post_may_fill(&request.view(asked), &request.settings)
        && answer::is_framed(head, &asked.method);
    let fill = may_fill.then(|| Lookup::of(request.clone(), Arc::new(asked.as_owned_parts())));
    let fill = posting.zip(fill).and_then(|(begun, lookup)| {
        let purges = &store.purges;
        let unpurged = purges.spare(&lookup.key, begun.generation());
        unpurged.then_some(lookup)
    });
    let now = clock::now();
    let uris = invalidated(
        &asked.method,
        head.status,
        &request.view(asked),
        &head.headers,
    );
    // The client means what it sent, whatever that is rewritten to for others.
    let sent = request.applied.raw_target.as_deref().map(split_target);
    let sent = sent.filter(|_| !uris.is_empty());
    let sent = sent.map(|(path, query)| UrlTarget {
        scheme: request.scheme,
        authority: request.authority.clone(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
    });
    let scopes: Vec<Scope> = uris
        .into_iter()
        .filter_map(|uri| {
            Some(UrlTarget {
                scheme: uri.scheme,
                authority: Authority::parse(&uri.host, uri.scheme)?,
                path: uri.path,
                query: uri.query,
            })
        })
        .chain(sent)
        .flat_map(|url| url_keys(&url, &request.site.zone))
        .map(|key| Scope {
            zone: None,
            target: Target::Key(key),
        })
        .collect();
    if !scopes.is_empty() {
        gateway.shared.invalidate(&scopes, now);
    }
    if let Some(lookup) = fill {
        let mut head = head.clone();
        answer::receive_for_store(&mut head, &lookup, now, false);
        let requested = exchange.origin.requested.map_or(now, |(wall, _)| wall);
        let times = ExchangeTimes {
            requested,
            received: now,
        };
        let mut fields = head.headers.clone();
        let response = ResponseView {
            status: head.status,
            headers: &head.headers,
        };
        let decision = decide_storing(
            &request.view(asked),
            &RequestControl::default(),
            &response,
            &request.settings,
            &times,
        );
        if let StoreDecision::Store(lifetimes) = decision
            && lookup.too_rare(store).is_none()
        {
            answer::strip_for_store(&mut fields, &request);
            exchange.posted = Some(Posted {
                begun: store.purges.begin(),
                status: head.status,
                times: StoredTimes::new(&lifetimes, now, Validators::of(&fields).any()),
                selection: lookup.selection(&fields),
                tags: lookup.tags(&fields),
                largest: request.settings.max_object_size.value,
                disk: request.settings.disk.value,
                key: lookup.key,
                fields,
                length: 0,
                chunks: Vec::new(),
            });
        }
    }
}

/// A piece of the answer's body, and whether it is the last.
pub(super) fn body(store: &MemoryStore, exchange: &mut Exchange, body: Option<&Bytes>, end: bool) {
    let Some(posted) = &mut exchange.posted else {
        return;
    };
    if let Some(bytes) = body {
        posted.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        posted.chunks.push(bytes.clone());
    }
    if posted.length > posted.largest {
        exchange.posted = None;
        return;
    }
    if let Some(posted) = exchange.posted.take_if(|_| end) {
        posted.store(store);
    }
}

impl Posted {
    fn store(self, store: &MemoryStore) {
        let announced = answer::content_length(&self.fields);
        if announced.is_some_and(|announced| announced != self.length) {
            return;
        }
        let mut fields = self.fields;
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(self.length));
        let mut stored = StoredResponse {
            id: store.next_id(),
            generation: self.begun.generation(),
            status: self.status,
            fields: StoredFields::from(&fields),
            times: self.times.into(),
            selection: self.selection,
            tags: self.tags,
            content: Content::Complete(Arc::new(Body::copy_of(&self.chunks))),
            encoded: None,
            uses: Served::default(),
            disk: self.disk,
        };
        stored.renew_encoded();
        store.insert(&self.key, stored, &self.begun);
    }
}

/// The PURGE method: the target with all its variants.
async fn purge(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
    let Some(request) = exchange.request.clone() else {
        return Ok(());
    };
    let asked = session.req_header();
    let (token, soft) = purge_method(&asked.headers);
    let url = UrlTarget {
        scheme: request.scheme,
        authority: request.authority.clone(),
        path: asked.uri.path().to_owned(),
        query: asked.uri.query().map(str::to_owned),
    };
    let (shared, token) = (gateway.shared.clone(), token.map(<[u8]>::to_vec));
    let (client, zone) = (request.client, request.site.zone.clone());
    let purging = move || shared.purge_url(token.as_deref(), client, &zone, &url, soft);
    let purged = tokio::task::spawn_blocking(purging)
        .await
        .map_err(|error| Error::because(ErrorType::InternalError, "purging", error))?;
    let (status, retry_after, body) = match purged {
        Ok(outcome) => {
            let mut body = serde_json::json!({
                "success": true, "objects": outcome.objects, "bytes": outcome.bytes,
            });
            if let (Some(told), Some(members)) = (outcome.told, body.as_object_mut()) {
                members.insert("broadcast".to_owned(), told.is_some().into());
                let position =
                    told.map(|position| ("position".to_owned(), position.to_string().into()));
                members.extend(position);
            }
            (200, None, body)
        }
        Err(refusal) => {
            let body = serde_json::json!({ "success": false, "error": refusal.to_string() });
            (refusal.status(), refusal.retry_after(), body)
        }
    };
    let body = format!("{body}\n");
    let mut head = ResponseHeader::build(status, Some(8))?;
    head.insert_header(header::CONTENT_TYPE, "application/json")?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    if let Some(wait) = retry_after {
        head.insert_header(header::RETRY_AFTER, wait.to_string())?;
    }
    let told = self::status(exchange);
    serve::whole(session, exchange, head, body, told).await
}
