//! A request without body on one of Pingora's connections, of either version of HTTP.

use http::Uri;
use http::header::{CONNECTION, HOST};
use pingora_core::protocols::http::client::HttpSession;
use pingora_error::{ErrorType, OrErr as _, Result};
use pingora_http::RequestHeader;

/// Sends `request`, which has no body.
///
/// # Errors
/// When the connection fails, or the request has no host.
pub(super) async fn send(
    session: &mut HttpSession,
    mut request: RequestHeader,
    tls: bool,
) -> Result<()> {
    let HttpSession::H2(h2) = session else {
        session.write_request_header(Box::new(request)).await?;
        return session.finish_request_body().await;
    };
    // RFC 9113 §8.2.2 and §8.3.1: the host is in the target, and connections have no options.
    request.remove_header(&CONNECTION);
    let host = request.remove_header(&HOST);
    let authority = host.as_ref().map_or(&b""[..], |host| host.as_bytes());
    let target = request.uri.path_and_query();
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(authority)
        .path_and_query(target.map_or("/", |target| target.as_str()))
        .build()
        .or_err(ErrorType::InvalidHTTPHeader, "a target for HTTP/2")?;
    request.set_uri(uri);
    h2.write_request_header(Box::new(request), true)
}
