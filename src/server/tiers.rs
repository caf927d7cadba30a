//! The tiers of this node at run time: who it is, and how the nodes of other tiers do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::clock;
use crate::config::{self, Zone};
use crate::origin::{OriginPool, Replica, RetryBudget};
use crate::tier::backoff::{Backoff, Change, Failure};
use crate::tier::handover::TierKey;
use crate::tier::topology::{Ranked, ranking};

/// Hedges for a hundred requests of a tier, above a small constant.
const HEDGE_PERCENT: u32 = 10;

/// This node, as others know it.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it signs with.
    pub key: TierKey,
}

/// A tier that is asked in place of the origin.
pub struct UpperTier {
    /// Its configuration.
    pub config: Arc<config::Tier>,
    /// How its nodes are reached.
    pub pool: Arc<OriginPool>,
    /// Requests that may be made beside another one that takes long.
    pub hedges: RetryBudget,
    backoffs: Mutex<HashMap<SocketAddr, Backoff>>,
}

/// This node and all tiers it may ask.
pub struct Tiers {
    /// This node.
    pub node: Arc<Node>,
    config: config::Tiers,
    others: Vec<Arc<UpperTier>>,
}

/// What a zone asks before its origin.
#[derive(Clone, Default)]
pub struct SiteTiers {
    /// This node; `None` for one on its own.
    pub node: Option<Arc<Node>>,
    /// The tiers, in the order in which they are asked.
    pub upper: Arc<[Arc<UpperTier>]>,
    /// Leave to ask the origin when no tier answers, where that is bounded.
    pub fallback: Option<Arc<Fallback>>,
}

/// Leave to ask the origin of a zone when no tier answers.
pub struct Fallback {
    zone: String,
    most: usize,
    /// One for each request.
    pub leave: Arc<Semaphore>,
}

impl Tiers {
    /// How the other nodes are reached.
    pub(super) fn pools(&self) -> impl Iterator<Item = &Arc<OriginPool>> {
        self.others.iter().map(|tier| &tier.pool)
    }

    /// Prepares `config`. Tiers that did not change go on as they are.
    ///
    /// # Errors
    /// What of the configuration cannot be run.
    pub(super) fn prepare(config: &config::Tiers, previous: Option<&Self>) -> Result<Self, String> {
        let known = || previous.into_iter().flat_map(|previous| &previous.others);
        let tiers = config.tiers.iter().map(|wanted| {
            let unchanged = known().find(|tier| tier.config == *wanted).cloned();
            unchanged.map_or_else(|| UpperTier::new(wanted).map(Arc::new), Ok)
        });
        Ok(Self {
            node: Arc::new(Node {
                name: config.name.clone(),
                key: TierKey::new(config.secret.reveal()),
            }),
            others: tiers.collect::<Result<_, _>>()?,
            config: config.clone(),
        })
    }

    /// Starts what runs in the background; a second call changes nothing.
    pub(super) fn start(&self) {
        for tier in &self.others {
            tier.pool.start();
        }
    }

    /// Whether this was made of `config`.
    pub(super) fn is_of(&self, config: &config::Tiers) -> bool {
        self.config == *config
    }

    fn named(&self, name: &str) -> Option<Arc<UpperTier>> {
        let mut tiers = self.others.iter();
        tiers.find(|tier| tier.name() == name).cloned()
    }
}

impl SiteTiers {
    /// What `zone` asks; `previous` is what it asked before.
    pub(super) fn of(zone: &Zone, tiers: Option<&Tiers>, previous: Option<&Self>) -> Self {
        let Some(tiers) = tiers else {
            return Self::default();
        };
        let names = zone.upper_tiers.iter();
        let fallback = zone.origin_fallback_max_requests.map(|most| {
            let known = previous.and_then(|previous| previous.fallback.clone());
            let unchanged = known.filter(|known| known.zone == zone.name && known.most == most);
            unchanged.unwrap_or_else(|| {
                Arc::new(Fallback {
                    zone: zone.name.clone(),
                    most,
                    leave: Arc::new(Semaphore::new(most)),
                })
            })
        });
        Self {
            node: Some(tiers.node.clone()),
            upper: names.filter_map(|name| tiers.named(name)).collect(),
            fallback,
        }
    }
}

impl UpperTier {
    fn new(config: &Arc<config::Tier>) -> Result<Self, String> {
        let name = &config.pool.name;
        let pool = OriginPool::new(config.pool.clone(), None)
            .map_err(|why| format!("upper tier \"{name}\": {why}"))?;
        Ok(Self {
            config: config.clone(),
            pool,
            hedges: RetryBudget::new(HEDGE_PERCENT),
            backoffs: Mutex::default(),
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.config.pool.name
    }

    /// Whether its nodes are this one's like.
    pub fn is_siblings(&self) -> bool {
        self.config.own_address.is_some()
    }

    /// Its nodes in the order in which they are asked for this key. Where the nodes have no keys of their
    /// own, each request has its own order.
    pub fn order(&self, key: u64) -> Vec<Arc<Replica>> {
        let replicas = self.pool.replicas();
        let nodes: Vec<Ranked> = replicas
            .iter()
            .map(|replica| Ranked {
                address: replica.address,
                weight: replica.server.weight,
            })
            .collect();
        let key = if self.config.sharded {
            key
        } else {
            clock::chance()
        };
        let order = ranking(key, &nodes).into_iter();
        order
            .filter_map(|position| replicas.get(position).cloned())
            .collect()
    }

    /// Whether the node may be asked now. One that failed may be asked once in a while.
    pub fn may_ask(&self, replica: &Replica) -> bool {
        let now = clock::uptime();
        replica.state(now) == "healthy" && self.with(replica, |backoff| backoff.try_at(now))
    }

    /// The node did not answer as it should.
    pub fn failed(&self, replica: &Replica, failure: Failure, why: &str) {
        let change = self.with(replica, |backoff| backoff.failed(failure, clock::uptime()));
        if change == Some(Change::Out) {
            tracing::warn!(
                tier = self.name(),
                node = %replica.address,
                why,
                "a node of an upper tier does not answer; it is passed over for a while"
            );
        }
    }

    /// The node answered.
    pub fn succeeded(&self, replica: &Replica) {
        if self.with(replica, Backoff::succeeded) == Some(Change::Back) {
            tracing::info!(
                tier = self.name(),
                node = %replica.address,
                "a node of an upper tier answers again"
            );
        }
    }

    fn with<T>(&self, replica: &Replica, change: impl FnOnce(&mut Backoff) -> T) -> T {
        let mut backoffs = self.backoffs.lock().unwrap_or_else(PoisonError::into_inner);
        if backoffs.len() > MOST_REMEMBERED {
            // Addresses that came from names and are gone.
            backoffs.clear();
        }
        change(backoffs.entry(replica.address).or_default())
    }
}

/// More nodes than a tier has.
const MOST_REMEMBERED: usize = 4096;
