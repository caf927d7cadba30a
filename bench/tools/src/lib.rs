//! What the three tools share.

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// A message head of more fields than this is not one of ours.
pub const MOST_FIELDS: usize = 32;

/// One thread for everything, as each server under test has one worker.
///
/// # Errors
/// When the system has no event queue to give.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Listens with a queue that a herd of clients fits in.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen(address: &str) -> std::io::Result<TcpListener> {
    let address = address.parse().map_err(std::io::Error::other)?;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(16_384)
}

/// The time as an HTTP date (RFC 9110 §5.6.7).
#[must_use]
pub fn http_date() -> String {
    httpdate::fmt_http_date(std::time::SystemTime::now())
}
