//! Who is asked for what is not stored: the upper tiers of the zone one after the other, then the origin.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::super::answer;
use super::super::exchange::RequestId;
use super::super::lookup::Lookup;
use crate::clock;
use crate::origin::{Answer, FetchFailure, FetchReport, Fetcher, Observer, Replica, Shed, Terms};
use crate::rules::phase::{OriginPatch, Priority};
use crate::server::{Shared, UpperTier};
use crate::tier::SEAWALL_TIER;
use crate::tier::backoff::Failure;
use crate::tier::handover::{Facts, Handover, Relation, SignedHead};
use crate::tier::topology::key_hash;
use crate::tier::verdict::Verdict;

/// One question for the cache, and who has an answer.
pub(super) struct Asker<'a> {
    pub(super) shared: &'a Shared,
    pub(super) fetcher: &'a Fetcher,
    pub(super) lookup: &'a Lookup,
    pub(super) request_id: RequestId,
    pub(super) started: Instant,
    /// How much it matters when the pool is busy.
    pub(super) priority: Priority,
    pub(super) interim: Option<&'a mpsc::UnboundedSender<ResponseHeader>>,
}

/// An answer, and what the upper tier that gave it says of it.
pub(super) struct Asked {
    pub(super) answer: Answer,
    pub(super) from: Option<FromTier>,
}

/// What comes with an answer of an upper tier.
pub(in super::super) struct FromTier {
    pub(super) verdict: Verdict,
    /// What the caches above have told of it.
    pub(super) hops: Vec<HeaderValue>,
}

/// What the upper tiers came to.
enum Tiered {
    Answered(Box<Asked>, FetchReport),
    /// The origin failed, as an upper tier knows.
    Failed(FetchFailure, FetchReport),
    /// None of them answered; whether any should have.
    Nobody {
        passed_over: bool,
    },
}

/// What one node came to.
enum Tried {
    Answered(Box<Asked>, FetchReport),
    OriginFailed(FetchFailure, FetchReport),
    Unusable,
}

