//! This node as an upper tier: which requests are a lower tier's, and what is said with the answers.

use std::net::IpAddr;

use http::header::HOST;
use http::request::Parts;
use http::{Method, StatusCode};

use super::exchange::Exchange;
use super::fetching::is_lasting;
use crate::cache::status::{CacheStatus, Outcome, Storing};
use crate::cache::storing::NoStoreReason;
use crate::clock;
use crate::fields::cdn_loop::came_by;
use crate::observe::Metrics;
use crate::origin::FetchFailure;
use crate::purge::Position;
use crate::request::arrival::{Arrival, Refusal};
use crate::server::{Node, Shared};
use crate::tier::SEAWALL_TIER;
use crate::tier::handover::{Handover, NotAuthentic, Relation, SignedHead};
use crate::tier::verdict::Verdict;

/// The lower tier that a request is from.
#[derive(Clone, Debug)]
pub(super) struct LowerTier {
    /// Its node.
    pub(super) node: Box<str>,
    pub(super) relation: Relation,
    /// The purges that it knows.
    purges: Option<Position>,
}

impl LowerTier {
    pub(super) fn of(handover: &Handover) -> Self {
        Self {
            node: handover.node.as_str().into(),
            relation: handover.relation,
            purges: handover.purges(),
        }
    }

    /// The purges that it knows and this node does not know yet: until then nothing here is an answer.
    pub(super) fn ahead(&self, shared: &Shared) -> Option<Position> {
        let state = shared.shared_state.as_ref()?;
        self.purges.filter(|known| state.position() < Some(*known))
    }
}

/// What a lower tier hands over with the request, if it is from one. The field is taken out of it: what is
/// not authentic means nothing. `peer` is who sent it.
///
/// # Errors
/// When the request came by this node before, or was signed too long ago.
pub(super) fn receive(
    metrics: &Metrics,
    node: Option<&Node>,
    head: &mut Parts,
    peer: IpAddr,
) -> Arrival<Option<Handover>> {
    let Some(node) = node else {
        head.headers.remove(SEAWALL_TIER);
        return Ok(None);
    };
    if came_by(&head.headers, &node.name) {
        metrics.tiers.looped();
        tracing::warn!(%peer, node = node.name, "a request came by this node before");
        // RFC 5842 §7.2, as RFC 8586 §2 leaves the status open.
        return refuse(508, "the request came by this node before");
    }
    if !head.headers.contains_key(SEAWALL_TIER) {
        return Ok(None);
    }
    let verified = verify(node, head);
    head.headers.remove(SEAWALL_TIER);
    match verified {
        Ok(handover) => {
            metrics.tiers.received("accepted");
            Ok(Some(handover))
        }
        Err(why @ NotAuthentic::Forged) => {
            metrics.tiers.received("forged");
            tracing::debug!(%peer, %why, "a request is not a lower tier's");
            Ok(None)
        }
        Err(why) => {
            // Who knows the secret is told, so that it asks elsewhere, and its operator finds out.
            metrics.tiers.received("refused");
            tracing::warn!(%peer, %why, "a request of a lower tier is refused");
            refuse(403, "what the lower tier hands over is not taken")
        }
    }
}

fn verify(node: &Node, head: &Parts) -> Result<Handover, NotAuthentic> {
    let mut values = head.headers.get_all(SEAWALL_TIER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(NotAuthentic::Forged);
    };
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(NotAuthentic::Forged);
    }
    let host = head.headers.get(HOST).ok_or(NotAuthentic::Forged)?;
    let target = head.uri.path_and_query();
    let signed = SignedHead {
        method: &head.method,
        host: host.as_bytes(),
        target: target.map_or("", |target| target.as_str()),
        fields: &head.headers,
    };
    Handover::verify(value.as_bytes(), &signed, &node.key, clock::now())
}

fn refuse<T>(status: u16, why: &'static str) -> Arrival<T> {
    let why = why.into();
    Err(Refusal { status, why })
}

/// What a lower tier is told of an answer with this status; `None` when the answer is this node's own trouble
/// and no answer of the origin's.
pub(super) fn verdict(
    exchange: &Exchange,
    told: &CacheStatus,
    status: StatusCode,
) -> Option<Verdict> {
    if exchange.refused_here {
        return None;
    }
    if let Some(failure) = exchange.failure {
        return Some(Verdict::OriginFailed(failure.kind().to_owned()));
    }
    let now = clock::now();
    let fresh = || {
        let times = exchange.times.as_ref();
        times.map(|times| Verdict::of(times, now))
    };
    let unstored = |lasting| Some(Verdict::Unstored { lasting });
    match told.outcome {
        Outcome::Hit => fresh(),
        Outcome::StaleHit(_) => fresh().map(|verdict| stale(verdict, told.ttl)),
        Outcome::Forwarded(forwarded) => match forwarded.storing {
            Storing::NotStored(NoStoreReason::Status) if status == StatusCode::NOT_MODIFIED => {
                Some(Verdict::Silent)
            }
            Storing::NotStored(reason) if !reason.is_rarity() => {
                unstored(is_lasting(reason, status))
            }
            _ => fresh().or_else(|| unstored(false)),
        },
        Outcome::Bypassed { .. } => unstored(true),
        Outcome::GatewayTimeout | Outcome::AnsweredAtEdge(_) => unstored(false),
    }
}

/// What was purged softly is stale whatever its own times say.
fn stale(verdict: Verdict, ttl: Option<i64>) -> Verdict {
    match verdict {
        Verdict::Fresh(millis) => {
            let since = ttl.unwrap_or_default().saturating_mul(1000).min(0);
            Verdict::Fresh(millis.min(since))
        }
        verdict => verdict,
    }
}

/// What an error page of this node says of the origin; `None` when it is not about that.
pub(super) fn failure(status: StatusCode) -> Option<FetchFailure> {
    match status.as_u16() {
        502 => Some(FetchFailure::Closed),
        503 => Some(FetchFailure::Busy),
        504 => Some(FetchFailure::Timeout),
        _ => None,
    }
}
