//! The hit lane: a request is evaluated before Pingora sees it, and a fresh response in memory, or on
//! disk where that needs no waiting, is answered at once, as is what the edge answers itself. The same
//! policy decides as on Pingora's lane, and the same functions dress the
//! answer; most hits need no more than the lines as which the fields are stored.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Version};
use smallvec::{SmallVec, smallvec};

use super::answer;
use super::arrival::{self, Downstream};
use super::edge_reply;
use super::encoding;
use super::exchange::{Evaluated, Exchange};
use super::limiting;
use super::lookup::Lookup;
use super::passage::Passage;
use super::record::{self, Finished};
use super::reply::{self, Reply, ReplyBody};
use super::requests::Requests;
use crate::cache::early::is_due_early;
use crate::cache::eligibility::RequestDecision;
use crate::cache::reuse::{self, OriginState, ReuseDecision, StoredTimes, decide_reuse};
use crate::cache::status::CacheStatus;
use crate::clock;
use crate::edge::lane::{Arriving, Evaluation, Hit, Lane, Sent};
use crate::fields::content_coding::Coding;
use crate::fields::stored::write_line;
use crate::request::Scheme;
use crate::server::Shared;
use crate::store::{Content, StoredResponse};

/// Larger bodies are read as the client takes them, on Pingora's lane.
const LARGEST: u64 = 4 << 20;

/// A response in memory that answers a request.
pub(super) struct Found {
    pub(super) status: StatusCode,
    pub(super) head: Head,
    pub(super) body: SmallVec<[Bytes; 2]>,
    told: CacheStatus,
    now: SystemTime,
}

/// A hit on its way to the client.
pub struct MemoryHit {
    shared: Arc<Shared>,
    exchange: Box<Exchange>,
    asked: Arc<Parts>,
    found: Found,
}

/// The head of an answer.
pub(super) enum Head {
    /// As this form of it is stored; what differs from hit to hit follows it.
    Stored(Arc<StoredResponse>, Option<Coding>),
    /// Made for this request.
    Dressed(HeaderMap),
}

impl Lane for Requests {
    type Hit = MemoryHit;
    type Pass = Passage;

    fn evaluate(&self, arriving: Arriving) -> Evaluation<MemoryHit, Passage> {
        let Arriving {
            runtime,
            mut head,
            simple,
            ..
        } = arriving;
        let shared = &self.shared;
        let mut exchange = Box::new(Exchange::new(runtime, clock::instant(), clock::now()));
        let downstream = Downstream {
            client: arriving.client,
            peer: arriving.peer,
            scheme: Scheme::of(arriving.tls),
            unannounced_body: false,
        };
        exchange.refusal = arrival::receive(shared, &mut head, downstream, &mut exchange).err();
        let waits = exchange
            .limits
            .as_ref()
            .is_some_and(|limits| limits.waiting.is_some());
        if !waits {
            return self.evaluated(exchange, head, simple);
        }
        let requests = self.clone();
        Evaluation::Wait(Box::pin(async move {
            let shared = &requests.shared;
            if let Some(request) = limiting::ask(shared, &mut exchange).await {
                let resumed = arrival::resume(shared, &mut head, request, &mut exchange);
                exchange.refusal = resumed.err();
            }
            requests.evaluated(exchange, head, simple)
        }))
    }
}

impl Requests {
    /// What becomes of a request that was decided about.
    fn evaluated(
        &self,
        mut exchange: Box<Exchange>,
        head: Parts,
        simple: bool,
    ) -> Evaluation<MemoryHit, Passage> {
        let (shared, head) = (&self.shared, Arc::new(head));
        let simple = simple && exchange.pending.is_empty();
        if simple && Passage::takes(&exchange, &head) {
            let (shared, fetcher) = (shared.clone(), self.fetcher.clone());
            let passage = Passage::new(shared, fetcher, exchange, head);
            return Evaluation::Pass(Box::new(passage));
        }
        let found = simple.then(|| {
            edge_reply::found(&mut exchange, &head).or_else(|| find(shared, &mut exchange, &head))
        });
        match found.flatten() {
            Some(found) => Evaluation::Hit(Box::new(MemoryHit {
                shared: shared.clone(),
                exchange,
                asked: head,
                found,
            })),
            None => Evaluation::Forward(Box::new(Evaluated { exchange, head })),
        }
    }
}

