//! What the front asks of those who answer requests: to evaluate each once, and to answer a hit in
//! memory at once. Everything else goes through Pingora, and takes the evaluation along.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use pingora_core::apps::HttpServerApp;

use crate::server::Runtime;

/// Evaluates requests.
pub trait Lane: HttpServerApp {
    /// A request that can be answered at once.
    type Hit: Hit;

    /// Evaluates a request.
    fn evaluate(&self, arriving: Arriving) -> Evaluation<Self::Hit>;
}

/// A request whose head has been read.
pub struct Arriving {
    /// The configuration it is to begin with.
    pub runtime: Arc<Runtime>,
    /// Its head as it was sent.
    pub head: Parts,
    /// Whose it is.
    pub client: IpAddr,
    /// Whether its connection is encrypted.
    pub tls: bool,
    /// Whether it is such that it may be answered at once: without a body, and staying with HTTP.
    pub simple: bool,
}

/// What came of evaluating a request.
pub enum Evaluation<H> {
    /// It can be answered at once.
    Hit(Box<H>),
    /// For Pingora's lane: what is known of it.
    Forward(Box<dyn Any + Send + Sync>),
}

/// An answer from memory.
pub trait Hit: Send {
    /// Appends status line and fields to `out`, with the line that tells what becomes of the connection
    /// still missing, and the empty line after it.
    fn write_head(&self, out: &mut Vec<u8>);

    /// The body, in order.
    fn body(&self) -> &[Bytes];

    /// It was sent, or how much of the body was before that failed. Gives back the head of the request,
    /// whose memory serves the next.
    fn finish(self, sent: Sent) -> Parts;
}

/// What became of an answer.
pub struct Sent {
    /// Whether its head went out.
    pub head: bool,
    /// Bytes of the body that went out.
    pub body: u64,
    /// Why not all of it did.
    pub error: Option<std::io::Error>,
}