impl Asker<'_> {
    /// Asks with `request`, which is as the origin gets it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn ask(
        &self,
        request: &RequestHeader,
        report: &mut FetchReport,
    ) -> Result<Asked, FetchFailure> {
        let tiers = &self.lookup.site.site.tiers;
        let mut permit = None;
        if !tiers.upper.is_empty() {
            let passed_over = match Box::pin(self.ask_tiers(request)).await {
                Tiered::Answered(asked, of_tier) => {
                    *report = of_tier;
                    return Ok(*asked);
                }
                Tiered::Failed(failure, of_tier) => {
                    *report = of_tier;
                    return Err(failure);
                }
                Tiered::Nobody { passed_over } => passed_over,
            };
            if passed_over {
                let site = &self.lookup.site.site;
                self.shared.metrics.tiers.fell_back(&site.zone.name);
                if let Some(fallback) = &tiers.fallback {
                    let queue = site.pool.config.timeouts.queue;
                    let leave = fallback.leave.clone().acquire_owned();
                    let leave = timeout(queue, leave).await;
                    permit = Some(leave.ok().and_then(Result::ok).ok_or(FetchFailure::Busy)?);
                }
            }
        }
        let mut answer = self.ask_origin(request, report).await?;
        answer.body.hold(permit);
        Ok(Asked { answer, from: None })
    }

    async fn ask_origin(
        &self,
        request: &RequestHeader,
        report: &mut FetchReport,
    ) -> Result<Answer, FetchFailure> {
        let pool = &self.lookup.site.site.pool;
        let terms = Terms {
            started: self.started,
            first_byte: self.lookup.site.first_byte(),
            origin: &self.lookup.site.applied.origin,
            priority: self.priority,
            hash: pool.hash(&self.lookup.site.view(&self.lookup.head)),
            client: None,
        };
        let mut watcher = Watcher {
            shared: self.shared,
            pool: &pool.config.name,
            interim: self.interim,
        };
        let answer = self
            .fetcher
            .fetch(pool, request, terms, report, &mut watcher)
            .await?;
        self.shared.metrics.origin_first_byte(
            &pool.config.name,
            report.first_byte_after.unwrap_or_default(),
        );
        Ok(answer)
    }

    /// Asks one node after the other, and another one beside it where it takes long: the first that
    /// answers has answered.
    async fn ask_tiers(&self, request: &RequestHeader) -> Tiered {
        let site = &self.lookup.site;
        let from_sibling = site
            .lower
            .as_ref()
            .is_some_and(|lower| lower.relation == Relation::Sibling);
        let mut nodes = Nodes {
            tiers: site.site.tiers.upper.iter(),
            tier: None,
            key: key_hash(&self.lookup.key.0),
            from_sibling,
            passed_over: false,
        };
        let mut running = FuturesUnordered::new();
        let mut failed = None;
        let mut hedge_at = None;
        loop {
            if running.is_empty() {
                if let Some((failure, report)) = failed.take() {
                    return Tiered::Failed(failure, report);
                }
                let Some((tier, replica)) = nodes.next() else {
                    let passed_over = nodes.passed_over;
                    return Tiered::Nobody { passed_over };
                };
                hedge_at = hedge(&tier);
                running.push(self.try_node(request, tier, replica));
            }
            tokio::select! {
                Some(tried) = running.next() => match tried {
                    Tried::Answered(asked, report) => return Tiered::Answered(asked, report),
                    // Another node may have it stored.
                    Tried::OriginFailed(failure, report) => failed = Some((failure, report)),
                    Tried::Unusable => nodes.passed_over = true,
                },
                tier = after(hedge_at.take()) => {
                    if tier.hedges.spend() && let Some((next, replica)) = nodes.next() {
                        self.shared.metrics.tiers.hedged(tier.name());
                        running.push(self.try_node(request, next, replica));
                    }
                }
            }
        }
    }

    async fn try_node(
        &self,
        request: &RequestHeader,
        tier: Arc<UpperTier>,
        replica: Arc<Replica>,
    ) -> Tried {
        let mut report = FetchReport::default();
        let asked = self.ask_node(request, &tier, &replica, &mut report).await;
        let result = match &asked {
            Ok(Ok(_)) => "answered",
            Ok(Err(_)) => "origin-failed",
            Err((_, why)) => why,
        };
        self.shared.metrics.tiers.asked(tier.name(), result);
        if let Err((failure, why)) = &asked {
            tier.failed(&replica, *failure, why);
        } else {
            tier.succeeded(&replica);
        }
        report.tier = Some(tier.name().to_owned());
        match asked {
            Ok(Ok(asked)) => Tried::Answered(Box::new(asked), report),
            Ok(Err(failure)) => Tried::OriginFailed(failure, report),
            Err(_) => Tried::Unusable,
        }
    }

    /// The node's answer, or the failure of the origin that it tells of.
    ///
    /// # Errors
    /// How the node itself failed, and in a word why.
    async fn ask_node(
        &self,
        request: &RequestHeader,
        tier: &UpperTier,
        replica: &Replica,
        report: &mut FetchReport,
    ) -> Result<Result<Asked, FetchFailure>, (Failure, &'static str)> {
        let request = self
            .handed_over(request, tier)
            .ok_or((Failure::Refused, "unsigned"))?;
        let own = tier.pool.config.timeouts.first_byte;
        let terms = Terms {
            started: self.started,
            // A rule may give the origin more time than a tier has.
            first_byte: own.max(self.lookup.site.first_byte()),
            origin: &OriginPatch::default(),
            priority: self.priority,
            hash: None,
            client: None,
        };
        let mut watcher = TierWatcher(self.interim);
        let answer = self
            .fetcher
            .fetch_from(&tier.pool, replica, &request, terms, report, &mut watcher)
            .await;
        let mut answer = answer.map_err(|failure| match failure {
            FetchFailure::Timeout => (Failure::Slow, failure.kind()),
            FetchFailure::Busy | FetchFailure::Shed(_) => (Failure::Refused, failure.kind()),
            _ => (Failure::Dead, failure.kind()),
        })?;
        let said = answer.head.headers.get(SEAWALL_TIER);
        let Some(verdict) = said.and_then(|said| Verdict::parse(said.as_bytes())) else {
            return Err(not_a_tier(answer.head.status));
        };
        if let Verdict::OriginFailed(kind) = &verdict {
            return Ok(Err(
                FetchFailure::named(kind).unwrap_or(FetchFailure::Closed)
            ));
        }
        let hops = answer::receive_from_tier(&mut answer.head);
        let from = Some(FromTier { verdict, hops });
        Ok(Ok(Asked { answer, from }))
    }

    /// The request as an upper tier gets it: under the client's host, with all that is known here.
    fn handed_over(&self, request: &RequestHeader, tier: &UpperTier) -> Option<RequestHeader> {
        let site = &self.lookup.site;
        let node = site.site.tiers.node.as_ref()?;
        let host = site.authority.as_str();
        let mut request = request.clone();
        request.insert_header(HOST, host).ok()?;
        let facts = Facts {
            node: &node.name,
            relation: if tier.is_siblings() {
                Relation::Sibling
            } else {
                Relation::Lower
            },
            request_id: self.request_id.as_str(),
            client: site.client,
            scheme: site.scheme,
            version: site.version,
            country: site.place.country,
            asn: site.place.asn,
            raw_target: site.applied.raw_target.as_deref(),
            splits: &site.applied.splits,
            key: &site.applied.key,
            purges: self
                .shared
                .shared_state
                .as_ref()
                .and_then(|state| state.known()),
        };
        let fields: &HeaderMap = &request.headers;
        let signed = SignedHead {
            method: &request.method,
            host: host.as_bytes(),
            target: request.uri.path_and_query()?.as_str(),
            fields,
        };
        let value = Handover::new(&facts, clock::now()).sign(&signed, &node.key)?;
        request.insert_header(SEAWALL_TIER, value).ok()?;
        Some(request)
    }
}

