//! What a client is told whose request is not even looked at.

use http::StatusCode;
use pingora_core::protocols::Stream;
use tokio::io::AsyncWriteExt;

use super::LINGER;
use super::head::HeadError;
use super::io::close;
use crate::config::Client;
use crate::observe::Metrics;

/// For a client that sends more requests than it may.
pub(super) const TOO_FAST: HeadError = HeadError {
    status: StatusCode::TOO_MANY_REQUESTS,
    reason: "too many requests",
};

/// Answers with an error, and closes the connection.
pub(super) async fn refuse(
    stream: &mut Stream,
    error: HeadError,
    client: &Client,
    metrics: &Metrics,
) {
    metrics.refused(error.reason);
    tracing::debug!(
        status = error.status.as_u16(),
        reason = error.reason,
        "request refused"
    );
    let body = format!("{} {}\n", error.status.as_u16(), error.reason);
    let wait = if error.status == StatusCode::TOO_MANY_REQUESTS {
        "Retry-After: 1\r\n"
    } else {
        ""
    };
    let response = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nCache-Status: Seawall; detail=refused\r\n{wait}Connection: close\r\n\r\n{body}",
        error.status.as_u16(),
        error.status.canonical_reason().unwrap_or_default(),
        body.len(),
    );
    let bound = client.write_timeout.min(LINGER);
    let sent = tokio::time::timeout(bound, stream.write_all(response.as_bytes())).await;
    if matches!(sent, Ok(Ok(()))) {
        close(stream, client).await;
    }
}
