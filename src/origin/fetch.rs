//! One bodiless request to a pool: attempts, terms, the answer as it arrives.
//!
//! Requests with a body take Pingora's own way; see [`crate::proxy`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use pingora_core::server::configuration::ServerConf;
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::sync::OwnedSemaphorePermit;

use super::bucket::Replacement;
use super::failure::FetchFailure;
use super::outlier::Outcome;
use super::overload::{Permit, Shed};
use super::pool::OriginPool;
use super::replica::Replica;
use super::session::{Session, Sessions};
use super::turn::{Ask, Client, Turn};
use crate::clock;
use crate::rules::phase::{OriginPatch, Priority};

/// What asks the origins on behalf of the cache, and for plain requests past it. Its connections are kept
/// apart from those of Pingora's proxy.
pub struct Fetcher {
    sessions: Sessions,
}

/// How long a fetch may take, and what rules want of it.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// When it began; the pool's `total` counts from here.
    pub started: Instant,
    /// Longest time from a request sent to its answer's head.
    pub first_byte: Duration,
    /// What origin rules set.
    pub origin: &'a OriginPatch,
    /// How much it matters when the pool is busy.
    pub priority: Priority,
    /// The hash of the value by which requests are kept together: [`OriginPool::hash`].
    pub hash: Option<u64>,
    /// Who asks, for a request past the cache.
    pub client: Option<Client<'a>>,
}

/// How the attempts went, for the log.
#[derive(Clone, Debug, Default)]
pub struct FetchReport {
    /// The replica asked last.
    pub replica: Option<SocketAddr>,
    /// The cookie by which the client's session stays at the replica.
    pub cookie: Option<HeaderValue>,
    /// Attempts made.
    pub attempts: u32,
    /// Time to connect, in the last attempt.
    pub connected_after: Option<Duration>,
    /// From the request sent to the answer's head.
    pub first_byte_after: Option<Duration>,
    /// The upper tier that answered.
    pub tier: Option<String>,
}

/// What is told of attempts as they happen.
pub trait Observer: Send {
    /// A request is about to be sent.
    fn asked(&mut self);
    /// Another replica is tried.
    fn retried(&mut self);
    /// An attempt failed.
    fn failed(&mut self, failure: FetchFailure);
    /// It is not sent, so as not to give the pool more to do.
    fn shed(&mut self, shed: Shed, priority: Priority);
    /// An interim response came (RFC 9110 §15.2).
    fn interim(&mut self, head: &ResponseHeader);
}

/// An answer whose head is there.
pub struct Answer {
    /// Its head, as it came.
    pub head: ResponseHeader,
    /// When the request was sent (RFC 9111 §4.2.3, `request_time`).
    pub requested: SystemTime,
    /// Its body.
    pub body: AnswerBody,
}

/// The body of an [`Answer`]. Dropped before its end, the connection is closed.
pub struct AnswerBody {
    session: Option<Session>,
    content: Content,
    deadline: Instant,
    /// Longest time without a byte.
    pause: Duration,
    // In this order: who gets the place finds one at a replica.
    _turn: Option<Turn>,
    _permit: Permit,
    /// What else is held as long as the body is read.
    held: Option<OwnedSemaphorePermit>,
}

/// A head that came, and the connection that its body comes on.
struct Got {
    head: ResponseHeader,
    requested: SystemTime,
    /// `None` when nothing is left to be read of it.
    session: Option<Session>,
    content: Content,
}

/// An attempt without an answer.
struct Failed {
    failure: FetchFailure,
    /// Whether the connection had been used before.
    reused: bool,
}

impl Got {
    fn into_answer(
        self,
        pool: &OriginPool,
        terms: Terms<'_>,
        permit: Permit,
        turn: Option<Turn>,
    ) -> Answer {
        Answer {
            head: self.head,
            requested: self.requested,
            body: AnswerBody {
                session: self.session,
                content: self.content,
                deadline: terms.started + pool.config.timeouts.total,
                pause: pool.config.timeouts.between_bytes,
                _permit: permit,
                _turn: turn,
                held: None,
            },
        }
    }
}

/// Where a body's bytes come from.
enum Content {
    /// The connection.
    Origin,
    /// This is in place of what the origin sent, until it is read.
    Instead(Option<Bytes>),
}

impl Fetcher {
    /// A fetcher without connections.
    pub fn new(conf: &ServerConf) -> Self {
        Self {
            sessions: Sessions::new(conf),
        }
    }

