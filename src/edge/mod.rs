//! Where clients arrive: listeners, TLS, and the strict reading of HTTP/1 request heads.
//!
//! [`front`] owns a connection between requests and has each request, once its head is complete and
//! unambiguous, evaluated ([`lane`]): a hit is written at once ([`answers`]), what simply goes past the cache
//! is relayed from the origin ([`relay`]), every other request goes to Pingora. HTTP/2 connections go to
//! Pingora, and are watched on the way ([`watched`]). Before all that, [`mod@guest`] lets a connection in.

mod answers;
pub mod chunked;
mod front;
mod guest;
pub mod head;
mod io;
pub mod lane;
mod pace;
mod refusal;
mod relay;
pub(crate) mod timer;
mod tls;
mod turnstile;
mod watched;

pub use front::{Front, LINGER};
pub use guest::{BeforeTls, Guest};
pub use tls::Certificates;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;

/// Whose address it is. What has none, as it came over no network, is taken for this machine's.
pub fn client(address: Option<&SocketAddr>) -> IpAddr {
    let address = address.and_then(SocketAddr::as_inet);
    address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| {
        address.ip().to_canonical()
    })
}

/// Whose connection it is, where Pingora knows it as one of HTTP/2.
pub fn guest(digest: Option<&ProxyDigest>) -> Option<&Arc<Guest>> {
    Guest::of(digest)
}

/// Makes the next response head on a client's connection keep this Date. Without effect on HTTP/2,
/// where Pingora alone writes heads.
pub fn keep_date(connection: &Stream, date: &[u8]) {
    turnstile::Turnstile::keep_date(connection, date);
}
