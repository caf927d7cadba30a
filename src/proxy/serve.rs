//! Writes a response to the client: 304 or 206 where the client's conditions and ranges ask for it,
//! the body from the store or as it arrives.

use std::ops::Range;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::answer;
use super::encoding;
use super::exchange::Exchange;
use super::gateway::Gateway;
use super::hit::Found;
use super::reply::{Reply, ReplyBody};
use super::source::Source;
use crate::cache::status::CacheStatus;
use crate::clock;
use crate::edge;
use crate::store::StoredResponse;

/// Bytes that are written at once: over HTTP/2 a frame (RFC 9113 §4.2), and otherwise as many as a write is worth.
const MOST_HTTP2: usize = 16 << 10;
const MOST_HTTP1: usize = 64 << 10;

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Answers with a response of the cache or of the origin, as the client's conditions and ranges
/// want it.
///
/// # Errors
/// When the client is gone, or the body is cut short.
pub(super) async fn response(
    session: &mut Session,
    exchange: &mut Exchange,
    status: StatusCode,
    fields: HeaderMap,
    source: Source,
    told: CacheStatus,
) -> Result<()> {
    let once = matches!(source, Source::Filling { .. });
    if let Source::Filling { reader, .. } = &source
        && reader.fill().times.is_some()
    {
        encoding::note(exchange, status, &fields, source.length());
    }
    let asked = session.req_header();
    let reply = Reply::of(asked, exchange, status, fields, source.length(), once);
    write(session, exchange, reply, source, told).await
}

/// Answers with a response that is in memory.
///
/// # Errors
/// When the client is gone.
pub(super) async fn found(
    session: &mut Session,
    exchange: &mut Exchange,
    found: Found,
    asked: &Parts,
) -> Result<()> {
    let (status, body) = (found.status, found.body.clone());
    let fields = found.fields(asked, exchange);
    let head = answer::head(session.req_header().version, status, fields)?;
    send_head(session, head, body.is_empty()).await?;
    let last = body.len().saturating_sub(1);
    for (number, chunk) in body.into_iter().enumerate() {
        piece(session, chunk, number == last).await?;
    }
    Ok(())
}

/// Answers with a range of a response that is stored in part.
///
/// # Errors
/// When the client is gone.
pub(super) async fn part(
    session: &mut Session,
    exchange: &mut Exchange,
    stored: &StoredResponse,
    range: Range<u64>,
    told: CacheStatus,
) -> Result<()> {
    let source = Source::stored(stored.content.clone(), None);
    let reply = Reply::range(stored.fields.to_map(), range, source.length());
    write(session, exchange, reply, source, told).await
}

async fn write(
    session: &mut Session,
    exchange: &mut Exchange,
    reply: Reply,
    mut source: Source,
    told: CacheStatus,
) -> Result<()> {
    let Reply {
        status,
        mut fields,
        body,
    } = reply;
    let asked = session.req_header();
    let version = Version::HTTP_11;
    answer::dress(
        &mut fields,
        status,
        version,
        asked,
        exchange,
        &told,
        clock::now(),
    );
    exchange.status = Some(told);
    let mut head = answer::head(asked.version, status, fields)?;
    let bodiless = matches!(body, ReplyBody::None);
    frame(&mut head, asked.version, bodiless)?;
    send_head(session, head, bodiless).await?;
    match body {
        ReplyBody::None => {}
        ReplyBody::Page(page) => chunk(session, page).await?,
        ReplyBody::Range(range) => write_range(session, &mut source, range).await?,
        ReplyBody::Parts(parts, end) => {
            for (head, range) in parts {
                chunk(session, head).await?;
                write_range(session, &mut source, range).await?;
            }
            chunk(session, end).await?;
        }
    }
    session
        .write_response_body(None, true)
        .await
        .map_err(Error::into_down)
}

/// Sends a head that keeps its own Date.
async fn send_head(session: &mut Session, head: ResponseHeader, bodiless: bool) -> Result<()> {
    keep_date(session, &head);
    session
        .write_response_header(Box::new(head), bodiless)
        .await
        .map_err(Error::into_down)
}

/// Has a head go out with the Date that it has, where that is in our hands.
pub(super) fn keep_date(session: &Session, head: &ResponseHeader) {
    if let (Some(connection), Some(date)) = (session.stream(), head.headers.get(header::DATE)) {
        edge::keep_date(connection, date.as_bytes());
    }
}

/// HTTP/1.1 needs to be told how the body ends (RFC 9112 §6.3).
fn frame(head: &mut ResponseHeader, version: Version, bodiless: bool) -> Result<()> {
    let has_length = head.headers.contains_key(header::CONTENT_LENGTH);
    if version == Version::HTTP_11 && !has_length && !bodiless {
        head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

async fn write_range(session: &mut Session, source: &mut Source, range: Range<u64>) -> Result<()> {
    let mut at = range.start;
    while let Some(bytes) = source.read(at, range.end).await? {
        at = at.saturating_add(length(bytes.len()));
        chunk(session, bytes).await?;
    }
    if range.end != u64::MAX && at < range.end {
        return Error::e_explain(ErrorType::ReadError, "the response ended before its time")
            .map_err(|error: Box<Error>| error.into_up());
    }
    Ok(())
}

async fn chunk(session: &mut Session, bytes: Bytes) -> Result<()> {
    piece(session, bytes, false).await
}

/// Writes in parts what may be the whole of a large body: Pingora allows `write_timeout` for what it is given at
/// once, and who takes longer for all of it is not too slow.
async fn piece(session: &mut Session, mut bytes: Bytes, end: bool) -> Result<()> {
    let most = match session.req_header().version {
        Version::HTTP_2 => MOST_HTTP2,
        _ => MOST_HTTP1,
    };
    while bytes.len() > most {
        let part = bytes.split_to(most);
        let written = session.write_response_body(Some(part), false).await;
        written.map_err(Error::into_down)?;
    }
    let written = session.write_response_body(Some(bytes), end).await;
    written.map_err(Error::into_down)
}

/// Answers with a text of our own.
///
/// # Errors
/// When the client is gone.
pub(super) async fn whole(
    session: &mut Session,
    exchange: &mut Exchange,
    mut head: ResponseHeader,
    body: String,
    told: CacheStatus,
) -> Result<()> {
    head.insert_header(header::CONTENT_LENGTH, body.len().to_string())?;
    answer::send(
        &mut head,
        session.req_header(),
        exchange,
        &told,
        clock::now(),
    );
    exchange.status = Some(told);
    let bodiless = session.req_header().method == Method::HEAD || body.is_empty();
    session
        .write_response_header(Box::new(head), bodiless)
        .await?;
    let body = (!bodiless).then(|| Bytes::from(body));
    session.write_response_body(body, true).await
}

/// Answers with an error page.
///
/// # Errors
/// When the client is gone.
pub(super) async fn refuse(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    status: StatusCode,
) -> Result<()> {
    gateway.send_error(session, exchange, status).await
}
