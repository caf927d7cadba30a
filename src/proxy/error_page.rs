//! When there is no answer: which status, and a page that says so with the request's id.

use http::StatusCode;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;

use crate::fields::accept::{ErrorFormat, error_format};
use crate::origin::FetchFailure;

/// The status a failure becomes; `None` when the client is gone.
pub(super) fn status(error: &Error, deadline_passed: bool) -> Option<StatusCode> {
    let code = match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(code), _) => *code,
        (_, ErrorSource::Upstream) if deadline_passed => 504,
        (
            ErrorType::ConnectTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
            | ErrorType::TLSHandshakeTimedout,
            ErrorSource::Upstream,
        ) => 504,
        (_, ErrorSource::Upstream) => 502,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => 408,
        (
            ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ReadError
            | ErrorType::ConnectionClosed,
            ErrorSource::Downstream,
        ) => return None,
        (_, ErrorSource::Downstream) => 400,
        (_, ErrorSource::Internal | ErrorSource::Unset) => 500,
    };
    Some(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

/// The status that the failure of a fetch becomes.
pub(super) const fn status_of(failure: FetchFailure) -> StatusCode {
    match failure {
        FetchFailure::Timeout | FetchFailure::ConnectTimeout => StatusCode::GATEWAY_TIMEOUT,
        FetchFailure::Busy | FetchFailure::Shed(_) | FetchFailure::NoReplica => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// The kind of a failure at the origin, as a metric label.
pub(super) fn kind(error: &Error, deadline_passed: bool) -> &'static str {
    match error.etype() {
        _ if deadline_passed => "timeout",
        ErrorType::ConnectTimedout => "connect-timeout",
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::SocketError => "connect",
        ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert => "tls",
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => "timeout",
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => "connection",
        ErrorType::InvalidHTTPHeader | ErrorType::H2Error | ErrorType::InvalidH2 => "protocol",
        _ => "other",
    }
}

/// Head and body of the page, in the form that the request accepts.
///
/// # Errors
/// When a value is not a valid field value.
pub(super) fn page(
    status: StatusCode,
    accept: &http::HeaderMap,
    request_id: &str,
) -> Result<(ResponseHeader, String)> {
    let (content_type, body) = content(status, accept, request_id);
    let mut head = ResponseHeader::build(status, Some(8))?;
    head.insert_header(CONTENT_TYPE, content_type)?;
    head.insert_header(CONTENT_LENGTH, body.len().to_string())?;
    head.insert_header(CACHE_CONTROL, "no-store")?;
    head.insert_header(http::header::VARY, ACCEPT.as_str())?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        head.insert_header(RETRY_AFTER, "5")?;
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        // The connection guard's, whose buckets fill every second.
        head.insert_header(RETRY_AFTER, "1")?;
    }
    Ok((head, body))
}

/// Media type and text of a problem in words of its own (RFC 9457).
pub(super) fn problem(
    status: StatusCode,
    explanation: &str,
    request_id: &str,
) -> (&'static str, String) {
    let reason = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({
        "title": reason,
        "status": status.as_u16(),
        "detail": explanation,
        "request_id": request_id,
    });
    ("application/problem+json", body.to_string())
}

/// Media type and text of the page, in the form that the request accepts.
pub(super) fn content(
    status: StatusCode,
    accept: &http::HeaderMap,
    request_id: &str,
) -> (&'static str, String) {
    let reason = status.canonical_reason().unwrap_or("Error");
    let explanation = explanation(status);
    let code = status.as_u16();
    match error_format(accept) {
        ErrorFormat::Html => (
            "text/html; charset=utf-8",
            html(code, reason, explanation, request_id),
        ),
        ErrorFormat::Json => problem(status, explanation, request_id),
        ErrorFormat::Plain => (
            "text/plain; charset=utf-8",
            format!("{code} {reason}\n{explanation}\nRequest id: {request_id}\n"),
        ),
    }
}

fn explanation(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "The request could not be understood.",
        401 => "You must sign in to see this.",
        404 | 410 => "There is nothing at this address.",
        408 => "The request took too long to arrive.",
        413 => "The request body is larger than this site accepts.",
        421 => "This server does not answer for that host.",
        429 => "There were too many requests. Please try again later.",
        502 => "The application did not give a usable answer.",
        503 => "The application is not available right now. Please try again shortly.",
        504 => "The application took too long to answer.",
        code if code < 500 => "This site does not accept the request.",
        _ => "Something went wrong while answering.",
    }
}

fn html(code: u16, reason: &str, explanation: &str, request_id: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{code} {reason}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.5rem}}\
         code{{font-size:.85em;opacity:.75}}</style>\n\
         <h1>{code} {reason}</h1>\n<p>{explanation}</p>\n<p><code>Request id: {request_id}</code></p>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_become_the_status_that_tells_them_apart() {
        let upstream = |kind: ErrorType| Error::new_up(kind);
        for (error, deadline, expected) in [
            (upstream(ErrorType::ConnectRefused), false, Some(502)),
            (upstream(ErrorType::ConnectTimedout), false, Some(504)),
            (upstream(ErrorType::ConnectionClosed), true, Some(504)),
            (upstream(ErrorType::InvalidHTTPHeader), false, Some(502)),
            (Error::new_down(ErrorType::ConnectionClosed), false, None),
            (Error::new_down(ErrorType::ReadTimedout), false, Some(408)),
            (Error::new_in(ErrorType::InternalError), false, Some(500)),
            (Error::new(ErrorType::HTTPStatus(503)), false, Some(503)),
        ] {
            assert_eq!(
                status(&error, deadline).map(|status| status.as_u16()),
                expected,
                "{error}"
            );
        }
    }

    #[test]
    fn the_page_comes_in_the_form_that_is_accepted() {
        for (accept, content_type) in [
            ("text/html,*/*;q=0.8", "text/html; charset=utf-8"),
            ("application/json", "application/problem+json"),
            ("*/*", "text/plain; charset=utf-8"),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            let (head, body) = page(StatusCode::BAD_GATEWAY, &headers, "abc").unwrap();
            assert_eq!(head.headers[CONTENT_TYPE], content_type);
            assert!(body.contains("abc") && body.contains("502"), "{body}");
        }
    }
}
