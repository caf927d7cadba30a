//! The hit lane: a request is evaluated before Pingora sees it, and a fresh response in memory is
//! answered at once. The same policy decides as on Pingora's lane, and the same functions dress the
//! answer; most hits need no more than the head that was prepared when the response was first served.

use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{AGE, CONNECTION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use smallvec::SmallVec;

use super::answer::{self, X_CACHE, X_REQUEST_ID};
use super::arrival::{self, Downstream};
use super::exchange::{Evaluated, Exchange};
use super::lookup::{Lookup, Stock};
use super::record::{self, Finished};
use super::reply::{Reply, ReplyBody};
use super::requests::Requests;
use crate::cache::eligibility::RequestDecision;
use crate::cache::reuse::{Found, OriginState, ReuseDecision, decide_reuse};
use crate::cache::status::CacheStatus;
use crate::clock;
use crate::edge::lane::{Arriving, Evaluation, Hit, Lane, Sent};
use crate::request::Scheme;
use crate::server::Shared;
use crate::store::StoredResponse;

/// A response in memory, about to be sent.
pub struct MemoryHit {
    shared: Arc<Shared>,
    exchange: Exchange,
    asked: Arc<Parts>,
    told: CacheStatus,
    now: SystemTime,
    status: StatusCode,
    head: Head,
    body: SmallVec<[Bytes; 1]>,
}

/// The head of an answer.
enum Head {
    /// As it was prepared; what differs from hit to hit follows it.
    Prepared(Arc<StoredResponse>),
    /// Made for this request.
    Dressed(HeaderMap),
}

impl Lane for Requests {
    type Hit = MemoryHit;

    fn evaluate(&self, arriving: Arriving) -> Evaluation<MemoryHit> {
        let Arriving {
            mut head, simple, ..
        } = arriving;
        let shared = &self.shared;
        let mut exchange = Exchange::new(shared.runtime(), clock::instant(), clock::now());
        let downstream = Downstream {
            client: arriving.client,
            scheme: if arriving.tls {
                Scheme::Https
            } else {
                Scheme::Http
            },
            unannounced_body: false,
        };
        exchange.refusal = arrival::receive(shared, &mut head, downstream, &mut exchange).err();
        let head = Arc::new(head);
        match find(shared, exchange, &head, simple) {
            Ok(hit) => Evaluation::Hit(Box::new(hit)),
            Err(exchange) => Evaluation::Forward(Box::new(Evaluated { exchange, head })),
        }
    }
}

/// The hit, or the exchange with what was found out.
fn find(
    shared: &Arc<Shared>,
    mut exchange: Exchange,
    asked: &Arc<Parts>,
    simple: bool,
) -> Result<MemoryHit, Exchange> {
    let site = exchange.request.as_ref().filter(|request| {
        let looked_up = request.decision == RequestDecision::Lookup;
        simple && looked_up && exchange.edge.is_none() && exchange.refusal.is_none()
    });
    let Some(site) = site.cloned() else {
        return Err(exchange);
    };
    let lookup = Lookup::of(site, asked.clone());
    let found = match lookup.find(&shared.store) {
        Stock::Selected(stored, times) => Some((stored, times)),
        Stock::Nothing | Stock::Others(_) => None,
    };
    let now = clock::now();
    let reused = found.and_then(|(stored, times)| {
        let found = Found::Complete(&times);
        match decide_reuse(&lookup.control, found, OriginState::Unasked, now) {
            ReuseDecision::Reuse { ttl } if stored.content.is_complete() => Some((stored, ttl)),
            _ => None,
        }
    });
    let Some((stored, ttl)) = reused else {
        exchange.lookup = Some(Arc::new(lookup));
        return Err(exchange);
    };
    let length = stored.content.complete_length();
    let reply = Reply::of(
        asked,
        &exchange,
        stored.status,
        &stored.fields,
        length,
        false,
    );
    let Some(body) = body(&reply, &stored) else {
        exchange.lookup = Some(Arc::new(lookup));
        return Err(exchange);
    };
    lookup.count_use(&shared.store);
    exchange.key = Some(lookup.key.clone());
    exchange.served_age(&stored.times);
    let told = CacheStatus::hit(ttl);
    exchange.status = Some(told);
    let status = reply.status;
    let plain = matches!(reply.fields, Cow::Borrowed(_)) && is_plain(&exchange);
    let head = if plain {
        Head::Prepared(stored.clone())
    } else {
        let mut fields = reply.fields.into_owned();
        let version = Version::HTTP_11;
        answer::dress(&mut fields, status, version, asked, &exchange, &told, now);
        Head::Dressed(fields)
    };
    Ok(MemoryHit {
        shared: shared.clone(),
        exchange,
        asked: asked.clone(),
        told,
        now,
        status,
        head,
        body,
    })
}

/// The bytes that follow the head; `None` when its length is not told or not all of it is in memory.
fn body(reply: &Reply<'_>, stored: &StoredResponse) -> Option<SmallVec<[Bytes; 1]>> {
    let mut body = SmallVec::new();
    if matches!(reply.body, ReplyBody::None) {
        return Some(body);
    }
    if !reply.fields.contains_key(CONTENT_LENGTH) {
        return None;
    }
    let mut add = |range: &Range<u64>| {
        let end = range.end.min(stored.content.complete_length()?);
        let mut at = range.start;
        while at < end {
            let bytes = stored.content.read(at, end)?;
            at += u64::try_from(bytes.len()).ok()?;
            body.push(bytes);
        }
        Some(())
    };
    match &reply.body {
        ReplyBody::None => {}
        ReplyBody::Page(page) => body.push(page.clone()),
        ReplyBody::Range(range) => add(range)?,
        // Rare, and not worth a copy of its parts' heads.
        ReplyBody::Parts(..) => return None,
    }
    Some(body)
}

/// Whether the answer differs from the stored response only by what every hit adds.
fn is_plain(exchange: &Exchange) -> bool {
    exchange.request.as_deref().is_some_and(|request| {
        answer::browser_ttl(request, exchange).is_none()
            && request.applied.cookies.is_empty()
            && !request.applied.by_cookie
            && request.site.zone.rules.response_header_rules.is_empty()
            && !request.settings.pass_cache_tags.value
    })
}

impl Hit for MemoryHit {
    fn write_head(&self, out: &mut Vec<u8>) {
        let stored = match &self.head {
            Head::Prepared(stored) => stored,
            Head::Dressed(fields) => {
                write_status(out, self.status);
                let fields = fields.iter().filter(|(name, _)| **name != CONNECTION);
                fields.for_each(|(name, value)| write_field(out, name, value));
                return;
            }
        };
        let prepared = stored.prepared.get(|| prepare(stored));
        out.extend_from_slice(prepared);
        let age = self
            .exchange
            .times
            .map_or(0, |times| times.age(self.now).as_secs());
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "Age: {age}\r\nVia: {}\r\n",
            super::forward::via(Version::HTTP_11)
        );
        out.extend_from_slice(b"Cache-Status: ");
        self.exchange.write_cache_status(&self.told, out);
        out.extend_from_slice(b"\r\nX-Cache: ");
        out.extend_from_slice(self.told.x_cache().as_str().as_bytes());
        out.extend_from_slice(b"\r\nX-Request-Id: ");
        out.extend_from_slice(self.exchange.request_id.as_str().as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn body(&self) -> &[Bytes] {
        &self.body
    }

    fn finish(self, sent: Sent) -> Parts {
        let duration = clock::instant().saturating_duration_since(self.exchange.started);
        let finished = Finished {
            head: &self.asked,
            client: None,
            status: sent.head.then_some(self.status),
            sent: sent.body,
            error: sent.error.map(|error| error_text(&error).into()),
            duration,
        };
        record::write(&self.shared, &self.exchange, &finished);
        drop(self.exchange);
        Arc::try_unwrap(self.asked).unwrap_or_else(|_| http::Request::new(()).into_parts().0)
    }
}

/// The words begin as those of Pingora's lane, for who searches the log.
fn error_text(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => "WriteTimedout: writing the answer".to_owned(),
        _ => format!("WriteError: {error}"),
    }
}

/// Status line and fields of every plain hit, without what differs from hit to hit.
fn prepare(stored: &StoredResponse) -> Bytes {
    let mut out = Vec::with_capacity(512);
    write_status(&mut out, stored.status);
    for (name, value) in &*stored.fields {
        let own = [&AGE, &CONNECTION, &X_CACHE, &X_REQUEST_ID].contains(&name);
        if !own && !answer::is_for_caches(name) {
            write_field(&mut out, name, value);
        }
    }
    out.into()
}

fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    let reason = status.canonical_reason().unwrap_or("");
    // Writing into memory does not fail.
    let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
}

/// Names are written as people write them: `Content-Type`.
fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let mut begins = true;
    for byte in name.as_str().bytes() {
        out.push(if begins {
            byte.to_ascii_uppercase()
        } else {
            byte
        });
        begins = byte == b'-';
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
