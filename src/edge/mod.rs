//! Where clients arrive: listeners, TLS, and the strict reading of HTTP/1 request heads.
//!
//! [`front`] owns a connection between requests and gives each request, once its head is complete
//! and unambiguous, to Pingora. HTTP/2 connections go to Pingora as they are.

mod front;
pub mod head;
mod tls;
mod turnstile;

pub use front::{Front, LINGER};
pub use tls::Certificates;
