//! One request and its answer: what is known of them at each point, for the hooks to share.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Version};

use uuid::fmt::Simple;
use uuid::{NoContext, Timestamp, Uuid};

use super::edge_reply::EdgeReply;
use super::guarding::Pending;
use super::limiting::Limits;
use super::lookup::Lookup;
use super::passing::Posted;
use super::tiered::LowerTier;
use super::waiting::Visit;
use crate::cache::eligibility::{RequestDecision, post_may_fill};
use crate::cache::key::{keyed_host, short_hash};
use crate::cache::reuse::{ForwardReason, StoredTimes};
use crate::cache::settings::{CacheSettings, RuleId};
use crate::cache::status::{CACHE_NAME, CacheStatus, Named};
use crate::geo::Place;
use crate::guard::challenge::Sealed;
use crate::guard::client::Hops;
use crate::origin::{Client, FetchFailure, FetchReport, OriginPool, Permit, Replica, Turn};
use crate::request::arrival::Refusal;
use crate::request::{Facts, RequestView, Scheme, SplitChoice};
use crate::rules::phase::{HeaderEdit, OriginPatch, Priority};
use crate::server::{Runtime, Site};
use crate::store::{Begun, StoreKey};
use crate::zone::Authority;

/// One request, from its arrival to its log line.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, found out at another time"
)]
pub(super) struct Exchange {
    /// The configuration it began with.
    pub(super) runtime: Arc<Runtime>,
    /// When its head was complete.
    pub(super) started: Instant,
    pub(super) arrived: SystemTime,
    pub(super) request_id: RequestId,
    /// Whether the client may see keys.
    pub(super) debug: bool,
    /// `None` until its zone is found.
    pub(super) request: Option<Arc<SiteRequest>>,
    /// Why no zone may answer.
    pub(super) refusal: Option<Refusal>,
    /// What the edge answers itself.
    pub(super) edge: Option<EdgeReply>,
    /// What the guard has still to find out.
    pub(super) pending: Vec<Pending>,
    /// The waiting room that it meets, until it was asked.
    pub(super) room: Option<Visit>,
    /// The cookie by which the client keeps its place there.
    pub(super) room_cookie: Option<HeaderValue>,
    /// What rate limits have to do with it.
    pub(super) limits: Option<Box<Limits>>,
    /// The fields of an origin's error that a page of the zone takes the place of.
    pub(super) replaced: Option<HeaderMap>,
    /// What it asked the store already.
    pub(super) lookup: Option<Arc<Lookup>>,
    /// Under which key it was looked up.
    pub(super) key: Option<StoreKey>,
    /// Times of the stored response that answers it, or of the one on its way into the store.
    pub(super) times: Option<StoredTimes>,
    /// Whether what it reuses is to be validated although it is fresh.
    pub(super) early: bool,
    /// Why it went forward through the cache.
    pub(super) forward: ForwardReason,
    /// Whether the store had to read from disk for it.
    pub(super) from_disk: bool,
    /// How long it waited for another request's fetch.
    pub(super) waited: Option<Duration>,
    pub(super) origin: OriginExchange,
    /// When the request behind the answer was sent to the origin.
    pub(super) requested: Option<SystemTime>,
    /// Whether the answer was found not to be storable.
    pub(super) storing_refused: bool,
    /// Whether another client may get the same answer compressed.
    pub(super) varies_by_encoding: bool,
    /// What the caches that the answer came by have told of it, the one next to the origin first.
    pub(super) hops: Vec<HeaderValue>,
    /// Whether this node would not answer, for a reason of its own.
    pub(super) refused_here: bool,
    /// Why there is no answer.
    pub(super) failure: Option<FetchFailure>,
    /// Since when purges concern the answer to a POST.
    pub(super) posting: Option<Begun>,
    /// The answer to a POST on its way into the store.
    pub(super) posted: Option<Posted>,
    /// What was told to the client.
    pub(super) status: Option<CacheStatus>,
    pub(super) body_received: u64,
    /// When the first piece of the body came.
    pub(super) body_began: Option<Instant>,
    /// Whether all of the body has come.
    pub(super) body_ended: bool,
}

