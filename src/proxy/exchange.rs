//! One request and its answer: what is known of them at each point, for the hooks to share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, StatusCode, Version};
use pingora_http::RequestHeader;

use crate::cache::eligibility::RequestDecision;
use crate::cache::reuse::{ForwardReason, StoredTimes};
use crate::cache::settings::{CacheSettings, RuleId};
use crate::cache::status::CacheStatus;
use crate::cache::storing::StoreDecision;
use crate::origin::{OriginPool, Replica};
use crate::request::{RequestView, Scheme};
use crate::server::{Runtime, Site};
use crate::zone::Authority;

/// One request, from its arrival to its log line.
pub(super) struct Exchange {
    /// The configuration it began with.
    pub(super) runtime: Arc<Runtime>,
    /// When its head was complete.
    pub(super) started: Instant,
    pub(super) arrived: SystemTime,
    pub(super) request_id: String,
    /// `None` until its zone is found.
    pub(super) request: Option<SiteRequest>,
    /// What the store held for it.
    pub(super) found: Option<StoredTimes>,
    /// Why it went forward through the cache.
    pub(super) forward: ForwardReason,
    pub(super) origin: OriginExchange,
    /// What was decided about the origin's answer.
    pub(super) storing: Option<StoreDecision>,
    /// Fields of a 304 that answers a validation, until they are merged.
    pub(super) not_modified: Option<HeaderMap>,
    /// What was told to the client.
    pub(super) status: Option<CacheStatus>,
    pub(super) body_received: u64,
}

/// A request that has a zone.
pub(super) struct SiteRequest {
    pub(super) site: Site,
    pub(super) client: IpAddr,
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    pub(super) version: Version,
    pub(super) upgrade: bool,
    pub(super) has_body: bool,
    pub(super) session_cookie: bool,
    pub(super) settings: CacheSettings,
    pub(super) decision: RequestDecision,
}

/// The attempts to get an answer from the origin.
#[derive(Default)]
pub(super) struct OriginExchange {
    pub(super) replica: Option<Arc<Replica>>,
    pub(super) tried: Vec<SocketAddr>,
    pub(super) attempts: u32,
    pub(super) attempt_started: Option<Instant>,
    pub(super) connected_after: Option<Duration>,
    /// When the request was sent (RFC 9111 §4.2.3, `request_time`).
    pub(super) requested: Option<(SystemTime, Instant)>,
    pub(super) first_byte_after: Option<Duration>,
    pub(super) status: Option<StatusCode>,
}

impl Exchange {
    pub(super) fn new(runtime: Arc<Runtime>, started: Instant, arrived: SystemTime) -> Self {
        Self {
            runtime,
            started,
            arrived,
            request_id: uuid::Uuid::now_v7().simple().to_string(),
            request: None,
            found: None,
            forward: ForwardReason::Miss,
            origin: OriginExchange::default(),
            storing: None,
            not_modified: None,
            status: None,
            body_received: 0,
        }
    }

    pub(super) fn pool(&self) -> Option<&Arc<OriginPool>> {
        self.request.as_ref().map(|request| &request.site.pool)
    }
}

impl SiteRequest {
    /// The view that decisions read. `head` is the client's request as it was normalised on arrival.
    pub(super) fn view<'a>(&'a self, head: &'a RequestHeader) -> RequestView<'a> {
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
        }
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
    pub(super) fn begin_attempt(&mut self, replica: Arc<Replica>, now: Instant) {
        self.tried.push(replica.address);
        self.replica = Some(replica);
        self.attempts += 1;
        self.attempt_started = Some(now);
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.connected_after = self
            .attempt_started
            .map(|started| now.saturating_duration_since(started));
    }

    pub(super) fn answered(&mut self, status: StatusCode, now: Instant) {
        self.status = Some(status);
        self.first_byte_after = self
            .requested
            .map(|(_, sent)| now.saturating_duration_since(sent));
    }
}
