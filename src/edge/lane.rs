//! What the front asks of those who answer requests: to evaluate each once, to answer a hit in memory at
//! once, and to ask the origin for what simply goes past the cache. Everything else goes through Pingora,
//! and takes the evaluation along.

use std::any::Any;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use pingora_core::apps::HttpServerApp;
use pingora_http::ResponseHeader;
use tokio::sync::mpsc::UnboundedSender;

use crate::server::Runtime;

/// Evaluates requests.
pub trait Lane: HttpServerApp {
    /// A request that can be answered at once.
    type Hit: Hit;
    /// A request that goes past the cache and needs nothing of Pingora's proxy.
    type Pass: Pass;

    /// Evaluates a request.
    fn evaluate(&self, arriving: Arriving) -> Evaluation<Self::Hit, Self::Pass>;
}

/// A request whose head has been read.
pub struct Arriving {
    /// The configuration it is to begin with.
    pub runtime: Arc<Runtime>,
    /// Its head as it was sent.
    pub head: Parts,
    /// Whose connection it is.
    pub client: IpAddr,
    /// Who the connection is from; a proxy may have said that it is another's.
    pub peer: IpAddr,
    /// Whether its connection is encrypted.
    pub tls: bool,
    /// Whether it is such that it may be answered at once: without a body, and staying with HTTP.
    pub simple: bool,
}

/// What came of evaluating a request.
pub enum Evaluation<H, P> {
    /// It can be answered at once.
    Hit(Box<H>),
    /// The origin is to be asked.
    Pass(Box<P>),
    /// For Pingora's lane: what is known of it.
    Forward(Evaluated),
    /// Other nodes are asked first, as only strict limits have it.
    Wait(Waiting<H, P>),
}

/// Becomes an evaluation that waits no more.
pub type Waiting<H, P> = Pin<Box<dyn Future<Output = Evaluation<H, P>> + Send>>;

/// What Pingora's lane is told of a request.
pub type Evaluated = Box<dyn Any + Send + Sync>;

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

/// A bodiless request to the origin, and its answer. The methods are called in this order. It is large, and
/// stays in its box.
pub trait Pass: Send {
    /// Asks for the answer's head; whether there is one. Interim responses are told as they come.
    fn ask(
        &mut self,
        interim: UnboundedSender<ResponseHeader>,
    ) -> impl Future<Output = bool> + Send;

    /// There is no answer: Pingora's lane says so.
    fn hand_over(self: Box<Self>) -> Evaluated;

    /// Makes the head what the client gets, and appends it to `out` with the empty line after it. `keep`
    /// tells whether the connection may be used again.
    fn write_head(&mut self, keep: bool, out: &mut Vec<u8>);

    /// Whether the body goes out in chunks (RFC 9112 §7.1).
    fn is_chunked(&self) -> bool;

    /// The next piece of the body, none at its end; an error when it is cut short, which is remembered.
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>, Cut>> + Send;

    /// What became of it.
    fn finish(self: Box<Self>, sent: Sent);
}

/// A body ended before its time.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

/// What became of an answer.
pub struct Sent {
    /// Whether its head went out.
    pub head: bool,
    /// Bytes of the body that went out.
    pub body: u64,
    /// Why not all of it did.
    pub error: Option<std::io::Error>,
}