/// A request that was evaluated before Pingora saw it: what came of that, and its head in the form in
/// which it was brought.
pub(super) struct Evaluated {
    pub(super) exchange: Box<Exchange>,
    pub(super) head: Arc<Parts>,
}

/// A name for one request, by which it is found in the logs of everybody who saw it: a UUID of
/// version 7 in 32 hexadecimal digits.
#[derive(Clone, Copy)]
pub(super) struct RequestId([u8; Simple::LENGTH]);

impl RequestId {
    /// A name for what arrived then.
    fn new(arrived: SystemTime) -> Self {
        let since = arrived.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Random bits tell those of a millisecond apart: counting would need a lock.
        let time = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
        let mut text = [0; Simple::LENGTH];
        Uuid::new_v7(time).simple().encode_lower(&mut text);
        Self(text)
    }

    /// The name that another node has given.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let name: [u8; Simple::LENGTH] = text.as_bytes().try_into().ok()?;
        name.iter().all(u8::is_ascii_hexdigit).then_some(Self(name))
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A request that has a zone.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, as the view of the request has it"
)]
pub(super) struct SiteRequest {
    pub(super) site: Site,
    pub(super) client: IpAddr,
    /// Who the connection is from.
    pub(super) peer: IpAddr,
    /// The trusted proxies that it came by, from the client's side.
    pub(super) hops: Hops,
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    pub(super) version: Version,
    pub(super) upgrade: bool,
    pub(super) has_body: bool,
    pub(super) session_cookie: bool,
    /// The leave to pass that it carried, whoever that is from.
    pub(super) clearance: Option<Sealed>,
    pub(super) verified_bot: bool,
    pub(super) settings: Arc<CacheSettings>,
    pub(super) decision: RequestDecision,
    pub(super) applied: Applied,
    /// The lower tier that it is from; `None` for a client's own.
    pub(super) lower: Option<LowerTier>,
    /// When it arrived, in seconds since 1970.
    pub(super) unix_seconds: i64,
    pub(super) body_size: Option<u64>,
    pub(super) place: Place,
}

/// What rules beside the cache's made of the request.
#[derive(Default)]
pub(super) struct Applied {
    /// Path and query before they were rewritten.
    pub(super) raw_target: Option<String>,
    /// The variants chosen, and the cookies by which the client keeps them.
    pub(super) splits: Vec<SplitChoice>,
    pub(super) cookies: Vec<HeaderValue>,
    /// Whether a cookie made any of the choices.
    pub(super) by_cookie: bool,
    /// Changes of the fields that the origin gets.
    pub(super) headers: Vec<HeaderEdit>,
    /// Which origin is asked, and how.
    pub(super) origin: OriginPatch,
    /// What counts in the key because of these.
    pub(super) key: Vec<u8>,
}

/// The attempts to get an answer from the origin.
#[derive(Default)]
pub(super) struct OriginExchange {
    /// Whose turn it is, or was. Before the permit: who gets that finds a place at a replica.
    pub(super) turn: Option<Turn>,
    pub(super) tried: Vec<SocketAddr>,
    pub(super) attempts: u32,
    /// Whether a replica that hung was replaced, which is done once.
    pub(super) replaced: bool,
    pub(super) attempt_started: Option<Instant>,
    pub(super) connected_after: Option<Duration>,
    /// The connection's descriptor.
    pub(super) socket: Option<RawFd>,
    /// When the request was sent (RFC 9111 §4.2.3, `request_time`).
    pub(super) requested: Option<(SystemTime, Instant)>,
    /// The cookie by which the client's session stays at the replica.
    pub(super) cookie: Option<HeaderValue>,
    /// The replica that a fetch asked last.
    pub(super) asked: Option<SocketAddr>,
    /// The upper tier that answered.
    pub(super) tier: Option<String>,
    /// Leave to have this request outstanding at the pool.
    pub(super) permit: Option<Permit>,
    pub(super) first_byte_after: Option<Duration>,
    pub(super) status: Option<StatusCode>,
}