/// The fresh response that answers the request, which counts as used. Otherwise what was looked
/// up is left in `exchange`.
pub(super) fn find(shared: &Shared, exchange: &mut Exchange, asked: &Arc<Parts>) -> Option<Found> {
    let site = exchange.request.as_ref().filter(|request| {
        let answered = exchange.edge.is_some() || exchange.refusal.is_some();
        let lower = request.lower.as_ref();
        let behind = || lower.is_some_and(|lower| lower.ahead(shared).is_some());
        request.decision == RequestDecision::Lookup && !answered && !behind()
    });
    let lookup = Lookup::of(site?.clone(), asked.clone());
    let now = exchange.arrived;
    let found = answer(&lookup, shared, exchange, now);
    if found.is_some() {
        lookup.count_use(&shared.store);
        exchange.key = Some(lookup.key.clone());
    } else {
        exchange.lookup = Some(Arc::new(lookup));
    }
    found
}

fn answer(
    lookup: &Lookup,
    shared: &Shared,
    exchange: &mut Exchange,
    now: SystemTime,
) -> Option<Found> {
    let (stored, times) = selected(lookup, shared, exchange)?;
    let complete = reuse::Found::Complete(&times);
    let ttl = match decide_reuse(&lookup.control, complete, OriginState::Unasked, now) {
        ReuseDecision::Reuse { ttl } if stored.content.is_complete() => ttl,
        _ => return None,
    };
    let window = lookup.site.settings.early_revalidation.value;
    if !window.is_zero() && is_due_early(&times, window, clock::chance(), now) {
        exchange.early = true;
        return None;
    }
    let asked = &lookup.head;
    let chosen = encoding::choose(shared, &asked.headers, exchange, &lookup.key, &stored);
    let (status, coding) = (stored.status, chosen.coding);
    // Most hits have no other fields than those that are stored.
    let (status, other, wanted) = if is_plain(exchange) && reply::is_whole(asked, exchange, status)
    {
        (status, None, Reply::whole_body(asked, status))
    } else {
        let (fields, length) = (chosen.fields.to_map(), chosen.content.complete_length());
        let reply = Reply::of(asked, exchange, status, fields, length, false);
        (reply.status, Some(reply.fields), reply.body)
    };
    let has_length = match &other {
        Some(fields) => fields.contains_key(CONTENT_LENGTH),
        None => chosen.fields.contains(&CONTENT_LENGTH),
    };
    let body = body(&wanted, has_length, chosen.content)?;
    stored.uses.count();
    exchange.served_age(&stored.times());
    let told = CacheStatus::hit(ttl);
    exchange.status = Some(told);
    let head = match other {
        None => Head::Stored(stored, coding),
        Some(mut fields) => {
            let version = Version::HTTP_11;
            answer::dress(&mut fields, status, version, asked, exchange, &told, now);
            Head::Dressed(fields)
        }
    };
    Some(Found {
        status,
        head,
        body,
        told,
        now,
    })
}

/// What is stored for the request in memory, or on disk as far as the system has that in memory.
fn selected(
    lookup: &Lookup,
    shared: &Shared,
    exchange: &mut Exchange,
) -> Option<(Arc<StoredResponse>, StoredTimes)> {
    let store = &shared.store;
    let found = lookup.find(store).into_selected();
    if found.is_some() {
        return found;
    }
    let resource = store.load_now(&lookup.key)?;
    exchange.from_disk = true;
    lookup.find_in(&resource, store).into_selected()
}

/// The bytes that follow the head; `None` when its length is not told, not all of it is in memory, or it
/// is too much to keep there while a slow client reads.
fn body(wanted: &ReplyBody, has_length: bool, content: &Content) -> Option<SmallVec<[Bytes; 2]>> {
    if !matches!(wanted, ReplyBody::None) && !has_length {
        return None;
    }
    match (wanted, content) {
        (ReplyBody::None, _) => Some(SmallVec::new()),
        (ReplyBody::Page(page), _) => Some(smallvec![page.clone()]),
        (ReplyBody::Range(range), Content::Complete(body)) => {
            let length = range.end.min(body.len()).saturating_sub(range.start);
            body.in_memory(range.clone()).filter(|_| length <= LARGEST)
        }
        // Rare, and not worth a way of their own.
        (ReplyBody::Parts(..), _) | (ReplyBody::Range(_), Content::Parts(_)) => None,
    }
}

