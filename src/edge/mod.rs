//! Where clients arrive: listeners, TLS, and the strict reading of HTTP/1 request heads.
//!
//! [`front`] owns a connection between requests and has each request, once its head is complete and
//! unambiguous, evaluated ([`lane`]): a hit is written at once ([`answers`]), what simply goes past the cache
//! is relayed from the origin ([`relay`]), every other request goes to Pingora. HTTP/2 connections go to
//! Pingora as they are.

mod answers;
pub mod chunked;
mod front;
pub mod head;
mod io;
pub mod lane;
mod relay;
pub(crate) mod timer;
mod tls;
mod turnstile;

pub use front::{Front, LINGER};
pub use tls::Certificates;

use std::net::{IpAddr, Ipv4Addr};

use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::socket::SocketAddr;

/// Whose address it is. What has none, as it came over no network, is taken for this machine's.
pub fn client(address: Option<&SocketAddr>) -> IpAddr {
    let address = address.and_then(SocketAddr::as_inet);
    address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| {
        address.ip().to_canonical()
    })
}

/// Makes the next response head on a client's connection keep this Date. Without effect on HTTP/2,
/// where Pingora alone writes heads.
pub fn keep_date(connection: &Stream, date: &[u8]) {
    turnstile::Turnstile::keep_date(connection, date);
}
