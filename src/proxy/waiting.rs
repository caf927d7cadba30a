//! Requests that meet a waiting room: on arrival, or when the cache does not have what they want.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, REFRESH, RETRY_AFTER, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use pingora_error::Result;
use pingora_proxy::Session;

use super::edge_reply::{self, EdgeReply, name_and_place};
use super::exchange::{Exchange, SiteRequest};
use super::serve;
use crate::cache::eligibility::RequestDecision;
use crate::cache::settings::RuleId;
use crate::cache::status::EdgeReason;
use crate::clock;
use crate::fields::accept::{ErrorFormat, error_format};
use crate::request::Scheme;
use crate::rules::phase::{Guards, WaitingRoom};
use crate::server::OpenRoom;
use crate::waiting_room::{self, Claim, Format, Verdict, Wait};

/// A request at the door.
pub(super) struct Visit {
    room: RuleId,
    claim: Option<Claim>,
    format: Format,
}

impl Visit {
    /// What the request says to the room, whose cookie is taken out of it afterwards.
    pub(super) fn of(room: RuleId, request: &SiteRequest, headers: &HeaderMap) -> Option<Self> {
        let open = open_room(request, room)?;
        let format = match error_format(headers) {
            ErrorFormat::Html => Format::Html,
            ErrorFormat::Json => Format::Json,
            ErrorFormat::Plain => Format::Plain,
        };
        Some(Self {
            room,
            claim: open.read(headers, request.scheme == Scheme::Https),
            format,
        })
    }
}

fn open_room(request: &SiteRequest, room: RuleId) -> Option<&OpenRoom> {
    request.site.rooms.get(usize::from(room.0))
}

/// The answer to a request that has to wait before the cache is asked.
pub(super) fn on_arrival(exchange: &mut Exchange) -> Option<EdgeReply> {
    let request = exchange.request.as_deref()?;
    let visit = exchange.room.as_ref()?;
    let rule = request.site.zone.rules.waiting_rooms.get(visit.room)?;
    let goes_past = request.decision != RequestDecision::Lookup;
    if goes_past || rule.action.guards == Guards::All {
        return at_origin(exchange);
    }
    None
}

/// The answer to a request that has to wait before the origin is asked. It is asked once.
pub(super) fn at_origin(exchange: &mut Exchange) -> Option<EdgeReply> {
    let visit = exchange.room.take()?;
    let request = exchange.request.clone()?;
    let rule = request.site.zone.rules.waiting_rooms.get(visit.room)?;
    let room = open_room(&request, visit.room)?;
    let now = u64::try_from(request.unix_seconds).unwrap_or_default();
    let secure = request.scheme == Scheme::Https;
    let (verdict, cookie) = room.ask(&rule.action.limits, visit.claim, secure, now);
    exchange.room_cookie = cookie;
    let wait = match verdict {
        Verdict::Enter(_) => return None,
        Verdict::Wait(wait) => Some(wait),
        Verdict::Reject => None,
    };
    Some(EdgeReply {
        rule: name_and_place(Some(rule)),
        ..reply(&rule.action, wait.as_ref(), visit.format, exchange)
    })
}

/// Answers a request that has to wait before the origin is asked; whether it was answered.
///
/// # Errors
/// When the client is gone.
pub(super) async fn turns_away(
    session: &mut Session,
    exchange: &mut Exchange,
    asked: &Parts,
) -> Result<bool> {
    exchange.edge = at_origin(exchange);
    let Some(found) = edge_reply::found(exchange, asked) else {
        return Ok(false);
    };
    serve::found(session, exchange, found, asked).await?;
    Ok(true)
}

fn reply(
    room: &WaitingRoom,
    wait: Option<&Wait>,
    format: Format,
    exchange: &Exchange,
) -> EdgeReply {
    // Not all come back at once.
    let refresh = waiting_room::REFRESH;
    let refresh = refresh + clock::chance() % (refresh / 2 + 1);
    let request_id = exchange.request_id.as_str();
    let format = match format {
        Format::Json if !room.json_response => Format::Html,
        other => other,
    };
    let (content_type, body) = match &room.page {
        Some(page) if format != Format::Json => {
            let filled = waiting_room::fill(&page.content, wait, room.status, refresh, request_id);
            (page.content_type.clone(), filled)
        }
        _ => {
            let page = waiting_room::page(format, wait, room.status, refresh, request_id);
            (HeaderValue::from_static(page.content_type), page.content)
        }
    };
    let mut fields = vec![
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, HeaderValue::from_static("no-store, private")),
        (VARY, HeaderValue::from_static("accept")),
        (RETRY_AFTER, refresh.into()),
    ];
    if wait.is_some() {
        // For pages of the operator's; asking again needs no script.
        fields.push((REFRESH, refresh.into()));
    }
    EdgeReply {
        reason: EdgeReason::WaitingRoom,
        rule: Default::default(),
        status: room.status,
        fields,
        body,
    }
}
