//! A configuration together with what it takes to run it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::bots::Bots;
use super::rooms::{self, Rooms};
use super::tiers::{SiteTiers, Tiers};
use crate::config::{Config, Zone};
use crate::geo::Geo;
use crate::guard::challenge::Keys;
use crate::origin::OriginPool;
use crate::zone::{self, HostPattern};

/// A configuration in force.
pub struct Runtime {
    /// The configuration.
    pub config: Config,
    /// All pools, running.
    pub pools: Vec<Arc<OriginPool>>,
    /// Where clients are.
    pub geo: ArcSwap<Geo>,
    /// This node among others; `None` for one on its own.
    pub tiers: Option<Arc<Tiers>>,
    /// What challenges are signed with.
    pub challenge_keys: Arc<Keys>,
    /// The known bots.
    pub bots: Arc<Bots>,
    sites: Vec<Site>,
}

/// A zone with its pool.
#[derive(Clone)]
pub struct Site {
    /// The zone.
    pub zone: Arc<Zone>,
    /// Its pool.
    pub pool: Arc<OriginPool>,
    /// What is asked before the pool.
    pub tiers: SiteTiers,
    /// Its waiting rooms, by the ids of their rules.
    pub rooms: Rooms,
}

impl Runtime {
    /// Prepares `config`. Pools that did not change go on as they are, with their health and turns.
    ///
    /// # Errors
    /// What of the configuration cannot be run.
    pub fn prepare(config: Config, previous: Option<&Self>) -> Result<Self, String> {
        let mut pools: Vec<Arc<OriginPool>> = Vec::new();
        let mut renewed = Vec::new();
        for wanted in &config.pools {
            let before = previous.and_then(|previous| previous.pool(&wanted.name));
            let unchanged = before.filter(|pool| pool.config == *wanted).cloned();
            let failed = |why| format!("pool \"{}\": {why}", wanted.name);
            pools.push(match unchanged {
                Some(pool) => {
                    let trust = pool.read_trust().map_err(failed)?;
                    renewed.push((pool.clone(), trust));
                    pool
                }
                None => {
                    OriginPool::new(wanted.clone(), before.map(|pool| &**pool)).map_err(failed)?
                }
            });
        }
        let tiers = match &config.tiers {
            None => None,
            Some(wanted) => {
                let known = previous.and_then(|previous| previous.tiers.clone());
                Some(match known {
                    Some(known) if known.is_of(wanted) => known,
                    known => Arc::new(Tiers::prepare(wanted, known.as_deref())?),
                })
            }
        };
        for pool in tiers.iter().flat_map(|tiers| tiers.pools()) {
            let trust = pool.read_trust();
            let failed = |why| format!("tier \"{}\": {why}", pool.config.name);
            renewed.push((pool.clone(), trust.map_err(failed)?));
        }
        let site_before = |name: &str| {
            let mut sites = previous.into_iter().flat_map(|previous| &previous.sites);
            sites.find(|site| site.zone.name == name)
        };
        let sites = config
            .zones
            .iter()
            .map(|zone| {
                let pool = pools
                    .iter()
                    .find(|pool| pool.config.name == zone.pool)
                    .cloned();
                let pool = pool.ok_or_else(|| format!("zone \"{}\" has no pool", zone.name))?;
                let before = site_before(&zone.name);
                let tiers_before = before.map(|site| &site.tiers);
                Ok(Site {
                    tiers: SiteTiers::of(zone, tiers.as_deref(), tiers_before),
                    rooms: rooms::open(zone, before.map(|site| &site.rooms))?,
                    zone: zone.clone(),
                    pool,
                })
            })
            .collect::<Result<_, String>>()?;
        if let Some(previous) = previous {
            config.tokens.inherit(&previous.config.tokens);
        }
        let geo = Geo::load(&config.geo)?;
        let challenge_keys = challenge_keys(&config, previous)?;
        let bots = previous.map(|previous| &previous.bots);
        let bots = bots.filter(|bots| bots.config == config.verified_bots);
        let bots = bots
            .cloned()
            .unwrap_or_else(|| Bots::new(config.verified_bots.clone()));
        // Now that nothing fails any more.
        for (pool, trust) in renewed {
            pool.trust(trust);
        }
        Ok(Self {
            config,
            pools,
            geo: ArcSwap::from_pointee(geo),
            tiers,
            challenge_keys,
            bots,
            sites,
        })
    }

    /// Starts what runs in the background; a second call changes nothing.
    pub fn start(&self) {
        for pool in &self.pools {
            pool.start();
        }
        if let Some(tiers) = &self.tiers {
            tiers.start();
        }
    }

    /// All sites.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Arc<OriginPool>> {
        self.pools.iter().find(|pool| pool.config.name == name)
    }

    /// The site that answers for `host`, in canonical form.
    pub fn site(&self, host: &str) -> Option<&Site> {
        let patterns = self
            .sites
            .iter()
            .map(|site| -> &[HostPattern] { &site.zone.hosts });
        self.sites.get(zone::find(patterns, host)?)
    }
}

/// From the secret of the configuration; without one from a number made at the start, which holds as long as
/// the process.
fn challenge_keys(config: &Config, previous: Option<&Runtime>) -> Result<Arc<Keys>, String> {
    if let Some(secret) = &config.secret {
        return Ok(Arc::new(Keys::new(secret.reveal().as_bytes())));
    }
    if let Some(previous) = previous.filter(|previous| previous.config.secret.is_none()) {
        return Ok(previous.challenge_keys.clone());
    }
    let mut made = [0; 32];
    let filled = SystemRandom::new().fill(&mut made);
    filled.map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(Arc::new(Keys::new(&made)))
}