impl Exchange {
    pub(super) fn new(runtime: Arc<Runtime>, started: Instant, arrived: SystemTime) -> Self {
        Self {
            runtime,
            started,
            arrived,
            request_id: RequestId::new(arrived),
            debug: false,
            request: None,
            refusal: None,
            edge: None,
            pending: Vec::new(),
            room: None,
            room_cookie: None,
            limits: None,
            replaced: None,
            lookup: None,
            key: None,
            times: None,
            early: false,
            forward: ForwardReason::Miss,
            from_disk: false,
            waited: None,
            origin: OriginExchange::default(),
            requested: None,
            storing_refused: false,
            varies_by_encoding: false,
            hops: Vec::new(),
            refused_here: false,
            failure: None,
            posting: None,
            posted: None,
            status: None,
            body_received: 0,
            body_began: None,
            body_ended: false,
        }
    }

    /// The age of the answer is that of these times.
    pub(super) fn served_age(&mut self, times: &StoredTimes) {
        self.times = Some(*times);
    }

    /// The Cache-Status field; with the key for a client that proved to be an operator.
    pub(super) fn cache_status(&self, status: &CacheStatus) -> HeaderValue {
        let mut text = Vec::new();
        self.write_cache_status(status, &mut text);
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(CACHE_NAME))
    }

    /// Appends the value of [`Self::cache_status`].
    pub(super) fn write_cache_status(&self, status: &CacheStatus, out: &mut Vec<u8>) {
        // Writing into memory does not fail.
        let tiers = self.runtime.config.tiers.as_ref();
        let _ = match tiers {
            Some(tiers) => write!(out, "{}", Named(status, &tiers.name)),
            None => write!(out, "{status}"),
        };
        if let Some(key) = self.key.as_ref().filter(|_| self.debug) {
            let _ = write!(out, "; key=\"{:016x}\"", short_hash(&key.0));
        }
    }

    /// Whether the client has not sent all of its body yet.
    pub(super) fn owes_body(&self) -> bool {
        let has_body = self.request.as_ref().is_some_and(|it| it.has_body);
        has_body && !self.body_ended
    }

    /// Tells the pool how a request that went past the cache ended: whether it was answered.
    pub(super) fn tell_pool(&mut self, success: bool) {
        self.tell_latency(success);
        if let Some(permit) = &mut self.origin.permit {
            permit.tell(success);
        }
    }

    /// An attempt past the cache failed, and there is another one or not.
    pub(super) fn attempt_failed(&mut self, again: bool) {
        if again {
            self.tell_latency(false);
        } else {
            self.tell_pool(false);
        }
    }

    fn tell_latency(&self, success: bool) {
        if let (Some(pool), Some((_, sent))) = (self.pool(), self.origin.requested) {
            pool.record_latency(sent, success);
        }
    }

    /// Largest body that its origin takes, in bytes.
    pub(super) fn max_body_size(&self) -> u64 {
        let by_pool = self.pool().and_then(|pool| pool.config.max_body_size);
        by_pool.unwrap_or(self.runtime.config.client.max_body_size)
    }

    pub(super) fn pool(&self) -> Option<&Arc<OriginPool>> {
        self.request.as_ref().map(|request| &request.site.pool)
    }
}

impl SiteRequest {
    /// The view that decisions read. `head` is the client's request as it was normalised on arrival.
    pub(super) fn view<'a>(&'a self, head: &'a Parts) -> RequestView<'a> {
        RequestView {
            method: &head.method,
            scheme: self.scheme,
            host: self.authority.host(),
            path: head.uri.path(),
            query: head.uri.query(),
            version: self.version,
            headers: &head.headers,
            client: self.client,
            session_cookie: self.session_cookie,
            has_body: self.has_body,
            facts: Facts {
                unix_seconds: self.unix_seconds,
                body_size: self.body_size,
                country: self.place.country,
                asn: self.place.asn,
                verified_bot: self.verified_bot,
                raw_target: self.applied.raw_target.as_deref(),
                splits: &self.applied.splits,
            },
        }
    }