/// What an answer without a verdict says of the node: this is no tier of ours, or it does not know us.
fn not_a_tier(status: StatusCode) -> (Failure, &'static str) {
    if status.is_client_error() || status == StatusCode::LOOP_DETECTED {
        (Failure::Refused, "refused")
    } else {
        (Failure::Dead, "not-a-tier")
    }
}

/// When to ask another node beside one of this tier.
fn hedge(tier: &Arc<UpperTier>) -> Option<(Instant, Arc<UpperTier>)> {
    tier.hedges.earn();
    let after: Duration = tier.config.hedge_after?;
    Some((clock::instant() + after, tier.clone()))
}

/// Waits until then; for ever without one.
async fn after(hedge: Option<(Instant, Arc<UpperTier>)>) -> Arc<UpperTier> {
    match hedge {
        Some((at, tier)) => {
            sleep_until(at.into()).await;
            tier
        }
        None => std::future::pending().await,
    }
}

/// The nodes to ask, in their order, as long as they may be asked.
struct Nodes<'a> {
    tiers: std::slice::Iter<'a, Arc<UpperTier>>,
    tier: Option<OfTier>,
    key: u64,
    from_sibling: bool,
    /// Whether a node that should have been asked was not, or did not answer.
    passed_over: bool,
}

struct OfTier {
    tier: Arc<UpperTier>,
    replicas: VecDeque<Arc<Replica>>,
    asked: u32,
}

impl Nodes<'_> {
    fn next(&mut self) -> Option<(Arc<UpperTier>, Arc<Replica>)> {
        loop {
            if let Some(of_tier) = &mut self.tier {
                match of_tier.next() {
                    Next::Node(replica, passed) => {
                        self.passed_over |= passed;
                        return Some((of_tier.tier.clone(), replica));
                    }
                    Next::None(passed) => self.passed_over |= passed,
                }
            }
            let tier = self.tiers.next()?;
            if tier.is_siblings() && self.from_sibling {
                // It took this node for the owner: it shall be.
                self.tier = None;
                continue;
            }
            self.tier = Some(OfTier {
                replicas: tier.order(self.key).into(),
                tier: tier.clone(),
                asked: 0,
            });
        }
    }
}

/// The next of a tier, and whether any that should have been asked was passed over.
enum Next {
    Node(Arc<Replica>, bool),
    None(bool),
}

impl OfTier {
    fn next(&mut self) -> Next {
        let mut passed = self.asked == 0 && self.replicas.is_empty();
        while let Some(replica) = self.replicas.pop_front() {
            if self.tier.config.own_address == Some(replica.address) {
                // This node is the owner, or the next in line.
                self.replicas.clear();
                return Next::None(passed);
            }
            let retries = &self.tier.pool.retries;
            let again = self.asked > 0;
            if again && (self.asked > self.tier.pool.config.retries.max || !retries.spend()) {
                self.replicas.clear();
                return Next::None(true);
            }
            if self.tier.may_ask(&replica) {
                if !again {
                    retries.earn();
                }
                self.asked += 1;
                return Next::Node(replica, passed);
            }
            passed = true;
        }
        Next::None(passed)
    }
}

/// Tells the metrics of an origin.
pub(in super::super) struct Watcher<'a> {
    pub(in super::super) shared: &'a Shared,
    pub(in super::super) pool: &'a str,
    pub(in super::super) interim: Option<&'a mpsc::UnboundedSender<ResponseHeader>>,
}

impl Observer for Watcher<'_> {
    fn asked(&mut self) {
        self.shared.metrics.origin_request(self.pool);
    }

    fn retried(&mut self) {
        self.shared.metrics.origin_retry(self.pool);
    }

    fn failed(&mut self, failure: FetchFailure) {
        self.shared
            .metrics
            .origin_failure(self.pool, failure.kind());
    }

    fn shed(&mut self, shed: Shed, priority: Priority) {
        self.shared
            .metrics
            .shed(self.pool, shed.as_str(), priority.as_str());
    }

    fn interim(&mut self, head: &ResponseHeader) {
        if let Some(interim) = self.interim {
            let _ = interim.send(head.clone());
        }
    }
}

/// What is told of a tier's node is told once it is known what its answer is.
struct TierWatcher<'a>(Option<&'a mpsc::UnboundedSender<ResponseHeader>>);

impl Observer for TierWatcher<'_> {
    fn asked(&mut self) {}

    fn retried(&mut self) {}

    fn failed(&mut self, _: FetchFailure) {}

    fn shed(&mut self, _: Shed, _: Priority) {}

    fn interim(&mut self, head: &ResponseHeader) {
        if let Some(interim) = self.0 {
            let _ = interim.send(head.clone());
        }
    }
}
