//! Finds out whether clients that say they are a known bot are that: by its published networks at once, by
//! name in the background.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use http::HeaderMap;
use http::header::USER_AGENT;
use quick_cache::sync::Cache;

use crate::guard::bots::VerifiedBot;
use crate::origin::resolver;

/// Most addresses whose names are remembered.
const MOST: usize = 10_000;
/// Most that are asked about at a time; others are strangers until there is room.
const MOST_AT_A_TIME: usize = 16;
/// How long an address is taken for what it was found to be, in seconds.
const GOOD_FOR: i64 = 24 * 60 * 60;
const BAD_FOR: i64 = 60 * 60;
/// And for a stranger when nobody answered; also while the answer is on its way.
const UNKNOWN_FOR: i64 = 60;
/// What a look-up may take.
const LONGEST: Duration = Duration::from_secs(10);
/// Names of one address that are looked at.
const MOST_NAMES: usize = 4;

/// The known bots, and what was found about addresses.
pub struct Bots {
    /// As configured.
    pub config: Vec<VerifiedBot>,
    resolvers: Vec<OnceLock<Option<TokioResolver>>>,
    found: Cache<(usize, IpAddr), Verdict>,
    asking: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Verdict {
    good: bool,
    until: i64,
}

impl Bots {
    /// Knows these.
    pub fn new(config: Vec<VerifiedBot>) -> Arc<Self> {
        Arc::new(Self {
            resolvers: config.iter().map(|_| OnceLock::new()).collect(),
            found: Cache::new(if config.is_empty() { 1 } else { MOST }),
            asking: AtomicUsize::new(0),
            config,
        })
    }

    /// Whether a request with these fields is of the bot that it says it is of. Where that takes a question
    /// to a name server, it is not until there is an answer. `now` in seconds since 1970.
    pub fn is_verified(self: &Arc<Self>, headers: &HeaderMap, client: IpAddr, now: i64) -> bool {
        if self.config.is_empty() {
            return false;
        }
        let Some(user_agent) = headers.get(USER_AGENT) else {
            return false;
        };
        let client = client.to_canonical();
        let claimed = self.config.iter().enumerate();
        let mut claimed = claimed.filter(|(_, bot)| bot.is_claimed_by(user_agent.as_bytes()));
        claimed.any(|(index, bot)| {
            bot.ranges.contains(client)
                || (!bot.domains.is_empty() && self.by_name(index, client, now))
        })
    }

    /// Whether no question is under way.
    pub fn is_idle(&self) -> bool {
        self.asking.load(Ordering::Acquire) == 0
    }

    fn by_name(self: &Arc<Self>, index: usize, client: IpAddr, now: i64) -> bool {
        let key = (index, client);
        if let Some(verdict) = self.found.get(&key).filter(|verdict| now < verdict.until) {
            return verdict.good;
        }
        let room = |asking: usize| (asking < MOST_AT_A_TIME).then(|| asking.saturating_add(1));
        if self
            .asking
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
            .is_ok()
        {
            let pending = Verdict {
                good: false,
                until: now.saturating_add(UNKNOWN_FOR),
            };
            self.found.insert(key, pending);
            let (bots, asked) = (self.clone(), Asked(self.clone()));
            tokio::spawn(async move {
                let good = tokio::time::timeout(LONGEST, bots.look_up(index, client)).await;
                let lasts = match good {
                    Ok(Some(true)) => GOOD_FOR,
                    Ok(Some(false)) => BAD_FOR,
                    Ok(None) | Err(_) => UNKNOWN_FOR,
                };
                let verdict = Verdict {
                    good: matches!(good, Ok(Some(true))),
                    until: now.saturating_add(lasts),
                };
                bots.found.insert(key, verdict);
                drop(asked);
            });
        }
        false
    }

    /// Whether the address has a name in the bot's domains that has the address; `None` when nobody knows.
    async fn look_up(&self, index: usize, client: IpAddr) -> Option<bool> {
        let bot = self.config.get(index)?;
        let resolver = self.resolvers.get(index)?;
        let resolver = resolver
            .get_or_init(|| resolver::of(bot.resolver, &bot.name))
            .as_ref()?;
        let names = match resolver.reverse_lookup(client).await {
            Ok(names) => names,
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => {
                return Some(false);
            }
            Err(_) => return None,
        };
        let names = names
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::PTR(name) => Some(name.to_utf8()),
                _ => None,
            });
        let names = names.filter(|name| bot.may_be_named(name)).take(MOST_NAMES);
        for name in names.collect::<Vec<_>>() {
            match resolver.lookup_ip(name).await {
                Ok(addresses) if addresses.iter().any(|address| address == client) => {
                    return Some(true);
                }
                Ok(_) => {}
                Err(error) if error.is_no_records_found() || error.is_nx_domain() => {}
                Err(_) => return None,
            }
        }
        Some(false)
    }
}

/// One look-up under way, until dropped.
struct Asked(Arc<Bots>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::AcqRel);
    }
}