/// Whether the answer differs from the stored response only by what every hit adds.
fn is_plain(exchange: &Exchange) -> bool {
    exchange.request.as_deref().is_some_and(|request| {
        answer::browser_ttl(request, exchange).is_none()
            && request.applied.cookies.is_empty()
            && exchange.room_cookie.is_none()
            && !request.applied.by_cookie
            && request.site.zone.rules.response_header_rules.is_empty()
            && !request.settings.pass_cache_tags.value
            && request.lower.is_none()
            && !exchange.limits_touch_fields()
    })
}

impl Found {
    /// An answer whose fields are complete.
    pub(super) fn dressed(
        status: StatusCode,
        fields: HeaderMap,
        body: Option<Bytes>,
        told: CacheStatus,
        now: SystemTime,
    ) -> Self {
        Self {
            status,
            head: Head::Dressed(fields),
            body: body.into_iter().collect(),
            told,
            now,
        }
    }

    /// The fields of the answer to `asked`.
    pub(super) fn fields(self, asked: &Parts, exchange: &Exchange) -> HeaderMap {
        match self.head {
            Head::Dressed(fields) => fields,
            Head::Stored(stored, coding) => {
                let mut fields = stored.in_coding(coding).fields.to_map();
                let version = Version::HTTP_11;
                let Self {
                    status, told, now, ..
                } = self;
                answer::dress(&mut fields, status, version, asked, exchange, &told, now);
                fields
            }
        }
    }
}

impl Hit for MemoryHit {
    fn write_head(&self, out: &mut Vec<u8>) {
        let Found { told, now, .. } = &self.found;
        let (stored, coding) = match &self.found.head {
            Head::Stored(stored, coding) => (stored, *coding),
            Head::Dressed(fields) => {
                write_status(out, self.found.status);
                let fields = fields.iter().filter(|(name, _)| **name != CONNECTION);
                fields.for_each(|(name, value)| write_line(out, name, value));
                return;
            }
        };
        write_status(out, stored.status);
        out.extend_from_slice(stored.in_coding(coding).fields.passed_on());
        let varies = coding.is_some() || stored.tells_of_encoding();
        if self.exchange.varies_by_encoding && !varies {
            out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
        }
        let age = self
            .exchange
            .times
            .map_or(0, |times| times.age(*now).as_secs());
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "Age: {age}\r\nVia: {}\r\n",
            super::forward::via(Version::HTTP_11)
        );
        out.extend_from_slice(b"Cache-Status: ");
        self.exchange.write_cache_status(told, out);
        out.extend_from_slice(b"\r\nX-Cache: ");
        out.extend_from_slice(told.x_cache().as_str().as_bytes());
        out.extend_from_slice(b"\r\nX-Request-Id: ");
        out.extend_from_slice(self.exchange.request_id.as_str().as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn body(&self) -> &[Bytes] {
        &self.found.body
    }

    fn finish(self, sent: Sent) -> Parts {
        let duration = clock::instant().saturating_duration_since(self.exchange.started);
        let finished = Finished {
            head: &self.asked,
            client: None,
            status: sent.head.then_some(self.found.status),
            sent: sent.body,
            error: sent.error.map(|error| error_text(&error).into()),
            duration,
        };
        record::write(&self.shared, &self.exchange, &finished);
        if self.exchange.edge.is_none() {
            self.shared.metrics.lane_hit();
        }
        drop(self.exchange);
        Arc::try_unwrap(self.asked).unwrap_or_else(|_| http::Request::new(()).into_parts().0)
    }
}

/// The words begin as those of Pingora's lane, for who searches the log.
pub(super) fn error_text(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => "WriteTimedout: writing the answer".to_owned(),
        _ => format!("WriteError: {error}"),
    }
}

fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        // Nearly every hit.
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    let reason = status.canonical_reason().unwrap_or("");
    // Writing into memory does not fail.
    let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
}
