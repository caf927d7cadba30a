//! Writes a response to the client: 304 or 206 where the client's conditions and ranges ask for it,
//! the body from the store or as it arrives.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::answer;
use super::exchange::Exchange;
use super::gateway::Gateway;
use super::source::Source;
use super::zone_page;
use crate::cache::status::CacheStatus;
use crate::clock;
use crate::edge;
use crate::fields::range::{RangeOutcome, select};
use crate::fields::validators::{Condition, Validators, evaluate};
use crate::store::StoredResponse;

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
    fields: &HeaderMap,
    mut source: Source,
    told: CacheStatus,
) -> Result<()> {
    let head = session.req_header();
    if let Some((status, fields, page)) = zone_page::in_place_of(head, exchange, status, fields) {
        let body = Body::Page(Bytes::from(page));
        return write(session, exchange, status, &fields, told, body).await;
    }
    let validators = Validators::of(fields);
    if evaluate(&head.method, &head.headers, status, &validators) == Condition::NotModified {
        let fields = answer::not_modified(fields);
        return write(
            session,
            exchange,
            StatusCode::NOT_MODIFIED,
            &fields,
            told,
            Body::None,
        )
        .await;
    }
    let outcome = match source.length() {
        Some(length) if status == StatusCode::OK => {
            select(&head.method, &head.headers, &validators, length)
        }
        _ => RangeOutcome::Full,
    };
    let total = source.length().unwrap_or_default();
    match outcome {
        RangeOutcome::Full => {
            let body = Body::Range(&mut source, 0..u64::MAX);
            write(session, exchange, status, fields, told, body).await
        }
        RangeOutcome::Unsatisfiable => {
            let mut fields = fields.clone();
            insert(
                &mut fields,
                header::CONTENT_RANGE,
                format!("bytes */{total}"),
            );
            insert(&mut fields, header::CONTENT_LENGTH, "0");
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            write(session, exchange, status, &fields, told, Body::None).await
        }
        RangeOutcome::Partial(ranges) => {
            let fields = fields.clone();
            match ranges.as_slice() {
                [range] => {
                    one_range(session, exchange, fields, &mut source, range.clone(), told).await
                }
                _ => several_ranges(session, exchange, fields, &mut source, ranges, told).await,
            }
        }
    }
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
    let mut source = Source::stored(stored.content.clone(), None);
    let fields = HeaderMap::clone(&stored.fields);
    one_range(session, exchange, fields, &mut source, range, told).await
}

async fn one_range(
    session: &mut Session,
    exchange: &mut Exchange,
    mut fields: HeaderMap,
    source: &mut Source,
    range: Range<u64>,
    told: CacheStatus,
) -> Result<()> {
    insert(
        &mut fields,
        header::CONTENT_RANGE,
        content_range(&range, source.length()),
    );
    insert(
        &mut fields,
        header::CONTENT_LENGTH,
        (range.end - range.start).to_string(),
    );
    let body = Body::Range(source, range);
    let status = StatusCode::PARTIAL_CONTENT;
    write(session, exchange, status, &fields, told, body).await
}

/// RFC 9110 §14.4.
fn content_range(range: &Range<u64>, total: Option<u64>) -> String {
    let last = range.end.saturating_sub(1);
    match total {
        Some(total) => format!("bytes {}-{last}/{total}", range.start),
        None => format!("bytes {}-{last}/*", range.start),
    }
}

/// RFC 9110 §14.6, `multipart/byteranges`. A response under way is read once, so its parts come in
/// ascending order.
async fn several_ranges(
    session: &mut Session,
    exchange: &mut Exchange,
    mut fields: HeaderMap,
    source: &mut Source,
    mut ranges: Vec<Range<u64>>,
    told: CacheStatus,
) -> Result<()> {
    if matches!(source, Source::Filling { .. }) {
        ranges.sort_unstable_by_key(|range| range.start);
    }
    let boundary = format!("seawall-{}", exchange.request_id);
    let content_type = fields
        .get(header::CONTENT_TYPE)
        .map(|value| [b"Content-Type: ", value.as_bytes(), b"\r\n"].concat())
        .unwrap_or_default();
    let total = source.length();
    let parts: Vec<(Bytes, Range<u64>)> = ranges
        .into_iter()
        .map(|range| {
            let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
            head.extend_from_slice(&content_type);
            let described = content_range(&range, total);
            head.extend_from_slice(format!("Content-Range: {described}\r\n\r\n").as_bytes());
            (Bytes::from(head), range)
        })
        .collect();
    let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let in_all: u64 = parts
        .iter()
        .map(|(head, range)| length(head.len()) + range.end - range.start)
        .sum();
    insert(
        &mut fields,
        header::CONTENT_LENGTH,
        (in_all + length(end.len())).to_string(),
    );
    insert(
        &mut fields,
        header::CONTENT_TYPE,
        format!("multipart/byteranges; boundary={boundary}"),
    );
    let body = Body::Parts(source, parts, end);
    let status = StatusCode::PARTIAL_CONTENT;
    write(session, exchange, status, &fields, told, body).await
}

fn insert(fields: &mut HeaderMap, name: header::HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        fields.insert(name, value);
    }
}

enum Body<'s> {
    None,
    Page(Bytes),
    Range(&'s mut Source, Range<u64>),
    Parts(&'s mut Source, Vec<(Bytes, Range<u64>)>, Bytes),
}

async fn write(
    session: &mut Session,
    exchange: &mut Exchange,
    status: StatusCode,
    fields: &HeaderMap,
    told: CacheStatus,
    body: Body<'_>,
) -> Result<()> {
    let mut head = ResponseHeader::build(status, Some(fields.len() + 6))?;
    for (name, value) in fields {
        head.append_header(name.clone(), value.clone())?;
    }
    answer::send(
        &mut head,
        session.req_header(),
        exchange,
        &told,
        clock::now(),
    )?;
    exchange.status = Some(told);
    let bodiless = session.req_header().method == Method::HEAD
        || matches!(status.as_u16(), 204 | 304)
        || matches!(body, Body::None);
    frame(&mut head, session.req_header().version, bodiless)?;
    if let (Some(connection), Some(date)) = (session.stream(), head.headers.get(header::DATE)) {
        edge::keep_date(connection, date.as_bytes());
    }
    session
        .write_response_header(Box::new(head), bodiless)
        .await
        .map_err(Error::into_down)?;
    if !bodiless {
        match body {
            Body::None => {}
            Body::Page(page) => chunk(session, page).await?,
            Body::Range(source, range) => {
                write_range(session, source, range).await?;
            }
            Body::Parts(source, parts, end) => {
                for (head, range) in parts {
                    chunk(session, head).await?;
                    write_range(session, source, range).await?;
                }
                chunk(session, end).await?;
            }
        }
    }
    session
        .write_response_body(None, true)
        .await
        .map_err(Error::into_down)
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
    session
        .write_response_body(Some(bytes), false)
        .await
        .map_err(Error::into_down)
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
    )?;
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