    /// The host that the origin is asked with, as Host has it.
    pub(super) fn resolved_host(&self) -> &str {
        let by_rule = self.applied.origin.host_header.as_deref();
        let host = by_rule.or(self.site.pool.config.host_header.as_deref());
        host.unwrap_or_else(|| self.authority.as_str())
    }

    /// The host that is part of the key. The origin of a shared response learns of no other.
    pub(super) fn keyed_host(&self) -> &str {
        let key = &self.settings.key.value;
        keyed_host(key, self.authority.as_str(), self.resolved_host())
    }

    /// Whether the answer to this request, whose fields `head` has, may become others' as well.
    pub(super) fn is_shared(&self, head: &Parts) -> bool {
        self.decision == RequestDecision::Lookup || post_may_fill(&self.view(head), &self.settings)
    }

    /// How much it matters when the pool is busy: as a rule says, else who is logged in comes first.
    pub(super) fn priority(&self, head: &Parts) -> Priority {
        let known = self.session_cookie || head.headers.contains_key(AUTHORIZATION);
        let by_default = if known {
            Priority::High
        } else {
            Priority::Normal
        };
        self.applied.origin.priority.unwrap_or(by_default)
    }

    /// The client, for a replica that its session may be at home at. `head` has its fields.
    pub(super) fn client_of<'a>(&self, head: &'a Parts) -> Client<'a> {
        Client {
            headers: &head.headers,
            secure: self.scheme == Scheme::Https,
        }
    }

    /// How long the origin has from the request sent to the response's head.
    pub(super) fn first_byte(&self) -> Duration {
        let timeouts = &self.site.pool.config.timeouts;
        self.settings.read_timeout.value.or(timeouts.first_byte)
    }

    /// The rule that decided about this request: why it went past the cache or was not stored, else
    /// what gave the edge lifetime, else what made it eligible. `None` for a built-in default.
    pub(super) fn deciding_rule(&self, status: Option<&CacheStatus>) -> Option<RuleId> {
        match status.and_then(CacheStatus::detail) {
            Some((_, rule)) => rule,
            None => self
                .settings
                .edge_ttl
                .rule
                .or(self.settings.eligibility.rule),
        }
    }
}

impl OriginExchange {
    pub(super) fn begin_attempt(&mut self, turn: Turn, now: Instant) {
        self.tried.push(turn.replica().address);
        self.cookie = turn.cookie().cloned();
        self.turn = Some(turn);
        self.attempts += 1;
        self.attempt_started = Some(now);
    }

    /// Gives up the place at a replica that failed.
    pub(super) fn end_attempt(&mut self) {
        self.asked = self.address();
        self.turn = None;
    }

    /// The replica whose turn it is.
    pub(super) fn replica(&self) -> Option<&Arc<Replica>> {
        self.turn.as_ref().map(Turn::replica)
    }

    /// The replica asked last.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let passed = self.replica().map(|replica| replica.address);
        passed.or(self.asked)
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.connected_after = self
            .attempt_started
            .map(|started| now.saturating_duration_since(started));
    }

    /// Takes over how a fetch went.
    pub(super) fn fetched(&mut self, report: &FetchReport, status: Option<StatusCode>) {
        self.asked = report.replica;
        self.tier.clone_from(&report.tier);
        self.cookie.clone_from(&report.cookie);
        self.attempts = report.attempts;
        self.connected_after = report.connected_after;
        self.first_byte_after = report.first_byte_after;
        self.status = status;
    }

    pub(super) fn answered(&mut self, status: StatusCode, now: Instant) {
        self.status = Some(status);
        self.first_byte_after = self
            .requested
            .map(|(_, sent)| now.saturating_duration_since(sent));
    }
}