    /// Sends `request` to a replica of `pool`, to another one if that fails and the pool's retries
    /// allow it. `request` is complete and has no body.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn fetch(
        &self,
        pool: &Arc<OriginPool>,
        request: &RequestHeader,
        terms: Terms<'_>,
        report: &mut FetchReport,
        observer: &mut impl Observer,
    ) -> Result<Answer, FetchFailure> {
        let permit = pool.permit(terms.priority, terms.started).await;
        let mut permit = permit.map_err(|shed| {
            observer.shed(shed, terms.priority);
            FetchFailure::Shed(shed)
        })?;
        let mut tried = Vec::new();
        let mut replaced = false;
        pool.retries.earn();
        loop {
            let ask = Ask {
                tried: &tried,
                hash: terms.hash,
                client: terms.client,
                stays_open: false,
            };
            let turn = pool.turn(&ask)?;
            let replica = turn.replica();
            tried.push(replica.address);
            report.replica = Some(replica.address);
            report.attempts += 1;
            report.cookie = turn.cookie().cloned();
            let began = clock::instant();
            let attempt = self
                .attempt(pool, replica, request, terms, report, observer)
                .await;
            match attempt {
                Ok(got) => {
                    permit.tell(!is_outage(got.head.status));
                    return Ok(got.into_answer(pool, terms, permit, Some(turn)));
                }
                Err(Failed { failure, .. }) => {
                    observer.failed(failure);
                    let total = terms.started + pool.config.timeouts.total;
                    // A slow origin is not asked again, and a replica that hangs is replaced once.
                    let repeatable = failure != FetchFailure::Timeout
                        || (!std::mem::replace(&mut replaced, true)
                            && clock::instant() < total
                            && pool.may_replace(replica, began, &tried));
                    let may = repeatable
                        && report.attempts <= pool.config.retries.max
                        && pool.retries.spend();
                    if !may {
                        permit.tell(false);
                        return Err(failure);
                    }
                    observer.retried();
                }
            }
        }
    }

    /// Sends `request` to this replica and to no other.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn fetch_from(
        &self,
        pool: &Arc<OriginPool>,
        replica: &Replica,
        request: &RequestHeader,
        terms: Terms<'_>,
        report: &mut FetchReport,
        observer: &mut impl Observer,
    ) -> Result<Answer, FetchFailure> {
        let permit = pool.permit(terms.priority, terms.started).await;
        let permit = permit.map_err(FetchFailure::Shed)?;
        report.replica = Some(replica.address);
        loop {
            report.attempts += 1;
            let attempt = self.attempt(pool, replica, request, terms, report, observer);
            match attempt.await {
                Ok(got) => return Ok(got.into_answer(pool, terms, permit, None)),
                // It may have been closed for its idleness at the moment in which it was used. Each such
                // connection is used up by this, so that it comes to an end.
                Err(Failed {
                    failure: FetchFailure::Closed,
                    reused: true,
                }) => observer.retried(),
                Err(Failed { failure, .. }) => {
                    observer.failed(failure);
                    return Err(failure);
                }
            }
        }
    }

    async fn attempt(
        &self,
        pool: &OriginPool,
        replica: &Replica,
        request: &RequestHeader,
        terms: Terms<'_>,
        report: &mut FetchReport,
        observer: &mut impl Observer,
    ) -> Result<Got, Failed> {
        let peer = pool.peer(replica, false, terms.origin);
        let made_out = pool.made_out(request, replica);
        let Ok(made_out) = made_out else {
            return Err(Failed {
                failure: FetchFailure::Protocol,
                reused: false,
            });
        };
        let began = clock::instant();
        let (mut session, reused) = match self.sessions.open(peer).await {
            Ok(opened) => opened,
            Err(failure) => {
                pool.record(replica, Outcome::NotConnected);
                return Err(Failed {
                    failure,
                    reused: false,
                });
            }
        };
        let failed = |failure: FetchFailure| {
            pool.record(replica, failure.outcome());
            Failed { failure, reused }
        };
        let connected = clock::instant();
        report.connected_after = Some(connected.saturating_duration_since(began));
        let timeouts = &pool.config.timeouts;
        replica.count_request();
        observer.asked();
        let requested = clock::now();
        // A rule may give the head more time than any pause within the body.
        let deadline = (connected + terms.first_byte).min(terms.started + timeouts.total);
        let interim = |head: &ResponseHeader| observer.interim(head);
        let asked = session.ask(&made_out, deadline, timeouts.between_bytes, interim);
        let head = asked.await;
        let answered = head.as_ref().is_ok_and(|head| !is_outage(head.status));
        pool.record_latency(connected, answered);
        let head = head.map_err(failed)?;
        let after = clock::instant().saturating_duration_since(connected);
        pool.record(replica, Outcome::Answered(head.status.as_u16(), after));
        report.first_byte_after = Some(after);
        let received = received(pool, request, session, head, terms).await;
        let (session, head, content) = received.map_err(failed)?;
        Ok(Got {
            head,
            requested,
            session,
            content,
        })
    }

    /// Gives back the connection of a body that was read to its end.
    pub async fn release(&self, mut body: AnswerBody) {
        if let Some(session) = body.session.take() {
            self.sessions.release(session).await;
        }
    }
}

/// Whether an answer says that the application is not there, or has too much to do. A 500 says that it failed
/// at this request.
pub fn is_outage(status: http::StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

/// The answer as clients get it: some pools' errors have a body of ours.
async fn received(
    pool: &OriginPool,
    asked: &RequestHeader,
    mut session: Session,
    mut head: ResponseHeader,
    terms: Terms<'_>,
) -> Result<(Option<Session>, ResponseHeader, Content), FetchFailure> {
    let Some(status) = pool.receive(asked, &mut head) else {
        return Ok((Some(session), head, Content::Origin));
    };
    let replacement = Replacement::of(status, &head, &asked.method);
    let replacement = replacement.map_err(|_| FetchFailure::Protocol)?;
    // So that the connection can be used again.
    let timeouts = &pool.config.timeouts;
    let deadline = clock::instant() + terms.first_byte;
    let (said, whole) = session.drain(deadline, timeouts.between_bytes).await;
    pool.complain(&said);
    let session = whole.then_some(session);
    let body = Some(replacement.body).filter(|body| !body.is_empty());
    Ok((session, replacement.head, Content::Instead(body)))
}

impl AnswerBody {
    /// Keeps `permit` until the body is read or dropped.
    pub fn hold(&mut self, permit: Option<OwnedSemaphorePermit>) {
        self.held = permit;
    }

    /// When the whole must be over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the body is cut short or does not come in time.
    pub async fn read(&mut self) -> Result<Option<Bytes>, FetchFailure> {
        if let Content::Instead(body) = &mut self.content {
            return Ok(body.take());
        }
        let Some(session) = &mut self.session else {
            return Err(FetchFailure::Closed);
        };
        session.read(self.deadline, self.pause).await
    }
}
